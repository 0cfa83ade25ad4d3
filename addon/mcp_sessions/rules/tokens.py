"""Progress tokens: which requests carry them, and how far these have come."""

from __future__ import annotations

from typing import Any

from ..wire.jsonrpc import Message
from .facts import Notes, valid_key
from .tables import Recent
from .talks import TOKENS_LIMIT, Talk, Token


def expect(kept: Notes, talk: Talk | None, message: Message, value: Any) -> None:
    """A request carries a progress token; `talk` is of its session, if it has one that is known."""
    if talk is None:
        if kept.tokens is None:
            kept.tokens = Recent(TOKENS_LIMIT)
        tokens = kept.tokens
    else:
        if talk.tokens is None:
            talk.tokens = Recent(TOKENS_LIMIT)
        tokens = talk.tokens
    token = tokens.get(value) if talk is not None else None
    if token is None:
        token = Token()
    if token.active:
        token.ambiguous = True
    else:
        token.last, token.ambiguous = None, False
    token.active += 1
    if "task" in message.params:
        token.task = True
    if kept.token_of is None:
        kept.token_of = {}
    kept.token_of[message.id] = token
    tokens.put(value, token)


def progressed(kept: Notes, message: Message) -> None:
    """A server has told of progress."""
    tokens = kept.talk.tokens if kept.talk is not None else kept.tokens
    value, progress = message.params.get("progressToken"), message.params.get("progress")
    token = tokens.get(value) if tokens is not None and valid_key(value) else None
    if token is not None and isinstance(progress, (int, float)):
        token.last = progress if token.last is None else max(token.last, progress)


def settle(kept: Notes, request_id: Any, at: float, exchange: str) -> None:
    """A request of this exchange waits for its response no more; `exchange` is the one that has shown it."""
    token = kept.token_of.get(request_id) if kept.token_of is not None else None
    if token is not None:
        token.active -= 1
        token.ended_at, token.ended_on = at, exchange
