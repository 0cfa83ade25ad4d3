"""Checks of what a client sends: headers and JSON-RPC of a single request."""

from __future__ import annotations

from ..exchange import Exchange
from ..ledger import printable
from ..wire import headers as h
from .checks import on_request


@on_request("MCP101")
def post_accept(x: Exchange) -> str | None:
    """`Accept` of a POST lists both media types by name."""
    if x.verb != "POST" or x.headers.lists(h.JSON, h.SSE):
        return None
    return f"Accept: {printable(x.headers.get('accept', '(none)'))}"


@on_request("MCP102")
def get_accept(x: Exchange) -> str | None:
    """`Accept` of a GET lists the event stream by name."""
    if x.verb != "GET" or x.headers.lists(h.SSE):
        return None
    return f"Accept: {printable(x.headers.get('accept', '(none)'))}"


@on_request("MCP104")
def version_header_missing(x: Exchange) -> str | None:
    """After initialization, every request names its revision."""
    if x.session is None or x.is_initialize or h.PROTOCOL_VERSION in x.headers:
        return None
    return f"{x.what} without MCP-Protocol-Version: {x.session.revision}"


@on_request("MCP105")
def version_header_differs(x: Exchange) -> str | None:
    """The revision that is named is the one that was negotiated."""
    said = x.headers.get(h.PROTOCOL_VERSION)
    session = x.session
    if said is None or session is None or session.initialize is None or x.is_initialize or not session.revision:
        return None
    return None if said == session.revision else f"{printable(said)}, negotiated {session.revision}"
