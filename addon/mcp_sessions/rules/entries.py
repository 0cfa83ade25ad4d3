"""The catalogue's entries: read once from the tables beside the checks, validated, and never changed."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SITE = "https://modelcontextprotocol.io/specification"

FAMILIES = (
    "requests",
    "answers",
    "sessions",
    "lifecycle",
    "streams",
    "stateless",
    "authorization",
    "schema",
    "pairs",
    "capabilities",
)
"""Each has a table NAME.toml and its checks in NAME.py."""


type Party = Literal["client", "server"]


class Level(StrEnum):
    """How strongly the specification words it; PRACTICE is what no clause forbids but is seen to hurt."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    PRACTICE = "PRACTICE"

    @property
    def weight(self) -> int:
        """The stronger, the higher."""
        return {"MUST": 3, "SHOULD": 2, "PRACTICE": 1}[self.value]


class Rule(BaseModel):
    """One entry of the catalogue. Ids are never used again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^MCP\d{3}$")
    name: str = Field(pattern=r"^[a-z0-9-]+$")
    party: Party
    level: Level
    revisions: tuple[str, ...]
    clause: str = ""
    """Page and anchor below a revision's specification; empty for what no clause says."""
    clause_by_revision: dict[str, str] = {}
    level_by_revision: dict[str, Level] = {}
    clauses: tuple[str, ...] = ()
    """Ids of the clauses that it covers, wholly or in part (`clauses`)."""
    quote: str = ""
    summary: str
    why: str
    bad: str
    """A transcript that breaks it."""
    extra: str = ""
    """The optional part of the package without which it is not judged."""
    also: tuple[str, ...] = ()
    """Rules that the transcript can't help breaking as well."""
    good: str
    """A near miss that keeps it."""

    def level_in(self, revision: str | None) -> Level:
        """How strongly this revision words it; the weakest where the revision is not known."""
        if revision is not None:
            return self.level_by_revision.get(revision, self.level)
        return min((self.level, *self.level_by_revision.values()), key=lambda level: level.weight)

    def address(self, revision: str | None = None) -> str:
        """Where the clause stands, in this revision or else the newest that the rule is for; empty if nowhere."""
        if revision not in self.revisions:
            revision = self.revisions[-1]
        clause = self.clause_by_revision.get(revision, self.clause)
        return f"{SITE}/{revision}/{clause}" if clause else ""


@cache
def catalogue() -> MappingProxyType[str, Rule]:
    """Every rule by its id."""
    rules: dict[str, Rule] = {}
    for family in FAMILIES:
        table = tomllib.loads(files(__package__).joinpath(f"{family}.toml").read_text("utf-8"))
        for rule_id, entry in table.items():
            rules[rule_id] = Rule(id=rule_id, **entry)
    return MappingProxyType(rules)
