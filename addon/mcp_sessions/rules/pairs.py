"""Checks of what belongs together: requests and responses, ids, cursors, pings, cancellations, replayed events."""

from __future__ import annotations

from typing import Any

from ..core.exchange import Exchange
from ..wire import headers as h
from ..wire.headers import HeaderMap
from ..wire.jsonrpc import METHOD_NOT_FOUND, Kind, Message, dump
from ..wire.revision import Era
from ..wire.text import printable
from .checks import Arrival, on_event, on_finish, on_request
from .facts import is_whole, notes, progress_token, talk_of, valid_key
from .history import History
from .replies import on_error, on_reply
from .talks import Stream, Talk, history
from .traits import CANCEL, EVENT_AGAIN, INITIALIZE, KNOWN, LIST, NOTIFICATION, PING, REQUEST, RESPONSE

PROMPTLY = 30.0
"""Seconds after which a ping counts as not answered."""


def _resumes(headers: HeaderMap) -> bool:
    return h.LAST_EVENT_ID in headers


# Responses


@on_event("MCP510", "POST", said=RESPONSE, unless=EVENT_AGAIN)
def response_unasked(x: Exchange, it: Arrival) -> list[str] | None:
    """A response on a stream is the first to a request that was sent."""
    if it.body is None or x.body.sniffed:
        return None
    kept = notes(x)
    own = {m.id for m in x.body.messages if m.kind is Kind.REQUEST and valid_key(m.id)}
    found = []
    for message in it.body.messages:
        if message.kind is not Kind.RESPONSE or not valid_key(message.id):
            continue
        if message.id in own:
            replied = kept.replied
            if message.id in replied:
                found.append(f"a second response to id {printable(message.id)}")
            kept.replied = replied | {message.id}
        elif _never_asked(x, kept.talk, message.id):
            found.append(f"nobody asked with id {printable(message.id)}")
    return found or None


def _never_asked(x: Exchange, talk: Talk | None, request_id: Any) -> bool:
    if x.era is Era.STATELESS:
        return True
    if talk is None or not talk.known or talk.unread or talk.ids is None or talk.ids.overflowed:
        return False
    return x.session is not None and talk.ids.find(request_id) is None


# The ids of requests and notifications


@on_event("MCP513", said=REQUEST, unless=EVENT_AGAIN)
def server_request_id(x: Exchange, it: Arrival) -> list[str] | None:
    """The id of a server's request is a string or an integer, and new in its session."""
    if it.body is None or it.body.sniffed:
        return None
    talk = talk_of(x)
    kept = history(talk) if talk is not None and talk.known and x.session is not None else None
    found = []
    for message in it.body.messages:
        if message.kind is not Kind.REQUEST or (message.method or "").startswith("notifications/"):
            continue
        if not message.has_valid_id and not is_whole(message.id):
            found.append(f"{printable(message.method)} with id {printable(dump(message.id).decode())}")
        elif kept is not None and _asked_before(kept, message):
            found.append(f"{printable(message.method)} with id {printable(message.id)}, used before")
    return found or None


def _asked_before(kept: History, message: Message) -> bool:
    """Whether a server has used this id for another message; from now on it has used it for this one."""
    said = hash(dump(message.raw))
    before = kept.asked.get(message.id)
    kept.asked.put(message.id, said)
    return before is not None and before != said


@on_request("MCP115", "POST", sent=REQUEST)
def client_notification_with_id(x: Exchange) -> list[str] | None:
    """A notification of a client has no id."""
    return _with_id(x.body.messages) if not x.body.sniffed else None


@on_event("MCP209", said=REQUEST)
def server_notification_with_id(_: Exchange, it: Arrival) -> list[str] | None:
    """A notification of a server has no id."""
    return _with_id(it.body.messages) if it.body is not None and not it.body.sniffed else None


def _with_id(messages: tuple[Message, ...]) -> list[str] | None:
    found = [
        f"{printable(m.method)} with id {printable(m.id)}"
        for m in messages
        if m.kind is Kind.REQUEST and m.method is not None and m.method.startswith("notifications/")
    ]
    return found or None


