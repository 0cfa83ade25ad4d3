"""What becomes of a request whose session was lost, by what kind of request it is: one table.

Nothing that a server may already have acted on is ever sent again: a refusal as "unknown session" says that the request
was not processed.
"""

from __future__ import annotations

from enum import StrEnum

from ...wire.jsonrpc import UNREAD, Kind
from ..decisions import DELIVER, Decision, Deliver, Reply, Resend
from ..exchange import Exchange
from ..session import Session
from ..states import ServerSide


class Treatment(StrEnum):
    """How a refused request is dealt with."""

    RESEND = "handshake, then send it again"
    REOPEN = "handshake, then send it again without Last-Event-ID"
    SHAKE_ONLY = "handshake; the client gets the server's answer"
    ACCEPT = "handshake; answered 202, not sent again"
    DROP = "answered 202 and dropped"
    LEAVE = "the client gets the server's answer"


SUPERSEDED = frozenset({"notifications/initialized", "notifications/cancelled"})
"""Notifications that mean nothing to the new session: the handshake sent its own, and nothing is left to cancel."""

PAGED = frozenset({"tools/list", "prompts/list", "resources/list", "resources/templates/list", "tasks/list"})


def treatment(x: Exchange, policy: str = "on", *, unprocessed: bool = True) -> Treatment:
    """What to do about this request once its session is lost.

    Args:
        x: the refused exchange.
        policy: the option `mcp_recover`: `reinit` sends nothing again, `read-only` no call of a tool that does not say
            of itself that this does no harm.
        unprocessed: whether the refusal proves that the request was not processed. Without that no such call is sent
            again either.
    """
    usual = _by_kind(x)
    sent_again = usual in (Treatment.RESEND, Treatment.REOPEN)
    if sent_again and (policy == "reinit" or ((policy == "read-only" or not unprocessed) and not _harmless(x))):
        return Treatment.SHAKE_ONLY
    return usual


def _harmless(x: Exchange) -> bool:
    calls = [message for message in x.body.messages if message.method == "tools/call"]
    safe = x.session.held.safe_tools if x.session and x.session.held else frozenset()
    return not x.body.cut and all(call.params.get("name") in safe for call in calls)


def _by_kind(x: Exchange) -> Treatment:
    if x.verb == "GET":
        return Treatment.REOPEN
    if x.verb == "POST" and x.body is UNREAD:
        return Treatment.SHAKE_ONLY  # it is not there to be sent again, but the next one will find a session
    if x.verb != "POST" or not x.body.messages:
        return Treatment.LEAVE
    if x.body.batch:
        kinds = {message.kind for message in x.body.messages}
        return Treatment.RESEND if kinds <= {Kind.REQUEST, Kind.NOTIFICATION} else Treatment.LEAVE
    message = x.body.messages[0]
    if message.kind is Kind.RESPONSE:
        return Treatment.DROP
    if message.kind is Kind.NOTIFICATION:
        return Treatment.ACCEPT if message.method in SUPERSEDED else Treatment.RESEND
    if message.kind is Kind.REQUEST:
        paged = message.method in PAGED and message.params.get("cursor") is not None
        return Treatment.SHAKE_ONLY if paged else Treatment.RESEND
    return Treatment.LEAVE


def outcome_for(session: Session, what: Treatment) -> Resend | Reply | Deliver:
    """What becomes of a refused exchange once there is a new generation."""
    if session.standing.server is not ServerSide.ALIVE:
        return DELIVER
    match what:
        case Treatment.RESEND:
            return Resend(session.server_id)
        case Treatment.REOPEN:
            return Resend(session.server_id, drop_last_event_id=True)
        case Treatment.ACCEPT:
            return Reply(202)
        case _:
            return DELIVER


def anew(x: Exchange, decision: Decision) -> Decision:
    """If a request is sent again, its answer starts anew."""
    if isinstance(decision, Resend):
        x.attempts += 1
        x.generation = x.session.generation if x.session else 0
        x.server_id = decision.session_id
        x.status, x.answer_headers, x.answer, x.events, x.response = None, None, None, 0, None
    return decision
