# mypy: ignore-errors
"""A server on version 1 of the Python SDK."""

import mcp.types as types
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from serving import arguments, guard, serve
from tools import QUESTION_SCHEMA, RESOURCES, Memory, run_tool


class FullServer(Server):
    """Declares what it can do: the SDK's default leaves subscriptions and changing tools out."""

    def create_initialization_options(self, notification_options=None, experimental_capabilities=None):
        options = super().create_initialization_options(
            notification_options or NotificationOptions(tools_changed=True), experimental_capabilities
        )
        options.capabilities.resources.subscribe = True
        return options


memory = Memory()
server = FullServer("peer-v1", version="1")


class Link:
    """The client of the request being handled."""

    def __init__(self) -> None:
        context = server.request_context
        self._session = context.session
        self._request_id = context.request_id
        self._token = context.meta.progressToken if context.meta else None
        self.session_id = context.request.headers.get("mcp-session-id") if context.request else None
        given = context.session.client_params
        self.client_name = given.clientInfo.name if given else None

    async def progress(self, step, total) -> None:
        if self._token is not None:
            await self._session.send_progress_notification(
                self._token, step, total, related_request_id=str(self._request_id)
            )

    async def ask(self, question: str) -> str:
        result = await self._session.elicit_form(question, QUESTION_SCHEMA, related_request_id=self._request_id)
        return (result.content or {}).get("answer", "") if result.action == "accept" else result.action

    async def sample(self, prompt: str) -> str:
        message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
        result = await self._session.create_message([message], max_tokens=10, related_request_id=self._request_id)
        return result.content.text

    async def log(self, level: str, text: str) -> None:
        await self._session.send_log_message(level, text, "peer", related_request_id=self._request_id)

    async def updated(self, uri: str) -> None:
        await self._session.send_resource_updated(uri)

    async def publish_updated(self, uri: str) -> None:
        pass

    async def tools_changed(self) -> None:
        await self._session.send_tool_list_changed()


@server.list_tools()
async def list_tools():
    return [
        types.Tool(name=name, description=text, inputSchema=schema) for name, (text, schema) in memory.tools().items()
    ]


@server.call_tool()
async def call_tool(name, given):
    return [types.TextContent(type="text", text=await run_tool(name, given, Link(), memory))]


@server.list_resources()
async def list_resources():
    return [types.Resource(uri=uri, name=uri) for uri in RESOURCES]


@server.read_resource()
async def read_resource(uri):
    return [ReadResourceContents(content=f"content of {uri}", mime_type="text/plain")]


@server.subscribe_resource()
async def subscribe(uri):
    link = Link()
    memory.subscribers.setdefault(str(uri), {})[link.session_id] = link


@server.unsubscribe_resource()
async def unsubscribe(uri):
    memory.subscribers.get(str(uri), {}).pop(Link().session_id, None)


@server.set_logging_level()
async def set_level(level):
    memory.levels[Link().session_id] = level


if __name__ == "__main__":
    options = arguments()
    serve(
        StreamableHTTPSessionManager(
            server,
            json_response=options.json,
            session_idle_timeout=options.idle_timeout,
            security_settings=guard(TransportSecuritySettings),
        ),
        options,
    )
