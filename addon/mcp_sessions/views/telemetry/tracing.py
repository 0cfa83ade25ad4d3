"""What is done, in the words of the semantic conventions for MCP (OpenTelemetry, `docs/gen-ai/mcp.md`).

Only plain values are made here, on the event loop, and put into a queue; what becomes of them is the matter of
`exporter`, in a process of its own. Nothing of what is called with or answered is among them: no arguments, results,
headers, URLs of resources or messages of errors, which may all hold secrets; of a session there is a hash.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from mitmproxy import http

from ...core.decisions import Outcome, Request
from ...core.ending.delete_answers import ends
from ...core.exchange import Exchange, Finish
from ...core.records import AnyRecord, Violation
from ...core.reporter import Episode, Over
from ...core.session import Endpoint, Session
from ...proxy import clock
from ...proxy.failing import described
from ...wire import headers as h
from ...wire.jsonrpc import Kind, Message
from ...wire.text import printable
from .metrics import word

logger = logging.getLogger(__name__)

type Attributes = dict[str, str | int]
type Cause = tuple[str, str, str]
"""An exchange: the key of its span, and the `traceparent` and `tracestate` that its client has sent."""

NAME_LIMIT = 100
"""Characters of a name or an id from the wire."""

TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""As W3C Trace Context has it."""
TRACESTATE_LIMIT = 512

NOBODY: Cause = ("", "", "")

PROTOCOLS = {"HTTP/1.0": "1.0", "HTTP/1.1": "1.1", "HTTP/2.0": "2", "HTTP/3": "3"}
BROKEN = {
    Finish.CLIENT: "client_hung_up",
    Finish.SERVER: "server_broke_off",
    Finish.PROXY: "quiet_connection_closed",
}
"""What an operation has failed by whose answer did not come to its end."""

SUBJECTS = {"tools/call": "gen_ai.tool.name", "prompts/get": "gen_ai.prompt.name"}
"""What the name that a request carries is the name of."""


@lru_cache(maxsize=4096)
def hashed(session_id: str) -> str:
    """What a session is known by outside: the same for the same id in every proxy, and no way back."""
    return hashlib.sha256(session_id.encode("utf-8", "replace")).hexdigest()[:16]


