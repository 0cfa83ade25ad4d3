"""A recording as it is understood: exchanges in the client's eyes, their messages and times, sorted into sessions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from ..core.exchange import in_two_words, is_success
from ..proxy.metadata import REFUSED
from ..wire import headers as h
from ..wire.headers import HeaderMap
from ..wire.jsonrpc import Body, Kind, Message, parse
from ..wire.sse import Decoder, Event
from .markup import code


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event of a stream, and when it was complete (seconds since the epoch)."""

    at: float
    event: Event
    message: Message | None


@dataclass(slots=True, eq=False)
class Recorded:
    """One exchange of a recording. `session` is the id that the client knows; empty where there is none."""

    id: str
    at: float
    verb: str
    url: str
    headers: HeaderMap
    content: bytes
    body: Body
    session: str = ""
    own: str = ""
    """Empty for a client's exchange; otherwise what the proxy sent it for, or `refused`."""
    client: str = ""
    label: str = ""
    """Label of the session in the ledger, if the addon was there."""
    number: int | None = None

    status: int | None = None
    answer_headers: HeaderMap = field(default_factory=HeaderMap)
    answer_content: bytes = b""
    answered_at: float = 0.0
    ended_at: float = 0.0
    arrivals: tuple[Arrival, ...] = ()
    """The events, if the answer is a stream."""
    timed: bool = False
    """Whether the times of the events are known."""
    cut_off: int = 0
    """Bytes of the stream that were not kept."""
    complete: bool = False
    """Whether the server brought its answer to the end."""
    broken: str = ""
    """Why the exchange broke off; empty if it came to its end."""
    by_client: bool = False
    """It was the client that hung up."""
    rules: tuple[str, ...] = ()
    """Rules that it breaks."""

    @property
    def message(self) -> Message | None:
        """What was sent: the only message, or the first of a batch."""
        return self.body.first

    @property
    def method(self) -> str:
        """The JSON-RPC method; empty if there is none."""
        return (self.message.method if self.message else None) or ""

    @property
    def is_initialize(self) -> bool:
        """Whether it asks for a session."""
        return self.verb == "POST" and self.method == "initialize"

    @property
    def is_response(self) -> bool:
        """Whether the client answers a request of the server."""
        return self.message is not None and self.message.kind is Kind.RESPONSE

    @property
    def streams(self) -> bool:
        """Whether the answer is an event stream."""
        return self.answer_headers.content_type == h.SSE

    @property
    def ok(self) -> bool:
        """Whether it was answered 2xx."""
        return is_success(self.status)

    @property
    def what(self) -> str:
        """The exchange in two words: `tools/call echo`, `GET stream`."""
        return in_two_words(self.verb, self.body)

    def messages(self) -> list[Message]:
        """What the server sent in answer, in order."""
        if self.streams:
            return [arrival.message for arrival in self.arrivals if arrival.message is not None]
        return list(parse(self.answer_content).messages)

    def response(self) -> Message | None:
        """The response to the request, if there was one."""
        wanted = self.message.id if self.message is not None else None
        responses = [message for message in self.messages() if message.kind is Kind.RESPONSE]
        return next((one for one in responses if one.id == wanted), responses[0] if responses else None)


@dataclass(slots=True, eq=False)
class Conversation:
    """The exchanges of one session, in the order in which they began; or those of one client without a session."""

    session: str
    client: str
    exchanges: list[Recorded] = field(default_factory=list)

    @property
    def opening(self) -> Recorded | None:
        """The `initialize` that opened it, if that was recorded."""
        return next((one for one in self.exchanges if one.is_initialize and one.ok and not one.own), None)

    def facts(self) -> Iterator[tuple[str, str]]:
        """What it is, by name, as Markdown: both sides as they call themselves, and what they agreed upon."""
        first = self.exchanges[0]
        yield "endpoint", code(first.url.partition("?")[0])
        yield "client", code(self.client)
        opening = self.opening or next((one for one in self.exchanges if one.is_initialize), None)
        if opening is None or opening.message is None:
            return
        asked = opening.message.params
        response = opening.response()
        result = (response.result if response else None) or {}
        yield "client says it is", _implementation(asked.get("clientInfo"))
        yield "server says it is", _implementation(result.get("serverInfo"))
        yield (
            "revision",
            f"{_value(asked.get('protocolVersion'))} asked, {_value(result.get('protocolVersion'))} agreed",
        )
        yield "client capabilities", _value(asked.get("capabilities"))
        yield "server capabilities", _value(result.get("capabilities"))
        yield "lost", self.lost()

    def lost(self) -> str:
        """What became of the session at its server and in the proxy, in a sentence; empty if nothing did."""
        refused = [one for one in self.exchanges if one.own == REFUSED]
        again = [one for one in self.exchanges if one.own and one.is_initialize]
        if not refused:
            return ""
        statuses = ", ".join(sorted({str(one.status) for one in refused}))
        times = "once" if len(refused) == 1 else f"{len(refused)} times"
        said = f"the server did not know it any more (answered {statuses}, {times})"
        if not any(one.ok for one in again):
            return f"{said}; the proxy could not bring it back"
        return f"{said}; the proxy brought it back by an `initialize` of its own and sent those requests again"

    @property
    def renamed(self) -> bool:
        """Whether client and server know it by different ids."""
        return any((known := one.headers.get(h.SESSION_ID)) and known != self.session for one in self.exchanges)


def arrivals(content: bytes, times: Iterable[float], ended: float) -> tuple[tuple[Arrival, ...], bool]:
    """The events of a stream with their times; without those, all are taken to have come at the end."""
    events = Decoder().feed(content)
    known = list(times)
    timed = len(known) >= len(events)
    found = []
    for number, event in enumerate(events):
        body = parse(event.data) if event.data else None
        found.append(Arrival(known[number] if number < len(known) else ended, event, body.first if body else None))
    return tuple(found), timed


def conversations(exchanges: Iterable[Recorded]) -> list[Conversation]:
    """Sort exchanges into sessions, by the id and the client; what has no session is the client's own conversation."""
    found: dict[tuple[str, str], Conversation] = {}
    for one in sorted(exchanges, key=lambda one: one.at):
        key = (one.session, "" if one.session else one.client)
        conversation = found.setdefault(key, Conversation(one.session, one.client))
        conversation.client = conversation.client or one.client
        conversation.exchanges.append(one)
    return list(found.values())


def as_known_to_client(headers: HeaderMap, presented: str | None, answer: HeaderMap, opens: bool) -> str:
    """The session id of an exchange in the client's eyes."""
    if opens:
        return answer.get(h.SESSION_ID, "") or presented or headers.get(h.SESSION_ID, "")
    return presented or headers.get(h.SESSION_ID, "")


def _implementation(info: Any) -> str:
    if not isinstance(info, dict):
        return ""
    return code(" ".join(str(info[key]) for key in ("name", "version") if isinstance(info.get(key), str)))


def _value(value: Any) -> str:
    return code(value if isinstance(value, str) else to_json(value).decode(), 400) if value is not None else "nothing"
