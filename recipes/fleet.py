"""Several proxies with one ledger behind HAProxy: `uv run recipes/fleet.py`.

Requests are spread one after the other; the server loses a session, a proxy is killed, a client is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

import httpx
from staging import Impossible, MiniMcp, Mitmdump, ScriptedServer, Stage, perform, tool

from harness.haproxy import BINARY as HAPROXY
from harness.haproxy import HaProxy
from harness.redis_server import BINARY as REDIS
from harness.redis_server import RedisServer
from harness.session_client import SessionClient

VERSION = "2025-11-25"
INITIALIZE = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "fleet", "version": "1"}}


class Caller:
    """A client whose every request goes to another proxy."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.AsyncClient(trust_env=False, timeout=60, limits=limits)
        self._url = url
        self._headers = {"accept": "application/json, text/event-stream"}

    async def post(self, method: str, params: object, number: int | None = None) -> httpx.Response:
        """One message."""
        message = {"jsonrpc": "2.0", "method": method, "params": params} | ({"id": number} if number else {})
        return await self._http.post(self._url, json=message, headers=self._headers)

    async def open(self) -> None:
        """A session."""
        opened = await self.post("initialize", INITIALIZE, 1)
        self._headers |= {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": VERSION}
        await self.post("notifications/initialized", {})

    async def call(self, number: int) -> bool:
        """Whether a call gets its own result."""
        text = f"call-{number}"
        answer = await self.post("tools/call", {"name": "echo", "arguments": {"text": text}}, number)
        return answer.status_code == 200 and text in answer.text

    async def die(self) -> None:
        """Without a word."""
        await self._http.aclose()


async def at_once(caller: Caller, numbers: range) -> int:
    """How many of these calls get their own results."""
    return sum(await asyncio.gather(*map(caller.call, numbers)))


async def show(stage: Stage, server: ScriptedServer, mini: MiniMcp, proxies: list[Mitmdump], url: str) -> str:
    caller = Caller(url)
    await caller.open()
    one_by_one = sum([await caller.call(number) for number in range(1, 13)])
    shaken = len(server.requests(rpc="initialize"))
    stage.say(f"client: {one_by_one} of 12 calls over three proxies, {shaken} initialize")
    stage.expect((one_by_one, shaken) == (12, 1), "a proxy did not know the session")
    mini.forget()
    lost = await at_once(caller, range(101, 131))
    shaken = len(server.requests(rpc="initialize")) - 1
    stage.say(f"the session is lost: 30 calls at once, {lost} results, {shaken} handshake")
    stage.expect((lost, shaken) == (30, 1), "not one handshake for all")
    calls = asyncio.create_task(at_once(caller, range(201, 231)))
    await proxies[0].kill()
    survived = await calls + await at_once(caller, range(301, 331))
    stage.say(f"one proxy is killed in the middle: 60 calls, {survived} results")
    # What it had in hand is lost with it: nobody can know whether that was done.
    stage.expect(survived >= 50, "the others did not go on")
    await caller.die()
    await server.wait_for(lambda seen: seen.method == "DELETE", 30)
    ended = len(mini.ended)
    stage.say(f"the client is killed: its session was ended, {ended} DELETE")
    stage.expect(ended == 1 and not mini.sessions, "it was not ended once")
    return f"{one_by_one + lost} of 42 calls over three proxies, {shaken} handshake, {ended} DELETE."


async def one_machine(stage: Stage, redis: RedisServer) -> str:
    """One mitmdump a core; clients are processes of this host, whose end is seen."""
    cores = max(2, min(os.cpu_count() or 2, 4))
    stage.title(f"The same on one machine: {cores} mitmdumps, one a core, the ledger behind a socket")
    mini = MiniMcp()
    options = {"mcp_ledger": f"unix://{redis.socket}?prefix=one"}
    async with contextlib.AsyncExitStack() as started:
        server = await started.enter_async_context(ScriptedServer(mini))
        waiting = [started.enter_async_context(Mitmdump(server.port, options=options)) for _ in range(cores)]
        proxies = list(await asyncio.gather(*waiting))
        client = await started.enter_async_context(SessionClient(proxies[0].url))
        await client.open()
        answered = 0
        for round_ in range(2):
            for proxy in proxies:
                await client.do(f"url {proxy.url}")
                answered += (await client.do(f"call round-{round_}")).startswith("200")
            if not round_:
                mini.forget()
        shaken = len(server.requests(rpc="initialize"))
        stage.say(f"client: {answered} of {2 * cores} calls over {cores} ports, the session lost after half of them")
        stage.expect((answered, shaken) == (2 * cores, 2), "a proxy did not know the session")
        began = time.monotonic()
        await client.process.kill()
        await server.wait_for(lambda seen: seen.method == "DELETE", 20)
        took = time.monotonic() - began
        stage.say(
            f"the client is killed: its session is ended after {took * 1000:.0f} ms, for its process is seen to be gone"
        )
        stage.expect(took < 10, "its end was not seen")
        return f"{answered} of {2 * cores} calls over {cores} proxies of one machine"


async def story(stage: Stage) -> str:
    for name, found in (("redis-server", REDIS), ("haproxy", HAPROXY)):
        if found is None:
            raise Impossible(f"no {name}; on Debian: apt-get install redis-server haproxy")
    stage.title("Three proxies, one ledger, a balancer in front")
    mini, redis = MiniMcp(), RedisServer().start()
    # Behind a balancer no client is a process that can be seen: evidence decides, here very soon.
    options: dict[str, str | int] = {"mcp_ledger": redis.url(), "mcp_identify": "off", "mcp_end_after_idle": 5}
    try:
        async with contextlib.AsyncExitStack() as started:
            server = await started.enter_async_context(ScriptedServer(mini))
            waiting = [started.enter_async_context(Mitmdump(server.port, options=options)) for _ in range(3)]
            proxies = list(await asyncio.gather(*waiting))
            balancer = await started.enter_async_context(HaProxy([proxy.port for proxy in proxies]))
            shown = await show(stage, server, mini, proxies, balancer.url)
            status, printed = await tool("fleet", redis.url(), "--check")
            stage.say(printed)
            stage.expect(status == 0, "something is owed")
        return f"{shown} {await one_machine(stage, redis)}."
    finally:
        redis.close()


if __name__ == "__main__":
    perform(story, sdk=None)
