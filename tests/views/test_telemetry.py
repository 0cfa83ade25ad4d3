"""Figures for others: what they are called, what they say, and that without them nothing of it is loaded."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons
from prometheus_client.parser import text_string_to_metric_families

from core.world import Peer, World
from mcp_sessions.core.ending.asking import OUTCOMES
from mcp_sessions.core.recovery.dialects import ROWS
from mcp_sessions.core.tally import Spread
from mcp_sessions.options import settings
from mcp_sessions.views.journal import Journal
from mcp_sessions.views.shown import Shown
from mcp_sessions.views.telemetry.address import ListenAt
from mcp_sessions.views.telemetry.exposition import Exposition
from mcp_sessions.views.telemetry.metrics import METRICS, Figures, Kind
from mcp_sessions.views.telemetry.serving import AT_ONCE, HEAD_LIMIT, Serving
from mcp_sessions.views.telemetry.view import Telemetry

SECRET = "s-3cr3t-f0r-n0b0dy-3ls3-1n-th3-w0rld"


def figures_of(world: World) -> Figures:
    journal = Journal()
    for record in world.told:
        journal.told(record)
    return Figures(world.core.ledger, journal, 3, Spread(1))


def exposed(world: World, accept: str = "") -> str:
    return Exposition(lambda: figures_of(world)).written(accept)[0].decode()


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def lively() -> World:
    world = World()
    world.open(SECRET, peer=Peer(token=SECRET), name=SECRET)
    world.works(world.call(SECRET, peer=Peer(token=SECRET), tool=SECRET)[0])
    world.dies(Peer())
    world.delete_answered(401, SECRET)
    return world


def test_what_prometheus_reads() -> None:
    found = samples(exposed(lively()))
    assert found["mcp_sessions_opened_total", ("opened",)] == 1
    assert found["mcp_sessions_opened_total", ("adopted",)] == 0
    assert found["mcp_sessions", ("stuck",)] == 1
    assert found["mcp_sessions_stuck_total", ("needs_credentials",)] == 1
    assert found["mcp_calls_waiting", ()] == 3
    assert found["mcp_exit_to_delete_seconds_count", ()] == 1
    assert found["mcp_exit_to_delete_seconds_bucket", ("+Inf",)] == 1
    assert found["mcp_violations_total", ("session-not-deleted", "MCP308")] == 1
    assert found["mcp_ledger_entries", ("sessions",)] == 1
    assert found["mcp_event_loop_lag_seconds_count", ()] == 0


def test_nothing_is_given_away() -> None:
    world = lively()
    for accept in ("", "application/openmetrics-text"):
        text = exposed(world, accept)
        assert SECRET[:6] not in text
        assert "server" not in [label for _, labels in samples(exposed(world)) for label in labels]
    # Whoever has a great many sessions, clients or servers makes no more series of it.
    more = lively()
    for number in range(50):
        more.open(f"{number}-of-many-sessions", peer=Peer(100 + number, connection=f"c{number}"), name=f"n{number}")
    assert samples(exposed(more)).keys() == samples(exposed(world)).keys()


def test_the_rows() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("mcp_") for name in names)
    seen = figures_of(lively())
    for metric in METRICS:
        for labels, value in metric.read(seen):
            assert len(labels) == len(metric.labels)
            assert isinstance(value, Spread) is (metric.kind is Kind.HISTOGRAM)
            assert metric.name.endswith("_seconds") is (metric.kind is Kind.HISTOGRAM)


def test_every_reason_is_a_label() -> None:
    """What the core may count has a series: nothing of it is left out."""
    tally, shown = lively().core.ledger.tally, {metric.name: metric for metric in METRICS}
    assert {why.name.lower() for why in OUTCOMES.values()} == {
        labels[0] for labels, _ in shown["mcp_sessions_stuck"].read(figures_of(lively()))
    }
    dialects = {labels[0] for labels, _ in shown["mcp_sessions_lost"].read(figures_of(lively()))}
    assert {f"{row.status}-for-404" for row in ROWS if row.optional} < dialects
    for why in tally.ended:
        assert any(
            labels[1] == why.name.lower() for labels, _ in shown["mcp_sessions_ended"].read(figures_of(lively()))
        )


WRONG = [
    "9464",
    ":9464",
    "127.0.0.1",
    "127.0.0.1:x",
    "127.0.0.1:70000",
    "host.example:1",
    "127.0.0.1:1/metrics",
    "a@b:1",
]


@pytest.mark.parametrize("value", WRONG)
def test_an_address_that_is_none(value: str) -> None:
    with pytest.raises(ValueError, match=r"^mcp_metrics: .* is not HOST:PORT, such as 127\.0\.0\.1:9464$"):
        settings({"mcp_metrics": value})


@pytest.mark.parametrize(
    ("value", "read"), [("127.0.0.1:1", "127.0.0.1:1"), ("localhost:0", "127.0.0.1:0"), ("[::1]:9464", "[::1]:9464")]
)
def test_an_address(value: str, read: str) -> None:
    assert str(ListenAt.parse(value)) == read


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_sessions.views.telemetry.address.find_spec", lambda _: None)
    assert importlib.util.find_spec("prometheus_client") is not None
    with pytest.raises(ValueError, match=r"^mcp_metrics: needs the extra prometheus: pip install '.*\[prometheus\]'$"):
        settings({"mcp_metrics": "127.0.0.1:9464"})


def test_who_does_not_ask_loads_nothing() -> None:
    script = (
        "import sys, mcp_sessions.addon; print([m for m in sys.modules if m.startswith(('prometheus', 'opentel'))])"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout == "[]\n"


@asynccontextmanager
async def serving(failures: list[str] | None = None) -> AsyncIterator[Serving]:
    def fails(_: str) -> tuple[bytes, str]:
        raise RuntimeError(SECRET)

    pages = {"/metrics": Exposition(lambda: figures_of(lively())).written, "/fails": fails}
    server = Serving(ListenAt("127.0.0.1", 0), pages, (failures if failures is not None else []).append)
    await server.serve()
    try:
        yield server
    finally:
        server.close()


async def test_pages() -> None:
    failures: list[str] = []
    async with serving(failures) as server, httpx.AsyncClient(base_url=f"http://{server.at}") as client:
        assert (await client.get("/metrics?x=1")).text.startswith("# HELP mcp_")
        assert (await client.head("/metrics")).content == b""
        openmetrics = await client.get("/metrics", headers={"accept": "application/openmetrics-text"})
        assert openmetrics.text.endswith("# EOF\n")
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
        assert (await client.get("/mcp")).status_code == 404
        assert (await client.post("/metrics", content=b"x")).status_code == 405
        assert {(await client.get("/fails")).status_code for _ in range(3)} == {500}
    assert len(failures) == 1, "once"
    assert failures[0].startswith("RuntimeError at ")
    assert SECRET not in failures[0]


async def said(server: Serving, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server.at.host, server.at.port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_who_asks_too_much_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_sessions.views.telemetry.serving.PATIENCE", 0.3)
    async with serving() as server:
        assert await said(server, b"GET /metrics HTTP/1.1\r\nx: " + b"y" * 3 * HEAD_LIMIT) == b""
        assert b" 405 " in await said(server, b"\x16\x03\x01\r\n\r\n")
        # As many as may be there sit and say nothing: the next is not heard, and they have their time and go.
        idle = [await asyncio.open_connection(server.at.host, server.at.port) for _ in range(AT_ONCE)]
        assert await said(server, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
        for reader, _ in idle:
            assert await asyncio.wait_for(reader.read(), 10) == b""
        for _, writer in idle:
            writer.close()
        assert b" 200 " in await said(server, b"GET /metrics HTTP/1.1\r\n\r\n")


def shown(at: object) -> Shown:
    def nothing(*_: object) -> None:
        """What a user does is not tried here."""

    world = lively()
    return Shown(
        ledger=lambda: world.core.ledger,
        journal=Journal(),
        end=nothing,
        reinit=nothing,
        keep=nothing,
        export=nothing,  # type: ignore[arg-type]
        refresh=nothing,
        metrics=str(at),
    )


@pytest.fixture
def proxy() -> Iterator[taddons.context]:
    """A mitmproxy that serves."""
    with taddons.context() as context:
        context.options.add_option("server", bool, True, "")
        yield context


async def test_saved_flows_are_nobodys_traffic(proxy: taddons.context) -> None:
    proxy.options.server = False
    view = Telemetry(shown("127.0.0.1:0"))
    view.shown.otel = "http://127.0.0.1:4318"
    view.running()
    assert (view.shown.tracer, view._serving) == (None, None)


@pytest.mark.usefixtures("proxy")
async def test_a_port_that_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        view = Telemetry(shown(server.at))
        view.running()  # mitmproxy ends at the start if there is an error in its log
        told = f"mcp_metrics: can't listen at {server.at}: Address already in use"
        assert [(one.levelname, one.getMessage()) for one in caplog.records] == [("ERROR", f"mcp: {told}")]
        with pytest.raises(exceptions.OptionsError, match=f"^{re.escape(told)}$"):
            view.configured()


@pytest.mark.usefixtures("proxy")
async def test_begun_and_ceased_by_the_option(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    view = Telemetry(shown("127.0.0.1:0"))
    view.running()
    view.configured()  # another option has changed
    (line,) = [one.getMessage() for one in caplog.records]
    address = line.removeprefix("mcp: metrics at ")
    async with httpx.AsyncClient() as client:
        assert "mcp_sessions{" in (await client.get(address)).text
        assert (await client.get(address.replace("metrics", "healthz"))).text == "ok\n"
        view.shown.metrics = ""
        view.configured()
        with pytest.raises(httpx.ConnectError):
            await client.get(address)


@pytest.mark.usefixtures("proxy")
async def test_spans_by_the_option(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("mcp_sessions.views.telemetry.pipe.EXPORTER", Path(__file__).with_name("no such file"))
    view = Telemetry(shown(""))
    view.shown.otel = f"http://user:{SECRET}@127.0.0.1:4318/{SECRET}"
    view.running()
    assert view.shown.tracer is not None
    assert len(view.shown.journal.hearers) == 1
    view.configured()  # another option has changed
    view.shown.otel = "off"
    view.configured()
    assert view.shown.tracer is None
    assert not view.shown.journal.hearers
    assert [one.getMessage() for one in caplog.records] == ["mcp: spans and histograms to http://127.0.0.1:4318"]
