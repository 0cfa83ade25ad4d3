"""The ledger as tables: rows for mitmproxy's console, the same as text for a log."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.client import Client
from ..core.ledger import Ledger
from ..core.session import Session
from ..core.states import LIVE, State
from ..rules import catalogue
from .conversation import moment
from .journal import Journal

ROWS = 1000
"""Rows of one table; the newest are shown."""

type Table = list[list[str]]
"""The first row holds the columns' names."""

SESSIONS = [
    "session",
    "no",
    "state",
    "client",
    "endpoint",
    "revision",
    "requests",
    "recovered",
    "opened",
    "used",
    "note",
]
CLIENTS = ["client", "says it is", "sessions", "open", "connections", "requests", "seen", "state"]
VIOLATIONS = ["rule", "name", "at fault", "level", "times", "last", "by", "session", "detail", "clause"]


def sessions_table(ledger: Ledger, now: float) -> Table:
    """All sessions, the newest last; times are ages."""
    return [list(SESSIONS), *(_session_row(session, now) for session in list(ledger.sessions.values())[-ROWS:])]


def _session_row(session: Session, now: float) -> list[str]:
    broken = ", ".join(f"{rule}×{times}" for rule, times in sorted(session.violations.items()))
    kept = "kept" if session.kept else ""
    return [
        session.label,
        f"#{session.number}",
        session.state.value,
        session.client_label,
        str(session.endpoint),
        session.revision,
        str(session.requests),
        str(session.recoveries),
        age(now - session.opened),
        age(now - session.last_used),
        "; ".join(part for part in (kept, session.evidence, broken) if part),
    ]


def session_table(session: Session, now: float) -> Table:
    """One session: what it is, then its history line by line."""
    facts = [
        ["session", f"{session.label} (#{session.number})", session.state.value],
        ["client", session.client_label, says(session.client)],
        ["endpoint", str(session.endpoint), f"revision {session.revision or 'unknown'}"],
        ["requests", str(session.requests), f"{session.answered} answered with success"],
        ["recovered", str(session.recoveries), f"generation {session.generation}"],
        ["opened", f"{age(now - session.opened)} ago", f"by {session.opened_by}"],
        ["used", f"{age(now - session.last_used)} ago", f"{len(session.streams)} streams open"],
    ]
    facts += [["breaks", rule, f"{times} times"] for rule, times in sorted(session.violations.items())]
    return facts + [[moment(entry.at, None), entry.what, entry.detail] for entry in session.history]


def clients_table(ledger: Ledger, now: float) -> Table:
    """All clients, the newest last."""
    rows = []
    for client in list(ledger.clients.values())[-ROWS:]:
        state = "gone" if client.gone else "connected" if client.connections else "quiet"
        rows.append(
            [
                client.label,
                says(client),
                str(len(client.sessions)),
                str(sum(session.state in LIVE for session in client.sessions)),
                str(len(client.connections)),
                str(client.requests),
                age(now - client.last_seen),
                state,
            ]
        )
    return [list(CLIENTS), *rows]


def violations_table(journal: Journal, now: float) -> Table:
    """The rules that were broken, each with its latest case."""
    rows = []
    for rule_id, broken in sorted(journal.rules.items()):
        latest = broken.latest[-1]
        ago = age(now - latest.at)
        said = [latest.name, latest.party, latest.level, str(broken.times), ago, latest.client, latest.session]
        rows.append([rule_id, *said, latest.detail or catalogue()[rule_id].summary, latest.clause])
    return [list(VIOLATIONS), *rows]


def says(client: Client | None) -> str:
    """What a client calls itself in `clientInfo`."""
    return " ".join(client.info.values()) if client else ""


def text(table: Table, nothing: str) -> str:
    """A table as lines of text, its columns aligned; `nothing` for one without rows."""
    if len(table) < 2:
        return nothing
    widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )


def age(seconds: float) -> str:
    """A duration in one unit: 12s, 3m, 2h, 5d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def totals(sessions: Iterable[Session]) -> dict[str, int]:
    """What a status line counts: sessions that are open, streams, recoveries, sessions that have ended."""
    counts = {"open": 0, "streams": 0, "recovered": 0, "ended": 0}
    for session in sessions:
        counts["open"] += session.state in LIVE
        counts["streams"] += len(session.streams)
        counts["recovered"] += session.recoveries
        counts["ended"] += session.state is State.CLOSED
    return counts
