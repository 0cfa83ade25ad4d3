"""Checks of authorization as far as the transport shows it."""

from __future__ import annotations

from urllib.parse import parse_qsl

from ..core.exchange import Exchange
from ..wire.text import printable
from .checks import on_answer, on_request

QUERY_LIMIT = 16_384
"""Characters of a query that are looked at."""


@on_request("MCP701")
def token_in_query(x: Exchange) -> str | None:
    """An access token is no part of the URL. Its value is never told."""
    _, _, query = x.url.partition("?")
    if not query:
        return None
    scheme, _, token = x.headers.get("authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    for name, value in parse_qsl(query[:QUERY_LIMIT]):
        if value and (name == "access_token" or (token and value == token)):
            return f"in the parameter {printable(name)}"
    return None


@on_answer("MCP702", ok=False)
def challenge_missing(x: Exchange) -> str | None:
    """A 401 says where to get a token."""
    if x.status != 401 or x.answer_headers is None or "www-authenticate" in x.answer_headers:
        return None
    return f"{printable(x.what)} answered 401"
