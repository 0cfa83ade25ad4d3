"""Credentials that are stored: for whoever has the key, for the session they belong to, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_sessions.options import settings
from mcp_sessions.store.redis.seal import Seal, read_key

FIELDS = ((b"authorization", b"Bearer SECRET-\xe9"), (b"x-team", b"a"))
URL = "https://example.com/mcp?key=SECRET"


def test_what_is_sealed_opens_again_and_shows_nothing() -> None:
    seal = Seal(b"k" * 32)
    sealed = seal.close("name", URL, FIELDS)
    assert b"SECRET" not in sealed
    assert seal.open("name", sealed) == (URL, FIELDS)
    assert seal.close("name", URL, FIELDS) != sealed
    assert Seal(b"l" * 32).open("name", sealed) is None
    assert seal.open("another", sealed) is None
    assert seal.open("name", sealed[:-1]) is None
    assert seal.open("name", b"") is None
    assert seal.close("name", "https://example.com/mcp", ()) == b""


def test_a_key_is_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("0123456789abcdef0123\n")
    monkeypatch.setenv("LEDGER_KEY", "0123456789abcdef0123")
    assert read_key(str(file)) == read_key("env:LEDGER_KEY") == settings({"mcp_ledger_key": str(file)}).key
    assert settings({}).key == b""


@pytest.mark.parametrize("text", ["env:NO_SUCH_VARIABLE", "/no/such/file", "/dev/null"])
def test_a_wrong_key_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^mcp_ledger_key: ") as found:
        settings({"mcp_ledger_key": text})
    assert "\n" not in str(found.value)