@on_request("MCP112", "POST", sent=REQUEST, needs=KNOWN)
def progress_token_shared(x: Exchange) -> list[str] | None:
    """A progress token is of one active request."""
    talk = talk_of(x)
    if talk is None or not talk.tokens or not talk.pending:
        return None
    found = []
    for message in x.body.messages:
        value = progress_token(message) if message.kind is Kind.REQUEST else None
        token = talk.tokens.get(value) if value is not None else None
        if token is None or token.active <= 0:
            continue
        # Who has given up a request may use its token again.
        holders = (kept for kept in talk.pending.values() if kept.token_of and not kept.over and not kept.cancelled)
        if any(held is token for kept in holders for held in kept.token_of.values()):
            found.append(f"{printable(message.method)} with token {printable(value)}")
    return found or None


# Cancellations


@on_request("MCP113", "POST", sent=NOTIFICATION, needs=CANCEL | KNOWN)
def cancelled_unknown(x: Exchange) -> str | None:
    """A client cancels what it has asked."""
    talk = talk_of(x)
    request_id = x.message.params.get("requestId") if x.message else None
    if talk is None or talk.unread or talk.ids is None or talk.ids.overflowed or not valid_key(request_id):
        return None
    if x.session is None or len(x.session.owners) != 1:
        return None
    return f"id {printable(request_id)}" if talk.ids.find(request_id) is None else None


@on_request("MCP114", "POST", needs=INITIALIZE)
def note_initialize(x: Exchange) -> None:
    """Note the id of an `initialize`."""
    party = notes(x).party
    if party is not None and x.message is not None and valid_key(x.message.id) and x.client.is_process:
        party.initialize_id = x.message.id


@on_request("MCP114", "POST", sent=NOTIFICATION, needs=CANCEL)
def initialize_cancelled(x: Exchange) -> str | None:
    """A client does not cancel `initialize`."""
    party = notes(x).party
    if party is None or len(party.initializing) != 1 or party.initialize_id is None or x.message is None:
        return None
    return "" if x.message.params.get("requestId") == party.initialize_id else None


@on_event("MCP118", said=REQUEST, needs=KNOWN, unless=EVENT_AGAIN)
@on_event("MCP119", said=REQUEST, needs=KNOWN, unless=EVENT_AGAIN)
@on_event("MCP514", said=REQUEST, needs=KNOWN, unless=EVENT_AGAIN)
def note_server_request(x: Exchange, it: Arrival) -> None:
    """Note what a server asks."""
    talk = talk_of(x)
    if it.body is None or talk is None:
        return
    for message in it.body.messages:
        if message.kind is Kind.REQUEST and valid_key(message.id):
            kept = history(talk)
            kept.asked.put(message.id, hash(dump(message.raw)))
            token = progress_token(message)
            if token is not None and token not in kept.tokens:
                kept.tokens.put(token, None)


@on_request("MCP118", "POST", sent=NOTIFICATION, needs=KNOWN)
def client_progress(x: Exchange) -> str | None:
    """A client's progress is of a request of the server's, and increases."""
    talk = talk_of(x)
    if talk is None or x.method != "notifications/progress" or x.message is None or _forgot(x, talk):
        return None
    value, progress = x.message.params.get("progressToken"), x.message.params.get("progress")
    tokens = history(talk).tokens
    if not valid_key(value) or tokens.overflowed:
        return None
    if value not in tokens:
        return f"token {printable(value)} is in no request"
    last = tokens[value]
    if not isinstance(progress, (int, float)):
        return None
    tokens[value] = progress if last is None else max(last, progress)
    return (
        f"token {printable(value)} went from {last:g} to {progress:g}"
        if last is not None and progress <= last
        else None
    )


@on_request("MCP119", "POST", sent=RESPONSE, needs=KNOWN)
def client_response_unasked(x: Exchange) -> list[str] | None:
    """A client answers what it was asked."""
    talk = talk_of(x)
    if talk is None or x.body.sniffed or _forgot(x, talk) or history(talk).asked.overflowed:
        return None
    answers = [m for m in x.body.messages if m.kind is Kind.RESPONSE and valid_key(m.id)]
    return [f"id {printable(m.id)}" for m in answers if m.id not in history(talk).asked] or None


def _forgot(x: Exchange, talk: Talk) -> bool:
    """Whether a server may have asked something that was not seen."""
    return x.session is None or bool(x.session.generation) or talk.resent


