"""Secrets that were found, the placeholders that stand for them, and every spelling in which they are replaced."""

from __future__ import annotations

import base64
import html
import json
import re
from enum import StrEnum
from urllib.parse import quote, quote_plus

WORTH_SEEKING = 6
"""Characters from which on a secret is replaced wherever it stands; a shorter one only where it was found."""

SECRET_LIMIT = 50_000
"""Secrets of one export. More mean that the export is to be narrowed down."""

_PREFIX = WORTH_SEEKING
_CORE = 8
"""Characters of base64 by which a secret is recognised within a longer text in base64."""

PLACEHOLDER = re.compile(r"<(secret|session)-(\d{1,9})>")
"""What stands in a redacted recording for a value that was taken out: equal values have equal placeholders."""


class Kind(StrEnum):
    """What a placeholder stands for."""

    SECRET = "secret"  # noqa: S105  # the word for one
    SESSION = "session"


class TooManySecretsError(ValueError):
    """There are more secrets than one export can hold."""


class Vault:
    """Learns secrets first, then replaces them. Placeholders are numbered in the order in which they come into use."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}
        self._placeholders: dict[str, str] = {}
        self._last = dict.fromkeys(Kind, 0)
        self._spellings: dict[str, list[tuple[str, str]]] | None = None

    def learn(self, value: str, kind: Kind = Kind.SECRET) -> None:
        """Remember a secret. Placeholders of an earlier export are none, and their numbers are not given again.

        Raises:
            TooManySecretsError: when the limit is reached.
        """
        value = value.strip()
        if not value or value in self._kinds:
            return
        found = PLACEHOLDER.fullmatch(value)
        if found:
            self._last[Kind(found[1])] = max(self._last[Kind(found[1])], int(found[2]))
            return
        if len(self._kinds) >= SECRET_LIMIT:
            raise TooManySecretsError(f"more than {SECRET_LIMIT} secrets; export one session or one client at a time")
        self._kinds[value] = kind
        self._spellings = None

    def placeholder(self, value: str, kind: Kind = Kind.SECRET) -> str:
        """What stands for this value."""
        bare = value.strip()
        if not bare or PLACEHOLDER.fullmatch(bare):
            return value
        kind = self._kinds.get(bare, kind)
        known = self._placeholders.get(bare)
        if known is None:
            self._last[kind] += 1
            known = self._placeholders[bare] = f"<{kind}-{self._last[kind]}>"
        return known

    def __contains__(self, value: str) -> bool:
        return value.strip() in self._kinds

    @property
    def used(self) -> int:
        """Placeholders that stand for something by now."""
        return len(self._placeholders)

    def replace(self, text: str) -> str:
        """The text without any of the secrets that are worth seeking, however they are spelled."""
        if len(text) < _PREFIX or not self._kinds:
            return text
        spellings = self._spellings if self._spellings is not None else self._spell()
        pieces: list[str] = []
        done = position = 0
        end = len(text) - _PREFIX + 1
        while position < end:
            candidates = spellings.get(text[position : position + _PREFIX])
            if candidates is not None:
                for spelling, value in candidates:
                    if text.startswith(spelling, position):
                        pieces += (text[done:position], self.placeholder(value))
                        position = done = position + len(spelling)
                        break
                else:
                    position += 1
            else:
                position += 1
        return "".join((*pieces, text[done:])) if pieces else text

    def _spell(self) -> dict[str, list[tuple[str, str]]]:
        """Every spelling of every secret by its beginning, the longest first."""
        table: dict[str, list[tuple[str, str]]] = {}
        for value in self._kinds:
            if len(value) >= WORTH_SEEKING:
                for spelling in spellings(value):
                    table.setdefault(spelling[:_PREFIX], []).append((spelling, value))
        for candidates in table.values():
            candidates.sort(key=lambda candidate: -len(candidate[0]))
        self._spellings = table
        return table


def spellings(value: str) -> set[str]:
    """How a value may be written: as it is, in URLs, JSON, HTML, hexadecimal digits, and within base64."""
    raw = value.encode("utf-8", "surrogateescape")
    quoted = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    found = {value, html.escape(value), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    found |= quoted | {re.sub(r"%..", lambda code: code[0].lower(), text) for text in quoted}
    found |= {raw.hex(), raw.hex().upper()}
    for before in range(3):
        # The characters that depend on nothing but the secret, wherever it begins within a group of three bytes.
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        core = encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        if len(core) >= _CORE:
            found |= {core, core.replace("+", "-").replace("/", "_")}
    return {spelling for spelling in found if len(spelling) >= _PREFIX}
