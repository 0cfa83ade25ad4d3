"""What a user names as secret in `mcp_redact`: header names, JSON paths and regular expressions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jsonpath
import regex

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_FOUND_LIMIT = 10_000

PATIENCE, BUDGET = 1.0, 60.0
"""Seconds that a user's pattern may take for one text, and for all of an export."""
PACE = 1e6
"""Characters for each of which it is given one second more: a pattern that is well made takes a fraction of that."""

_COSTLY = re.compile(r"\b(?:match|search)\s*\(|=~")
"""What makes a pattern of a part of a JSON path, whose time nobody can bound."""
_DESCENTS = 2
"""Times that a path may go down to all that lies below: each goes through the document once more for every place."""

type Place = tuple[str | int, ...]
"""Where a value stands in a JSON document: member names and indexes from the root on."""


class TooSlowError(ValueError):
    """Patterns take so long that nothing can be exported."""


class Pattern:
    """A regular expression of a user's, who may not know what it costs: its time is bounded, for one export."""

    def __init__(self, text: str) -> None:
        """Read it.

        Raises:
            ValueError: one line that says what is wrong with it.
        """
        try:
            self._compiled = regex.compile(text)
        except regex.error as e:
            raise ValueError(f"'/{text}/' is no regular expression: {e}") from None
        self._text = text
        self._left = BUDGET

    def found_in(self, text: str) -> Iterator[regex.Match[str]]:
        """Where it is found in a text.

        Raises:
            TimeoutError: it takes too long for this one.
            TooSlowError: it has taken too long altogether.
        """
        more = len(text) / PACE
        self._left += more
        if self._left <= 0:
            raise TooSlowError(f"'/{self._text}/' takes too long; nothing is exported with such a pattern")
        began = time.monotonic()
        try:
            # Other threads go on meanwhile.
            yield from self._compiled.finditer(text, timeout=min(PATIENCE + more, self._left))
        finally:
            self._left -= time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Named:
    """The user's own secrets, sorted by how they were named."""

    headers: frozenset[str] = frozenset()
    paths: tuple[Any, ...] = ()
    patterns: tuple[Pattern, ...] = field(default=())

    def places(self, document: Any) -> set[Place]:
        """Where the paths lead in a document."""
        found: set[Place] = set()
        for path in self.paths:
            for match in _limited(path.finditer(document)):
                found.add(tuple(match.parts))
        return found

    def matches(self, text: str) -> Iterator[str]:
        """What the regular expressions find: their first group, or else the whole match.

        Raises:
            TimeoutError: that can't be known in time.
            TooSlowError: nor anything else any more.
        """
        for pattern in self.patterns:
            for match in pattern.found_in(text):
                secret = match[_secret_of(match)]
                if secret:
                    yield secret

    def replaced(self, text: str, placeholder: Callable[[str], str]) -> str:
        """The text with a placeholder in the place of whatever `matches` finds. Raises the same."""
        for pattern in self.patterns:
            pieces, done = list[str](), 0
            for match in pattern.found_in(text):
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
    headers, paths, patterns = set[str](), list[Any](), list[Pattern]()
    for word in words:
        if word.startswith("$"):
            if _COSTLY.search(word) or word.count("..") > _DESCENTS:
                raise ValueError(f"{word!r}: it may have no match, search or =~, and at most {_DESCENTS} times `..`")
            paths.append(path(word))
        elif len(word) > 2 and word.startswith("/") and word.endswith("/"):
            patterns.append(Pattern(word[1:-1]))
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


def _secret_of(match: regex.Match[str]) -> int:
    """The group that is the secret; 0 is the whole match."""
    return 1 if match.re.groups and match[1] else 0


def _limited(matches: Iterable[Any]) -> Iterator[Any]:
    for number, match in enumerate(matches):
        if number >= _FOUND_LIMIT:
            return
        yield match
