"""The ledger as tables: rows for mitmproxy's console, the same as text for a log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..core.client import Client
from ..core.ledger import Ledger
from ..core.session import Session
from ..core.states import LIVE, State
from ..proxy.said import Said
from ..rules import catalogue
from ..wire.text import counted
from .conversation import moment
from .journal import Journal

ROWS = 1000
"""Rows of one table; the newest are shown."""

type Table = list[list[str]]
"""The first row holds the columns' names."""

# Few columns each, so that a terminal of 80 columns shows them side by side: mitmproxy's console gives the first what
# it needs and shares the rest out evenly. What else there is to know of one session stands in `mcp.session`.
SESSIONS = ["session", "client", "server"]
CLIENTS = ["client", "says it is", "sessions", "state"]
MESSAGES = ["after", "message"]
VIOLATIONS = ["rule", "last", "what"]


def sessions_table(ledger: Ledger, now: float) -> Table:
    """All sessions, the newest last; the age is that of the last use."""
    return [list(SESSIONS), *(_session_row(session, now) for session in list(ledger.sessions.values())[-ROWS:])]


def _session_row(session: Session, now: float) -> list[str]:
    faults = sum(session.violations.values())
    words = [session.label, f"#{session.number}", session.state.value, age(now - session.last_used)]
    words += ["kept"] if session.kept else []
    words += [f"!{faults}"] if faults else []
    return [" ".join(words), session.client_label, str(session.endpoint).partition("://")[2]]


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
    if session.kept or session.evidence:
        facts.append(["ending", session.evidence, "kept: not ended by the proxy" if session.kept else ""])
    facts += [["breaks", rule, f"{times} times"] for rule, times in sorted(session.violations.items())]
    return facts + [[moment(entry.at, None), entry.what, entry.detail] for entry in session.history]


def clients_table(ledger: Ledger, now: float) -> Table:
    """All clients, the newest last; the age is that of the last request."""
    return [list(CLIENTS), *(_client_row(client, now) for client in list(ledger.clients.values())[-ROWS:])]


def _client_row(client: Client, now: float) -> list[str]:
    carrying = "carrier" if client.carrier else "quiet"
    state = "gone" if client.gone else "connected" if client.connections else carrying
    live = sum(session.state in LIVE for session in client.sessions)
    return [
        client.label,
        says(client),
        f"{len(client.sessions)}, {live} open",
        f"{state} {age(now - client.last_seen)}",
    ]


def violations_table(journal: Journal, now: float) -> Table:
    """The rules that were broken, each with its latest case."""
    rows = []
    for rule_id, broken in sorted(journal.rules.items()):
        latest = broken.latest[-1]
        last = " ".join(word for word in (age(now - latest.at), latest.client, latest.session) if word)
        fault = f"{rule_id} {latest.party} {latest.level} ×{broken.times}"
        rows.append([fault, last, f"{latest.name}: {latest.detail or catalogue()[rule_id].summary}"])
    return [list(VIOLATIONS), *rows]


def messages_table(lines: Sequence[Said], left_out: int) -> Table:
    """What was said, in order; the time is that since the first message."""
    rows = [["", f"before these {counted(left_out, 'flow')}: too much to read at once"]] if left_out else []
    for line in lines:
        kind = f"{line.kind} to" if line.kind in ("response", "error") else ""
        took = f"{line.took * 1000:.0f} ms" if line.took is not None else ""
        said = " ".join(word for word in (kind, line.what) if word)
        words = [said, took, f"{line.size:,} B" if line.size else "", *line.notes]
        after = f"{line.at - lines[0].at:.3f} {line.way}" + (f" #{line.id}" if line.id else "")
        rows.append([after, " · ".join(word for word in words if word)])
    return [list(MESSAGES), *rows] if rows else []


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
