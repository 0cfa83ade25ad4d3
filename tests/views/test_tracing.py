"""Spans and histograms, as the semantic conventions for MCP have them: from a core's exchanges to what is sent."""

from __future__ import annotations

import marshal
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.test import tflow
from opentelemetry.exporter.otlp.proto.common._internal.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from core.world import LATEST, Peer, World, fields, request
from mcp_sessions.core.decisions import Decision
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.states import State
from mcp_sessions.options import settings
from mcp_sessions.views.telemetry.address import PROTOCOL, collector
from mcp_sessions.views.telemetry.exporter import BOUNDS, VALUES, Exporter, Given
from mcp_sessions.views.telemetry.tracing import Tracing, hashed
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.sse import Event

ID, NEW = "s-3cr3t-f0r-n0b0dy-3ls3-1n-th3-w0rld", "t-0th3r-s3cr3t-1d-0f-th3-n3xt-g3n3r4t10n"
SECRET = "hunter2-hunter2"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Traced(World):
    """A world of which spans are made."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.records: list[tuple[Any, ...]] = []
        self.tracing = Tracing(self.records.append)
        self.core.reporter.listeners.append(self.tracing.happened)
        self._spans = InMemorySpanExporter()
        ids = Given()
        provider = TracerProvider(id_generator=ids)
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        self.exporter = Exporter(provider, MeterProvider([self._reader]), ids, "1")
        self.flow: http.HTTPFlow = tflow.tflow()
        self._told = 0

    def finish(self, x: Exchange, how: Finish = Finish.COMPLETE) -> None:
        super().finish(x, how)
        self.hear()
        self.tracing.exchange(x, self.flow)

    def sent(self, send: Any, outcome: Any, now: float) -> None:
        self.tracing.sent(send.request, now - 0.001, outcome)
        super().sent(send, outcome, now)

    def hear(self) -> None:
        for record in self.told[self._told :]:
            self.tracing.heard(record)
        self._told = len(self.told)

    @property
    def spans(self) -> list[ReadableSpan]:
        """All of them by now, in the order in which they ended."""
        self.hear()
        # As it goes through the pipe.
        self.exporter.take(marshal.loads(marshal.dumps(self.records)))
        self.records.clear()
        return list(self._spans.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    @property
    def metrics(self) -> MetricsData:
        assert self.spans is not None
        found = self._reader.get_metrics_data()
        assert found is not None
        return found

    def histogram(self, name: str) -> list[Any]:
        return [
            point
            for resource in self.metrics.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def ask(self, method: str, params: Any = None, **more: Any) -> tuple[Exchange, Decision]:
        return self.send(request(method, params, **more), session=ID)

    def respond(self, x: Exchange, **response: Any) -> None:
        assert x.message
        self.answer(x, 200, {"jsonrpc": "2.0", "id": x.message.id, **response})


def test_a_call() -> None:
    world = Traced()
    world.open(ID)
    x, _ = world.ask("tools/call", {"name": "weather", "_meta": {"traceparent": PARENT, "tracestate": "a=b"}}, id=7)
    world.respond(x, result={"content": []})
    span = world.named("tools/call weather")
    assert span.kind is SpanKind.SERVER
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "mcp.method.name": "tools/call",
        "mcp.session.id": hashed(ID),
        "mcp_sessions.session": "s-3cr3t-",
        "mcp.protocol.version": LATEST,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weather",
        "jsonrpc.request.id": "7",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "network.transport": "tcp",
        "client.address": "127.0.0.1",
        "client.port": 40000,
        "server.address": "server",
        "server.port": 80,
        "http.response.status_code": 200,
    }
    assert span.parent is not None
    assert span.context is not None
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" == PARENT[3:-3]
    assert span.context.trace_id == span.parent.trace_id
    assert span.context.trace_state.get("a") == "b"
    assert (span.start_time, span.end_time) == (int(x.at * 1e9), int(x.finished_at * 1e9))
    assert {one.name for one in world.spans} == {"initialize", "notifications/initialized", "tools/call weather"}
    assert "jsonrpc.request.id" not in (world.named("notifications/initialized").attributes or {})
    assert world.named("initialize").parent is None


FAILURES: list[tuple[str, str, dict[str, Any], dict[str, str]]] = [
    ("a tool's own", "tools/call", {"result": {"isError": True}}, {"error.type": "tool_error"}),
    ("no tool", "prompts/get", {"result": {"isError": True}}, {}),
    (
        "a JSON-RPC error",
        "tools/call",
        {"error": {"code": -32602, "message": SECRET}},
        {"error.type": "-32602", "rpc.response.status_code": "-32602"},
    ),
    ("an error without code", "tools/call", {"error": {"message": SECRET}}, {"error.type": "_OTHER"}),
]


@pytest.mark.parametrize(("method", "response", "told"), [row[1:] for row in FAILURES], ids=[r[0] for r in FAILURES])
def test_failures(method: str, response: dict[str, Any], told: dict[str, str]) -> None:
    world = Traced()
    world.open(ID)
    world.respond(world.ask(method, {"name": "it"})[0], **response)
    span = world.named(f"{method} it")
    found = {k: v for k, v in (span.attributes or {}).items() if k in ("error.type", "rpc.response.status_code")}
    assert found == told
    assert (span.status.status_code is StatusCode.ERROR) is bool(told)
    assert span.status.description is None
    point = next(
        p for p in world.histogram("mcp.server.operation.duration") if p.attributes["mcp.method.name"] == method
    )
    assert point.attributes.get("error.type") == told.get("error.type")


def test_a_response_on_a_stream() -> None:
    world = Traced()
    world.open(ID)
    x, _ = world.ask("tools/call", {"name": "it"})
    world.head(x, 200, HeaderMap(fields({"content-type": "text/event-stream"})), world.now)
    world.event(x, Event(data=b'{"jsonrpc":"2.0","id":1,"result":{"isError":true}}'), world.now)
    world.finish(x)
    assert (world.named("tools/call it").attributes or {})["error.type"] == "tool_error"


def test_who_hangs_up() -> None:
    world = Traced()
    world.open(ID)
    x, _ = world.ask("tools/call", {"name": "it"})
    world.finish(x, Finish.CLIENT)
    assert (world.named("tools/call it").attributes or {})["error.type"] == "client_hung_up"


def test_a_batch() -> None:
    world = Traced()
    world.open(ID)
    x, _ = world.send([request("ping", id=1), request("tools/list", id=2)], session=ID)
    refusal = {"jsonrpc": "2.0", "id": 2, "error": {"code": -32603, "message": ""}}
    world.answer(x, 200, [refusal, {"jsonrpc": "2.0", "id": 1, "result": {}}])
    assert "error.type" not in (world.named("ping").attributes or {})
    assert (world.named("tools/list").attributes or {})["error.type"] == "-32603"


@pytest.mark.parametrize("parent", ["", "00-0-0-00", PARENT + "-x", PARENT.replace("4", "G"), 7, "ff" + PARENT[2:],
                                    f"00-{'0' * 32}-00f067aa0ba902b7-01"])  # fmt: skip
def test_what_is_no_parent(parent: Any) -> None:
    world = Traced()
    world.open(ID)
    world.respond(world.ask("ping", {"_meta": {"traceparent": parent, "tracestate": SECRET}})[0], result={})
    assert world.named("ping").parent is None


@pytest.mark.parametrize("traceparent", ["", PARENT])
def test_a_recovery_is_linked_to_the_call_that_waited_for_it(traceparent: str) -> None:
    world = Traced()
    session = world.open(ID)
    world.works(world.call(ID)[0])
    x, _ = world.ask("tools/call", {"name": "it", "_meta": {"traceparent": traceparent}})
    world.lose(x)
    world.shake(session, NEW)
    world.respond(x, result={})
    call, recovery = world.named("tools/call it"), world.named("mcp recovery")
    assert (call.attributes or {})["mcp_sessions.sent_again"] == 1
    assert [link.context for link in recovery.links] == [call.context]
    assert recovery.parent is None
    assert recovery.status.status_code is StatusCode.UNSET
    assert recovery.context is not None
    own = [span for span in world.spans if span.kind is SpanKind.CLIENT]
    assert [span.name for span in own] == ["initialize", "notifications/initialized"]
    for span in own:
        assert span.parent is not None
        assert (span.parent.trace_id, span.parent.span_id) == (recovery.context.trace_id, recovery.context.span_id)
        assert [link.context for link in span.links] == [call.context]
    assert int(x.at * 1e9) < (recovery.start_time or 0) < (recovery.end_time or 0) < (call.end_time or 0)
    # The client is gone then: its session is deleted, by both ids.
    world.dies(Peer())
    world.delete_answered(200)
    world.delete_answered(404)
    first, _second = [span for span in world.spans if span.name == "DELETE session"]
    assert [link.context for link in first.links] == [call.context]
    assert (first.attributes or {})["mcp_sessions.why"] == "process_gone"
    assert "error.type" not in (first.attributes or {})
    (point,) = world.histogram("mcp.server.session.duration")
    assert (point.count, point.explicit_bounds) == (1, BOUNDS)
    assert 0 < point.sum < 1


def test_a_recovery_that_fails() -> None:
    world = Traced()
    session = world.open(ID)
    world.works(world.call(ID)[0])
    x, _ = world.call(ID)
    world.lose(x)
    world.shake(session, None)
    world.finish(x)
    span = world.named("mcp recovery")
    assert (span.attributes or {})["error.type"] == "refused"
    assert span.status.status_code is StatusCode.ERROR
    failed = [one for one in world.spans if one.kind is SpanKind.CLIENT]
    assert [(one.attributes or {})["error.type"] for one in failed] == ["404"]


def test_violations_are_events() -> None:
    world = Traced()
    world.open(ID)
    x, _ = world.send({"jsonrpc": "2.0", "method": "tools/call", "params": {}, "id": None}, session=ID)
    world.answer(x, 400, b"")
    span = world.named("tools/call")
    broken = [record.rule for record in world.told if record.kind == "violation" and record.flow == x.id]
    assert broken
    assert [(e.name, (e.attributes or {})["mcp_sessions.rule"]) for e in span.events] == [
        ("mcp.violation", rule) for rule in broken
    ]
    # One that is found later has a span of its own, linked to that call.
    world.records.append(("violation", x.id, world.now, {"mcp_sessions.rule": "MCP111"}))
    late = world.named("mcp violation")
    assert [link.context for link in late.links] == [span.context]
    assert [(e.attributes or {})["mcp_sessions.rule"] for e in late.events] == ["MCP111"]


def test_labels_are_bounded() -> None:
    world = Traced()
    world.open(ID)
    for number in range(VALUES + 50):
        world.respond(world.ask("tools/call", {"name": f"tool-{number}"}, id=number)[0], result={})
    names = {point.attributes.get("gen_ai.tool.name") for point in world.histogram("mcp.server.operation.duration")}
    assert len(names - {None}) == VALUES + 1
    assert "_OTHER" in names
    assert all("mcp.session.id" not in p.attributes for p in world.histogram("mcp.server.operation.duration"))


def test_nothing_is_given_away() -> None:
    world = Traced()
    session = world.open(ID)
    meta = {"traceparent": PARENT, "tracestate": "a=b", "baggage": SECRET}
    shown = {"authorization": f"Bearer {SECRET}", "cookie": SECRET, "x-key": SECRET, "last-event-id": SECRET}
    for method, params in {
        "tools/call": {"name": "it", "arguments": {"password": SECRET}, "_meta": meta},
        "resources/read": {"uri": f"https://user:{SECRET}@host/{SECRET}?key={SECRET}"},
        "prompts/get": {"name": "it", "arguments": {"a": SECRET}},
    }.items():
        x, _ = world.send(request(method, params), session=ID, headers=shown)
        world.respond(x, result={"content": [{"type": "text", "text": SECRET}]})
    x, _ = world.send(request("tools/call", {"name": "it"}), session=ID, headers=shown)
    world.answer(
        x, 404, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": f"Session {ID} not found"}}
    )
    world.shake(session, NEW)
    world.respond(x, error={"code": -1, "message": SECRET, "data": SECRET})
    world.answer(world.send(verb="DELETE", session=ID, headers=shown)[0], 200, SECRET.encode())
    world.hear()
    piped = marshal.dumps(world.records)
    sent = encode_spans(world.spans).SerializeToString() + encode_metrics(world.metrics).SerializeToString()
    assert len(world.spans) > 8
    for data in (piped, sent):
        assert hashed(ID).encode() in data
        for secret in (SECRET, ID, NEW, ID[9:], NEW[9:]):
            assert secret.encode() not in data
    assert world.core.ledger.tally.states[State.CLOSED] == 1


def test_an_error_in_here_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: object) -> None:
        raise RuntimeError(SECRET)

    world = Traced()
    world.tracing = Tracing(fails)
    world.open(ID)
    world.open(NEW)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("mcp: error in mcp_otel, spans are missing: RuntimeError at test_tracing.py")
    assert SECRET not in line


# What the user asks for

LOCAL = "http://127.0.0.1:4318"
BASE, TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
ASKED: list[tuple[str, dict[str, str], dict[str, str] | None]] = [
    ("", {}, None),
    ("off", {BASE: LOCAL}, None),
    ("", {BASE: LOCAL, "A": "b"}, {BASE: LOCAL, "A": "b"}),
    ("", {TRACES: LOCAL}, {TRACES: LOCAL}),
    ("", {BASE: LOCAL, "OTEL_SDK_DISABLED": "true"}, None),
    ("", {BASE: LOCAL, PROTOCOL: "grpc"}, None),
    (LOCAL, {PROTOCOL: "grpc"}, {BASE: LOCAL, PROTOCOL: "grpc"}),  # where that is, is said, and so what it speaks
    ("on", {"OTEL_BSP_SCHEDULE_DELAY": "1"}, {"OTEL_BSP_SCHEDULE_DELAY": "1"}),
    (LOCAL, {TRACES: "http://other", "A": "b"}, {BASE: LOCAL, "A": "b"}),
]


@pytest.mark.parametrize(("asked", "environment", "told"), ASKED)
def test_what_is_asked_for(asked: str, environment: dict[str, str], told: dict[str, str] | None) -> None:
    assert collector(asked, environment) == told


@pytest.mark.parametrize(
    "wrong", ["yes", "127.0.0.1:4318", f"grpc://u:{SECRET}@host:1", f"http://:{SECRET}@", "http://[::1"]
)
def test_what_is_no_collector(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"^mcp_otel: takes on, off or an address such as http://127\.0\.0\.1:4318$"):
        settings({"mcp_otel": wrong})


def test_another_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROTOCOL, "grpc")
    with pytest.raises(ValueError, match=f"^mcp_otel: only http/protobuf is spoken, and {PROTOCOL} asks for something"):
        settings({"mcp_otel": "on"})


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_sessions.views.telemetry.address.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"^mcp_otel: needs the extra otel: pip install '.*\[otel\]'$"):
        settings({"mcp_otel": "on"})
    assert collector("", {BASE: LOCAL}) is None, "the environment speaks to all programs"
