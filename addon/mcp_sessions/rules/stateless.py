"""Checks of the stateless era, 2026-07-28."""

from __future__ import annotations

from ..core.exchange import Exchange, Finish
from ..wire import headers as h
from ..wire.jsonrpc import HEADER_MISMATCH, METHOD_NOT_FOUND, Body, Kind, Message
from ..wire.revision import FIRST_STATELESS, META_CAPABILITIES, META_VERSION
from ..wire.text import printable
from .checks import Arrival, on_answer, on_event, on_finish, on_request
from .facts import is_integer, meta_of, notes
from .traits import CACHEABLE, MISMATCHED, REFUSED, REQUEST, RESPONSE, RESULT, UNTYPED, has_id

PROPER_REFUSALS = frozenset({HEADER_MISMATCH, -32022, METHOD_NOT_FOUND, -32602})
"""Errors with which a request may be refused whose header and body differ."""


@on_request("MCP601", "POST", headers=has_id)
def session_id_in_stateless(x: Exchange) -> str:
    """A stateless request carries no session id."""
    return printable(x.what)


@on_answer("MCP602", told=has_id)
def session_id_minted(x: Exchange) -> str | None:
    """A server that supports nothing older does not answer a request with a session id."""
    place = notes(x).place
    return f"on the {x.status} answer to {printable(x.what)}" if place.only_modern and not place.assigns else None


@on_request("MCP603", needs=MISMATCHED)
def method_header(x: Exchange) -> str | None:
    """`Mcp-Method` says the body's method."""
    return _mismatches(x).get("method")


@on_request("MCP604", needs=MISMATCHED)
def name_header(x: Exchange) -> str | None:
    """`Mcp-Name` says the body's name or uri."""
    return _mismatches(x).get("name")


@on_request("MCP605", needs=MISMATCHED)
def version_meta(x: Exchange) -> str | None:
    """`MCP-Protocol-Version` says the version of `_meta`."""
    found = _mismatches(x)
    return found.get("version") or found.get("no version")


@on_finish("MCP606", needs=MISMATCHED)
def mismatch_accepted(x: Exchange) -> str | None:
    """A request whose header and body differ is refused."""
    kept = notes(x)
    found = [what for kind, what in _mismatches(x).items() if kind != "no version"]
    if not found or not kept.place.modern or x.finish is not Finish.COMPLETE:
        return None
    if x.ok:
        return f"answered {x.status}: {found[0]}"
    code = x.answer.first.error_code if x.answer and x.answer.first else None
    wrong = x.status == 400 and code is not None and code not in PROPER_REFUSALS
    return f"answered 400 with {code}: {found[0]}" if wrong else None


@on_request("MCP607", "POST", sent=RESPONSE)
def client_response_sent(x: Exchange) -> str | None:
    """A client sends no responses."""
    return "" if not x.body.sniffed and x.headers.get(h.PROTOCOL_VERSION) == FIRST_STATELESS else None


@on_event("MCP608", said=REQUEST)
def server_request_sent(x: Exchange, it: Arrival) -> list[str] | None:
    """A server sends no requests."""
    if it.body is None or x.headers.get(h.PROTOCOL_VERSION) != FIRST_STATELESS:
        return None
    if meta_of(x.message).get(META_VERSION) != FIRST_STATELESS:
        return None
    return [printable(message.method) for message in it.body.messages if message.kind is Kind.REQUEST] or None


@on_answer("MCP609", "POST", sent=REQUEST, needs=REFUSED)
def unknown_method_answer(x: Exchange) -> str | None:
    """An unknown method is answered 404."""
    return _not_404(x, x.answer)


@on_event("MCP609", said=RESPONSE)
def unknown_method_on_stream(x: Exchange, it: Arrival) -> str | None:
    """An unknown method is answered 404, not on a stream."""
    return _not_404(x, it.body)


def _not_404(x: Exchange, body: Body | None) -> str | None:
    message = _response(x, body)
    if message is None or message.error_code != METHOD_NOT_FOUND or x.status == 404 or not notes(x).place.modern:
        return None
    return f"{printable(x.method)} answered {x.status}"


@on_request("MCP610", "GET")
@on_request("MCP610", "DELETE")
def legacy_verb(x: Exchange) -> str:
    """A stateless client sends POST only."""
    return x.verb


@on_request("MCP611", "POST", sent=REQUEST)
def capabilities_meta(x: Exchange) -> str | None:
    """A request says what its client can do."""
    message = _request(x)
    if message is None or isinstance(meta_of(message).get(META_CAPABILITIES), dict):
        return None
    return printable(message.method)


@on_request("MCP612", needs=MISMATCHED)
def param_header(x: Exchange) -> str | None:
    """`Mcp-Param-*` say what the call's arguments say."""
    return _mismatches(x).get("param")


@on_answer("MCP613", "POST", sent=REQUEST, needs=RESULT | UNTYPED)
def result_type_missing(x: Exchange) -> str | None:
    """A result says of which type it is."""
    return _untyped(x, x.answer)


@on_event("MCP613", said=RESPONSE)
def result_type_missing_on_stream(x: Exchange, it: Arrival) -> str | None:
    """A result on a stream says of which type it is."""
    return _untyped(x, it.body)


def _untyped(x: Exchange, body: Body | None) -> str | None:
    message = _response(x, body)
    if message is None or message.result is None or not notes(x).place.modern:
        return None
    return None if isinstance(message.result.get("resultType"), str) else printable(x.method)


@on_answer("MCP614", "POST", sent=REQUEST, needs=RESULT | CACHEABLE)
def cache_hints_missing(x: Exchange) -> str | None:
    """What may be cached says for how long and for whom."""
    return _unhinted(x, x.answer)


@on_event("MCP614", said=RESPONSE, needs=CACHEABLE)
def cache_hints_missing_on_stream(x: Exchange, it: Arrival) -> str | None:
    """What may be cached says so on a stream, too."""
    return _unhinted(x, it.body)


def _unhinted(x: Exchange, body: Body | None) -> str | None:
    message = _response(x, body)
    if message is None or message.result is None or not notes(x).place.modern:
        return None
    if message.result.get("resultType", "complete") != "complete":
        return None
    ttl = message.result.get("ttlMs")
    if not is_integer(ttl) or ttl < 0:
        return f"{x.method} without a valid ttlMs"
    return None if message.result.get("cacheScope") in ("public", "private") else f"{x.method} without a cacheScope"


def _mismatches(x: Exchange) -> dict[str, str]:
    return notes(x).mismatch or {}


def _request(x: Exchange) -> Message | None:
    """The single request of an exchange; None if it is anything else."""
    message = x.message
    return message if message is not None and message.kind is Kind.REQUEST and not x.body.batch else None


def _response(x: Exchange, body: Body | None) -> Message | None:
    """The response to the request of an exchange, if this is one."""
    message = body.first if body else None
    if message is None or message.kind is not Kind.RESPONSE or x.message is None or body is None or body.sniffed:
        return None
    return message if message.id == x.message.id and x.message.kind is Kind.REQUEST else None
