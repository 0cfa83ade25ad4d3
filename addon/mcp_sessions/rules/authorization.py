"""Checks of authorization as far as the transport shows it."""

from __future__ import annotations

from urllib.parse import parse_qsl

from ..core.exchange import Exchange
from ..wire.headers import HeaderMap
from ..wire.text import printable
from .checks import on_answer, on_request
from .traits import INITIALIZE, OK, QUERY

QUERY_LIMIT = 16_384
"""Characters of a query that are looked at."""


def _has_no_challenge(headers: HeaderMap) -> bool:
    return "www-authenticate" not in headers


@on_request("MCP701", needs=QUERY)
def token_in_query(x: Exchange) -> str | None:
    """An access token is no part of the URL. Its value is never told."""
    _, _, query = x.url.partition("?")
    scheme, _, token = x.headers.get("authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    for name, value in parse_qsl(query[:QUERY_LIMIT]):
        if value and (name == "access_token" or (token and value == token)):
            return f"in the parameter {printable(name)}"
    return None


@on_answer("MCP702", unless=OK | INITIALIZE, told=_has_no_challenge)
def challenge_missing(x: Exchange) -> str | None:
    """A 401 says where to get a token, in the revision that was agreed upon; on `initialize` there is none yet."""
    return f"{printable(x.what)} answered 401" if x.status == 401 else None
