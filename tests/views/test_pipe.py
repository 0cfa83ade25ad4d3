"""The process that sends spans may do what it likes: the proxy goes on, and says so."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.otlp import HASTE, Collector
from harness.scripted import ScriptedServer
from mcp_sessions.views.telemetry import pipe
from mcp_sessions.views.telemetry.pipe import Pipe


class Piped:
    """A pipe to a process that runs this code."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self.said: list[str] = []
        self.told = threading.Event()
        self.pipe = Pipe({**os.environ, **HASTE, **(environment or {})}, "1", self.tell)

    def tell(self, text: str) -> None:
        self.said.append(text)
        self.told.set()

    def end(self) -> None:
        self.pipe.close()
        self.pipe._thread.join(20)
        assert not self.pipe._thread.is_alive()


type Running = Callable[[str], Piped]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    def run(code: str) -> Piped:
        script = tmp_path / "exporter.py"
        script.write_text(code)
        monkeypatch.setattr(pipe, "EXPORTER", script)
        return Piped()

    return run


def call(number: int) -> tuple[Any, ...]:
    return ("call", f"x{number}", 0, "ping", 1.0, 2.0, {"mcp.method.name": "ping"}, (f"x{number}", "", ""), 1)


def test_one_that_dies_is_started_anew_and_given_up(running: Running) -> None:
    piped = running("raise SystemExit(7)")
    deadline = time.monotonic() + 20
    while piped.pipe._thread.is_alive() and time.monotonic() < deadline:
        piped.pipe.put(call(1))
        time.sleep(0.02)
    assert piped.said == [
        "its process has ended (status 7): it is started anew",
        "its process has ended (status 7): it is started anew",
        "its process has ended (status 7): no more spans",
    ]
    for number in range(pipe.LIMIT + 10):
        piped.pipe.put(call(number))
    assert not piped.pipe._queue, "nothing is kept that nobody will read"


def test_one_that_does_not_read(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe, "PATIENCE", 0.2)
    monkeypatch.setattr(pipe, "LIMIT", 3_000)
    piped = running("import time; time.sleep(60)")
    began = time.monotonic()
    for number in range(20_000):
        piped.pipe.put(call(number))
    assert time.monotonic() - began < 1, "nobody waits"
    assert len(piped.pipe._queue) <= 3_000
    assert piped.said == ["more than 3000 spans wait: what comes now is left out"]
    piped.end()
    assert time.monotonic() - began < 10, "nor at the end"


def test_what_it_says_is_passed_on_so_far(running: Running) -> None:
    piped = running("for n in range(1000): print('line', n, '\\x1b' * 500)\nimport sys; sys.stdin.buffer.read()")
    piped.end()
    assert len(piped.said) == pipe.LINES
    assert piped.said[0].startswith("line 0")
    assert max(map(len, piped.said)) == 200


async def test_a_collector_that_refuses_and_one_that_takes() -> None:
    collector = Collector(status=400)
    async with ScriptedServer(collector) as server:
        piped = Piped({"OTEL_EXPORTER_OTLP_ENDPOINT": server.base})
        piped.pipe.put(call(1))
        await server.wait_for(lambda seen: seen.path == "/v1/traces", 20)
        await asyncio.to_thread(piped.told.wait, 10)
        assert piped.said[0].removeprefix("spans").removeprefix("histograms") == " can not be delivered"
        collector.status = 200
        piped.pipe.put(call(2))
        await asyncio.to_thread(piped.end)
    assert [span.name for span in collector.spans] == ["ping"]
    assert "spans are delivered again" in piped.said
    assert len(piped.said) == len(set(piped.said)) <= 4
