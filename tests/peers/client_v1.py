# mypy: ignore-errors
"""A client on version 1 of the Python SDK, driven by JSON lines."""

import asyncio
import contextlib
from datetime import timedelta

import httpx
import mcp.types as types
from commanding import Commander, http_hooks
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


def dumped(model) -> dict:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


class Actions:
    """What the session can be told to do."""

    def __init__(self, session: ClientSession, handshake, get_session_id) -> None:
        self._session = session
        self._handshake = handshake
        self.session_id = get_session_id

    async def connected(self) -> dict:
        return {"result": dumped(self._handshake), "session": self.session_id(), "era": "session"}

    async def call(self, tool, given, report, limit) -> dict:
        span = timedelta(seconds=limit) if limit else None
        return dumped(await self._session.call_tool(tool, given, span, report))

    async def list_tools(self) -> list:
        return [tool.name for tool in (await self._session.list_tools()).tools]

    async def read(self, uri) -> dict:
        return dumped(await self._session.read_resource(uri))

    async def subscribe(self, uri) -> dict:
        return dumped(await self._session.subscribe_resource(uri))

    async def unsubscribe(self, uri) -> dict:
        return dumped(await self._session.unsubscribe_resource(uri))

    async def set_level(self, level) -> dict:
        return dumped(await self._session.set_logging_level(level))

    async def ping(self) -> dict:
        return dumped(await self._session.send_ping())


@contextlib.asynccontextmanager
async def opened(command: dict, inbox):
    async def heard(message) -> None:
        if isinstance(message, types.ServerNotification):
            root = dumped(message)
            await inbox.add(root["method"], root.get("params"))
        elif isinstance(message, Exception):
            await inbox.add("error", repr(message))

    async def elicited(context, params):
        return types.ElicitResult(action="accept", content={"answer": command["elicit"]})

    async def sampled(context, params):
        content = types.TextContent(type="text", text=command["sample"])
        return types.CreateMessageResult(role="assistant", content=content, model="none")

    more = {}
    if "elicit" in command:
        more["elicitation_callback"] = elicited
    if "sample" in command:
        more["sampling_callback"] = sampled
    http = httpx.AsyncClient(
        headers=command.get("headers", {}),
        timeout=httpx.Timeout(30, read=300),
        event_hooks=http_hooks(inbox),
        verify=command.get("verify", True),
        limits=httpx.Limits(max_connections=command.get("connections", 100)),
    )
    info = types.Implementation(name=command.get("name", "peer-client"), version="1")
    async with (
        http,
        streamable_http_client(command["url"], http_client=http) as (reading, writing, get_session_id),
        ClientSession(reading, writing, message_handler=heard, client_info=info, **more) as session,
    ):
        yield Actions(session, await session.initialize(), get_session_id)


if __name__ == "__main__":
    asyncio.run(Commander(opened).run())
