"""What the proxy has seen by a test's end, from its log: what is new, leaked or lost."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ...core.records import Action, AnyRecord, Change, Violation
from ...rules import Level
from ...rules.baseline import Baseline, Place

LEAKED, LOST = "leaked-session", "lost-call"
"""What a test may be allowed, beside the ids of rules."""
SHOWN = 20
"""Lines of each kind that are shown."""


@dataclass
class Seen:
    """What a test fails for, a line for each."""

    violations: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """All of it, as it is shown."""
        shown = []
        for what, found in (("violation", self.violations), ("leaked session", self.leaked), ("lost call", self.lost)):
            shown += [f"{what}: {one}" for one in found[:SHOWN]]
            if len(found) > SHOWN:
                shown.append(f"{what}: and {len(found) - SHOWN} more")
        return shown


@dataclass
class _Session:
    """What became of a session."""

    client: str
    closed: bool = False
    by_proxy: bool = False
    lost: str = ""


def seen(records: Iterable[AnyRecord], known: Baseline, level: Level | None, allowed: Collection[str]) -> Seen:
    """What is in these records that a test fails for: violations of a level or above, unless they are known or allowed.

    A session is leaked if its client has not ended it; a call is lost if it got no answer through no fault of its
    client's, or if its session was lost and not brought back.
    """
    found = Seen()
    sessions: dict[tuple[str, str], _Session] = {}
    for record in records:
        match record:
            case Violation() if not known.knows(record) and record.rule not in allowed:
                if level is not None and Level(record.level).weight >= level.weight:
                    found.violations.append(f"{Place.of(record)}: {record.said()}")
            case Action(lost=True):
                found.lost.append(f"{record.detail}: {record.what}")
            case Change(session=str(label)) if label:
                session = sessions.setdefault((label, record.endpoint), _Session(record.client))
                _change(session, record)
    for (label, endpoint), session in sessions.items():
        if session.lost:
            found.lost.append(f"session {label} at {endpoint} was not brought back: {session.lost}")
        elif session.by_proxy or not session.closed:
            found.leaked.append(f"{label} of {session.client} at {endpoint}: its client has not ended it")
    if LEAKED in allowed:
        found.leaked.clear()
    if LOST in allowed:
        found.lost.clear()
    return found


def _change(session: _Session, record: Change) -> None:
    match record.what:
        case "closed":
            session.closed = True
        case "ending" | "would be ended" | "not ended":
            session.by_proxy = True
        case "lost" | "not recovered":
            session.lost = record.detail or record.what
        case "recovered" | "follows":
            session.lost = ""
