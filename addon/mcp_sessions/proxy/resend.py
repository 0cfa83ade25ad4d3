"""Sending a refused request again in place, so that the second answer streams to the client as if it were the first.

A connect that is refused is told by a hook of this module's own before it is an error: who answers that may take a
while and then have it tried again, or answer the request.

With `in_use` this is the only module that reaches into mitmproxy's internals: a subclass of its `HttpStream`, put where
`HttpLayer` looks the class up. After the `response` hook it can drop an answer instead of delivering it, and wait for
another. If the internals do not look as expected, `install` says why and nothing is touched; the addon then resends by
other means.

The second request needs an upstream stream id of its own, for an HTTP/2 stream can't be used twice. It is registered
with the `HttpLayer` for the same stream object, so that existing upstream connections are used again.
"""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Callable, Generator
from itertools import count, pairwise
from typing import Any

from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
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
from mitmproxy.proxy.layers.http._hooks import HttpResponseHeadersHook
from mitmproxy.proxy.server import ConnectionHandler

from .metadata import BROKEN_BY, TO_BE_SENT_AGAIN, UNREACHABLE

_FIRST_ID = 1 << 40  # far beyond any id that a client's connection could count up to
_upstream_ids = count(_FIRST_ID)


@dataclasses.dataclass
class McpStreamedHook(commands.StartHook):
    """A request's head is about to go out, before its body was read."""

    flow: http.HTTPFlow


@dataclasses.dataclass
class McpUnreachableHook(commands.StartHook):
    """The connect for a request has failed; `problem` tells why."""

    flow: http.HTTPFlow


@dataclasses.dataclass
class McpReachedHook(commands.StartHook):
    """A connect that was tried again has worked; the request goes out next."""

    flow: http.HTTPFlow


@dataclasses.dataclass
class McpHungUpHook(commands.StartHook):
    """The client has hung up while one of the hooks above was being answered."""

    flow: http.HTTPFlow
    blocking = False


class ResendingStream(HttpStream):
    """An `HttpStream` that can send its request a second time, and connect a second time."""

    upstream_id: int | None = None
    refused: http.Response | None = None
    """The answer that was dropped; it is delivered after all if there is no second one."""

    def _handle_event(self, event: Any) -> layer.CommandGenerator[None]:
        # Not a generator itself: all traffic comes by here, and nearly all of it only passes.
        if isinstance(event, (RequestProtocolError, ResponseProtocolError)):
            return self._handle_break(event)
        if isinstance(event, events.Wakeup):
            return self._give_sign()
        passing: layer.CommandGenerator[None] = super()._handle_event(event)
        return passing

    def _give_sign(self) -> layer.CommandGenerator[None]:
        """The client is to be told that its stream is alive, if that can be said where the stream stands by now."""
        if self.server_state == self.state_stream_response_body and self.flow.response:
            sign = self.flow.response.stream.sign()  # type: ignore[union-attr]  # a StreamReader: no other has an outlet
            if sign:
                yield SendHttp(ResponseData(self.stream_id, sign), self.context.client)

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
            else:  # and what goes to the client, the stream that it knows
                event = ResponseProtocolError(self.stream_id, event.message, event.code)
        yield from super()._handle_event(event)

    def start_request_stream(self) -> layer.CommandGenerator[None]:
        """As mitmproxy does, once it was told: however late that was decided, the head has not gone out by then."""
        yield from self._ask(McpStreamedHook(self.flow))
        if (yield from self.check_killed(True)):
            return
        yield from super().start_request_stream()
        if self.flow.response:  # it was answered instead, and its client is not done with it
            self.client_state = self.state_ignore_request_body

    def state_ignore_request_body(self, event: Any) -> layer.CommandGenerator[None]:
        """The answer was given: what is left of the request means nothing."""
        if isinstance(event, RequestEndOfMessage):
            self.client_state = self.state_done
            yield from self.flow_done()

    def make_server_connection(self) -> Generator[Any, Any, bool]:
        """As mitmproxy does; what is told of a failed connect is what is left after the hooks."""
        making = super().make_server_connection()
        command = next(making)
        reply = yield from self._connect(command)
        if reply is None:
            making.close()
            return False
        try:
            while True:
                command = making.send(reply)
                reply = yield command
        except StopIteration as e:
            return bool(e.value)

    def _connect(self, command: Any) -> Generator[Any, Any, Any]:
        """What mitmproxy says to a wish for a connection; None if the client was answered, or is gone."""
        first, flow = command, self.flow
        while True:
            reply = yield command
            _, problem = reply
            if not problem:
                if command is not first:
                    yield from self._ask(McpReachedHook(flow))
                    if (yield from self.check_killed(True)):
                        return None
                return reply
            if any(isinstance(event, RequestProtocolError) for event in self._paused_event_queue):
                return reply
            flow.metadata[UNREACHABLE] = problem
            yield from self._ask(McpUnreachableHook(flow))
            flow.metadata.pop(UNREACHABLE, None)
            again = flow.metadata.pop(TO_BE_SENT_AGAIN, None)
            if not again and not flow.response:
                return reply
            if (yield from self.check_killed(True)):
                return None
            self._forget_failures()
            if flow.response:
                flow.response.timestamp_start = time.time()
                yield HttpResponseHeadersHook(flow)
                if not (yield from self.check_killed(True)):
                    yield from self.send_response()
                return None
            command = dataclasses.replace(command)

    def _ask(self, hook: commands.StartHook) -> layer.CommandGenerator[None]:
        """Have a hook answered; a client that hangs up meanwhile is told of at once."""
        self.handle_event = self._handle_meanwhile  # type: ignore[method-assign]
        yield hook
        del self.handle_event

    def _handle_meanwhile(self, event: Any) -> layer.CommandGenerator[None]:
        if isinstance(event, RequestProtocolError):
            self.flow.metadata[BROKEN_BY] = "client"
            yield McpHungUpHook(self.flow)
        yield from super().handle_event(event)

    def _forget_failures(self) -> None:
        """Or mitmproxy would go on answering from the failed connects, without another attempt."""
        parent = self._http_layer()
        for connection in list(parent.connections):
            if connection.error and not connection.connected and connection not in parent.waiting_for_establishment:
                del parent.connections[connection]

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
        self._forget_failures()
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
        if hasattr(stream, "outlet"):
            stream.outlet = self
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