@on_event("MCP514", said=NOTIFICATION, needs=KNOWN, unless=EVENT_AGAIN)
def server_cancelled_unknown(x: Exchange, it: Arrival) -> list[str] | None:
    """A server cancels what it has asked."""
    talk = talk_of(x)
    if it.body is None or talk is None or x.session is None or talk.resent:
        return None
    found = []
    for message in it.body.messages:
        if message.method != "notifications/cancelled" or message.kind is not Kind.NOTIFICATION:
            continue
        request_id = message.params.get("requestId")
        asked = history(talk).asked
        if valid_key(request_id) and request_id not in asked and not asked.overflowed:
            found.append(f"id {printable(request_id)}")
    return found or None


# Pings


@on_error("MCP208", needs=PING | KNOWN)
def ping_refused(_: Exchange, message: Message) -> str | None:
    """A ping is no unknown method."""
    return f"answered {METHOD_NOT_FOUND}" if message.error_code == METHOD_NOT_FOUND else None


@on_reply("MCP208", needs=PING)
def ping_answer_not_empty(_: Exchange, message: Message) -> str | None:
    """The answer to a ping is empty."""
    more = [name for name in message.result or () if name != "_meta"]
    return f"answered with {printable(more[0])}" if more else None


@on_event("MCP117", said=REQUEST, needs=KNOWN, unless=EVENT_AGAIN)
def note_ping(x: Exchange, it: Arrival) -> None:
    """Note when a server has sent a ping."""
    kept, talk = notes(x), talk_of(x)
    if it.body is None or talk is None or kept.untimed:
        return
    for message in it.body.messages:
        if message.method == "ping" and message.kind is Kind.REQUEST and valid_key(message.id):
            history(talk).pings.put(message.id, it.at)


@on_request("MCP117", "POST", needs=KNOWN)
def server_ping_unanswered(x: Exchange) -> str | None:
    """A client that goes on answers pings."""
    talk = talk_of(x)
    if talk is None or talk.history is None or not talk.history.pings:
        return None
    pings = talk.history.pings
    if x.body.sniffed or talk.unread:
        pings.clear()
        return None
    for message in x.body.messages:
        if message.kind is Kind.RESPONSE and valid_key(message.id):
            pings.pop(message.id, None)
    late = [at for at in pings.values() if x.at - at > PROMPTLY]
    if not late or not talk.once("MCP117"):
        return None
    return f"no answer for {x.at - late[0]:.0f} s, while it sent {printable(x.what)}"


# Cursors


@on_reply("MCP116", needs=LIST | KNOWN)
def note_cursor(x: Exchange, message: Message) -> None:
    """Note the cursor that a server gave."""
    talk = talk_of(x)
    cursor = message.result.get("nextCursor") if message.result else None
    if talk is None:
        return
    kept = history(talk)
    kept.list_read = x.id
    if isinstance(cursor, str):
        kept.cursors.put(hash((x.method, cursor)), None)


@on_request("MCP116", "POST", sent=REQUEST, needs=LIST | KNOWN)
def cursor_unknown(x: Exchange) -> str | None:
    """A cursor is one that the server gave for this list."""
    talk = talk_of(x)
    cursor = x.message.params.get("cursor") if x.message else None
    if talk is None or not isinstance(cursor, str) or x.body.sniffed or x.session is None or talk.resent:
        return None
    kept = history(talk)
    if hash((x.method, cursor)) in kept.cursors or kept.cursors.overflowed or kept.blind:
        return None
    return f"{printable(x.method)} with cursor {printable(cursor, 40)}"


@on_finish("MCP116", "POST", needs=LIST | KNOWN)
def note_list_unread(x: Exchange) -> None:
    """Note that a list was not read: who knows what cursor it gave."""
    talk = talk_of(x)
    if talk is not None and x.ok and history(talk).list_read != x.id:
        history(talk).blind = True


# Replayed events


@on_event("MCP511", "GET", needs=KNOWN | EVENT_AGAIN)
def replay_of_another_stream(x: Exchange, it: Arrival) -> str | None:
    """What is replayed is of the stream that is resumed."""
    kept = notes(x)
    talk, stream = kept.talk, kept.stream
    last = x.headers.get(h.LAST_EVENT_ID)
    if talk is None or stream is None or last is None or not it.event.id:
        return None
    resumed, before = talk.seen(last), talk.seen(it.event.id)
    if resumed is None or before is None or resumed[1] is None or before[1] is None:
        return None
    if before[0] != hash(it.event.data):  # another event: MCP505
        return None
    stream.of = _origin(resumed[1])
    return None if _origin(before[1]) is stream.of else f"event {printable(it.event.id)}"


def _origin(stream: Stream) -> Stream:
    return stream.of or stream
