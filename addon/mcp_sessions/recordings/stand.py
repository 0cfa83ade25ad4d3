"""Standing in for a server: which recorded answer a live request gets, with the ids that the live client uses.

Requests are matched by method and parameters, in the order of the recording. No I/O and no clock: whoever serves the
answers keeps the recorded times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..wire import headers as h
from ..wire.headers import HeaderMap
from ..wire.jsonrpc import Body, Kind, Message, dump, parse
from .bindings import Bindings
from .recorded import Arrival, Conversation, Recorded, conversations

VISIT_LIMIT = 1_000
"""Live sessions that are kept; the oldest is forgotten, and then unknown, as on a real server."""

NOT_RECORDED = -32603
"""Code of the error that a request without a recorded answer gets."""

_OF_THE_CONNECTION = h.OF_ONE_MESSAGE - {"content-type"} | {h.SESSION_ID, "server", "vary", "content-type", "date"}


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of a stream: to be sent `delay` seconds after the live client has sent what it sent then (`after`)."""

    data: bytes
    after: str
    delay: float


@dataclass(slots=True)
class Answer:
    """What a live request gets."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    content: bytes = b""
    steps: list[Step] = field(default_factory=list)
    stays_open: bool = False
    """After the last step the stream waits for the client to hang up, as the recorded one did."""
    delay: float = 0.0
    """Seconds that the recorded server took."""
    broken: bool = False
    """The recorded server broke off: so does this one."""
    note: str = ""
    """What is to be said in the log, for nothing like it was recorded."""
    visit: Visit | None = None


@dataclass(slots=True, eq=False)
class Visit:
    """A live client in a recorded session."""

    conversation: Conversation
    session: str = ""
    """The id that the live client was given."""
    bindings: Bindings = field(default_factory=Bindings)
    used: set[str] = field(default_factory=set)
    began: dict[str, float] = field(default_factory=dict)
    """When the live client sent what was recorded under this id."""
    watchers: set[Callable[[], None]] = field(default_factory=set)
    lost: Recorded | None = None
    """The refusal by which it learnt that its session is lost."""
    ended: bool = False


class Stand:
    """Answers requests from a recording. `new_id` makes the session ids that live clients get."""

    def __init__(self, exchanges: Iterable[Recorded], new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        recorded = conversations(one for one in exchanges if not one.own)
        outside = Conversation("", "", [one for c in recorded if not c.session for one in c.exchanges])
        outside.exchanges.sort(key=lambda one: one.at)
        self._outside = Visit(outside)
        self._home: dict[str, Conversation] = {}
        self._handshakes: list[Recorded] = []
        for conversation in (outside, *(c for c in recorded if c.session)):
            for one in conversation.exchanges:
                self._home[one.id] = conversation
                if one.is_initialize:
                    self._handshakes.append(one)
        self._handshakes.sort(key=lambda one: one.at)
        self._shaken: set[str] = set()
        self._visits: dict[str, Visit] = {}
        self._lost = next((one for one in self._in_order() if _tells_loss(one)), None)

    def answer(self, verb: str, headers: HeaderMap, content: bytes, at: float) -> Answer:
        """The recorded answer to this request."""
        body = parse(content) if verb == "POST" else Body()
        if verb == "POST" and body.first is not None and body.first.method == "initialize":
            return self._handshake(body, at)
        presented = headers.get(h.SESSION_ID)
        visit = self._visits.get(presented) if presented else self._outside
        if visit is None or visit.ended:
            return self._unknown(body)
        one = self._find(visit, verb, headers, body)
        if one is None:
            return self._nothing(visit, verb, body)
        if _tells_loss(one):
            visit.lost = one
        if verb == "DELETE" and one.ok:
            visit.ended = True
        return self._say(visit, one, body, at)

    # Finding the recorded exchange

    def _handshake(self, body: Body, at: float) -> Answer:
        one = next((one for one in self._handshakes if one.id not in self._shaken), None)
        one = one or next((one for one in reversed(self._handshakes) if one.ok), None)
        if one is None:
            return self._nothing(self._outside, "POST", body)
        self._shaken.add(one.id)
        conversation = self._home[one.id]
        visit = self._outside
        if conversation.session:
            visit = Visit(conversation)
            if h.SESSION_ID in one.answer_headers and one.ok:
                visit.session = self._new_id()
                visit.bindings.bind(conversation.session, visit.session)
                self._visits[visit.session] = visit
                if len(self._visits) > VISIT_LIMIT:
                    del self._visits[next(iter(self._visits))]
        return self._say(visit, one, body, at)

    def _find(self, visit: Visit, verb: str, headers: HeaderMap, body: Body) -> Recorded | None:
        alike = [one for one in visit.conversation.exchanges if one.verb == verb and not one.is_initialize]
        resumed = headers.get(h.LAST_EVENT_ID)
        fresh = (one for one in alike if one.id not in visit.used)
        if verb == "GET":
            fresh = (one for one in fresh if one.headers.get(h.LAST_EVENT_ID) == resumed)
            return next(fresh, None) or visit.lost
        if verb == "DELETE":
            return next(fresh, None) or (alike[-1] if alike else None)
        found = next((one for one in fresh if _matches(visit.bindings, one.body, body)), None)
        if found is not None or visit.lost is not None:
            return found or visit.lost
        # It asks once more than in the recording: the latest answer to the same question still stands.
        return next((one for one in reversed(alike) if _matches(visit.bindings, one.body, body)), None)

    def _in_order(self) -> list[Recorded]:
        everything = {one.id: one for c in self._home.values() for one in c.exchanges}
        return sorted(everything.values(), key=lambda one: one.at)

    # Saying it again

    def _say(self, visit: Visit, one: Recorded, body: Body, at: float) -> Answer:
        visit.used.add(one.id)
        visit.began.setdefault(one.id, at)
        for watcher in tuple(visit.watchers):
            watcher()
        if one.status is None:
            return Answer(0, broken=not one.by_client, stays_open=one.by_client, visit=visit)
        ids = _ids(one.body, body)
        answer = Answer(one.status, self._headers(visit, one), visit=visit)
        if one.streams:
            answer.steps = self._steps(visit, one, ids)
            answer.stays_open = not one.complete and (one.by_client or not one.broken)
            answer.broken = bool(one.broken) and not one.by_client
        else:
            answer.content = self._content(visit, one.answer_content, ids)
            answer.delay = max(0.0, one.ended_at - one.at)
        return answer

    def _headers(self, visit: Visit, one: Recorded) -> list[tuple[str, str]]:
        fields = [
            (name, visit.bindings.now(value))
            for name, value in one.answer_headers.items()
            if name not in _OF_THE_CONNECTION
        ]
        if "content-type" in one.answer_headers:
            fields.append(("content-type", one.answer_headers["content-type"]))
        if h.SESSION_ID in one.answer_headers:
            recorded = one.answer_headers[h.SESSION_ID]
            fields.append((h.SESSION_ID, visit.session if recorded == one.session else visit.bindings.now(recorded)))
        return fields

    def _steps(self, visit: Visit, one: Recorded, ids: dict[Any, Any]) -> list[Step]:
        sent = [other for other in visit.conversation.exchanges if other.verb == "POST" and other.id != one.id]
        steps = []
        for arrival in one.arrivals:
            # It came in answer to what the client had sent last, as far as that can be known.
            cause = max((other for other in sent if one.at < other.at <= arrival.at), key=lambda o: o.at, default=one)
            steps.append(Step(_encoded(arrival, self._message(visit, arrival, ids)), cause.id, arrival.at - cause.at))
        return steps

    def _message(self, visit: Visit, arrival: Arrival, ids: dict[Any, Any]) -> bytes | None:
        if arrival.event.data is None:
            return None
        return self._content(visit, arrival.event.data, ids)

    def _content(self, visit: Visit, content: bytes, ids: dict[Any, Any]) -> bytes:
        body = parse(content)
        if not body.messages or body.sniffed:
            return content
        said = [visit.bindings.now(_with_ids(message, ids)) for message in body.messages]
        if said == [message.raw for message in body.messages]:
            return content
        return dump(said if body.batch else said[0])

    # What was not recorded

    def _unknown(self, body: Body) -> Answer:
        if self._lost is not None:
            content = self._content(self._outside, self._lost.answer_content, _ids(self._lost.body, body))
            return Answer(self._lost.status or 404, self._headers(self._outside, self._lost), content)
        error = {"jsonrpc": "2.0", "id": _id(body), "error": {"code": -32001, "message": "Session not found"}}
        return Answer(404, [("content-type", h.JSON)], dump(error), note="a session that this recording did not give")

    def _nothing(self, visit: Visit, verb: str, body: Body) -> Answer:
        message = body.first
        if verb == "GET":
            streams = [one for one in visit.conversation.exchanges if one.verb == "GET" and one.ok]
            if streams:
                return Answer(200, self._headers(visit, streams[-1]), stays_open=True, visit=visit)
            return Answer(405, [("allow", "POST, DELETE")], visit=visit)
        if verb == "DELETE":
            visit.ended = visit is not self._outside
            return Answer(200, visit=visit)
        if message is None or message.kind is Kind.INVALID:
            return Answer(400, note="a request that is no JSON-RPC", visit=visit)
        if message.kind is not Kind.REQUEST:
            return Answer(202, visit=visit)
        name = message.params.get("name") or message.params.get("uri")
        what = f"{message.method} {name}" if isinstance(name, str) else str(message.method)
        text = f"the recording has no answer to {what[:100]} with these parameters"
        error = {"jsonrpc": "2.0", "id": _id(body), "error": {"code": NOT_RECORDED, "message": text}}
        return Answer(200, [("content-type", h.JSON)], dump(error), note=text, visit=visit)


def _matches(bindings: Bindings, recorded: Body, live: Body) -> bool:
    if len(recorded.messages) != len(live.messages) or recorded.batch != live.batch:
        return False
    return all(_alike(bindings, a, b) for a, b in zip(recorded.messages, live.messages, strict=True))


def _alike(bindings: Bindings, recorded: Message, live: Message) -> bool:
    if recorded.kind is not live.kind or recorded.method != live.method:
        return False
    if recorded.kind is Kind.RESPONSE:
        return bindings.match(recorded.id, live.id)
    if recorded.kind is Kind.NOTIFICATION:
        return True
    return bindings.match(_bare(recorded), _bare(live))


def _bare(message: Message) -> Any:
    """The parameters without what only this one request is about."""
    params = message.raw.get("params") if isinstance(message.raw, dict) else None
    return {key: value for key, value in params.items() if key != "_meta"} if isinstance(params, dict) else params


def _ids(recorded: Body, live: Body) -> dict[Any, Any]:
    """Request ids and progress tokens of the recording, and what the live client chose in their place."""
    pairs = [
        pair
        for a, b in zip(recorded.messages, live.messages, strict=False)
        for pair in ((a.id, b.id), (_token(a), _token(b)))
    ]
    return {old: new for old, new in pairs if isinstance(old, (str, int)) and isinstance(new, (str, int))}


def _token(message: Message) -> Any:
    meta = message.params.get("_meta")
    return meta.get("progressToken") if isinstance(meta, dict) else None


def _id(body: Body) -> Any:
    return body.first.id if body.first is not None and body.first.has_valid_id else None


def _with_ids(message: Message, ids: dict[Any, Any]) -> Any:
    raw = message.raw
    if not isinstance(raw, dict):
        return raw
    if message.kind is Kind.RESPONSE and isinstance(message.id, (str, int)) and message.id in ids:
        return {**raw, "id": ids[message.id]}
    token = message.params.get("progressToken")
    if message.kind is Kind.NOTIFICATION and isinstance(token, (str, int)) and token in ids:
        return {**raw, "params": {**message.params, "progressToken": ids[token]}}
    return raw


def _tells_loss(one: Recorded) -> bool:
    refused = one.status == 404 or (one.status in (400, 401, 410) and b"ession" in one.answer_content[:2000])
    return refused and h.SESSION_ID in one.headers


def _encoded(arrival: Arrival, data: bytes | None) -> bytes:
    event = arrival.event
    lines = [b"event: " + event.type.encode()] if event.type != "message" else []
    if event.id is not None:
        lines.append(b"id: " + event.id.encode())
    if event.retry is not None:
        lines.append(b"retry: %d" % event.retry)
    if data is not None:
        lines += (b"data: " + line for line in data.split(b"\n"))
    return b"\r\n".join(lines) + b"\r\n\r\n"
