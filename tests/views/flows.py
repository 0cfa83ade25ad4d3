"""Flows as mitmproxy would have them, for tests without a proxy."""

from __future__ import annotations

import json
from typing import Any

from mitmproxy import http
from mitmproxy.test import tflow

from mcp_sessions.addon import McpSessions

INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tester", "version": "1"}},
}
CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "hi"}}}
ANSWER = {"jsonrpc": "2.0", "id": 7, "result": {"content": [{"type": "text", "text": "hi"}]}}


def post(message: object, session: str | None = None, **headers: str) -> http.HTTPFlow:
    """A POST that is not answered yet."""
    flow = tflow.tflow()
    flow.request = http.Request.make(
        "POST", "http://127.0.0.1:9/mcp", message if isinstance(message, bytes) else json.dumps(message).encode()
    )
    known = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    for name, value in {**known, **({"mcp-session-id": session} if session else {}), **headers}.items():
        flow.request.headers[name] = value
    return flow


def answer(flow: http.HTTPFlow, message: object, status: int = 200, **headers: str) -> http.HTTPFlow:
    """The flow, answered with JSON."""
    content = message if isinstance(message, bytes) else json.dumps(message).encode()
    flow.response = http.Response.make(status, content, {"content-type": "application/json", **headers})
    return flow


async def pass_through(addon: McpSessions, flow: http.HTTPFlow, message: object, **more: str) -> http.HTTPFlow:
    """Let the addon see a request and its answer."""
    pending = addon.request(flow)
    if pending is not None:
        await pending
    answer(flow, message, 200, **more)
    for hook in (addon.responseheaders, addon.response):
        pending = hook(flow)
        if pending is not None:
            await pending
    if flow.client_conn.id in addon.core.ledger.connections:
        await addon.identifying.identify(flow.client_conn.id)  # what is said of it waits for that
    return flow


async def open_session(addon: McpSessions, session_id: str, name: str = "tester") -> http.HTTPFlow:
    """Open a session, as a client and a server would."""
    params = {**INITIALIZE["params"], "clientInfo": {"name": name, "version": "1"}}
    result = {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "s", "version": "1"},
    }
    return await pass_through(
        addon,
        post({**INITIALIZE, "params": params}),
        {"jsonrpc": "2.0", "id": 0, "result": result},
        **{"mcp-session-id": session_id},
    )
