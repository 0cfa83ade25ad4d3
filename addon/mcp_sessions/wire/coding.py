"""Content codings, undone piece by piece and within a limit, for the addon's own copy of a body."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli


class CodingError(ValueError):
    """The body is not what its `Content-Encoding` says, or grew beyond the limit."""


class TooLargeError(CodingError):
    """The body grew beyond the limit."""


class Undo:
    """Undoes one content coding of a stream. An unknown coding raises at once."""

    __slots__ = ("_decode", "_left")

    def __init__(self, coding: str, limit: int) -> None:
        try:
            self._decode = CODINGS[coding.strip().lower()]()
        except KeyError:
            raise CodingError(f"unknown content coding {coding[:40]!r}") from None
        self._left = limit

    def feed(self, chunk: bytes, limit: int | None = None) -> bytes:
        """The decoded bytes of this chunk, which may not be more than `limit`.

        Raises:
            CodingError: when the chunk can't be decoded.
            TooLargeError: when the limit is reached.
        """
        try:
            left = self._left if limit is None else min(self._left, limit)
            data = self._decode(chunk, left + 1)
        except (zlib.error, brotli.error) as e:
            raise CodingError(str(e)[:120]) from None
        self._left -= len(data)
        if len(data) > left:
            raise TooLargeError("grew beyond the limit")
        return data


type _Decode = Callable[[bytes, int], bytes]


def _zlib() -> _Decode:
    # 32 + 15: gzip or zlib, told by the header.
    return zlib.decompressobj(32 + zlib.MAX_WBITS).decompress


def _brotli() -> _Decode:
    decoder = brotli.Decompressor()

    def decode(chunk: bytes, limit: int) -> bytes:
        data: bytes = decoder.process(chunk, output_buffer_limit=limit)
        return data

    return decode


def _identity() -> _Decode:
    return lambda chunk, _: chunk


# Not zstd: what a piece of it grows to can't be bounded.
CODINGS: dict[str, Callable[[], _Decode]] = {
    "": _identity,
    "identity": _identity,
    "gzip": _zlib,
    "x-gzip": _zlib,
    "deflate": _zlib,
    "br": _brotli,
}


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """A whole body with its coding undone.

    Raises:
        CodingError: as `Undo`.
    """
    return body if not coding or not body else Undo(coding, limit).feed(body)
