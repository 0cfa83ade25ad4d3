"""The server that restarts, sleeps, or is scaled without stickiness: `uv run recipes/lost-sessions.py`.

Each makes every client's session unknown from one request to the next. Seen without and with the addon's help.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from staging import Mitmdump, SdkClient, SdkServer, Stage, logged, perform

CALLS = 3


class Balancer:
    """Two replicas behind one address, which does not care about sessions: `move` sends everybody to the other one."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Its port."""
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self.move()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def move(self) -> None:
        """Drop every connection, and send the next ones to the other replica."""
        self._turn += 1
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", self._ports[self._turn % len(self._ports)])
        self._writers |= {writer, back}
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            self._writers -= {writer, back}
            self._tasks.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.transport.abort()


async def calls(stage: Stage, port: int, recover: str, lose: Callable[[], Awaitable[object]]) -> int:
    """How many calls succeed, when sessions are lost between each two."""
    options = {"mcp_recover": recover}
    async with contextlib.AsyncExitStack() as started:
        proxy, client = await asyncio.gather(
            started.enter_async_context(Mitmdump(port, options=options)), started.enter_async_context(SdkClient(1))
        )
        await client.connect(proxy.url, name="agent")
        good = 0
        for number in range(CALLS):
            answer = await client.call("echo", text=str(number), limit=1 if recover == "off" else 10)
            good += answer.ok and answer.text == str(number)
            await lose()
        recovered = len(logged(proxy, "mcp: session .* recovered"))
        stage.say(f"mcp_recover={recover}: {good} of {CALLS} calls succeed; {recovered} recoveries")
        return good


async def story(stage: Stage) -> str:
    good: dict[str, list[int]] = {"off": [], "on": []}
    stage.title("A server that restarts between the calls")
    async with SdkServer(1) as server:
        for recover, counts in good.items():
            counts.append(await calls(stage, server.port, recover, server.restart))
    stage.title("A server that goes on, but forgets sessions when nobody asks for a while")
    async with SdkServer(1) as server:
        for recover, counts in good.items():
            counts.append(await calls(stage, server.port, recover, server.forget))
    stage.title("Two replicas, and a balancer that moves the client from one to the other")
    async with SdkServer(1) as one, SdkServer(1) as two:
        balancer = Balancer([one.port, two.port])

        async def move() -> None:
            balancer.move()

        async with balancer.listening() as port:
            for recover, counts in good.items():
                counts.append(await calls(stage, port, recover, move))
    for alone, helped in zip(*good.values(), strict=True):
        stage.expect(alone < CALLS, "the client needed no help")
        stage.expect(helped == CALLS, f"only {helped} of {CALLS} calls succeeded with the addon's help")
    alone, helped = sum(good["off"]), sum(good["on"])
    return f"Of {3 * CALLS} calls {alone} succeed without the addon's help, and {helped} with it."


if __name__ == "__main__":
    perform(story)
