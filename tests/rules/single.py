"""One exchange by itself, as far as a check that is asked directly looks at it."""

from __future__ import annotations

from typing import Any

from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.rules.facts import Notes
from mcp_sessions.rules.places import Place
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import Body
from rules import built
from rules.built import ENDPOINT as ENDPOINT


def headers(**fields: str) -> HeaderMap:
    """Headers by their names, with `_` for `-`."""
    return built.fields(_named(fields))


def body(*messages: Any) -> Body:
    """What a body with this message holds; a batch of several."""
    return built.body(_whole(messages)) if messages else Body()


def exchange(
    *messages: Any,
    verb: str = "POST",
    url: str = str(ENDPOINT),
    client: str = "A",
    place: Place | None = None,
    status: int | None = None,
    answer: Body | None = None,
    told: HeaderMap | None = None,
    at: float = 0.0,
    **fields: str,
) -> Exchange:
    """A request with these messages and header fields, and what is known of the answer to it."""
    by = Client(ClientKey(host=client), client, client, at, at)
    x = built.exchange(_whole(messages), verb=verb, url=url, by=by, headers=_named(fields), at=at, id="x")
    x.status, x.answer, x.answer_headers = status, answer, told
    x.notes = Notes(place or Place())
    return x


def _named(fields: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in fields.items()}


def _whole(messages: tuple[Any, ...]) -> Any:
    found = [{"jsonrpc": "2.0", **message} if isinstance(message, dict) else message for message in messages]
    return found[0] if len(found) == 1 else found or None
