"""Which requests are Streamable HTTP: told from the request alone, cheaply, and never by guessing at other traffic.

A request is MCP if it bears a mark that nothing else bears (a session id, an MCP handshake in its body, a JSON-RPC
message or event stream asked for under a revision), or if it goes to an endpoint that was seen to speak MCP and looks
like one of its three verbs.
"""

from __future__ import annotations

import re

from . import headers as h

_WELL_KNOWN = "/.well-known/"
"""In the path of what is said about a server: never an event stream of it."""

_HEAD = 64 * 1024
"""Bytes of a body that are searched for a handshake."""

_HANDSHAKE = re.compile(rb'"method"\s*:\s*"(?:initialize|server/discover)"')
_VERSION = re.compile(rb'"(?:protocolVersion|io\.modelcontextprotocol/protocolVersion)"\s*:')


def is_mcp(verb: str, path: str, headers: h.HeaderMap, body: bytes | None, endpoint_known: bool) -> bool:
    """Whether this request is part of MCP traffic.

    Clients send `MCP-Protocol-Version` with the requests of authorization, too: `/.well-known/...` below any path, and
    metadata wherever it stands. By that header alone only a JSON-RPC message is one of the transport.

    Args:
        verb: the HTTP method, upper case.
        path: the path, with or without its query.
        headers: the request's headers.
        body: the request's body, if it was read; None for a streamed one.
        endpoint_known: whether this endpoint has answered MCP before.
    """
    if verb not in ("POST", "GET", "DELETE"):
        return False
    session, versioned = h.SESSION_ID in headers, h.PROTOCOL_VERSION in headers
    if verb == "GET":
        if _WELL_KNOWN in path.partition("?")[0]:
            return session and endpoint_known
        # Of the other three signs each is also one of something else.
        return session or headers.lists(h.SSE) + versioned + endpoint_known >= 2
    if session or h.METHOD in headers:
        return True
    if verb == "DELETE":
        return versioned
    if endpoint_known or (versioned and (body is None or h.coded(headers))):
        return True
    if not body or b'"jsonrpc"' not in body[:_HEAD]:
        return False
    if versioned or headers.lists(h.JSON, h.SSE):
        return True
    head = body[:_HEAD]
    return bool(_HANDSHAKE.search(head) and _VERSION.search(head))
