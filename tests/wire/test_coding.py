"""Content codings are undone in pieces, and bombs are refused."""

import gzip
import zlib

import brotli
import pytest

from mcp_sessions.wire.coding import CodingError, Undo, decoded

TEXT = b"data: hello\n\n" * 100

CODED = {
    "": TEXT,
    "identity": TEXT,
    "gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "br": brotli.compress(TEXT),
}


@pytest.mark.parametrize("coding", CODED)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_pieces(coding: str, size: int) -> None:
    undo, body = Undo(coding, 10_000), CODED[coding]
    assert b"".join(undo.feed(body[i : i + size]) for i in range(0, len(body), size)) == TEXT


@pytest.mark.parametrize("coding", [coding for coding in CODED if coding])
def test_more_than_the_limit_is_refused(coding: str) -> None:
    with pytest.raises(CodingError):
        decoded(CODED[coding], coding, len(TEXT) - 1)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_garbage_is_refused(coding: str) -> None:
    with pytest.raises(CodingError):
        decoded(b"\x00this is nothing of the kind" * 10, coding, 1000)


def test_an_unknown_coding_is_refused() -> None:
    with pytest.raises(CodingError, match="unknown content coding 'lzma'"):
        Undo("lzma", 10)
