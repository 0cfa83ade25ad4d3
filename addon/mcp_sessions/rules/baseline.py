"""Violations that are known, by rule and place: a CI fails for new ones only, and is told of those that are gone.

A place is the same in every run: what was called, and the path of the endpoint. What looks like an id or a token in it
is left out, so that the file may lie in a repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.records import Violation
from ..wire.text import NAME_LIMIT, printable

KNOWN_LIMIT = 10_000
"""Entries of a file."""
SIZE_LIMIT = 8 * 1024 * 1024
"""Bytes of a file."""
PATH_LIMIT = 200
"""Characters of a path."""

ANY = "*"
"""Stands for what is another one in each run."""

_RANDOM = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"  # a UUID
    r"|(?<![A-Za-z0-9])(?:[0-9]{5,}"
    r"|(?=(?:[A-Za-z]*[0-9]){3})[A-Za-z0-9]{8,}"
    r"|(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,})(?![A-Za-z0-9])"
)


class Place(NamedTuple):
    """Where a rule was broken."""

    rule: str
    call: str
    """`tools/call echo`, `GET stream`; empty if it was in no request."""
    path: str
    """Of the endpoint."""

    @classmethod
    def of(cls, violation: Violation) -> Self:
        """Where this violation was."""
        return cls(violation.rule, _steady(violation.call, NAME_LIMIT), path_of(violation.endpoint))

    def __str__(self) -> str:
        """As it is shown: `MCP308 tools/call echo at /mcp`."""
        return " ".join(part for part in (self.rule, self.call, self.path and f"at {self.path}") if part)


class _Entry(BaseModel):
    """A violation that is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str = Field(pattern=r"^MCP\d{3}$")
    call: str = Field("", max_length=NAME_LIMIT)
    path: str = Field("", max_length=PATH_LIMIT)


class _File(BaseModel):
    """A baseline as it stands in its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    known: tuple[_Entry, ...] = Field((), max_length=KNOWN_LIMIT)


class Baseline:
    """What is known, and which of it was seen in this run."""

    def __init__(self, known: Iterable[Place] = ()) -> None:
        self.known = frozenset(known)
        self._seen: set[Place] = set()

    @classmethod
    def read(cls, file: str) -> Self:
        """What this file says.

        Raises:
            ValueError: one line that says what is wrong with it.
        """
        try:
            with open(file, "rb") as opened:
                text = opened.read(SIZE_LIMIT + 1)
        except OSError as e:
            raise ValueError(f"{file}: {e.strerror or e}") from None
        if len(text) > SIZE_LIMIT:
            raise ValueError(f"{file}: larger than {SIZE_LIMIT} bytes")
        try:
            known = _File.model_validate_json(text).known
        except ValidationError as e:
            problem = e.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            said = printable(f"{where}: {problem['msg']}" if where else problem["msg"], 200)
            raise ValueError(f"{file} is no baseline (mcp-sessions baseline writes one): {said}") from None
        return cls(Place(entry.rule, entry.call, entry.path) for entry in known)

    def knows(self, violation: Violation) -> bool:
        """Whether this violation is known; from then on it is not stale."""
        return self.has(Place.of(violation))

    def has(self, place: Place) -> bool:
        """The same of where a rule was broken."""
        if place not in self.known:
            return False
        self._seen.add(place)
        return True

    @property
    def stale(self) -> list[Place]:
        """What is known, and was not seen."""
        return sorted(self.known - self._seen)


def written(violations: Iterable[Violation]) -> str:
    """A baseline by which all of these are known.

    Raises:
        ValueError: when there are too many places.
    """
    places = sorted({Place.of(violation) for violation in violations})
    if len(places) > KNOWN_LIMIT:
        raise ValueError(f"{len(places)} places: a baseline holds {KNOWN_LIMIT}")
    known = tuple(_Entry(rule=place.rule, call=place.call, path=place.path) for place in places)
    return _File(known=known).model_dump_json(indent=2) + "\n"


def path_of(endpoint: str) -> str:
    """The path of an endpoint's URL, the same in every run."""
    try:
        path = urlsplit(endpoint).path
    except ValueError:  # it was cut off, or is hostile
        path = ""
    return _steady(path, PATH_LIMIT)


def _steady(text: str, limit: int) -> str:
    return printable(_RANDOM.sub(ANY, text), limit)
