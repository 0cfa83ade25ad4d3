"""How a user names a session: by its number, its short label, or the beginning of its id."""

from __future__ import annotations

from ..core.ledger import Ledger
from ..core.session import Session
from ..core.states import State
from ..wire.text import printable

SHOWN = 5


def resolve(ledger: Ledger, name: str) -> Session:
    """The one session of that name.

    Raises:
        ValueError: one line that says why the name does not do.
    """
    if not name:
        raise ValueError("name a session by its label, its number or the beginning of its id")
    if name.startswith("#") and name[1:].isdecimal():
        found = [session for session in ledger.sessions.values() if session.number == int(name[1:12])]
    else:
        found = ledger.named(name)
        found = [session for session in found if session.client_id == name] or found
        found = [session for session in found if session.state is not State.CLOSED] or found
    if len(found) == 1:
        return found[0]
    shown = printable(name, 20)
    if not found:
        raise ValueError(f"no session is named {shown!r}; mcp.sessions lists them")
    numbers = ", ".join(f"#{session.number}" for session in found[:SHOWN])
    more = ", …" if len(found) > SHOWN else ""
    raise ValueError(f"{shown!r} names {len(found)} sessions ({numbers}{more}); take one of these numbers")


def names(ledger: Ledger, limit: int = 200) -> list[str]:
    """What the newest sessions can be called: their labels, or their numbers where a label is not unique."""
    newest = list(ledger.sessions.values())[-limit:]
    seen: dict[str, int] = {}
    for session in ledger.sessions.values():
        seen[session.label] = seen.get(session.label, 0) + 1
    return [session.label if seen[session.label] == 1 else f"#{session.number}" for session in reversed(newest)]
