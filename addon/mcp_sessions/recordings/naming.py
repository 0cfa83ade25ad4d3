"""What a user names as secret in `mcp_redact`: header names, JSON paths and regular expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jsonpath

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_FOUND_LIMIT = 10_000

type Place = tuple[str | int, ...]
"""Where a value stands in a JSON document: member names and indexes from the root on."""


@dataclass(frozen=True, slots=True)
class Named:
    """The user's own secrets, sorted by how they were named."""

    headers: frozenset[str] = frozenset()
    paths: tuple[Any, ...] = ()
    patterns: tuple[re.Pattern[str], ...] = field(default=())

    def places(self, document: Any) -> set[Place]:
        """Where the paths lead in a document."""
        found: set[Place] = set()
        for path in self.paths:
            for match in _limited(path.finditer(document)):
                found.add(tuple(match.parts))
        return found

    def matches(self, text: str) -> Iterator[str]:
        """What the regular expressions find: their first group, or else the whole match."""
        for pattern in self.patterns:
            for match in pattern.finditer(text):
                secret = match[_secret_of(match)]
                if secret:
                    yield secret

    def replaced(self, text: str, placeholder: Callable[[str], str]) -> str:
        """The text with a placeholder in the place of whatever `matches` finds."""
        for pattern in self.patterns:
            pieces, done = list[str](), 0
            for match in pattern.finditer(text):
                start, end = match.span(_secret_of(match))
                if start < end:
                    pieces += (text[done:start], placeholder(text[start:end]))
                    done = end
            if pieces:
                text = "".join((*pieces, text[done:]))
        return text


def named(words: Iterable[str]) -> Named:
    """Read what a user named: `X-Team` is a header, `$.params.arguments.name` a JSON path, `/ACME-\\d+/` a pattern.

    Raises:
        ValueError: one line that says which word is none of them, and why.
    """
    headers, paths, patterns = set[str](), list[Any](), list[re.Pattern[str]]()
    for word in words:
        if word.startswith("$"):
            paths.append(path(word))
        elif len(word) > 2 and word.startswith("/") and word.endswith("/"):
            try:
                patterns.append(re.compile(word[1:-1]))
            except re.error as e:
                raise ValueError(f"{word!r} is no regular expression: {e}") from None
        elif _HEADER.fullmatch(word):
            headers.add(word.lower())
        else:
            raise ValueError(f"{word!r} is neither a header name, nor a JSON path ($...), nor a pattern (/.../)")
    return Named(frozenset(headers), tuple(paths), tuple(patterns))


def path(text: str) -> Any:
    """A JSON path (RFC 9535), ready for use.

    Raises:
        ValueError: one line that says what is wrong with it.
    """
    try:
        return jsonpath.compile(text)
    except jsonpath.JSONPathError as e:
        raise ValueError(f"{text!r} is no JSON path: {str(e).splitlines()[0]}") from None


def _secret_of(match: re.Match[str]) -> int:
    """The group that is the secret; 0 is the whole match."""
    return 1 if match.re.groups and match[1] else 0


def _limited(matches: Iterable[Any]) -> Iterator[Any]:
    for number, match in enumerate(matches):
        if number >= _FOUND_LIMIT:
            return
        yield match
