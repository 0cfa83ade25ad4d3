"""Figures for others: a real Prometheus collects them under load, and they are the server's own to the last one."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from conftest import StartProxy, StartScripted, StartSession
from harness.environments import PEERS
from harness.mini_mcp import MiniMcp
from harness.otlp import HASTE, Collector, told
from harness.ports import free_port
from harness.process import Process
from harness.prometheus import Prometheus
from harness.proxy import ADDON, Mitmdump
from mcp_sessions.views.telemetry.exporter import BOUNDS
from views.test_dashboard import queries

pytestmark = pytest.mark.real

MANY, DELETED = 500, 100
"""Sessions, and those of them that their client ends itself."""

PLANTED = "s3cr3t-0f-a-s3ss10n-wh1ch-15-l0ng"
"""What every session id begins with."""


async def metrics_of(proxy: Mitmdump) -> str:
    """Where a proxy with `mcp_metrics=127.0.0.1:0` serves its figures."""
    return (await proxy.wait_log(r"mcp: metrics at http://([\d.:]+)/metrics"))[1]


async def test_the_figures_are_those_of_the_server(scripted: StartScripted, mitmdump: StartProxy) -> None:
    mini, collector = MiniMcp(prefix=PLANTED), Collector()
    server, collecting = await scripted(mini), await scripted(collector)
    options = {"mcp_metrics": "127.0.0.1:0", "mcp_otel": collecting.base}
    proxy = await mitmdump(server.port, options=options, env=HASTE)
    target = await metrics_of(proxy)
    client = Process([sys.executable, PEERS / "many_sessions.py", str(proxy.port)], stdin=True)

    async def do(command: str) -> None:
        start = len(client.lines)
        await client.write(command)
        await client.wait_line("^= ", 60, start=start)

    async with Prometheus(target) as prometheus, client:
        await client.wait_line("^READY", 20)
        await do(f"open {MANY}")
        await do("call")
        mini.forget()
        await do("call")
        await do(f"delete {DELETED}")
        await client.kill()
        await prometheus.until('sum(mcp_sessions{state="closed"})', MANY)
        # The ids of the first generation are deleted, too, after those that were in use.
        await prometheus.until("sum(mcp_deletes_total)", MANY - DELETED + MANY, 30)

        statuses = Counter((seen.method, seen.rpc, seen.status) for seen in server.seen)
        deletes = Counter(seen.status for seen in server.requests("DELETE"))
        opened, lost = MANY, statuses["POST", "tools/call", 404]
        recovered = statuses["POST", "initialize", 200] - MANY
        assert len(mini.ended) == MANY
        assert deletes == {200: MANY, 404: MANY}, "those of the first generation are forgotten"

        async def figures(metric: str, *labels: str) -> dict[tuple[str, ...], float]:
            return await prometheus.figures(metric, *labels)

        assert await figures("mcp_sessions", "state") == {("closed",): len(mini.ended)}
        assert await figures("mcp_sessions_opened_total", "how") == {("opened",): opened}
        assert await figures("mcp_sessions_lost_total", "dialect") == {("404",): lost}
        assert await figures("mcp_sessions_recovered_total") == {(): recovered}
        assert await figures("mcp_recovery_seconds_count") == {(): recovered}
        assert await figures("mcp_sessions_not_recovered_total", "why") == {}
        assert await figures("mcp_sessions_ended_total", "evidence", "why") == {
            ("certain", "process_gone"): MANY - DELETED,
            ("none", "client_delete"): DELETED,
        }
        assert await figures("mcp_exit_to_delete_seconds_count") == {(): MANY - DELETED}
        assert await figures("mcp_deletes_total", "result") == {("done",): deletes.total() - DELETED}
        assert await figures("mcp_calls_held_total", "why") == {("refused",): lost}
        assert await figures("mcp_calls_waiting") == {}
        said = Counter(re.findall(r"mcp: (MCP\d+) ", "\n".join(proxy.log)))
        assert await figures("mcp_violations_total", "rule") == {(rule,): n for rule, n in said.items()}
        assert said["MCP308"] == MANY - DELETED
        # All of it was collected while it went on, and the last scrape found the same.
        assert min([float(one["value"][1]) for one in await prometheus.ask("up")]) == 1
        scrapes = await prometheus.figures("count_over_time(mcp_addon_info[1m])")
        assert min(scrapes.values()) > 8
        lag = await prometheus.figures('mcp_event_loop_lag_seconds_bucket{le="0.25"}')
        assert lag == await prometheus.figures("mcp_event_loop_lag_seconds_count")
        # Grafana's variables as they would be filled in.
        for query in queries():
            filled = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
            assert any(one["value"][1] != "NaN" for one in await prometheus.ask(filled)), query
        async with httpx.AsyncClient() as http:
            page = (await http.get(f"http://{target}/metrics")).text
        (memory,) = (await figures("process_resident_memory_bytes")).values()
        assert memory > 1e7

    await proxy.stop()
    assert collector.services == {"mitmproxy-mcp-sessions"}
    assert collector.count() == {
        ("initialize", "SERVER"): MANY,
        ("notifications/initialized", "SERVER"): MANY,
        ("tools/call echo", "SERVER"): 2 * MANY,
        ("DELETE session", "SERVER"): DELETED,
        ("mcp recovery", "INTERNAL"): recovered,
        ("initialize", "CLIENT"): recovered,
        ("notifications/initialized", "CLIENT"): statuses["POST", "notifications/initialized", 202] - MANY,
        ("DELETE session", "CLIENT"): deletes.total() - DELETED,
        ("mcp violation", "INTERNAL"): said["MCP308"],  # of sessions, and of no exchange
    }
    events = [event for span in collector.spans for event in span.events]
    assert Counter(told(event.attributes)["mcp_sessions.rule"] for event in events) == said
    assert len({span.span_id for span in collector.spans}) == len(collector.spans)
    again = {
        (one.trace_id, one.span_id) for one in collector.spans if "mcp_sessions.sent_again" in told(one.attributes)
    }
    linked = [one for one in collector.spans if one.name == "mcp recovery"]
    assert {(link.trace_id, link.span_id) for one in linked for link in one.links} == again
    assert len(again) == recovered
    operations = collector.metrics["mcp.server.operation.duration"].histogram.data_points
    assert sum(point.count for point in operations) == 4 * MANY
    (lives,) = collector.metrics["mcp.server.session.duration"].histogram.data_points
    assert (lives.count, tuple(lives.explicit_bounds)) == (MANY, BOUNDS)
    assert proxy.logged("mcp_otel") == []
    # Nobody is told a whole id of a session.
    assert PLANTED[:8].encode() in b"".join(collector.raw)
    for data in (b"".join(collector.raw), page.encode()):
        assert PLANTED[:12].encode() not in data


async def test_a_script_loaded_anew_goes_on_with_both(
    scripted: StartScripted, mitmdump: StartProxy, client_of: StartSession, tmp_path: Path
) -> None:
    server, collecting = await scripted(MiniMcp()), await scripted(collector := Collector())
    script, port = tmp_path / "main.py", free_port()
    script.write_text(ADDON.read_text().replace("Path(__file__).resolve().parent", f"Path({str(ADDON.parent)!r})"))
    options = {"mcp_metrics": f"127.0.0.1:{port}", "mcp_otel": collecting.base, "mcp_end_at_exit": "all"}
    proxy = await mitmdump(server.port, script=script, options=options, env=HASTE)
    client = await client_of(proxy.url)
    await client.open()
    await client.do("call before")
    script.write_text(script.read_text() + "\n")
    await proxy.wait_log("mcp: metrics at", count=2)
    assert (await client.do("call after")).startswith("200")
    async with httpx.AsyncClient() as http:
        page = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    assert 'mcp_sessions_opened_total{how="opened"} 1.0' in page, "it is counted on"
    # What is done at the very end is told, too.
    await proxy.stop()
    assert collector.count() == {
        ("initialize", "SERVER"): 1,
        ("notifications/initialized", "SERVER"): 1,
        ("tools/call echo", "SERVER"): 2,
        ("DELETE session", "CLIENT"): 1,
    }
    before, after = (span for span in collector.spans if span.name == "tools/call echo")
    assert told(before.attributes)["mcp.session.id"] == told(after.attributes)["mcp.session.id"]


async def test_a_collector_that_is_away_is_waited_for_by_nobody(
    scripted: StartScripted, mitmdump: StartProxy, client_of: StartSession
) -> None:
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options={"mcp_otel": f"http://127.0.0.1:{free_port()}"}, env=HASTE)
    client = await client_of(proxy.url)
    await client.open()
    for _ in range(5):
        assert (await client.do("call x")).startswith("200")
    assert await proxy.stop(within=10) == 0
