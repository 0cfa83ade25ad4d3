"""The catalogue's entries: read once from the tables beside the checks, validated, and never changed."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal, NamedTuple

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
    "modern",
    "rounds",
    "content",
    "tasks",
    "manners",
    "access",
)
"""Each has a table NAME.toml and its checks in NAME.py."""


type Party = Literal["client", "server"]


class Level(StrEnum):
    """How strongly the specification words it; PRACTICE is what it does not, but is seen to hurt."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    PRACTICE = "PRACTICE"

    @property
    def weight(self) -> int:
        """The stronger, the higher."""
        return {"MUST": 3, "SHOULD": 2, "PRACTICE": 1}[self.value]


class Wording(NamedTuple):
    """What a clause says, where, and in which revisions in these words."""

    quote: str
    address: str
    revisions: tuple[str, ...]


class Source(BaseModel):
    """A clause that a rule, or part of one, stands on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clause: str = ""
    """Page and anchor below a revision's specification; empty for what no clause says."""
    clause_by_revision: dict[str, str] = {}
    quote: str = ""
    """Verbatim, less the Markdown, from the newest revision; empty where no clause says it."""
    quote_by_revision: dict[str, str] = {}
    """Where other revisions word it otherwise."""

    def address_in(self, revision: str) -> str:
        """Where it stands in this revision; empty if nowhere."""
        clause = self.clause_by_revision.get(revision, self.clause)
        return f"{SITE}/{revision}/{clause}" if clause else ""

    def wordings_in(self, revisions: tuple[str, ...]) -> list[Wording]:
        """What it says in these revisions, the newest first; the address is that of the newest that says it so."""
        found: dict[str, Wording] = {}
        for revision in reversed(revisions):
            quote = self.quote_by_revision.get(revision, self.quote)
            known = found.get(quote) or Wording(quote, self.address_in(revision), ())
            found[quote] = known._replace(revisions=(revision, *known.revisions))
        return list(found.values())


class Rule(Source):
    """One entry of the catalogue. Ids are never used again."""

    id: str = Field(pattern=r"^MCP\d{3}$")
    name: str = Field(pattern=r"^[a-z0-9-]+$")
    party: Party
    level: Level
    revisions: tuple[str, ...]
    parts: dict[str, Source] = {}
    """What of it stands elsewhere, by the name that its check gives it (`checks.Part`)."""
    level_by_revision: dict[str, Level] = {}
    clauses: tuple[str, ...] = ()
    """Ids of the clauses that it covers, wholly or in part (`clauses`)."""
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

    def address(self, revision: str | None = None, part: str = "") -> str:
        """Where the clause stands, in this revision or else the newest that the rule is for; empty if nowhere."""
        if revision is None or revision not in self.revisions:
            revision = self.revisions[-1]
        return self.parts.get(part, self).address_in(revision)

    def wordings(self) -> list[Wording]:
        """What the specification says about it, in all its parts."""
        return [wording for source in (self, *self.parts.values()) for wording in source.wordings_in(self.revisions)]


@cache
def catalogue() -> MappingProxyType[str, Rule]:
    """Every rule by its id."""
    rules: dict[str, Rule] = {}
    for family in FAMILIES:
        table = tomllib.loads(files(__package__).joinpath(f"{family}.toml").read_text("utf-8"))
        for rule_id, entry in table.items():
            rules[rule_id] = Rule(id=rule_id, **entry)
    return MappingProxyType(rules)
