"""The clauses of the specification that can be observed between client and server, as data: read when asked for.

No check needs them: they say what a rule stands on, and for what there is none (docs/coverage.md).
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..entries import SITE, Level, Rule, catalogue

AREAS = (
    "basic",
    "lifecycle",
    "transports",
    "utilities",
    "patterns",
    "server",
    "client",
    "tasks",
    "authorization",
)
"""Each has a table AREA.toml, in the order of the specification's own pages."""


class Clause(BaseModel):
    """A sentence of the specification with one of its keywords (RFC 2119), as its newest revision words it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    area: str
    quote: str
    page: str
    """Page and anchor below a revision's specification, in the newest revision that has it."""
    page_by_revision: dict[str, str] = {}
    party: Literal["client", "server", "both"]
    party_by_revision: dict[str, Literal["client", "server"]] = {}
    """Where a revision leaves one of both: in 2026-07-28 clients send no responses, and servers no requests."""
    level: Literal["MUST", "MUST NOT", "SHOULD", "SHOULD NOT"]
    revisions: tuple[str, ...] = Field(min_length=1)
    unjudged: str = ""
    """Why no rule judges it although one could."""
    undecidable: str = ""
    """Why the traffic does not tell whether it is kept."""

    @property
    def strength(self) -> Level:
        """Its level without the NOT."""
        return Level(self.level.partition(" ")[0])

    def address(self, revision: str = "") -> str:
        """Where it stands, in this revision or else the newest that has it."""
        revision = revision or self.revisions[-1]
        return f"{SITE}/{revision}/{self.page_by_revision.get(revision, self.page)}"


class Hidden(BaseModel):
    """Clauses of which nothing shows between client and server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    pages: dict[str, dict[str, tuple[int, int]]]
    """How many there are by page and revision: those of level MUST, and those of level SHOULD."""


@cache
def clauses() -> MappingProxyType[str, Clause]:
    """Every clause that can be observed, by its id."""
    found: dict[str, Clause] = {}
    for area in AREAS:
        for clause_id, entry in _table(area).items():
            if clause_id in found:
                raise ValueError(f"two clauses are called {clause_id}")
            found[clause_id] = Clause(id=clause_id, area=area, **entry)
    return MappingProxyType(found)


@cache
def hidden() -> tuple[Hidden, ...]:
    """What cannot be observed, by reason."""
    return tuple(Hidden(**entry) for entry in _table("hidden")["hidden"])


@cache
def judged_by() -> MappingProxyType[str, tuple[Rule, ...]]:
    """The rules that cover a clause, by its id; a clause that no rule names is not there."""
    found: dict[str, tuple[Rule, ...]] = {}
    for rule in catalogue().values():
        for clause_id in rule.clauses:
            found[clause_id] = (*found.get(clause_id, ()), rule)
    return MappingProxyType(found)


def coverers(clause: Clause, revision: str) -> list[Rule]:
    """The rules that judge a clause in a revision."""
    return [rule for rule in judged_by().get(clause.id, ()) if revision in rule.revisions]


def uncovered(clause: Clause, revision: str) -> set[str]:
    """Whose part of a clause is judged by nobody in a revision: both, one of them, or none."""
    party = clause.party_by_revision.get(revision, clause.party)
    bound: set[str] = {"client", "server"} if party == "both" else {party}
    return bound - {rule.party for rule in coverers(clause, revision)}


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath(f"{name}.toml").read_text("utf-8"))
