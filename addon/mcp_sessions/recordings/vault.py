"""Secrets that were found, the placeholders that stand for them, and every spelling in which they are replaced."""

from __future__ import annotations

import base64
import html
import json
import re
from bisect import bisect_right
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
        self._spellings: dict[str, _Alike] | None = None

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

    def replaced(self, value: str) -> bool:
        """Whether a placeholder stands for this value by now."""
        return value.strip() in self._placeholders

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
            found = candidates.find(text, position) if candidates is not None else None
            if found is not None:
                spelling, value = found
                pieces += (text[done:position], self.placeholder(value))
                position = done = position + len(spelling)
            else:
                position += 1
        return "".join((*pieces, text[done:])) if pieces else text

    def _spell(self) -> dict[str, _Alike]:
        """Every spelling of every secret, by its beginning."""
        table: dict[str, dict[str, str]] = {}
        for value in self._kinds:
            if len(value) >= WORTH_SEEKING:
                for spelling in spellings(value):
                    table.setdefault(spelling[:_PREFIX], {}).setdefault(spelling, value)
        made = self._spellings = {prefix: _Alike(alike) for prefix, alike in table.items()}
        return made


class _Alike:
    """Spellings that begin alike. There may be thousands, in a text that begins like them at each of its characters."""

    __slots__ = ("_inner", "_longest", "_sorted", "_values")

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values
        self._sorted = sorted(values)
        self._longest = max(map(len, values))
        self._inner: list[int] = []
        """For each, the longest of the others that it begins with; -1 if there is none."""
        open_ones: list[int] = []
        for number, spelling in enumerate(self._sorted):
            while open_ones and not spelling.startswith(self._sorted[open_ones[-1]]):
                open_ones.pop()
            self._inner.append(open_ones[-1] if open_ones else -1)
            open_ones.append(number)

    def find(self, text: str, position: int) -> tuple[str, str] | None:
        """The longest of them that stands at this place of a text, and its value."""
        if len(self._sorted) == 1:
            number = 0
        else:
            # All that stand there sort before what stands there, and each is the beginning of the last one before it.
            number = bisect_right(self._sorted, text[position : position + self._longest]) - 1
        while number >= 0:
            spelling = self._sorted[number]
            if text.startswith(spelling, position):
                return spelling, self._values[spelling]
            number = self._inner[number]
        return None


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
