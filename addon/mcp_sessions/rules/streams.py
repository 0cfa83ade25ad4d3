"""Checks of event streams."""

from __future__ import annotations

from ..core.exchange import Exchange, Finish
from ..core.states import State
from ..wire import headers as h
from ..wire.headers import HeaderMap
from ..wire.jsonrpc import Kind, Message, dump
from ..wire.revision import LISTEN, Era
from ..wire.sse import Event
from ..wire.text import printable
from .checks import Arrival, Part, on_event, on_finish, on_request
from .facts import Notes, notes, revision_of, talk_of, valid_key
from .tables import Recent
from .talks import MESSAGES_LIMIT, Talk, hash_of
from .traits import (
    BATCH,
    DUE,
    EVENT_AGAIN,
    INVALID,
    KNOWN,
    NOTIFICATION,
    PROBLEM,
    REQUEST,
    RESPONSE,
    SEVERAL,
    STREAMED,
    TALK,
)

BATCHES = "2025-03-26"
"""The revision that has batches."""
LEFT_OPEN = 5.0
"""Seconds after the last response that a stream may stay open."""
TOGETHER = 0.1
"""Seconds within which equal notifications on two streams count as one message sent twice."""
GRACE = 0.5
"""Seconds for which progress may still be on its way on another stream."""
SHORT_RETRY = 200
"""Milliseconds below which a `retry` is too short to tell whether it was kept."""


def _resumes(headers: HeaderMap) -> bool:
    return h.LAST_EVENT_ID in headers


@on_event("MCP501", said=INVALID | PROBLEM | BATCH)
def event_not_jsonrpc(x: Exchange, it: Arrival) -> str | None:
    """The data of an event is a JSON-RPC message."""
    if not it.event.data or it.body is None or it.event.type != "message" or it.body.sniffed:
        return None
    if it.body.batch and revision_of(x) not in (BATCHES, None):
        return "a batch"
    if it.body.problem:
        return it.body.problem
    return "not a JSON-RPC message" if any(m.kind is Kind.INVALID for m in it.body.messages) else None


@on_finish("MCP502", "POST", needs=STREAMED | DUE)
def stream_without_answer(x: Exchange) -> str | None:
    """The stream of a request brings the response, or an event id to resume from."""
    kept = notes(x)
    if not _ended_without_response(x, kept):
        return None
    assert kept.stream
    return f"{kept.stream.exchange and printable(x.what)}: {x.events} events" if _unexcused(x, kept) else None


def _unexcused(x: Exchange, kept: Notes) -> bool:
    assert kept.stream
    return x.era is Era.STATELESS or not kept.stream.ids


def _ended_without_response(x: Exchange, kept: Notes) -> bool:
    """Whether a POST stream came to a proper end, the client was waiting, and there was no response."""
    if kept.stream is None or x.finish is not Finish.COMPLETE or not kept.due or kept.cancelled:
        return False
    if kept.unread or x.method == LISTEN:
        return False
    return x.session is None or x.session.state is State.OPEN


@on_finish("MCP503", "POST", needs=STREAMED, unless=DUE)
def stream_left_open(x: Exchange) -> str | None:
    """A POST stream ends with its response. Also asked while it is open, with the time for its end."""
    kept = notes(x)
    if kept.responded_at is None or kept.untimed or kept.left_open_said:
        return None
    return f"{printable(x.what)}" if x.finished_at - kept.responded_at > LEFT_OPEN else None


@on_event("MCP504", "GET", said=RESPONSE)
def response_on_get_stream(x: Exchange, it: Arrival) -> str | None:
    """A response comes on the stream of its request."""
    if it.body is None or h.LAST_EVENT_ID in x.headers:
        return None
    found = next((message for message in it.body.messages if message.kind is Kind.RESPONSE), None)
    return f"id {printable(found.id)}" if found else None


@on_event("MCP505", needs=KNOWN | EVENT_AGAIN)
def event_id_reused(x: Exchange, it: Arrival) -> str | None:
    """An event id stands for one event of the session."""
    kept = notes(x)
    seen = kept.talk.seen(it.event.id) if kept.talk is not None and it.event.id else None
    if seen is None:
        return None
    what, stream = seen
    same = what == hash_of(it.event.data)
    if same and kept.stream is not None and kept.stream.resumes:
        return None
    # Before it closes a stream, a server may repeat the id that it has come to; and where there is no data is no event.
    if stream is not None and stream is kept.stream and (same or not it.event.data or not what):
        return None
    return f"id {printable(it.event.id)}"


