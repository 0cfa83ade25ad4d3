"""What is measured, each with all variants side by side so that the machine's moods hit all of them alike."""

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.client import INITIALIZE, INITIALIZED, Client, Line, request
from harness.process import Process
from harness.proxy import Mitmdump

HERE = Path(__file__).resolve().parent


@dataclass
class Variant:
    """One mitmdump and a client of it."""

    name: str
    proxy: Mitmdump
    client: Client


@dataclass
class Round:
    """One round of small calls through one variant."""

    rate: float
    """Calls a second."""
    cpu: float
    """Seconds of processor time that mitmdump used for each."""
    beside: float
    """The same of the processes that it has started, over all rounds."""


class NullServer(Process):
    """The null server, in a process of its own."""

    def __init__(self) -> None:
        super().__init__([sys.executable, HERE / "null_server.py"], stdin=True, name="null_server")
        self.port = 0
        self._forgotten = 0

    async def start(self) -> "NullServer":
        await super().start()
        self.port = int((await self.wait_line(r"^READY (\d+)"))[1])
        return self

    async def forget(self) -> None:
        """Lose all sessions, as a restart would."""
        self._forgotten += 1
        await self.write("forget")
        await self.wait_line("^FORGOT", count=self._forgotten)


async def throughput(variants: Sequence[Variant], rounds: int, calls: int) -> dict[str, list[Round]]:
    """Small calls over kept connections."""
    found: dict[str, list[Round]] = {variant.name: [] for variant in variants}
    for variant in variants:
        await variant.client.calls(calls // 4)  # everything is imported and cached by then
    began = {variant.name: _beside(variant) for variant in variants}
    for number in range(rounds):
        # Back and forth: who comes first has no advantage over the whole.
        for variant in variants if number % 2 == 0 else reversed(variants):
            process = psutil.Process(variant.proxy.pid)
            before = process.cpu_times()
            took = await variant.client.calls(calls)
            after = process.cpu_times()
            used = after.user + after.system - before.user - before.system
            found[variant.name].append(Round(calls / took, used / calls, 0.0))
    for variant in variants:
        for one in found[variant.name]:
            one.beside = (_beside(variant) - began[variant.name]) / (rounds * calls)
    return found


def _beside(variant: Variant) -> float:
    times = [child.cpu_times() for child in psutil.Process(variant.proxy.pid).children(recursive=True)]
    return sum(one.user + one.system for one in times)


async def delays(variants: Sequence[Variant], rounds: int, events: int, interval: float) -> dict[str, list[float]]:
    """Seconds between the sending of an event and its arrival, the median of each round."""
    found: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for number in range(rounds):
        for variant in variants if number % 2 == 0 else reversed(variants):
            found[variant.name].append(statistics.median(await variant.client.events(events, interval)))
    return found


async def recoveries(server: NullServer, client: Client, count: int) -> list[float]:
    """Seconds that a recovery adds to a call, less what the same messages take without a proxy."""
    found = []
    _, direct = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", server.port)
    for _ in range(count):
        await client.open()
        plain = statistics.median([await client.call() for _ in range(5)])
        stale = client.session
        await server.forget()
        recovered = await client.call()
        began = time.monotonic()
        await direct.ask(request(server.port, b'{"id":1}', stale))  # the refusal
        opened = await direct.ask(request(server.port, INITIALIZE))
        session = opened.lower().partition(b"mcp-session-id: ")[2].partition(b"\r\n")[0]
        await direct.ask(request(server.port, INITIALIZED, session))
        found.append(recovered - plain - (time.monotonic() - began))
    direct.transport.close()
    return found


async def endings(server: NullServer, port: int, count: int, *, stream: bool) -> list[float]:
    """Seconds between SIGKILL for a client and the arrival of DELETE at the server."""
    found = []
    for _ in range(count):
        arguments = [str(port), *(["stream"] if stream else [])]
        async with Process([sys.executable, HERE / "victim.py", *arguments], stdin=True, name="victim") as victim:
            session = (await victim.wait_line(r"^OPEN (\w+)", 20))[1]
            killed = time.monotonic()
            await victim.kill()
            arrived = float((await server.wait_line(rf"^DELETE {session} ([\d.]+)", 10))[1])
            found.append(arrived - killed)
    return found
