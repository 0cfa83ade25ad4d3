"""Checks of the handshake and of what was negotiated in it."""

from __future__ import annotations

from itertools import islice

from ..core.exchange import Exchange, Finish
from ..core.session import Session
from ..wire.headers import SESSION_ID, HeaderMap
from ..wire.jsonrpc import Kind, Message
from ..wire.revision import META_CAPABILITIES, Era
from ..wire.text import printable
from . import losses
from .checks import Arrival, Left, on_abandoned, on_answer, on_event, on_finish, on_request
from .facts import meta_of, notes, talk_of
from .talks import OF_CLIENTS, Talk
from .traits import (
    ASKS_INPUT,
    INITIALIZE,
    KNOWN,
    OK,
    ON_OPEN,
    REFUSED,
    REQUEST,
    RESPONSE,
    RESULT,
    RESULTED,
    STATELESS,
    TALK,
)

NEEDED = {
    "tools": "tools",
    "prompts": "prompts",
    "resources": "resources",
    "completion": "completions",
    "tasks": "tasks",
}
"""What a server must have declared for a method, by the part before the slash."""

NEEDED_FOR = {
    "resources/subscribe": "resources.subscribe",
    "resources/unsubscribe": "resources.subscribe",
    "logging/setLevel": "logging",
}
"""The same for single methods."""

LATEST = 20
"""Sessions of a client that are looked at, the latest first."""


def _has_no_id(headers: HeaderMap) -> bool:
    return SESSION_ID not in headers


@on_answer("MCP401", needs=TALK | REFUSED)
@on_answer("MCP401", "DELETE", needs=TALK | OK, unless=REFUSED)
def initialized_missing(x: Exchange) -> str | None:
    """By the end of a session its client has sent `notifications/initialized`."""
    talk = talk_of(x)
    if talk is None or x.session is None:
        return None
    ended = x.verb == "DELETE" and x.ok
    lost = losses.by_404(x) is losses.Loss.PLAIN and not x.is_initialize
    return _never_initialized(talk) if ended or lost else None


@on_abandoned("MCP401")
def left_without_initialized(left: Left) -> str | None:
    """A client that goes has sent `notifications/initialized`."""
    return _never_initialized(left.talk)


def _never_initialized(talk: Talk) -> str | None:
    if not talk.known or talk.initialized or talk.unread or not talk.called or not talk.once("MCP401"):
        return None
    return f"{talk.called} requests were answered"


@on_request("MCP402", "POST", sent=REQUEST, headers=_has_no_id)
def request_before_initialize_answer(x: Exchange) -> list[str] | None:
    """Before `initialize` is answered a client sends nothing but `ping`."""
    party = notes(x).party
    if party is None or len(party.initializing) != 1 or not x.client.is_process:
        return None
    if party.idless is not None or party.settled:
        return None
    if any(_is_known(x, session) for session in islice(reversed(x.client.sessions), LATEST)):
        return None
    early = [printable(m.method) for m in x.body.messages if m.kind is Kind.REQUEST and m.method not in _FREE]
    return early or None


_FREE = ("ping", "initialize")


def _is_known(x: Exchange, session: Session) -> bool:
    return session.endpoint == x.endpoint and (session.answer is not None or session.opened_by != "client")


@on_event("MCP403", said=REQUEST, needs=KNOWN)
def server_request_too_early(x: Exchange, it: Arrival) -> list[str] | None:
    """Before `notifications/initialized` a server asks nothing but `ping`."""
    kept = notes(x)
    talk = kept.talk
    if it.body is None or talk is None or talk.initialized or talk.unread or kept.untimed:
        return None
    return [printable(m.method) for m in it.body.messages if m.kind is Kind.REQUEST and m.method != "ping"] or None


@on_finish("MCP404", "POST", needs=KNOWN, unless=RESULTED)
def client_capability(x: Exchange) -> list[str] | None:
    """A client calls what the server has declared, unless the server answers it all the same."""
    kept = notes(x)
    talk = kept.talk
    if talk is None or x.finish is not Finish.COMPLETE or x.status is None or (x.ok and kept.due):
        return None
    found = []
    for message in x.body.messages:
        if message.kind is not Kind.REQUEST or message.method is None:
            continue
        needed = NEEDED_FOR.get(message.method) or NEEDED.get(message.method.partition("/")[0])
        if needed and needed not in talk.server_can and talk.once(f"MCP404 {message.method[:100]}"):
            found.append(f"{printable(message.method)} needs {needed}")
    return found or None


@on_event("MCP405", said=REQUEST | RESPONSE)
def server_capability(x: Exchange, it: Arrival) -> list[str] | None:
    """A server asks what the client can answer."""
    if it.body is None:
        return None
    if x.era is Era.STATELESS:
        return _input_requests(x, it.body.messages)
    talk = notes(x).talk
    if talk is None or not talk.known:
        return None
    found = []
    for message in it.body.messages:
        family = (message.method or "").partition("/")[0]
        if message.kind is Kind.REQUEST and family in OF_CLIENTS and not _can(talk, family):
            found.append(f"{printable(message.method)} needs {family}")
    return found or None


def _can(talk: Talk, family: str) -> bool:
    if family == "elicitation" and talk.revision == "2025-03-26":
        return False  # that revision has no such thing
    return family in talk.client_can


@on_answer("MCP405", "POST", needs=STATELESS | RESULT | ASKS_INPUT)
def input_requests_undeclared(x: Exchange) -> list[str] | None:
    """A result asks for input of the kinds that the request declared."""
    return _input_requests(x, x.answer.messages) if x.answer is not None else None


def _input_requests(x: Exchange, messages: tuple[Message, ...]) -> list[str] | None:
    declared = meta_of(x.message).get(META_CAPABILITIES)
    if not isinstance(declared, dict) or x.body.sniffed:
        return None
    found = []
    for message in messages:
        asked = message.result.get("inputRequests") if message.result else None
        for entry in list(asked.values())[:50] if isinstance(asked, dict) else ():
            method = entry.get("method") if isinstance(entry, dict) else None
            family = method.partition("/")[0] if isinstance(method, str) else ""
            if family in OF_CLIENTS and not isinstance(declared.get(family), dict):
                found.append(f"inputRequests: {printable(method)} needs {family}")
    return found or None


@on_request("MCP406", "POST", needs=INITIALIZE | TALK)
def note_open_session(x: Exchange) -> None:
    """Note that an `initialize` carries the id of an open session; what it is worth shows in the answer."""
    talk = talk_of(x)
    if talk is not None and talk.known_at is not None:
        notes(x).on_open = talk.lost_at is None and talk.deleted_at is None


@on_answer("MCP406", "POST", needs=ON_OPEN)
def initialize_twice(x: Exchange) -> str | None:
    """A session is initialized once."""
    if losses.by_words(x) or losses.by_404(x) is not None:
        return None
    return f"answered {x.status}"
