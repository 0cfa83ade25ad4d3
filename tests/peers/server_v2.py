# mypy: ignore-errors
"""A server on version 2 of the Python SDK: sessions, and the stateless revision beside them."""

import warnings

import mcp_types as types
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated, ToolsListChanged
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from serving import arguments, guard, serve
from tools import QUESTION_SCHEMA, RESOURCES, Memory, run_tool

# Logging and sampling are deprecated, and exactly what is to be tested.
warnings.simplefilter("ignore")

memory = Memory()
bus = InMemorySubscriptionBus()


class InputNeeded(Exception):
    """The stateless revision has no requests to the client: the call ends and asks for input."""

    def __init__(self, request) -> None:
        super().__init__("input needed")
        self.request = request


class Link:
    """The client of the request being handled."""

    def __init__(self, ctx, params=None) -> None:
        self._session = ctx.session
        self._request_id = ctx.request_id
        self._stateless = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        self._given = getattr(params, "input_responses", None) or {}
        self.session_id = None
        if ctx.request is not None and not self._stateless:
            self.session_id = ctx.request.headers.get("mcp-session-id")
        known = ctx.session.client_params
        self.client_name = known.client_info.name if known else None

    async def progress(self, step, total) -> None:
        await self._session.report_progress(step, total)

    async def ask(self, question: str) -> str:
        if self._stateless:
            result = self._input(
                types.ElicitRequest(
                    params=types.ElicitRequestFormParams(message=question, requested_schema=QUESTION_SCHEMA)
                )
            )
        else:
            result = await self._session.elicit_form(question, QUESTION_SCHEMA, related_request_id=self._request_id)
        return (result.content or {}).get("answer", "") if result.action == "accept" else result.action

    async def sample(self, prompt: str) -> str:
        message = types.SamplingMessage(role="user", content=types.TextContent(text=prompt))
        if self._stateless:
            params = types.CreateMessageRequestParams(messages=[message], max_tokens=10)
            result = self._input(types.CreateMessageRequest(params=params))
        else:
            result = await self._session.create_message([message], max_tokens=10, related_request_id=self._request_id)
        return result.content.text

    def _input(self, request):
        if "input" not in self._given:
            raise InputNeeded(request)
        return self._given["input"]

    async def log(self, level: str, text: str) -> None:
        await self._session.send_log_message(level, text, "peer", related_request_id=self._request_id)

    async def updated(self, uri: str) -> None:
        await self._session.send_resource_updated(uri)

    async def publish_updated(self, uri: str) -> None:
        await bus.publish(ResourceUpdated(uri=uri))

    async def tools_changed(self) -> None:
        await bus.publish(ToolsListChanged())
        if not self._stateless:
            await self._session.send_tool_list_changed()


async def list_tools(ctx, params):
    return types.ListToolsResult(
        tools=[
            types.Tool(name=name, description=text, input_schema=schema)
            for name, (text, schema) in memory.tools().items()
        ]
    )


async def call_tool(ctx, params):
    try:
        text = await run_tool(params.name, params.arguments or {}, Link(ctx, params), memory)
    except InputNeeded as needed:
        return types.InputRequiredResult(input_requests={"input": needed.request})
    except Exception as failure:
        return types.CallToolResult(content=[types.TextContent(text=str(failure))], is_error=True)
    return types.CallToolResult(content=[types.TextContent(text=text)])


async def list_resources(ctx, params):
    return types.ListResourcesResult(resources=[types.Resource(uri=uri, name=uri) for uri in RESOURCES])


async def read_resource(ctx, params):
    content = types.TextResourceContents(uri=params.uri, mime_type="text/plain", text=f"content of {params.uri}")
    return types.ReadResourceResult(contents=[content])


async def subscribe(ctx, params):
    link = Link(ctx)
    memory.subscribers.setdefault(params.uri, {})[link.session_id] = link
    return types.EmptyResult()


async def unsubscribe(ctx, params):
    memory.subscribers.get(params.uri, {}).pop(Link(ctx).session_id, None)
    return types.EmptyResult()


async def set_level(ctx, params):
    memory.levels[Link(ctx).session_id] = params.level
    return types.EmptyResult()


class FullServer(Server):
    """Declares changing tools: the SDK's default leaves them out."""

    def create_initialization_options(self, notification_options=None, *others, **more):
        return super().create_initialization_options(
            notification_options or NotificationOptions(tools_changed=True), *others, **more
        )


server = FullServer(
    "peer-v2",
    version="2",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_resources=list_resources,
    on_read_resource=read_resource,
    on_subscribe_resource=subscribe,
    on_unsubscribe_resource=unsubscribe,
    on_set_logging_level=set_level,
    on_subscriptions_listen=ListenHandler(bus),
)

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
