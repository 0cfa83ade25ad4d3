"""Checks of what a client sends: headers and JSON-RPC of a single request."""

from __future__ import annotations

from ..core.exchange import Exchange
from ..wire import headers as h
from ..wire.jsonrpc import Kind, dump
from ..wire.revision import is_revision
from ..wire.text import printable
from .checks import on_request
from .facts import is_whole, talk_of, valid_key


@on_request("MCP101", "POST")
def post_accept(x: Exchange) -> str | None:
    """`Accept` of a POST lists both media types by name."""
    if x.verb != "POST" or not _is_jsonrpc(x) or x.headers.lists(h.JSON, h.SSE):
        return None
    return f"Accept: {printable(x.headers.get('accept', '(none)'))}"


@on_request("MCP102", "GET")
def get_accept(x: Exchange) -> str | None:
    """`Accept` of a GET lists the event stream by name."""
    if x.verb != "GET" or x.headers.lists(h.SSE):
        return None
    return f"Accept: {printable(x.headers.get('accept', '(none)'))}"


@on_request("MCP103", "POST")
def post_content_type(x: Exchange) -> str | None:
    """JSON-RPC is sent as `application/json`."""
    if x.verb != "POST" or x.headers.content_type == h.JSON or not _is_jsonrpc(x):
        return None
    return f"Content-Type: {printable(x.headers.get('content-type', '(none)'))}"


@on_request("MCP104")
def version_header_missing(x: Exchange) -> str | None:
    """After initialization, every request names its revision."""
    talk = talk_of(x)
    if talk is None or not talk.known or x.is_initialize or h.PROTOCOL_VERSION in x.headers:
        return None
    return f"{printable(x.what)} without MCP-Protocol-Version: {printable(talk.revision)}"


@on_request("MCP105")
def version_header_differs(x: Exchange) -> str | None:
    """The revision that is named is the one that was negotiated."""
    said = x.headers.get(h.PROTOCOL_VERSION)
    talk = talk_of(x)
    if said is None or talk is None or not talk.known or x.is_initialize or not is_revision(said):
        return None
    return None if said == talk.revision else f"{printable(said)}, negotiated {printable(talk.revision)}"


@on_request("MCP106", "POST")
def body_not_jsonrpc(x: Exchange) -> str | None:
    """A POST carries JSON-RPC."""
    if x.verb != "POST" or x.body.sniffed:
        return None
    if x.body.problem and not x.body.batch:
        return x.body.problem
    wrong = sum(message.kind is Kind.INVALID for message in x.body.messages)
    if not wrong:
        return None
    return f"{wrong} of {len(x.body.messages)} messages of the batch" if x.body.batch else "not a JSON-RPC 2.0 message"


@on_request("MCP107", "POST")
def batch(x: Exchange) -> str | None:
    """A POST carries one message."""
    return f"{len(x.body.messages)} messages" if x.body.batch else None


@on_request("MCP108", "POST")
def batch_mixed(x: Exchange) -> str | None:
    """A batch holds either responses or requests and notifications, and never `initialize`."""
    if not x.body.batch:
        return None
    if not x.body.messages:
        return "empty"
    if any(message.method == "initialize" for message in x.body.messages):
        return "holds initialize"
    kinds = {message.kind for message in x.body.messages}
    return (
        "holds responses and others" if Kind.RESPONSE in kinds and kinds & {Kind.REQUEST, Kind.NOTIFICATION} else None
    )


@on_request("MCP109", "POST")
def request_id_null(x: Exchange) -> list[str] | None:
    """The id of a request is a string or an integer."""
    if x.verb != "POST" or x.body.sniffed:
        return None
    wrong = [
        f"{printable(message.method)} with id {printable(dump(message.id).decode())}"
        for message in x.body.messages
        if message.kind is Kind.REQUEST and not message.has_valid_id and not is_whole(message.id)
    ]
    return wrong or None


@on_request("MCP110", "POST")
def request_id_reused(x: Exchange) -> list[str] | None:
    """The id of a request is new in its session."""
    talk = talk_of(x)
    if x.verb != "POST" or talk is None or not talk.known or talk.ids.overflowed:
        return None
    found = []
    for message in x.body.messages:
        if message.kind is not Kind.REQUEST or not valid_key(message.id):
            continue
        before = talk.ids.get(message.id)
        if before is None:
            continue
        if before.client is not x.client and before.client.is_process and x.client.is_process:
            continue  # two clients that share a session: MCP313
        if before.refused is not None and not x.body.sniffed and before.refused == hash(dump(message.raw)):
            continue
        found.append(f"{printable(message.method)} with id {printable(message.id)}")
    return found or None


def _is_jsonrpc(x: Exchange) -> bool:
    return any(message.kind is not Kind.INVALID for message in x.body.messages)