class Tracing:
    """Puts into words what it is told of. An error in here is said once, and changes nothing."""

    def __init__(self, put: Callable[[tuple[Any, ...]], None]) -> None:
        self._put = put
        self._said = False

    def exchange(self, x: Exchange, flow: http.HTTPFlow) -> None:
        """An exchange is over: a span for each request and notification of the client's, and for its DELETE."""
        try:
            self._exchange(x, flow)
        except Exception as e:
            self._complain(e)

    def sent(self, request: Request, began: float, outcome: Outcome) -> None:
        """A request in the client's place is over: a span, linked to what it was sent for."""
        try:
            self._sent(request, began, outcome)
        except Exception as e:
            self._complain(e)

    def happened(self, episode: Episode, now: float) -> None:
        """A recovery is over: a span, around those of its handshake. Or a session is: a figure."""
        try:
            self._happened(episode, now)
        except Exception as e:
            self._complain(e)

    def heard(self, record: AnyRecord) -> None:
        """A violation was found: an event on the span of its exchange."""
        if isinstance(record, Violation):
            attributes: Attributes = {
                "mcp_sessions.rule": record.rule,
                "mcp_sessions.rule.name": record.name,
                "mcp_sessions.rule.level": record.level,
                "mcp_sessions.rule.party": record.party,
            }
            self._put(("violation", record.flow, record.at, attributes))

    def _exchange(self, x: Exchange, flow: http.HTTPFlow) -> None:
        if x.verb == "DELETE":
            self._put_span(x, flow, 0, None, x.response)
            return
        if not x.body.batch:
            if x.method is not None:
                self._put_span(x, flow, 0, x.message, x.response or (x.answer.first if x.answer else None))
            return
        answers = {one.id: one for one in (x.answer.messages if x.answer else ()) if one.has_valid_id}
        for number, message in enumerate(x.body.messages):
            if message.method is not None:
                self._put_span(x, flow, number, message, answers.get(message.id) if message.has_valid_id else None)

    def _put_span(
        self, x: Exchange, flow: http.HTTPFlow, number: int, message: Message | None, answer: Message | None
    ) -> None:
        session = x.session or x.opened
        attributes: Attributes = {} if session is None else _of_session(session)
        version = flow.request.data.http_version.decode("latin-1")
        attributes |= {
            "network.protocol.name": "http",
            "network.protocol.version": PROTOCOLS.get(version, "_OTHER"),
            "network.transport": "quic" if version == "HTTP/3" else "tcp",
            "client.address": x.connection.peer[0],
            "client.port": x.connection.peer[1],
            **_at(x.endpoint),
        }
        if "mcp.protocol.version" not in attributes and (said := x.headers.get(h.PROTOCOL_VERSION)):
            attributes["mcp.protocol.version"] = printable(said, NAME_LIMIT)
        if x.status is not None:
            attributes["http.response.status_code"] = x.status
        if x.attempts:
            attributes["mcp_sessions.sent_again"] = x.attempts
        name = "DELETE session"
        if message is None:
            attributes["http.request.method"] = x.verb
        else:
            name = _of_message(message, attributes)
        failed = _failed(x, message, answer, attributes)
        if failed:
            attributes["error.type"] = failed
        self._put(
            ("call", x.id, number, name, x.at, x.finished_at, attributes, _cause(x), session.number if session else 0)
        )

    def _sent(self, request: Request, began: float, outcome: Outcome) -> None:
        session, x = request.session, request.cause
        attributes = _of_session(session) | _at(session.endpoint) | {"http.request.method": request.verb}
        message = outcome.answer.first if outcome.answer else None
        code = message.error_code if message is not None else None
        if request.verb == "DELETE":
            if session.reason is not None:
                attributes["mcp_sessions.why"] = word(session.reason.kind)
            failed = not ends(outcome.status, outcome.said)
        else:
            attributes["mcp.method.name"] = request.what
            failed = code is not None or outcome.status is None or outcome.status >= 400
            if code is not None:
                attributes["rpc.response.status_code"] = str(code)
        if outcome.status is not None:
            attributes["http.response.status_code"] = outcome.status
        if failed:
            attributes["error.type"] = str(code or outcome.status or "no_answer")
        recovery = "" if x is None else _recovery(x)
        self._put(("own", request.what, began, clock.now(), attributes, _cause(x), recovery, session.number))

    def _happened(self, episode: Episode, now: float) -> None:
        session = episode.session
        if isinstance(episode, Over):
            attributes: Attributes = {"network.protocol.name": "http", "network.transport": "tcp"}
            if session.revision:
                attributes["mcp.protocol.version"] = session.revision
            self._put(("session", max(0.0, now - session.opened), attributes))
            return
        attributes = _of_session(session) | _at(session.endpoint)
        if episode.failure is not None:
            attributes["error.type"] = word(episode.failure.kind)
        if episode.x is not None:
            recovery, cause = _recovery(episode.x), _cause(episode.x)
            self._put(("recovery", recovery, episode.since, now, attributes, cause, session.number))

    def _complain(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            logger.error(f"mcp: error in mcp_otel, spans are missing: {described(error)}")


def _of_session(session: Session) -> Attributes:
    about: Attributes = {"mcp.session.id": hashed(session.client_id), "mcp_sessions.session": session.label}
    if session.revision:
        about["mcp.protocol.version"] = session.revision
    return about


def _at(endpoint: Endpoint) -> Attributes:
    return {"server.address": endpoint.host, "server.port": endpoint.port}


def _of_message(message: Message, attributes: Attributes) -> str:
    """What a message says of itself; the name of its span."""
    method = printable(message.method, NAME_LIMIT)
    attributes["mcp.method.name"] = method
    if message.kind is Kind.REQUEST and message.has_valid_id:
        attributes["jsonrpc.request.id"] = printable(message.id, NAME_LIMIT)
    subject = SUBJECTS.get(method)
    if subject is None:
        return method
    if method == "tools/call":
        attributes["gen_ai.operation.name"] = "execute_tool"
    name = message.params.get("name")
    if not isinstance(name, str):
        return method
    attributes[subject] = name = printable(name, NAME_LIMIT)
    return f"{method} {name}"


def _failed(x: Exchange, message: Message | None, answer: Message | None, attributes: Attributes) -> str:
    """What an operation has failed by; empty if it has not."""
    code = answer.error_code if answer is not None else None
    if code is not None:
        attributes["rpc.response.status_code"] = str(code)
        return str(code)
    if answer is not None and answer.error is not None:
        return "_OTHER"
    if x.status is not None and x.status >= 400:
        return str(x.status)
    result = answer.result if answer is not None else None
    if result is not None:
        called = message is not None and message.method == "tools/call"
        return "tool_error" if called and result.get("isError") is True else ""
    if x.finish is not None and x.finish is not Finish.COMPLETE:
        return BROKEN[x.finish]
    return "" if x.status is not None else "no_answer"


def _cause(x: Exchange | None) -> Cause:
    if x is None:
        return NOBODY
    meta = x.message.params.get("_meta") if x.message is not None else None
    parent = meta.get("traceparent") if isinstance(meta, dict) else None
    if not isinstance(parent, str) or TRACEPARENT.fullmatch(parent) is None:
        return x.id, "", ""
    assert isinstance(meta, dict)
    state = meta.get("tracestate")
    return x.id, parent, state if isinstance(state, str) and len(state) <= TRACESTATE_LIMIT else ""


def _recovery(x: Exchange) -> str:
    """The key of the recovery that an exchange waits for, or has waited for before it was sent again."""
    return f"{x.id} recovery {x.attempts}"
