"""MCP messages as a conversation: who says what, in answer to what, when, and then the message itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..wire.jsonrpc import Body, Kind, Message, parse
from ..wire.sse import Decoder, Event
from ..wire.text import printable
from .yamlish import dump

CUT = 2000
"""Characters of a string in a stream that are shown; JSON bodies show all, for they can be edited."""

SHOWN_LIMIT = 2000
"""Events of a stream that are shown: the first half and the last half of it."""

type Answers = Callable[[Any], str]
"""Which request, in a few words, an id belongs to; empty where that is not known."""

UP, DOWN = "client → server", "server → client"


def headline(message: Message, direction: str, answers: Answers | None = None) -> str:
    """A message in a line: its direction, kind, method or answered request, and id."""
    words = [direction]
    match message.kind:
        case Kind.REQUEST | Kind.NOTIFICATION:
            words.append(f"{message.kind} {printable(message.what, 200)}")
        case Kind.RESPONSE:
            to = answers(message.id) if answers else ""
            kind = "error" if message.error is not None else "response"
            words.append(f"{kind} to {to}" if to else kind)
        case Kind.INVALID:
            words.append("not JSON-RPC 2.0")
    if isinstance(message.raw, dict) and "id" in message.raw:
        words.append(f"id {printable(message.raw['id'])}")
    return " · ".join(words)


def asked(request: Body) -> Answers:
    """Which request of this body an id belongs to."""
    table: dict[Any, str] = {
        m.id: printable(m.what, 200) for m in request.messages if m.kind is Kind.REQUEST and m.has_valid_id
    }
    return lambda wanted: table.get(wanted, "") if isinstance(wanted, (str, int)) else ""


def body_text(body: Body, direction: str, answers: Answers | None = None) -> str:
    """A JSON-RPC body: each message under its headline, as YAML that can be edited and read back."""
    lines = []
    if body.batch:
        lines.append(f"# {direction} · batch of {len(body.messages)}\n")
        for message in body.messages:
            lines.append(f"# {headline(message, direction, answers)}\n")
            lines.append(dump([message.raw]))
    else:
        for message in body.messages:
            lines.append(f"# {headline(message, direction, answers)}\n")
            lines.append(dump(message.raw))
    return "".join(lines)


def stream_text(
    data: bytes,
    answers: Answers | None = None,
    *,
    began: float | None = None,
    arrivals: Sequence[float] = (),
    dropped: int = 0,
    still_open: bool = False,
) -> str:
    """An event stream: each event with its time of arrival and headline, then what it carries.

    Args:
        data: the stream, decoded, as far as it was kept.
        answers: which request an id belongs to.
        began: when the request was sent, seconds since the epoch; arrivals are told as seconds after it, too.
        arrivals: when each event was complete, in order, as far as that is known.
        dropped: bytes of the stream that were not kept.
        still_open: whether more may come.
    """
    decoder = Decoder()
    events = decoder.feed(data)
    total = len(events)
    state = "still open" if still_open else "ends within an event" if decoder.finish() else "ended"
    parts = [f"# event stream · {total} {'event' if total == 1 else 'events'} · {state}\n"]
    for number, event in enumerate(events):
        if total > SHOWN_LIMIT and SHOWN_LIMIT // 2 <= number < total - SHOWN_LIMIT // 2:
            if number == SHOWN_LIMIT // 2:
                parts.append(f"\n# … {total - SHOWN_LIMIT} events are not shown …\n")
            continue
        at = arrivals[number] if number < len(arrivals) else None
        parts.append("\n" + _event_text(event, at, began, answers))
    if dropped:
        parts.append(f"\n# … {dropped:,} bytes more have passed and were not kept (mcp_body_limit)\n")
    return "".join(parts)


def _event_text(event: Event, at: float | None, began: float | None, answers: Answers | None) -> str:
    body = parse(event.data) if event.data else None
    when = f"{moment(at, began)} · " if at is not None else ""
    about = _about(event)
    if body is None or not body.messages:
        what = "too large to be read" if event.oversized else "no data" if not event.data else "not JSON-RPC"
        text = dump(event.data.decode("utf-8", "replace"), CUT) if event.data else ""
        return f"# {when}{DOWN} · {what}{about}\n{text}"
    pieces = []
    for message in body.messages:
        pieces.append(f"# {when}{headline(message, DOWN, answers)}{about}\n")
        pieces.append(dump(_inner(message), CUT))
    return "".join(pieces)


def _inner(message: Message) -> Any:
    """What a message carries besides what its headline says."""
    if message.kind is Kind.INVALID or not isinstance(message.raw, dict):
        return message.raw
    said = {"jsonrpc", "method", "id"}
    return {key: value for key, value in message.raw.items() if key not in said}


def _about(event: Event) -> str:
    words = []
    if event.type != "message":
        words.append(f"type {printable(event.type)}")
    if event.id is not None:
        words.append(f"event id {printable(event.id)}")
    if event.retry is not None:
        words.append(f"retry {event.retry} ms")
    return "".join(f" · {word}" for word in words)


def moment(at: float, began: float | None) -> str:
    """A time of day in the local zone, to the millisecond, and how long after the beginning that was."""
    millis = round(at * 1000)
    shown = time.strftime("%H:%M:%S", time.localtime(millis // 1000)) + f".{millis % 1000:03d}"
    return f"{shown} (+{at - began:.3f} s)" if began is not None and at >= began else shown
