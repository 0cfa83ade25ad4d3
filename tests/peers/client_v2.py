# mypy: ignore-errors
"""A client on version 2 of the Python SDK, driven by JSON lines."""

import asyncio
import contextlib
import warnings

import httpx2
import mcp_types as types
from commanding import Commander, http_hooks
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

# Subscriptions and log levels are deprecated, and exactly what is to be tested.
warnings.simplefilter("ignore")


def dumped(model) -> dict:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


class Actions:
    """What the session can be told to do."""

    def __init__(self, client: Client, inbox) -> None:
        self._client = client
        self._inbox = inbox
        self._listening: dict[str, asyncio.Task] = {}

    def _stateless(self) -> bool:
        return self._client.protocol_version in MODERN_PROTOCOL_VERSIONS

    async def connected(self) -> dict:
        session = self._client.session
        handshake = session.initialize_result or session.discover_result
        era = "stateless" if self._stateless() else "session"
        return {"result": dumped(handshake), "session": self.session_id(), "era": era}

    def session_id(self) -> str | None:
        return self._inbox.sent_session

    async def call(self, tool, given, report, limit) -> dict:
        return dumped(await self._client.call_tool(tool, given, limit, report))

    async def list_tools(self) -> list:
        # Not from the client's cache: the question is what the server says.
        return [tool.name for tool in (await self._client.session.list_tools()).tools]

    async def read(self, uri) -> dict:
        return dumped(await self._client.session.read_resource(uri))

    async def subscribe(self, uri) -> dict:
        if not self._stateless():
            return dumped(await self._client.subscribe_resource(uri))
        ready: asyncio.Future = asyncio.get_running_loop().create_future()

        async def listen() -> None:
            async with self._client.listen(resource_subscriptions=[uri], tools_list_changed=True) as events:
                ready.set_result(None)
                async for _ in events:
                    pass

        task = asyncio.create_task(listen())
        self._listening[uri] = task
        await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return {}

    async def unsubscribe(self, uri) -> dict:
        if not self._stateless():
            return dumped(await self._client.unsubscribe_resource(uri))
        self._listening.pop(uri).cancel()
        return {}

    async def set_level(self, level) -> dict:
        return dumped(await self._client.set_logging_level(level))

    async def ping(self) -> dict:
        return dumped(await self._client.send_ping())

    def end(self) -> None:
        for task in self._listening.values():
            task.cancel()


@contextlib.asynccontextmanager
async def opened(command: dict, inbox):
    async def heard(message) -> None:
        if isinstance(message, Exception):
            await inbox.add("error", repr(message))
        else:
            given = dumped(message)
            await inbox.add(given["method"], given.get("params"))

    async def elicited(context, params):
        return types.ElicitResult(action="accept", content={"answer": command["elicit"]})

    async def sampled(context, params):
        content = types.TextContent(text=command["sample"])
        return types.CreateMessageResult(role="assistant", content=content, model="none")

    more = {}
    if "elicit" in command:
        more["elicitation_callback"] = elicited
    if "sample" in command:
        more["sampling_callback"] = sampled
    http = httpx2.AsyncClient(
        headers=command.get("headers", {}),
        timeout=httpx2.Timeout(30, read=300),
        event_hooks=http_hooks(inbox),
        verify=command.get("verify", True),
        limits=httpx2.Limits(max_connections=command.get("connections", 100)),
    )
    info = types.Implementation(name=command.get("name", "peer-client"), version="2")
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(http)
        transport = streamable_http_client(command["url"], http_client=http)
        client = await stack.enter_async_context(
            Client(transport, mode=command.get("mode", "auto"), client_info=info, message_handler=heard, **more)
        )
        actions = Actions(client, inbox)
        stack.callback(actions.end)
        yield actions


if __name__ == "__main__":
    asyncio.run(Commander(opened).run())
