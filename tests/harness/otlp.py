"""An OTLP receiver for tests: a handler of a scripted server that keeps what it is sent, decoded."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from harness.exchange import Answer, Request

# Without waiting for the next of the intervals, which are 5 s and 60 s.
HASTE = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "500"}


@dataclass
class Collector:
    """`server = await scripted(collector := Collector())`."""

    status: int = 200
    spans: list[Span] = field(default_factory=list)
    metrics: dict[str, Metric] = field(default_factory=dict)
    """The latest of each; they are cumulative."""
    services: set[str] = field(default_factory=set)
    raw: list[bytes] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
        if self.status != 200:
            return Answer(self.status)
        self.raw.append(body)
        if request.path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.services.add(told(resource.resource.attributes)["service.name"])
                for spans in resource.scope_spans:
                    self.spans += spans.spans
        else:
            assert request.path == "/v1/metrics", request.path
            for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for metrics in measured.scope_metrics:
                    self.metrics |= {metric.name: metric for metric in metrics.metrics}
        return Answer(200, {"content-type": "application/x-protobuf"})

    def count(self) -> Counter[tuple[str, str]]:
        """Spans by name and kind."""
        return Counter((span.name, Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")) for span in self.spans)


def told(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Attributes, all as texts."""
    found: dict[str, str] = {}
    for one in attributes:
        found[one.key] = str(getattr(one.value, one.value.WhichOneof("value") or "string_value"))
    return found
