"""What is generated in docs/coverage.md: how much of the specification is judged, and every clause with its rules."""

from __future__ import annotations

from typing import NamedTuple

from ...wire.revision import REVISIONS
from ..entries import Level, Rule
from . import AREAS, Clause, clauses, coverers, hidden, judged_by, uncovered


class Count(NamedTuple):
    """How many clauses of a level a revision has, by what becomes of them."""

    judged: int
    in_part: int
    """Only one of the two parties that they bind is judged."""
    unjudged: int
    undecidable: int

    @property
    def observable(self) -> int:
        """Those of which the traffic tells whether they are kept."""
        return self.judged + self.in_part + self.unjudged

    @property
    def share(self) -> float:
        """Of the observable ones, those that are judged in full, in percent."""
        return 100 * self.judged / self.observable if self.observable else 100.0


def count(revision: str, level: Level) -> Count:
    """The clauses of one strength in one revision."""
    found = [clause for clause in clauses().values() if revision in clause.revisions and clause.strength is level]
    tellable = [clause for clause in found if not clause.undecidable]
    judged = sum(not uncovered(clause, revision) for clause in tellable)
    named = sum(bool(coverers(clause, revision)) for clause in tellable)
    return Count(judged, named - judged, len(tellable) - named, len(found) - len(tellable))


def figures() -> str:
    """How much is judged, by revision and level."""
    rows = [
        "| revision | level | observable | judged | in part | not judged | share | cannot be told | shows nowhere |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for revision in REVISIONS:
        for level in (Level.MUST, Level.SHOULD):
            found = count(revision, level)
            which = 0 if level is Level.MUST else 1
            unseen = sum(page.get(revision, (0, 0))[which] for group in hidden() for page in group.pages.values())
            rows.append(
                f"| {revision} | {level} | {found.observable} | {found.judged} | {found.in_part} | {found.unjudged} "
                f"| {int(found.share)} % | {found.undecidable} | {unseen} |"
            )
    return "\n".join(rows) + "\n"


def tables() -> str:
    """Every clause with the rules that judge it, or the reason why none does; then what shows nowhere."""
    parts: list[str] = []
    for area in AREAS:
        parts += [f"### {area.capitalize()}", "", "| clause | party | level | revisions | judged by |"]
        parts += ["|---|---|---|---|---|", *(_row(one) for one in clauses().values() if one.area == area), ""]
    parts += ["### What shows nowhere", "", "| reason | page | revisions: MUST, SHOULD |", "|---|---|---|"]
    for group in hidden():
        for page, by_revision in group.pages.items():
            counts = "; ".join(f"{revision}: {must}, {should}" for revision, (must, should) in by_revision.items())
            parts.append(f"| {group.reason} | {page} | {counts} |")
    return "\n".join(parts) + "\n"


def _row(clause: Clause) -> str:
    quote = clause.quote.replace("|", "\\|").replace("<", "&lt;")
    revisions = " ".join(revision[:7] for revision in clause.revisions)
    named = f"[{clause.id}]({clause.address()}): {quote}"
    return f"| {named} | {clause.party} | {clause.level} | {revisions} | {_by(clause)} |"


def _by(clause: Clause) -> str:
    if clause.undecidable:
        return f"cannot be told: {clause.undecidable}"
    rules = judged_by().get(clause.id, ())
    if not rules:
        return f"no: {clause.unjudged}"
    named = ", ".join(_link(rule, clause) for rule in rules)
    return f"{named}; {clause.unjudged}" if clause.unjudged else named


def _link(rule: Rule, clause: Clause) -> str:
    here = [revision for revision in clause.revisions if revision in rule.revisions]
    link = f"[{rule.id}](rules.md#{rule.id.lower()}-{rule.name})"
    return link if len(here) == len(clause.revisions) else f"{link} ({' '.join(revision[:7] for revision in here)})"
