"""The ledger as a table of text."""

from __future__ import annotations

from ..ledger import Ledger, Session

ROWS = 1000
COLUMNS = ("session", "state", "client", "endpoint", "revision", "requests", "recovered", "opened", "last used", "note")


def sessions_table(ledger: Ledger, now: float) -> str:
    """All sessions, the newest last; times are ages."""
    sessions = list(ledger.sessions.values())
    if not sessions:
        return "no MCP sessions yet"
    rows = [COLUMNS, *(_row(session, now) for session in sessions[-ROWS:])]
    widths = [max(len(row[n]) for row in rows) for n in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if len(sessions) > ROWS:
        lines.append(f"... and {len(sessions) - ROWS} older ones")
    return "\n".join(lines)


def _row(session: Session, now: float) -> tuple[str, ...]:
    broken = ", ".join(f"{rule}×{times}" for rule, times in sorted(session.violations.items()))
    return (
        session.label,
        session.state.value,
        session.client_label,
        str(session.endpoint),
        session.revision,
        str(session.requests),
        str(session.recoveries),
        age(now - session.opened),
        age(now - session.last_used),
        "; ".join(part for part in (session.evidence, broken) if part),
    )


def age(seconds: float) -> str:
    """A duration in one unit: 12s, 3m, 2h, 5d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"
