"""Checks of the response to a request, be it the body of the answer or an event of its stream."""

from __future__ import annotations

from collections.abc import Callable

from ..core.exchange import Exchange
from ..wire.jsonrpc import Body, Kind, Message
from .checks import Arrival, Verdict, on_answer, on_event
from .traits import REFUSED, REQUEST, RESPONSE, RESULT

type OnReply = Callable[[Exchange, Message], Verdict]


def on_reply(rule_id: str, *, needs: int = 0, unless: int = 0) -> Callable[[OnReply], OnReply]:
    """Register a check that looks at the result of a single request."""
    return _registered(rule_id, needs, RESULT, unless)


def on_error(rule_id: str, *, needs: int = 0, unless: int = 0) -> Callable[[OnReply], OnReply]:
    """Register a check that looks at the error that a single request is answered with."""
    return _registered(rule_id, needs, REFUSED, unless)


def _registered(rule_id: str, needs: int, of_answer: int, unless: int) -> Callable[[OnReply], OnReply]:
    def register(check: OnReply) -> OnReply:
        def body(x: Exchange) -> Verdict:
            return _asked(x, x.answer)

        def event(x: Exchange, it: Arrival) -> Verdict:
            return _asked(x, it.body)

        def _asked(x: Exchange, body: Body | None) -> Verdict:
            message = response(x, body)
            if message is None or (message.error is None) is not (of_answer == RESULT):
                return None
            return check(x, message)

        on_answer(rule_id, "POST", sent=REQUEST, needs=needs | of_answer, unless=unless)(body)
        on_event(rule_id, "POST", said=RESPONSE, needs=needs, unless=unless)(event)
        return check

    return register


def response(x: Exchange, body: Body | None) -> Message | None:
    """The response to the single request of an exchange, if this is it."""
    if body is None or body.sniffed or x.body.batch or x.message is None or x.message.kind is not Kind.REQUEST:
        return None
    message = body.first
    if message is None or message.kind is not Kind.RESPONSE or message.id != x.message.id:
        return None
    return message
