"""A process of its own: reads what the proxy tells, and sends it as OpenTelemetry has it, over OTLP.

Run as a file, by `pipe`; it imports nothing of the addon. Who is told, how often, which spans are sampled and what the
service is called is the matter of the standard variables of the environment (`OTEL_...`).
"""

from __future__ import annotations

import hashlib
import logging
import marshal
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

SERVICE = "mitmproxy-mcp-sessions"

BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""Of both histograms, in seconds, as the convention has them."""

MEASURED = (
    "error.type",
    "gen_ai.operation.name",
    "gen_ai.prompt.name",
    "gen_ai.tool.name",
    "mcp.method.name",
    "mcp.protocol.version",
    "network.protocol.name",
    "network.protocol.version",
    "network.transport",
    "rpc.response.status_code",
)
"""What operations are told apart by in the histogram."""

VALUES = 200
"""Values of each of these that are told apart; more of them are `_OTHER`."""

REMEMBERED = 10_000
"""Calls, and sessions, that a later span can be linked to."""

EVENTS = 50
"""Events of one span."""

FLUSH_EVERY = 1_000
"""Spans after which those that wait are sent before more are made: so none is dropped here."""

FLUSH_PATIENCE = 5_000
"""Milliseconds that this may take."""

type Attributes = dict[str, str | int]
type Cause = tuple[str, str, str]


class Told:
    """Says, once each time, that something can't be delivered, and that it can be again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._works = True

    def came(self, works: bool) -> None:
        """What came of an attempt."""
        if works is not self._works:
            self._works = works
            print(f"{self._what} {'are delivered again' if works else 'can not be delivered'}", flush=True)


class Spans(OTLPSpanExporter):
    """Says so when it can't send."""

    told = Told("spans")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them."""
        result = super().export(spans)
        self.told.came(result is SpanExportResult.SUCCESS)
        return result


class Histograms(OTLPMetricExporter):
    """Says so when it can't send."""

    told = Told("histograms")

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **more: Any
    ) -> MetricExportResult:
        """Send them."""
        result = super().export(metrics_data, timeout_millis, **more)
        self.told.came(result is MetricExportResult.SUCCESS)
        return result


class Given(IdGenerator):
    """Spans have ids that follow from what they are of, so that others can be linked to them before they are made."""

    trace = span = 0

    def generate_trace_id(self) -> int:
        """As given."""
        return self.trace

    def generate_span_id(self) -> int:
        """As given."""
        return self.span


