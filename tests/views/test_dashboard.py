"""The dashboard of `recipes/grafana` fits the figures that there are (a real Prometheus is asked in `tests/real`)."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

from harness.environments import REPOSITORY
from mcp_sessions.views.telemetry.metrics import METRICS, Kind

DASHBOARD: dict[str, Any] = json.loads((REPOSITORY / "recipes/grafana/mcp-sessions.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]


def queries() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_it_shows_every_figure_and_no_other() -> None:
    used = {name for query in queries() for name in re.findall(r"\bmcp_\w+", query)}
    assert used == {f"{metric.name}_bucket" if metric.kind is Kind.HISTOGRAM else metric.shown for metric in METRICS}


def test_it_asks_for_labels_that_there_are() -> None:
    labels = {metric.shown: {*metric.labels, "instance"} for metric in METRICS}
    labels |= {f"{metric.name}_bucket": {"le", "instance"} for metric in METRICS if metric.kind is Kind.HISTOGRAM}
    for query in queries():
        of = set().union(*(labels.get(name, {"instance"}) for name in re.findall(r"\b(?:mcp|process)_\w+", query)))
        asked = {label for group in re.findall(r"by \(([\w, ]+)\)", query) for label in group.split(", ")}
        asked |= set(re.findall(r'(\w+)(?:=|!=|=~)"', query))
        assert asked <= of, query
        assert 'instance=~"$instance"' in query, "of the proxies that are chosen"
    for panel in PANELS:
        for target in panel["targets"]:
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            grouped = {
                label for group in re.findall(r"by \(([\w, ]+)\)", target["expr"]) for label in group.split(", ")
            }
            assert shown <= grouped | {"instance", "version"}, panel["title"]


def test_it_can_be_laid_out() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    for panel in PANELS:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["description"]
