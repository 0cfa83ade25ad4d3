"""One exchange by itself, as far as a check that is asked directly looks at it."""

from __future__ import annotations

import json
from typing import Any

from mcp_sessions.core.client import Client, ClientKey, Connection
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.session import Endpoint
from mcp_sessions.rules.facts import Notes
from mcp_sessions.rules.places import Place
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import Body, parse

ENDPOINT = Endpoint("http", "mcp.example", 80, "/mcp")


def headers(**fields: str) -> HeaderMap:
    """Headers by their names, with `_` for `-`."""
    return HeaderMap((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items())


def body(*messages: Any) -> Body:
    """What a body with this message holds; a batch of several."""
    found = [{"jsonrpc": "2.0", **message} if isinstance(message, dict) else message for message in messages]
    return parse(json.dumps(found[0] if len(found) == 1 else found).encode()) if found else Body()


def exchange(
    *messages: Any,
    verb: str = "POST",
    url: str = "http://mcp.example/mcp",
    client: str = "A",
    place: Place | None = None,
    status: int | None = None,
    answer: Body | None = None,
    told: HeaderMap | None = None,
    at: float = 0.0,
    **fields: str,
) -> Exchange:
    """A request with these messages and header fields, and what is known of the answer to it."""
    connection = Connection("c", ("127.0.0.1", 40000), ("127.0.0.1", 8080), at, at)
    x = Exchange("x", at, verb, ENDPOINT, url, headers(**fields), body(*messages), connection)
    x.client = Client(ClientKey(host=client), client, client, at, at)
    x.status, x.answer, x.answer_headers = status, answer, told
    x.notes = Notes(place or Place())
    return x