class Latest[V](OrderedDict[Any, V]):
    """Remembers so many."""

    def note(self, key: Any, value: V) -> None:
        """Remember one more."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > REMEMBERED:
            self.popitem(last=False)


class Exporter:
    """Makes spans and figures of records."""

    def __init__(self, tracing: TracerProvider, metering: MeterProvider, ids: Given, version: str) -> None:
        self._provider = tracing
        self._tracer = tracing.get_tracer(SERVICE, version)
        self._ids = ids
        meter = metering.get_meter(SERVICE, version)
        self._operations = meter.create_histogram(
            "mcp.server.operation.duration",
            "s",
            "MCP request or notification duration as observed on the receiver from the time it was received until the "
            "result or ack is sent.",
            explicit_bucket_boundaries_advisory=BOUNDS,
        )
        self._sessions = meter.create_histogram(
            "mcp.server.session.duration",
            "s",
            "The duration of the MCP session as observed on the MCP server.",
            explicit_bucket_boundaries_advisory=BOUNDS,
        )
        self._calls: Latest[SpanContext] = Latest()
        """By the key of the exchange."""
        self._last: Latest[SpanContext] = Latest()
        """The latest call of each session."""
        self._violations: Latest[list[tuple[float, Attributes]]] = Latest()
        """Of exchanges that are not over yet."""
        self._seen: dict[str, set[str | int]] = {name: set() for name in MEASURED}
        self._made = 0
        self._do: dict[str, Callable[..., None]] = {
            "call": self._call,
            "own": self._own,
            "recovery": self._recovery,
            "violation": self._violation,
            "session": self._session,
        }

    def take(self, records: Iterable[tuple[Any, ...]]) -> None:
        """Make spans of these."""
        for kind, *values in records:
            self._do[kind](*values)

    def _call(
        self,
        key: str,
        number: int,
        name: str,
        start: float,
        end: float,
        attributes: Attributes,
        cause: Cause,
        session: int,
    ) -> None:
        events = self._violations.pop(key, []) if not number else []
        context = self._span(
            f"{key} {number}", name, SpanKind.SERVER, start, end, attributes, _parent(cause), (), events
        )
        self._calls.note(key, context)
        if session:
            self._last.note(session, context)
        if "mcp.method.name" in attributes:
            measured = {name: self._bounded(name, attributes[name]) for name in MEASURED if name in attributes}
            self._operations.record(max(0.0, end - start), measured)

    def _own(
        self,
        name: str,
        start: float,
        end: float,
        attributes: Attributes,
        cause: Cause,
        recovery: str,
        session: int,
    ) -> None:
        parent = _within(_identified(recovery)) if recovery else Context()
        key = os.urandom(16).hex()
        self._span(key, name, SpanKind.CLIENT, start, end, attributes, parent, self._of(cause, session), ())

    def _recovery(self, key: str, start: float, end: float, attributes: Attributes, cause: Cause, session: int) -> None:
        links = self._of(cause, session)
        self._span(key, "mcp recovery", SpanKind.INTERNAL, start, end, attributes, Context(), links, ())

    def _violation(self, key: str, at: float, attributes: Attributes) -> None:
        call = self._calls.get(key)
        if key and call is None:
            waiting = self._violations.get(key, [])
            if len(waiting) < EVENTS:
                self._violations.note(key, [*waiting, (at, attributes)])
            return
        # It was found when its call was over, or is of none.
        links = [call] if call is not None else []
        name = os.urandom(16).hex()
        self._span(name, "mcp violation", SpanKind.INTERNAL, at, at, {}, Context(), links, [(at, attributes)])

    def _session(self, seconds: float, attributes: Attributes) -> None:
        self._sessions.record(seconds, attributes)

    def _span(
        self,
        key: str,
        name: str,
        kind: SpanKind,
        start: float,
        end: float,
        attributes: Attributes,
        parent: Context,
        links: Iterable[SpanContext],
        events: Iterable[tuple[float, Attributes]],
    ) -> SpanContext:
        given = _identified(key)
        self._ids.trace, self._ids.span = given.trace_id, given.span_id
        span = self._tracer.start_span(
            name, parent, kind, attributes, [Link(link) for link in links], start_time=_nanoseconds(start)
        )
        for at, about in events:
            span.add_event("mcp.violation", about, _nanoseconds(at))
        if "error.type" in attributes:
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(max(start, end)))
        self._made += 1
        if self._made % FLUSH_EVERY == 0:
            self._provider.force_flush(FLUSH_PATIENCE)
        return span.get_span_context()

    def _of(self, cause: Cause, session: int) -> list[SpanContext]:
        """What something was done for: this call, or else the latest of its session."""
        key, *_ = cause
        if not key:
            last = self._last.get(session)
            return [last] if last is not None else []
        above = trace.get_current_span(_parent(cause)).get_span_context()
        given = _identified(f"{key} 0")
        return [_context(above.trace_id if above.is_valid else given.trace_id, given.span_id)]

    def _bounded(self, name: str, value: str | int) -> str | int:
        seen = self._seen[name]
        if value not in seen:
            if len(seen) >= VALUES:
                return "_OTHER"
            seen.add(value)
        return value


def _identified(key: str) -> SpanContext:
    digest = hashlib.blake2b(key.encode(), digest_size=24).digest()
    return _context(int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:], "big") or 1)


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _within(parent: SpanContext) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


def _parent(cause: Cause) -> Context:
    """What a client has said that its call is a part of."""
    _, traceparent, tracestate = cause
    version, _, rest = traceparent.partition("-")
    if not rest or version == "ff":
        return Context()
    trace_id, span_id, flags = rest.split("-")
    state = TraceState.from_header([tracestate]) if tracestate else None
    context = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16) & 1), state)
    return _within(context) if context.is_valid else Context()


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def main(version: str) -> None:
    """Go on until the proxy has no more to tell."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", SERVICE)
    resource = Resource.create({"service.version": version})
    ids = Given()
    tracing = TracerProvider(resource=resource, id_generator=ids)
    if os.environ.get("OTEL_TRACES_EXPORTER") != "none":
        tracing.add_span_processor(BatchSpanProcessor(Spans()))
    wanted = os.environ.get("OTEL_METRICS_EXPORTER") != "none"
    metering = MeterProvider([PeriodicExportingMetricReader(Histograms())] if wanted else [], resource)
    exporter = Exporter(tracing, metering, ids, version)
    source = sys.stdin.buffer
    while size := source.read(4):
        # Of the proxy's own: a list of what was written one by one.
        exporter.take(map(marshal.loads, marshal.loads(source.read(int.from_bytes(size, "big")))))  # noqa: S302
    tracing.shutdown()
    metering.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