async def give_sign(handler: ConnectionHandler, outlet: object) -> None:
    """Have a stream give its client a sign of life. It comes out of `outlet`, and by the connection of `handler`."""
    assert isinstance(outlet, ResendingStream)
    # As if it had asked to be woken: each HTTP layer above it (there are two within CONNECT) knows whom to pass it to.
    wish = commands.RequestWakeup(0)
    for above, below in pairwise(outlet.context.layers):
        if isinstance(above, HttpLayer):
            above.command_sources[wish] = below
    await handler.server_event(events.Wakeup(wish))


def again(flow: http.HTTPFlow) -> None:
    """From a `response` hook: drop this answer and send the request, as it now is, again.

    From an `mcp_unreachable` hook: connect again.
    """
    flow.metadata[TO_BE_SENT_AGAIN] = True


def problem(flow: http.HTTPFlow) -> str:
    """From an `mcp_unreachable` hook: why the server can't be reached."""
    return str(flow.metadata.get(UNREACHABLE, ""))


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
        "flow_done": ["self"],
        "state_wait_for_response_headers": ["self", "event"],
        "start_request_stream": ["self"],
        "start_response_stream": ["self"],
        "make_server_connection": ["self"],
    }
    for name, parameters in needed.items():
        method = getattr(HttpStream, name, None)
        if method is None:
            return f"HttpStream has no {name}"
        if list(inspect.signature(method).parameters) not in (parameters, ["self", "event"], ["_", "event"]):
            return f"HttpStream.{name} takes other parameters"
    attributes = ("connections", "waiting_for_establishment", "command_sources")
    if missing := [name for name in attributes if name not in inspect.getsource(HttpLayer.__init__)]:
        return f"HttpLayer has no {missing[0]}"
    if "yield GetHttpConnection(" not in inspect.getsource(HttpStream.make_server_connection):
        return "HttpStream.make_server_connection connects in another way"
    if "HttpStream(ctx, stream_id)" not in inspect.getsource(HttpLayer.make_stream):
        return "HttpLayer.make_stream makes its streams in another way"
    return ""
