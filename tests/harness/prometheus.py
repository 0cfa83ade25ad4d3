"""A real Prometheus for tests: it collects from one proxy, and is asked."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from harness.ports import free_port
from harness.process import Process

BINARY = shutil.which("prometheus")
MISSING = "no prometheus here: on Debian apt-get install prometheus"

EVERY = "250ms"

_CONFIG = """
global: {{scrape_interval: {every}, scrape_timeout: {every}}}
scrape_configs:
  - job_name: mcp
    static_configs: [{{targets: ['{target}']}}]
"""


class Prometheus:
    """`async with Prometheus(target) as prometheus: await prometheus.ask("mcp_sessions")`."""

    def __init__(self, target: str) -> None:
        """`target`: host and port."""
        if BINARY is None:
            pytest.skip(MISSING)
        self.folder = Path(tempfile.mkdtemp(prefix="prometheus-"))
        (self.folder / "prometheus.yml").write_text(_CONFIG.format(every=EVERY, target=target))
        port = free_port()
        command = [
            BINARY,
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--query.lookback-delta=1m",
        ]
        self.process = Process(command, name="prometheus")
        self._asking = httpx.AsyncClient(timeout=10, base_url=f"http://127.0.0.1:{port}")

    async def __aenter__(self) -> Self:
        await self.process.start()
        await self.process.errors.wait(lambda line: "ready to receive" in line, 20, what="start of Prometheus")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._asking.aclose()
        await self.process.kill()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples that a query has for now; raises if it is none."""
        answer = await self._asking.get("/api/v1/query", params={"query": query})
        assert answer.status_code == 200, f"{query}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    async def figures(self, query: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The same by these labels, less those that are 0."""
        found = {
            tuple(one["metric"].get(label, "") for label in labels): float(one["value"][1])
            for one in await self.ask(query)
        }
        return {labels: value for labels, value in found.items() if value}

    async def until(self, query: str, wanted: float, within: float = 10.0) -> None:
        """Wait until a query has this one figure."""
        deadline = asyncio.get_running_loop().time() + within
        while (found := await self.figures(query)) != {(): wanted}:
            assert asyncio.get_running_loop().time() < deadline, f"{query} is {found}, not {wanted}"
            await asyncio.sleep(0.05)
