"""Which requests are Streamable HTTP: told from the request alone, cheaply, and never by guessing at other traffic.

A request is MCP if it bears a mark that nothing else bears (a header of the specification, an MCP handshake in its
body), or if it goes to an endpoint that was seen to speak MCP and looks like one of its three verbs.
"""

from __future__ import annotations

import re

from . import headers as h

_MARKS = (h.SESSION_ID, h.PROTOCOL_VERSION, h.METHOD)
"""Headers that only MCP uses."""

_HEAD = 64 * 1024
"""Bytes of a body that are searched for a handshake."""

_HANDSHAKE = re.compile(rb'"method"\s*:\s*"(?:initialize|server/discover)"')
_VERSION = re.compile(rb'"(?:protocolVersion|io\.modelcontextprotocol/protocolVersion)"\s*:')


def is_mcp(verb: str, headers: h.HeaderMap, body: bytes | None, endpoint_known: bool) -> bool:
    """Whether this request is part of MCP traffic.

    Args:
        verb: the HTTP method, upper case.
        headers: the request's headers.
        body: the request's body, if it was read; None for a streamed one.
        endpoint_known: whether this endpoint has answered MCP before.
    """
    if verb not in ("POST", "GET", "DELETE"):
        return False
    if any(mark in headers for mark in _MARKS):
        return True
    if verb == "GET":
        return endpoint_known and headers.lists(h.SSE)
    if verb == "DELETE":
        return False
    if endpoint_known:
        return True
    if not body or b'"jsonrpc"' not in body[:_HEAD]:
        return False
    if headers.lists(h.JSON, h.SSE):
        return True
    head = body[:_HEAD]
    return bool(_HANDSHAKE.search(head) and _VERSION.search(head))
