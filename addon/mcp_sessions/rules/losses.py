"""What counts as being told that a session is lost: by a 404, or by words that mean it under another status."""

from __future__ import annotations

from enum import Enum, auto

from ..core.exchange import Exchange
from ..core.recovery import own_id, wording
from ..wire import headers as h
from .talks import Talk

TOOLS = frozenset(
    {
        "tools/call",
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "completion/complete",
    }
)
"""Requests that are answered by what somebody has written for a server, not by the server itself."""
NEW = 60.0
"""Seconds for which a session counts as new."""


class Loss(Enum):
    """How a 404 said it."""

    PLAIN = auto()  # with a JSON-RPC error about the session
    BARE = auto()  # with no body at all


def said(x: Exchange) -> str:
    """The message of the JSON-RPC error that the answer is; empty if it is none."""
    message = x.answer.first if x.answer else None
    return message.error_text if message else ""


def by_404(x: Exchange) -> Loss | None:
    """Whether this answer to a request with a session id is a 404 that says that the session is lost.

    What a stranger is told is not: a server has reasons to know nobody by an id but the one who was given it.
    """
    if x.status != 404 or x.presented is None or x.stranger:
        return None
    text = said(x)
    if own_id.answers(x):
        return Loss.PLAIN if wording.says_plainly(text) else None
    if x.verb == "GET" and h.LAST_EVENT_ID in x.headers and wording.names_event(text):
        return None
    if wording.names_session(text):
        return Loss.PLAIN
    empty = x.answer is not None and not x.answer.messages and x.answer.problem in ("", "empty")
    # One to a GET may only mean that there is no stream to be had.
    return Loss.BARE if empty and x.verb != "GET" else None


def by_words(x: Exchange) -> bool:
    """Whether this answer says in words, under another status than 404, that the session is lost."""
    if x.presented is None or x.status == 404 or x.answer is None or x.stranger:
        return False
    if own_id.answers(x):
        return wording.says_plainly(said(x))
    return bool(x.dialect) or wording.says_lost(said(x))


def may_be_a_tools(x: Exchange, talk: Talk) -> bool:
    """Whether what says so may be about a session of a tool's own: if it answers a call, and the session goes on.

    That it does not is known once it is said a second time and nothing has succeeded in between.
    """
    if x.method not in TOOLS or not own_id.answers(x):
        return False
    if x.ok or (x.session is not None and x.session.answered > x.answered_before):
        return True
    return talk.history is None or not talk.history.doubted


def on_arrival(x: Exchange, talk: Talk) -> bool:
    """Whether nothing has worked yet in a session that was just opened."""
    if x.session is None or x.session.generation or talk.known_at is None or talk.worked:
        return False
    return x.answered_at - talk.known_at <= NEW and talk.deleted_at is None
