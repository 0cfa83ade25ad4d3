"""What was said in a session, message by message, in both directions: read from its flows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from mitmproxy import http
from mitmproxy.flow import Flow

from ..core.exchange import is_success
from ..wire.coding import CodingError, Undo
from ..wire.headers import SSE
from ..wire.jsonrpc import Kind, Message, parse
from ..wire.sse import Decoder
from ..wire.text import printable
from .metadata import ARRIVALS, COMMENT, OWN, REFUSED, RULES, SENT_AGAIN, TRUNCATED

AT_ONCE = 256 * 1024
"""Bytes of bodies that may be read in the event loop: more would hold up all traffic. The newest flows come first."""

IN_A_THREAD = 8 * 1024 * 1024
"""The same where nobody waits for it."""

LINES = 2000
"""Messages that are told at once."""

UP, DOWN = "→", "←"
"""From the client to the server, and back."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message, or what an exchange was where it carried none."""

    at: float
    """Seconds since the epoch; of an event that nobody timed, the end of its stream."""
    way: str
    """`UP` or `DOWN`."""
    kind: str
    """`request`, `notification`, `response`, `error`, or `http`."""
    what: str
    """Method and name; of a response, what it answers."""
    id: str
    """Of the message; empty if it has none."""
    took: float | None
    """Seconds from the request to this response."""
    size: int
    """Bytes."""
    flow: str
    """Id of the flow."""
    notes: tuple[str, ...] = ()
    """What the addon says of the exchange: recoveries, violations, that it was the proxy's own."""

    @property
    def text(self) -> str:
        """All of it that can be searched, in lower case."""
        return " ".join((self.way, self.kind, self.what, self.id, *self.notes)).lower()


def conversation(flows: Iterable[Flow], find: str = "", limit: int = AT_ONCE) -> tuple[list[Said], int]:
    """What these flows say, in the order in which it was said, with only what contains all words of `find`.

    Returns:
        the messages, and how many flows were left out because they were too much to read at once.
    """
    ordered = sorted(
        (flow for flow in flows if isinstance(flow, http.HTTPFlow)), key=lambda flow: flow.request.timestamp_start
    )
    first, room = len(ordered), limit
    while first and (room := room - _size(ordered[first - 1])) >= 0:
        first -= 1
    found = _timed(line for flow in ordered[first:] for line in _lines(flow))
    words = find.lower().split()
    return [line for line in found if all(word in line.text for word in words)][-LINES:], first


def _size(flow: http.HTTPFlow) -> int:
    answer = flow.response.raw_content if flow.response else None
    return 1000 + len(flow.request.raw_content or b"") + len(answer or b"")


def _timed(lines: Iterable[Said]) -> list[Said]:
    """In order of time, each response with what it answers and how long that took."""
    ordered = sorted(lines, key=lambda line: line.at)
    asked: dict[tuple[str, str], Said] = {}
    for number, line in enumerate(ordered):
        if line.kind == "request":
            asked[line.way, line.id] = line
        elif line.kind in ("response", "error"):
            request = asked.get((UP if line.way == DOWN else DOWN, line.id))
            if request is not None:
                ordered[number] = replace(line, what=request.what, took=max(0.0, line.at - request.at))
    return ordered


def _lines(flow: http.HTTPFlow) -> Iterator[Said]:
    request, response = flow.request, flow.response
    notes = _notes(flow)
    asked = body_of(request)
    messages = parse(asked).messages if request.method == "POST" else ()
    for message in messages:
        yield _said(request.timestamp_start, UP, message, len(asked) // len(messages), flow, notes)
    if not messages:
        what = "GET stream" if request.method == "GET" else request.method
        yield Said(request.timestamp_start, UP, "http", printable(what, 40), "", None, len(asked), flow.id, notes)
    if response is not None:
        yield from _answer(flow, response)
    if flow.error is not None:
        yield Said(flow.error.timestamp, DOWN, "http", printable(flow.error.msg, 100), "", None, 0, flow.id)


def _answer(flow: http.HTTPFlow, response: http.Response) -> Iterator[Said]:
    at = response.timestamp_end or response.timestamp_start or flow.request.timestamp_start
    content, none = body_of(response), True
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() == SSE:
        times = flow.metadata.get(ARRIVALS)
        known: list[Any] = times if isinstance(times, list) else []
        for number, event in enumerate(Decoder().feed(content)):
            when = known[number] if number < len(known) and isinstance(known[number], float) else at
            for message in parse(event.data).messages if event.data else ():
                none = False
                yield _said(when, DOWN, message, len(event.data or b""), flow)
        dropped = flow.metadata.get(TRUNCATED)
        if isinstance(dropped, int):
            yield Said(at, DOWN, "http", f"{dropped:,} bytes more, not kept (mcp_body_limit)", "", None, 0, flow.id)
    else:
        messages = parse(content).messages
        for message in messages:
            none = False
            yield _said(at, DOWN, message, len(content) // len(messages), flow)
    if none or not is_success(response.status_code):
        yield Said(at, DOWN, "http", f"answered {response.status_code}", "", None, len(content), flow.id)


def _said(at: float, way: str, message: Message, size: int, flow: http.HTTPFlow, notes: tuple[str, ...] = ()) -> Said:
    known = isinstance(message.raw, dict) and "id" in message.raw
    kind = "error" if message.error is not None else str(message.kind)
    what = "not JSON-RPC 2.0" if message.kind is Kind.INVALID else printable(message.what, 200)
    return Said(at, way, kind, what, printable(message.id, 60) if known else "", None, size, flow.id, notes)


def _notes(flow: http.HTTPFlow) -> tuple[str, ...]:
    """What the addon has noted on a flow. A file may come from anybody: of any type, and hostile."""
    own, again, rules = (flow.metadata.get(key) for key in (OWN, SENT_AGAIN, RULES))
    notes = []
    if own == REFUSED:
        notes.append(printable(flow.metadata.get(COMMENT, "refused"), 100))
    elif own is not None:
        notes.append("by the proxy")
    if again:
        notes.append("recovered")
    if isinstance(rules, list):
        notes += [printable(rule, 20) for rule in rules[:10]]
    return tuple(notes)


def body_of(message: http.Message, limit: int = IN_A_THREAD) -> bytes:
    """A body without its content coding, as far as that can be undone: a stream may have been cut off."""
    raw = message.raw_content or b""
    coding = message.headers.get("content-encoding", "").strip().lower()
    if not raw or coding in ("", "identity"):
        return raw
    try:
        return Undo(coding, limit).feed(raw)
    except CodingError:
        return b""
