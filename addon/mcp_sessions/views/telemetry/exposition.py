"""The figures as Prometheus reads them. Loaded when they are asked for: it needs the extra `prometheus`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from ...core.tally import Spread
from .metrics import METRICS, Figures, Kind
from .metrics import Metric as Row


class Exposition(Collector):
    """Reads the figures when it is asked, and keeps none."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def collect(self) -> Iterator[Metric]:
        """Each metric with all its series."""
        seen = self._figures()
        for row in METRICS:
            yield _family(row, seen)

    def written(self, accept: str) -> tuple[bytes, str]:
        """All of them, in the format that fits the header `Accept` best, and what that is called."""
        write, content_type = choose_encoder(accept)
        return write(self._registry), content_type


def _family(row: Row, seen: Figures) -> Metric:
    if row.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(row.name, row.text, labels=row.labels)
        for labels, spread in row.read(seen):
            assert isinstance(spread, Spread)
            buckets = [("+Inf" if bound == float("inf") else f"{bound:g}", n) for bound, n in spread.up_to()]
            histogram.add_metric(labels, buckets, spread.total)
        return histogram
    made = CounterMetricFamily if row.kind is Kind.COUNTER else GaugeMetricFamily
    family = made(row.name, row.text, labels=row.labels)
    for labels, value in row.read(seen):
        assert not isinstance(value, Spread)
        family.add_metric(labels, value)
    return family
