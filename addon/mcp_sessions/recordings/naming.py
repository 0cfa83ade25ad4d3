"""What a user names as secret in `mcp_redact`: header names, JSON paths, regular expressions and texts.

Each remembers what it has found: one that finds nothing is most likely not what its author meant.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import jsonpath
import regex

from ..wire.text import counted
from .vault import PLACEHOLDER

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

TEXT = "text:"
"""What a word begins with that means just the text behind it."""

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
        if self._left <= 0:  # before it is given more, or it would never be used up
            raise TooSlowError(f"'/{self._text}/' takes too long; nothing is exported with such a pattern")
        self._left += more
        began = time.monotonic()
        try:
            # Other threads go on meanwhile.
            yield from self._compiled.finditer(text, timeout=min(PATIENCE + more, self._left))
        finally:
            self._left -= time.monotonic() - began


class Kind(StrEnum):
    """How a word is meant."""

    HEADER = "header"
    PATH = "path"
    PATTERN = "pattern"
    TEXT = "text"


@dataclass(slots=True, eq=False)
class Word:
    """One thing that a user named."""

    kind: Kind
    text: str
    """As it was written; of a text, what stands behind `text:`."""
    form: Any
    """The name of the header in lower case, the JSON path, or the regular expression."""
    _found: set[int] = field(default_factory=set)
    """The values, each as a number that says nothing of it."""

    def found(self, value: object) -> None:
        """Note a value that it has led to."""
        if len(self._found) < _FOUND_LIMIT and not (isinstance(value, str) and PLACEHOLDER.fullmatch(value.strip())):
            self._found.add(hash(str(value)))

    def told(self, replaced: bool, stands: Callable[[str], bool]) -> tuple[bool, str]:
        """Whether it has found anything, and how to say so.

        `replaced`: whether a placeholder stands for its text. `stands` tells whether a text stands in the export.
        """
        times = len(self._found)
        values = counted(times, "value")
        match self.kind:
            case Kind.TEXT:
                there = replaced or times > 0
                return there, f"{TEXT}{_hidden(self.text)}: {'found' if there else 'this text is not in it'}"
            case Kind.HEADER if not times and stands(self.text):
                but = f"no header of that name, but the text stands in the export: name it as {TEXT}…"
                return False, f"{_hidden(self.text)}: {but}"
            case Kind.HEADER:
                said = f"{values} of this header" if times else "no header of that name"
            case Kind.PATH:
                said = f"{values} at this JSON path" if times else "nothing found at this JSON path"
            case Kind.PATTERN:
                said = f"{values} match{'es' if times == 1 else ''}" if times else "nothing matches"
        return times > 0, f"{self.text}: {said}"


class Named:
    """The user's own secrets, sorted by how they were named."""

    def __init__(self, words: Sequence[Word] = ()) -> None:
        self.words = words
        self.headers = {str(word.form): word for word in words if word.kind is Kind.HEADER}
        self.texts = [word.text for word in words if word.kind is Kind.TEXT]
        self._paths = [word for word in words if word.kind is Kind.PATH]
        self._patterns = [word for word in words if word.kind in (Kind.PATTERN, Kind.TEXT)]

    def places(self, document: Any) -> set[Place]:
        """Where the paths lead in a document."""
        found: set[Place] = set()
        for word in self._paths:
            for match in _limited(word.form.finditer(document)):
                found.add(tuple(match.parts))
                word.found(match.value)
        return found

    def matches(self, text: str) -> Iterator[str]:
        """What the regular expressions find: their first group, or else the whole match.

        Raises:
            TimeoutError: that can't be known in time.
            TooSlowError: nor anything else any more.
        """
        for word in self._patterns:
            for match in word.form.found_in(text):
                secret = match[_secret_of(match)]
                if secret:
                    word.found(secret)
                    yield secret

    def replaced(self, text: str, placeholder: Callable[[str], str]) -> str:
        """The text with a placeholder in the place of whatever `matches` finds. Raises the same."""
        for word in self._patterns:
            pieces, done = list[str](), 0
            for match in word.form.found_in(text):
                start, end = match.span(_secret_of(match))
                if start < end:
                    pieces += (text[done:start], placeholder(text[start:end]))
                    done = end
            if pieces:
                text = "".join((*pieces, text[done:]))
        return text


def named(words: Iterable[str]) -> Named:
    """Read what a user named: `X-Team` a header, `$.params.arguments.name` a JSON path, `/ACME-\\d+/`, `text:hunter2`.

    Raises:
        ValueError: one line that says which word is none of them, and why.
    """
    return Named([_word(word) for word in dict.fromkeys(words)])


def _word(word: str) -> Word:
    if word.startswith(TEXT):
        text = word.removeprefix(TEXT)
        if not text.strip():
            raise ValueError(f"there is no text behind {TEXT}")
        return Word(Kind.TEXT, text, Pattern(regex.escape(text)))
    if word.startswith("$"):
        if _COSTLY.search(word) or word.count("..") > _DESCENTS:
            raise ValueError(f"{word!r}: it may have no match, search or =~, and at most {_DESCENTS} times `..`")
        return Word(Kind.PATH, word, path(word))
    if len(word) > 2 and word.startswith("/") and word.endswith("/"):
        return Word(Kind.PATTERN, word, Pattern(word[1:-1]))
    if _HEADER.fullmatch(word):
        return Word(Kind.HEADER, word, word.lower())
    raise ValueError(
        f"{_hidden(word)} is neither a header name, a JSON path ($...), a pattern (/.../), nor a text ({TEXT}...)"
    )


def _hidden(text: str) -> str:
    """A text that may be a secret, as its author recognises it."""
    return f"{text[:2]}… ({counted(len(text), 'character')})"


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
