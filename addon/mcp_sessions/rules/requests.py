"""Checks of what a client sends: headers and JSON-RPC of a single request."""

from __future__ import annotations

from ..core.exchange import Exchange
from ..wire import headers as h
from ..wire.headers import HeaderMap
from ..wire.jsonrpc import Kind, dump
from ..wire.revision import is_revision
from ..wire.text import printable
from .checks import Part, on_answer, on_request
from .facts import is_whole, talk_of, valid_key
from .traits import BATCH, INITIALIZE, INVALID, KNOWN, NOTIFICATION, ODD_ID, OTHER_VERSION, PROBLEM, REQUEST, RESPONSE

JSONRPC = REQUEST | NOTIFICATION | RESPONSE


def _accepts_too_little(headers: HeaderMap) -> bool:
    return not headers.lists(h.JSON, h.SSE)


def _accepts_no_stream(headers: HeaderMap) -> bool:
    return not headers.lists(h.SSE)


def _is_not_json(headers: HeaderMap) -> bool:
    return headers.content_type != h.JSON


def _has_no_version(headers: HeaderMap) -> bool:
    return h.PROTOCOL_VERSION not in headers


def _has_version(headers: HeaderMap) -> bool:
    return is_revision(headers.get(h.PROTOCOL_VERSION, ""))


@on_request("MCP102", "GET", headers=_accepts_no_stream)
@on_request("MCP101", "POST", sent=JSONRPC, unless=INITIALIZE, headers=_accepts_too_little)
@on_answer("MCP101", "POST", needs=INITIALIZE, headers=_accepts_too_little)  # it shows which transport it is
def accept(x: Exchange) -> str:
    """`Accept` of a POST lists both media types by name, that of a GET the event stream."""
    return f"Accept: {printable(x.headers.get('accept', '(none)'))}"


@on_request("MCP103", "POST", sent=JSONRPC, headers=_is_not_json)
def post_content_type(x: Exchange) -> str:
    """JSON-RPC is sent as `application/json`."""
    return f"Content-Type: {printable(x.headers.get('content-type', '(none)'))}"


@on_request("MCP104", needs=KNOWN, unless=INITIALIZE, headers=_has_no_version)
def version_header_missing(x: Exchange) -> str | None:
    """After initialization, every request names its revision."""
    talk = talk_of(x)
    return f"{printable(x.what)} without MCP-Protocol-Version: {printable(talk.revision)}" if talk is not None else None


@on_request("MCP105", needs=KNOWN | OTHER_VERSION, unless=INITIALIZE, headers=_has_version)
def version_header_differs(x: Exchange) -> str | None:
    """The revision that is named is the one that was negotiated."""
    said = x.headers.get(h.PROTOCOL_VERSION)
    talk = talk_of(x)
    return f"{printable(said)}, negotiated {printable(talk.revision)}" if talk is not None else None


@on_request("MCP106", "POST", sent=INVALID | PROBLEM)
def body_not_jsonrpc(x: Exchange) -> str | None:
    """A POST carries JSON-RPC."""
    if x.body.sniffed:
        return None
    if x.body.problem and not x.body.batch:
        return x.body.problem
    lacks = [lack for message in x.body.messages if (lack := message.lack)]
    if not lacks:
        return None
    if not x.body.batch:
        return lacks[0]
    return f"{len(lacks)} of {len(x.body.messages)} messages of the batch, the first: {lacks[0]}"


@on_request("MCP107", "POST", sent=BATCH)
def batch(x: Exchange) -> str:
    """A POST carries one message."""
    return f"{len(x.body.messages)} messages"


@on_request("MCP108", "POST", sent=BATCH)
def batch_mixed(x: Exchange) -> str | None:
    """A batch holds either responses or requests and notifications, and never `initialize`."""
    if not x.body.messages:
        return "empty"
    if any(message.method == "initialize" for message in x.body.messages):
        return Part("initialize", "holds initialize")
    kinds = {message.kind for message in x.body.messages}
    return (
        "holds responses and others" if Kind.RESPONSE in kinds and kinds & {Kind.REQUEST, Kind.NOTIFICATION} else None
    )


@on_request("MCP109", "POST", needs=ODD_ID)
def request_id_null(x: Exchange) -> list[str] | None:
    """The id of a request is a string or an integer."""
    if x.body.sniffed:
        return None
    wrong = [
        f"{printable(message.method)} with id {printable(dump(message.id).decode())}"
        for message in x.body.messages
        if message.kind is Kind.REQUEST and not message.has_valid_id and not is_whole(message.id)
    ]
    return wrong or None


@on_request("MCP110", "POST", sent=REQUEST, needs=KNOWN)
def request_id_reused(x: Exchange) -> list[str] | None:
    """The id of a request is new in its session."""
    talk = talk_of(x)
    if talk is None or talk.ids is None or talk.ids.overflowed:
        return None
    found = []
    for message in x.body.messages:
        if message.kind is not Kind.REQUEST or not valid_key(message.id):
            continue
        before = talk.ids.find(message.id)
        if before is None:
            continue
        if before.client is not x.client and before.client.is_process and x.client.is_process:
            continue  # two clients that share a session: MCP313
        if before.refused is not None and not x.body.sniffed and before.refused == hash(dump(message.raw)):
            continue
        found.append(f"{printable(message.method)} with id {printable(message.id)}")
    return found or None
