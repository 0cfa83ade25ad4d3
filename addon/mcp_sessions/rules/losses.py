"""What counts as being told that a session is lost: by a 404, or by words that mean it under another status."""

from __future__ import annotations

from enum import Enum, auto

from ..core.exchange import Exchange
from ..core.recovery import wording
from ..wire import headers as h


class Loss(Enum):
    """How a 404 said it."""

    PLAIN = auto()  # with a JSON-RPC error about the session
    BARE = auto()  # with no body at all


def said(x: Exchange) -> str:
    """The message of the JSON-RPC error that the answer is; empty if it is none."""
    message = x.answer.first if x.answer else None
    return message.error_text if message else ""


def by_404(x: Exchange) -> Loss | None:
    """Whether this answer to a request with a session id is a 404 that says that the session is lost."""
    if x.status != 404 or x.presented is None:
        return None
    text = said(x)
    if x.verb == "GET" and h.LAST_EVENT_ID in x.headers and wording.names_event(text):
        return None
    if wording.names_session(text):
        return Loss.PLAIN
    empty = x.answer is not None and not x.answer.messages and x.answer.problem in ("", "empty")
    return Loss.BARE if empty else None


def by_words(x: Exchange) -> bool:
    """Whether this answer says in words, under another status than 404, that the session is lost."""
    if x.presented is None or x.status == 404 or x.answer is None:
        return False
    return bool(x.dialect) or wording.says_lost(said(x))
