"""The ledger as tables: rows for mitmproxy's console, the same as text for a log."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.client import Client
from ..core.ledger import Ledger
from ..core.session import Session
from ..core.states import LIVE
from ..proxy.said import Said
from ..rules import catalogue
from ..store.redis.overview import Held, Overview
from ..wire.text import counted, printable
from . import elsewhere
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
HELD_BY = "held by"
"""One more where proxies share a ledger."""
MESSAGES = ["after", "message"]
VIOLATIONS = ["rule", "last", "what"]


def sessions_table(ledger: Ledger, now: float, overview: Overview | None = None) -> Table:
    """All sessions, the newest last; the age is that of the last use. In a fleet, those of the others come first."""
    own = list(ledger.sessions.values())[-ROWS:]
    rows = [_session_row(session, now) for session in own]
    if overview is None:
        return [list(SESSIONS), *rows]
    others = [
        [
            f"{elsewhere.label(held)} {elsewhere.state(held)} {age(now - held.row.last_used)}",
            elsewhere.client(held),
            elsewhere.endpoint(held).partition("://")[2],
            overview.named(held.holder),
        ]
        for held in sorted(overview.others, key=lambda held: held.row.opened)
    ]
    held_by = ["" if session.over else overview.holder(session) for session in own]
    rows = [[*row, holder] for row, holder in zip(rows, held_by, strict=True)]
    return [[*SESSIONS, HELD_BY], *_fleet_rows(overview, len(SESSIONS) + 1), *others, *rows]


def _fleet_rows(overview: Overview, columns: int) -> Table:
    """What is to be known beside the sessions, if anything."""
    said = [overview.problem] if overview.problem else []
    said += [f"and {overview.left_out} more that others hold"] if overview.left_out else []
    return [[line, *[""] * (columns - 1)] for line in said]


def fleet_table(overview: Overview) -> Table:
    """The proxies of the fleet."""
    rows = []
    for one in elsewhere.members(overview):
        state = "dead" if one["dead"] else f"heard of {age(one['silent'])} ago"
        rows.append([one["name"], "here" if one["here"] else state, counted(one["sessions"], "session")])
    rows += [["nobody", "", counted(overview.free, "session")]] if overview.free else []
    return [["proxy", "state", "holds"], *_fleet_rows(overview, 3), *rows]


def _session_row(session: Session, now: float) -> list[str]:
    faults = sum(session.violations.values())
    words = [session.label, f"#{session.number}", session.state.value, age(now - session.last_used)]
    words += ["kept"] if session.kept else []
    words += [f"!{faults}"] if faults else []
    return [" ".join(words), session.client_label, str(session.endpoint).partition("://")[2]]


def held_table(held: Held, overview: Overview, now: float) -> Table:
    """One session that only other proxies know."""
    row, aside = held.row, held.row.aside
    seen = ", ".join(overview.named(one) for one in row.holders)
    return [
        ["session", elsewhere.label(held), elsewhere.state(held)],
        ["held by", overview.named(held.holder), f"seen by {seen}" if seen else ""],
        ["client", elsewhere.client(held), elsewhere.says(held)],
        ["endpoint", elsewhere.endpoint(held), f"revision {printable(row.revision, 40) or 'unknown'}"],
        ["requests", str(row.requests), f"{row.answered} answered with success"],
        ["recovered", str(row.recoveries), f"generation {row.generation}"],
        ["opened", f"{age(now - row.opened)} ago", f"by {printable(row.opened_by, 40)}"],
        ["used", f"{age(now - row.last_used)} ago", counted(aside.streams, "stream") + " open"],
        ["history", "", "its messages and history are with the proxies that have seen it"],
    ]


def session_table(session: Session, now: float, overview: Overview | None = None) -> Table:
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
    if overview is not None and not session.over:
        more = "other proxies have seen it, too" if session.elsewhere else ""
        facts.append(["held by", overview.holder(session), overview.problem or more])
    if session.kept or session.evidence:
        facts.append(["ending", session.evidence, "kept: not ended by the proxy" if session.kept else ""])
    facts += [["breaks", rule, f"{times} times"] for rule, times in sorted(session.violations.items())]
    return facts + [[moment(entry.at, None), entry.what, entry.detail] for entry in session.history]


def clients_table(ledger: Ledger, now: float, overview: Overview | None = None) -> Table:
    """All clients, the newest last; the age is that of the last request. In a fleet, those of the others come first."""
    others = []
    for (name, holder), sessions in elsewhere.clients(overview).items() if overview is not None else ():
        used, live = max(held.row.last_used for held in sessions), {state.value for state in LIVE}
        count = f"{len(sessions)}, {sum(elsewhere.state(held) in live for held in sessions)} open"
        others.append([name, elsewhere.says(sessions[-1]), count, f"at {holder} {age(now - used)}"])
    said = _fleet_rows(overview, len(CLIENTS)) if overview is not None else []
    rows = [_client_row(client, now) for client in list(ledger.clients.values())[-ROWS:]]
    return [list(CLIENTS), *said, *others, *rows]


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


def totals(ledger: Ledger) -> dict[str, int]:
    """What a status line counts: sessions that are open, streams, and the recoveries and endings that there were."""
    return {
        "open": sum(ledger.tally.states[state] for state in LIVE),
        "streams": ledger.streams,
        "recovered": ledger.recovered,
        "ended": ledger.tally.ended.total(),
    }
