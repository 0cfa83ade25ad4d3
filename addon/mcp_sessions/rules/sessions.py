"""Checks of how a session begins, is lost, and ends."""

from __future__ import annotations

from ..exchange import Exchange
from ..ledger import Session, State
from ..wire import headers as h
from .checks import on_abandoned, on_answer, on_request


@on_answer("MCP301")
def session_id_charset(x: Exchange) -> str | None:
    """A session id is visible ASCII."""
    assigned = x.answer_headers.get(h.SESSION_ID) if x.answer_headers else None
    if assigned is None or not (x.is_initialize and x.ok):
        return None
    odd = sorted({f"0x{ord(c):02x}" for c in assigned if not 0x21 <= ord(c) <= 0x7E})
    return f"has {', '.join(odd[:5])}" if odd or not assigned else None


@on_request("MCP303")
def session_id_missing(x: Exchange) -> str | None:
    """Once an id was assigned, every request carries it."""
    if x.presented is not None or x.is_initialize:
        return None
    holding = x.facts.get("holds")
    if not holding:
        return None
    return f"{x.what} without Mcp-Session-Id"


@on_answer("MCP305")
def lost_session_not_404(x: Exchange) -> str | None:
    """An ended or unknown session is answered 404."""
    dialect = x.facts.get("dialect")
    return f"answered {x.status}" if dialect else None


@on_request("MCP306")
def lost_session_not_reinitialized(x: Exchange) -> str | None:
    """After a 404 a client starts anew."""
    session = x.session
    if session is None or x.is_initialize or x.verb == "DELETE" or session.told_lost is None:
        return None
    return f"{x.what} with the id that was answered 404"


@on_request("MCP307")
def initialize_with_session_id(x: Exchange) -> str | None:
    """`initialize` carries no session id."""
    return "" if x.is_initialize and x.presented is not None else None


@on_abandoned("MCP308")
def session_not_deleted(session: Session) -> str:
    """A client that goes ends its session."""
    return session.evidence


@on_request("MCP309")
def used_after_delete(x: Exchange) -> str | None:
    """A client does not use a session that it has ended."""
    session = x.session
    if session is None or session.state is not State.CLOSED or session.evidence or x.verb == "DELETE":
        return None
    return x.what


@on_answer("MCP311")
def delete_answer(x: Exchange) -> str | None:
    """A DELETE is answered 2xx, 404 or 405."""
    if x.verb != "DELETE" or x.ok or x.status in (401, 403, 404, 405):
        return None
    return f"answered {x.status}"


@on_abandoned("MCP314")
def session_never_used(session: Session) -> str | None:
    """A session that is opened is used."""
    return "" if session.initialize is not None and session.requests == 0 else None
