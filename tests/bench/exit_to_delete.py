"""How long it takes from the end of a client's process until its DELETE is at the server, and what live calls feel.

uv run tests/bench/exit_to_delete.py
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.exchange import Request
from harness.mini_mcp import MiniMcp
from harness.proxy import Mitmdump
from harness.raw import RawClient
from harness.scripted import ScriptedServer
from harness.session_client import SessionClient


def _quantiles(values: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(values)
    return {
        "p50": round(ordered[len(ordered) // 2] * 1000, 1),
        "p95": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1000, 1),
        "max": round(ordered[-1] * 1000, 1),
    }


async def _one(server: ScriptedServer, proxy: Mitmdump, stream: bool) -> float:
    async with SessionClient(proxy.url) as client:
        session = await client.open()
        if stream:
            await client.do("stream")
        ended = time.time()
        await client.process.kill()
        deleted = await server.wait_for(lambda seen: seen.method == "DELETE" and seen.session == session)
        return deleted.at - ended


async def exits(clients: int = 30) -> dict[str, Any]:
    """Clients that are killed one after the other: with an open stream, and without any connection."""
    async with ScriptedServer(MiniMcp()) as server, Mitmdump(server.port) as proxy:
        return {
            name: _quantiles([await _one(server, proxy, stream) for _ in range(clients)])
            for name, stream in (("with a stream", True), ("without a connection", False))
        }


async def a_thousand(sessions: int = 1000) -> dict[str, Any]:
    """One client with many sessions is killed, while another one makes a call after the other."""
    mini = MiniMcp()
    async with ScriptedServer(mini) as server, Mitmdump(server.port) as proxy, RawClient(proxy.url) as live:
        await live.handshake()
        async with SessionClient(proxy.url) as client:
            await client.do(f"many {sessions}", within=120)

            async def calls(until: asyncio.Task[Any]) -> list[float]:
                took = []
                while not until.done():
                    began = time.perf_counter()
                    await live.call("echo", {"text": "x"})
                    took.append(time.perf_counter() - began)
                return took

            def is_delete(seen: Request) -> bool:
                return seen.method == "DELETE"

            alone = await calls(asyncio.create_task(asyncio.sleep(3)))
            began = time.time()
            await client.process.kill()
            all_deleted = asyncio.create_task(server.wait_for(is_delete, count=sessions, within=120))
            during = await calls(all_deleted)
            return {
                "sessions": len(mini.ended),
                "seconds": round((await all_deleted).at - began, 2),
                "live calls before": _quantiles(alone),
                "live calls meanwhile": _quantiles(during),
            }


async def measure() -> dict[str, Any]:
    """All figures; times in milliseconds unless the name says otherwise."""
    return {"exit to DELETE": await exits(), "a thousand sessions": await a_thousand()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure()), indent=2))