@on_event("MCP506", said=REQUEST | NOTIFICATION, needs=SEVERAL)
def message_broadcast(x: Exchange, it: Arrival) -> str | None:
    """A server sends each of its messages on one stream."""
    kept = notes(x)
    talk = kept.talk
    if it.body is None or talk is None or talk.open is None or kept.stream is None or kept.stream.resumes:
        return None
    if it.event.id and talk.seen(it.event.id) is not None:
        return None
    if talk.messages is None:
        talk.messages = Recent(MESSAGES_LIMIT)
    for message in it.body.messages:
        if not _tells_apart(message):
            continue
        key = hash(dump(message.raw))
        where, when = talk.messages.get(key, (x.id, it.at))
        talk.messages.put(key, (x.id, it.at))
        if where == x.id or where not in talk.open:
            continue
        if message.kind is Kind.REQUEST or (it.at - when <= TOGETHER and not kept.untimed):
            return printable(message.method)
    return None


def _tells_apart(message: Message) -> bool:
    """Whether a second message like this would differ from it."""
    if message.kind is Kind.REQUEST:
        return True
    if message.method == "notifications/progress":
        return "progressToken" in message.params and "progress" in message.params
    return message.method == "notifications/message" and message.params.get("data") is not None


@on_finish("MCP507", "POST", needs=STREAMED | DUE)
def close_without_retry(x: Exchange) -> str | None:
    """Before a stream is closed early its server says when to come back."""
    kept = notes(x)
    if not _ended_without_response(x, kept):
        return None
    assert kept.stream
    return printable(x.what) if kept.stream.ids and kept.stream.retry is None else None


@on_request("MCP508", "GET", needs=TALK, headers=_resumes)
def retry_ignored(x: Exchange) -> str | None:
    """A client comes back when the server said, not sooner."""
    talk = talk_of(x)
    last = x.headers.get(h.LAST_EVENT_ID)
    if last is None or talk is None:
        return None
    seen = talk.seen(last)
    stream = seen[1] if seen else None
    if stream is None or stream.retry is None or stream.ended_at is None or stream.by_client:
        return None
    waited = (x.at - stream.ended_at) * 1000
    if stream.retry < SHORT_RETRY or waited >= stream.retry - max(100, stream.retry * 0.1):
        return None
    return f"after {waited:.0f} ms, retry: {stream.retry}"


@on_event("MCP509", said=NOTIFICATION)
def progress_unknown_token(x: Exchange, it: Arrival) -> list[str] | None:
    """Progress is for a request under way, and increases."""
    if it.body is None:
        return None
    kept = notes(x)
    found = []
    for message in it.body.messages:
        if message.method == "notifications/progress" and message.kind is Kind.NOTIFICATION:
            wrong = _wrong_progress(x, kept, it, message)
            if wrong:
                found.append(wrong)
    return found or None


def _wrong_progress(x: Exchange, kept: Notes, it: Arrival, message: Message) -> str | None:
    talk = kept.talk
    value = message.params.get("progressToken")
    if not valid_key(value) or (kept.stream is not None and kept.stream.resumes):
        return None
    if x.era is Era.STATELESS:
        token = kept.tokens.get(value) if kept.tokens is not None else None
    elif talk is None or _clueless(talk, it.event):
        return None
    else:
        token = talk.tokens.get(value) if talk.tokens is not None else None
    if token is None:
        return None if x.body.sniffed else f"token {printable(value)} is in no request"
    if token.task:
        return None
    if token.active <= 0 and (token.ended_on == x.id or it.at - token.ended_at > GRACE) and not kept.untimed:
        return f"token {printable(value)} after the answer"
    progress = message.params.get("progress")
    if token.ambiguous:
        return None
    if isinstance(progress, (int, float)) and token.last is not None and progress <= token.last:
        return Part("increases", f"token {printable(value)} went from {token.last:g} to {progress:g}")
    return None


def _clueless(talk: Talk, event: Event) -> bool:
    """Whether what is remembered of a session is not enough to judge its progress by."""
    if not talk.known or talk.unread or talk.pending_overflowed or (talk.tokens is not None and talk.tokens.overflowed):
        return True
    return event.id is not None and event.id != "" and talk.seen(event.id) is not None
