"""Sending a refused request again in place, so that the second answer streams to the client as if it were the first.

This is the only module that reaches into mitmproxy's internals: a subclass of its `HttpStream`, put where `HttpLayer`
looks the class up. After the `response` hook it can drop an answer instead of delivering it, and wait for another. If
the internals do not look as expected, `install` says why and nothing is touched; the addon then resends by other means.

The second request needs an upstream stream id of its own, for an HTTP/2 stream can't be used twice. It is registered
with the `HttpLayer` for the same stream object, so that existing upstream connections are used again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from itertools import count
from typing import Any

from mitmproxy import http
from mitmproxy.proxy import commands, layer
from mitmproxy.proxy.layers import http as layers_http
from mitmproxy.proxy.layers.http import (
    DropStream,
    GetHttpConnection,
    HttpLayer,
    HttpStream,
    SendHttp,
)
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseProtocolError,
)

from .metadata import BROKEN_BY, TO_BE_SENT_AGAIN

_FIRST_ID = 1 << 40  # far beyond any id that a client's connection could count up to
_upstream_ids = count(_FIRST_ID)


class ResendingStream(HttpStream):
    """An `HttpStream` that can send its request a second time."""

    upstream_id: int | None = None
    refused: http.Response | None = None
    """The answer that was dropped; it is delivered after all if there is no second one."""

    def _handle_event(self, event: Any) -> layer.CommandGenerator[None]:
        # Not a generator itself: all traffic comes by here, and nearly all of it only passes.
        if isinstance(event, (RequestProtocolError, ResponseProtocolError)):
            return self._handle_break(event)
        passing: layer.CommandGenerator[None] = super()._handle_event(event)
        return passing

    def _handle_break(self, event: RequestProtocolError | ResponseProtocolError) -> layer.CommandGenerator[None]:
        by_client = isinstance(event, RequestProtocolError)
        if hasattr(self, "flow"):
            self.flow.metadata[BROKEN_BY] = "client" if by_client else "server"
        if self.upstream_id is not None:
            if by_client:
                # The client hangs up: what goes upstream must name the stream that is in use there.
                event = RequestProtocolError(self.upstream_id, event.message, event.code)
            elif event.stream_id == self.stream_id:
                return  # the first upstream stream is long done
            elif self.refused is not None and self.server_state == self.state_wait_for_response_headers:
                yield from self._deliver_refused()
                return
        yield from super()._handle_event(event)

    def send_response(self, already_streamed: bool = False) -> Generator[Any, Any, None]:
        """Deliver the answer, or drop it and send the request again, as the `response` hook has it."""
        sending = super().send_response(already_streamed)
        reply = None
        while True:
            try:
                command = sending.send(reply)
            except StopIteration:
                break
            reply = yield command
            if self.flow.metadata.pop(TO_BE_SENT_AGAIN, None) and not already_streamed:
                sending.close()
                yield from self._send_again()
                return
        yield from self._drop_upstream_id()

    def _send_again(self) -> layer.CommandGenerator[None]:
        assert self.flow.response
        refused = self.flow.response
        if (yield from self.check_killed(True)):
            return  # the client has hung up meanwhile: nothing is sent for it
        yield from self._drop_upstream_id()
        again, self.refused = self.refused is not None, self.refused or refused
        request = self.flow.request
        if again and self.context.server.alpn != b"h2":
            # Refused once more: behind a balancer that goes by connections, this one leads to the wrong replica.
            # Over HTTP/1 nobody else uses it now.
            yield commands.CloseConnection(self.context.server)
        connection, problem = yield GetHttpConnection(
            (request.host, request.port),
            request.scheme == "https",
            self.flow.server_conn.via,
            self.flow.server_conn.transport_protocol,
        )
        if problem:
            yield from self._deliver_refused()
            return
        self.context.server = self.flow.server_conn = connection
        self.flow.response = None
        self.upstream_id = next(_upstream_ids)
        self._http_layer().streams[self.upstream_id] = self
        self.server_state = self.state_wait_for_response_headers
        content = request.raw_content
        yield SendHttp(RequestHeaders(self.upstream_id, request, not content), connection)
        if content:
            yield SendHttp(RequestData(self.upstream_id, content), connection)
        yield SendHttp(RequestEndOfMessage(self.upstream_id), connection)

    def _deliver_refused(self) -> layer.CommandGenerator[None]:
        """There is no second answer: the client gets the first one, as it was."""
        self.flow.response, self.refused = self.refused, None
        yield from self.send_response()

    def start_response_stream(self) -> layer.CommandGenerator[None]:
        """As mitmproxy does; and what is to come first does not wait for the server to say something."""
        yield from super().start_response_stream()
        assert self.flow.response
        stream = self.flow.response.stream
        prefix = getattr(stream, "prefix", b"")
        if prefix:
            stream.prefix = b""  # type: ignore[union-attr]  # a StreamReader: nothing else has a prefix
            yield SendHttp(ResponseData(self.stream_id, prefix), self.context.client)

    def handle_protocol_error(self, event: Any) -> layer.CommandGenerator[None]:
        """As mitmproxy does, and forget the upstream id."""
        yield from super().handle_protocol_error(event)
        yield from self._drop_upstream_id()

    def _drop_upstream_id(self) -> layer.CommandGenerator[None]:
        if self.upstream_id is not None:
            yield DropStream(self.upstream_id)
            self.upstream_id = None

    def _http_layer(self) -> HttpLayer:
        parent = self.context.layers[self.context.layers.index(self) - 1]
        assert isinstance(parent, HttpLayer)
        return parent


def again(flow: http.HTTPFlow) -> None:
    """From a `response` hook: drop this answer and send the request, as it now is, again."""
    flow.metadata[TO_BE_SENT_AGAIN] = True


def broken_by_client(flow: http.HTTPFlow) -> bool:
    """From an `error` hook: whether it was the client that hung up."""
    side = flow.metadata.pop(BROKEN_BY, None)
    if side is not None:
        return bool(side == "client")
    return bool(flow.error and flow.error.msg.startswith(("Client disconnected", "client disconnected")))


def install() -> Callable[[], None]:
    """Put the stream class in its place; the returned function takes it out again.

    Raises:
        RuntimeError: when mitmproxy's internals are not as expected; says what is missing.
    """
    original = getattr(layers_http, "HttpStream", None)
    if problem := _misfit(original):
        raise RuntimeError(problem)
    layers_http.HttpStream = ResendingStream  # type: ignore[misc]  # the one place where HttpLayer looks it up

    def uninstall() -> None:
        if layers_http.HttpStream is ResendingStream:
            layers_http.HttpStream = HttpStream  # type: ignore[misc]

    return uninstall


def _misfit(original: Any) -> str:
    """What about mitmproxy's internals is not as this module needs it; empty if all is well."""
    if original is not HttpStream:
        return "another addon has replaced HttpStream" if original else "there is no HttpStream"
    needed = {
        "_handle_event": ["self", "event"],
        "send_response": ["self", "already_streamed"],
        "handle_protocol_error": ["self", "event"],
        "check_killed": ["self", "emit_error_hook"],
        "state_wait_for_response_headers": ["self", "event"],
        "start_response_stream": ["self"],
    }
    for name, parameters in needed.items():
        method = getattr(HttpStream, name, None)
        if method is None:
            return f"HttpStream has no {name}"
        if list(inspect.signature(method).parameters) not in (parameters, ["self", "event"], ["_", "event"]):
            return f"HttpStream.{name} takes other parameters"
    if "HttpStream(ctx, stream_id)" not in inspect.getsource(HttpLayer.make_stream):
        return "HttpLayer.make_stream makes its streams in another way"
    return ""
