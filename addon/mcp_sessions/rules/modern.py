"""Checks of 2026-07-28 beside its headers: errors, discovery, subscriptions, logs, lists, and names in `_meta`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..core.exchange import Exchange, Finish
from ..wire import headers as h
from ..wire.headers import HeaderMap
from ..wire.jsonrpc import HEADER_MISMATCH, METHOD_NOT_FOUND, Kind, Message, dump
from ..wire.revision import META_CAPABILITIES, META_VERSION
from ..wire.text import printable
from . import mirrored
from .checks import Arrival, on_answer, on_event, on_finish, on_request
from .facts import meta_of, notes
from .places import Place
from .replies import on_error, on_reply
from .traits import CALL, DISCOVER, DUE, LIST, LISTEN, MISMATCHED, NOTIFICATION, OK, REQUEST, STATELESS, STREAMED

INVALID_PARAMS = -32602
WITH_400 = frozenset({HEADER_MISMATCH, -32021, -32022})
"""Errors that go with status 400."""
RETIRED = frozenset({-32002, -32042})
RESERVED = range(-32099, -32022)
"""Codes that the specification keeps for itself and has not given a meaning."""
STANDARD = frozenset({-32700, *range(-32603, -32599)})

META_CLIENT = "io.modelcontextprotocol/clientInfo"
META_SERVER = "io.modelcontextprotocol/serverInfo"
META_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
META_LOG_LEVEL = "io.modelcontextprotocol/logLevel"
LEVELS = frozenset({"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"})

FILTERS = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
    "notifications/resources/updated": "resourceSubscriptions",
}
"""What a client asks for to be told of these."""
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"

SAID_LIMIT = 1_000
"""Things that are complained of once at an endpoint."""


def once(place: Place, what: str) -> bool:
    """Whether it is the first time that this is complained of at an endpoint."""
    if what in place.said or len(place.said) > SAID_LIMIT:
        return False
    place.said.add(what)
    return True


# Errors


@on_error("MCP615", needs=STATELESS)
def error_answer(x: Exchange, message: Message) -> str | None:
    """The errors of this revision come with status 400 and say what they are about."""
    code, data = message.error_code, (message.error or {}).get("data")
    if code not in WITH_400:
        return None
    if x.status != 400:
        return f"{code} with status {x.status}"
    about = data if isinstance(data, dict) else {}
    if code == -32022 and not isinstance(about.get("supported"), list):
        return "-32022 without data.supported"
    if code == -32021 and not isinstance(about.get("requiredCapabilities"), dict):
        return "-32021 without data.requiredCapabilities"
    return None


@on_error("MCP616", needs=STATELESS)
def error_code_reserved(x: Exchange, message: Message) -> str | None:
    """An error has no code that is retired, or kept for later."""
    code = message.error_code
    if code is None or not notes(x).place.modern or (code not in RETIRED and code not in RESERVED):
        return None
    return f"{printable(x.method)} answered {code}"


@on_error("MCP617", needs=STATELESS)
def error_code_legacy(x: Exchange, message: Message) -> str | None:
    """An error of one's own has a code beyond those of JSON-RPC."""
    code = message.error_code
    if code is None or not -32768 <= code <= -32000 or code in STANDARD or code in RETIRED:
        return None
    if code in WITH_400 or code in RESERVED or not notes(x).place.modern:
        return None
    return f"{printable(x.method)} answered {code}" if once(notes(x).place, f"MCP617 {code}") else None


def _lacks_meta(x: Exchange) -> str | None:
    """The required member of `_meta` that a request lacks."""
    if x.body.batch or x.body.sniffed or x.message is None or x.message.kind is not Kind.REQUEST:
        return None
    meta = meta_of(x.message)
    if not isinstance(meta.get(META_VERSION), str):
        return META_VERSION
    return None if isinstance(meta.get(META_CAPABILITIES), dict) else META_CAPABILITIES


@on_reply("MCP618", needs=STATELESS)
def required_meta_accepted(x: Exchange, _: Message) -> str | None:
    """A request without what is required is refused."""
    lacking = _lacks_meta(x)
    return f"answered {x.status} without {lacking}" if lacking is not None and notes(x).place.modern else None


@on_error("MCP618", needs=STATELESS)
def required_meta_status(x: Exchange, message: Message) -> str | None:
    """... with status 400."""
    lacking = _lacks_meta(x)
    if lacking is None or message.error_code != INVALID_PARAMS or x.status == 400 or not notes(x).place.modern:
        return None
    return f"-32602 with status {x.status}, without {lacking}"


@on_error("MCP626", needs=DISCOVER | STATELESS)
def discover_missing(x: Exchange, message: Message) -> str | None:
    """A server of this revision can be discovered."""
    return f"answered {METHOD_NOT_FOUND}" if message.error_code == METHOD_NOT_FOUND and _is_modern(x) else None


@on_error("MCP628", needs=STATELESS, unless=MISMATCHED)
def mismatch_claimed(x: Exchange, message: Message) -> str | None:
    """Headers that say what the body says are taken for that."""
    if message.error_code != HEADER_MISMATCH or x.message is None:
        return None
    if x.method == "tools/call":
        if mirrored.told(notes(x).place, x, x.message.params.get("name")) is None:
            return None  # who knows what it asks for
    elif any(name.startswith("mcp-param-") for name in x.headers):
        return None
    return f"{printable(x.what)} answered {HEADER_MISMATCH}"


def _is_modern(x: Exchange) -> bool:
    return notes(x).place.modern


# Subscriptions, logs, and what comes on a stream


@on_event("MCP619", said=NOTIFICATION, needs=LISTEN | STATELESS)
def listen_unacknowledged(x: Exchange, it: Arrival) -> str | None:
    """A subscription is acknowledged before anything comes of it."""
    kept = notes(x)
    if it.body is None or it.body.first is None or kept.acknowledged:
        return None
    kept.acknowledged = True
    method = it.body.first.method
    return None if method == ACKNOWLEDGED else f"{printable(method)} came first"


@on_event("MCP620", said=NOTIFICATION, needs=LISTEN | STATELESS)
def subscription_id(x: Exchange, it: Arrival) -> list[str] | None:
    """What comes of a subscription says of which."""
    if it.body is None or x.message is None or x.body.sniffed or it.body.sniffed:
        return None
    asked = x.message.id
    found = [m for m in it.body.messages if m.kind is Kind.NOTIFICATION and meta_of(m).get(META_SUBSCRIPTION) != asked]
    return [f"{printable(m.method)}: {_said(m)}" for m in found] or None


def _said(message: Message) -> str:
    meta = meta_of(message)
    return printable(dump(meta[META_SUBSCRIPTION]).decode(), 80) if META_SUBSCRIPTION in meta else "none"


@on_event("MCP621", said=NOTIFICATION, needs=LISTEN | STATELESS)
def notification_unrequested(x: Exchange, it: Arrival) -> list[str] | None:
    """A subscription brings what was asked for."""
    asked = x.message.params.get("notifications") if x.message is not None else None
    if it.body is None or x.body.sniffed or not isinstance(asked, dict):
        return None
    found = []
    for message in it.body.messages:
        needed = FILTERS.get(message.method or "")
        if needed is not None and message.kind is Kind.NOTIFICATION and not asked.get(needed):
            found.append(f"{message.method} without {needed}")
    return found or None


@on_event("MCP622", said=NOTIFICATION, needs=STATELESS)
def log_unrequested(x: Exchange, it: Arrival) -> str | None:
    """Log messages come to a request that asked for them."""
    if it.body is None or x.body.sniffed or not any(m.method == "notifications/message" for m in it.body.messages):
        return None
    if x.method == "subscriptions/listen":
        return "on a subscription"
    return None if META_LOG_LEVEL in meta_of(x.message) else f"{printable(x.what)} did not ask for a logLevel"


@on_event("MCP629", said=NOTIFICATION, needs=STATELESS, unless=LISTEN)
def unrelated_notification(_: Exchange, it: Arrival) -> list[str] | None:
    """The stream of a request brings what is about it."""
    if it.body is None:
        return None
    found = [str(m.method) for m in it.body.messages if m.method in FILTERS or m.method == ACKNOWLEDGED]
    return found or None


@on_event("MCP630", said=NOTIFICATION, needs=STATELESS, unless=LISTEN)
def cancelled_by_server(x: Exchange, it: Arrival) -> str | None:
    """A server cancels subscriptions only."""
    cancelled = it.body is not None and any(m.method == "notifications/cancelled" for m in it.body.messages)
    return f"on the stream of {printable(x.what)}" if cancelled else None


@on_finish("MCP631", "POST", needs=LISTEN | STATELESS | STREAMED | DUE)
def listen_ended_silently(x: Exchange) -> str | None:
    """A subscription that its server ends is answered."""
    kept = notes(x)
    if x.finish is not Finish.COMPLETE or kept.unread or kept.cancelled:
        return None
    return f"after {x.events} events"


@on_reply("MCP640", needs=STATELESS)
def log_level_unknown(x: Exchange, _: Message) -> str | None:
    """A log level that there is not is refused."""
    level = meta_of(x.message).get(META_LOG_LEVEL)
    return f"logLevel {printable(level, 40)}" if level is not None and level not in LEVELS and _is_modern(x) else None


# What is said with every message, once for whoever leaves it out


def _does_not_stop_buffers(headers: HeaderMap) -> bool:
    return headers.content_type == h.SSE and headers.get("x-accel-buffering", "").strip().lower() != "no"


@on_answer("MCP632", "POST", needs=STATELESS | OK, told=_does_not_stop_buffers)
def buffering_not_off(x: Exchange) -> str | None:
    """A stream asks not to be buffered."""
    return printable(x.what) if once(notes(x).place, "MCP632") else None


@on_request("MCP633", "POST", sent=REQUEST, needs=STATELESS)
def client_info_missing(x: Exchange) -> str | None:
    """A client says who it is."""
    if x.body.sniffed or META_CLIENT in meta_of(x.message) or not once(notes(x).place, f"MCP633 {x.client.label}"):
        return None
    return printable(x.what)


@on_reply("MCP634", needs=STATELESS)
def server_info_missing(x: Exchange, message: Message) -> str | None:
    """A server says who it is."""
    meta = (message.result or {}).get("_meta")
    if (isinstance(meta, dict) and META_SERVER in meta) or not _is_modern(x):
        return None
    return printable(x.what) if once(notes(x).place, "MCP634") else None


# Lists


@on_reply("MCP635", needs=LIST | STATELESS)
def cache_scope_varies(x: Exchange, message: Message) -> str | None:
    """The pages of a list have one scope."""
    result = message.result or {}
    scope, cursor, pages = result.get("cacheScope"), result.get("nextCursor"), notes(x).place.pages
    asked = x.message.params.get("cursor") if x.message is not None else None
    before = pages.get(hash((x.credentials, x.method, asked))) if isinstance(asked, str) else None
    if isinstance(cursor, str) and isinstance(scope, str):
        pages.put(hash((x.credentials, x.method, cursor)), scope[:20])
    if before is None or not isinstance(scope, str) or before == scope[:20]:
        return None
    return f"{printable(x.method)}: {printable(before)}, then {printable(scope, 20)}"


@on_reply("MCP636", needs=LIST | STATELESS)
def list_order_varies(x: Exchange, message: Message) -> str | None:
    """A list of tools that has not changed has its order."""
    result = message.result or {}
    tools = result.get("tools")
    if not isinstance(tools, list) or "nextCursor" in result or (x.message and "cursor" in x.message.params):
        return None
    hashes = [hash(dump(tool)) for tool in tools[:2_000]]
    place, now = notes(x).place, (hash(frozenset(hashes)), hash(tuple(hashes)))
    before = place.orders.get(x.credentials)
    place.orders.put(x.credentials, now)
    if before is None or before[0] != now[0] or before[1] == now[1]:
        return None
    return f"{len(tools)} tools" if once(place, "MCP636") else None


@on_reply("MCP627", needs=LIST | STATELESS)
def annotation_invalid(x: Exchange, message: Message) -> list[str] | None:
    """`x-mcp-header` names a header, for a parameter that can be put into one."""
    tools = (message.result or {}).get("tools")
    found = []
    for tool in tools[:100] if isinstance(tools, list) else ():
        schema = tool.get("inputSchema") if isinstance(tool, dict) else None
        names: list[str] = []
        wrong = next(misplaced(schema, names), None) if isinstance(schema, dict) else None
        if wrong is None and len(names) != len(set(names)):
            wrong = "two parameters have one header"
        name = tool.get("name") if isinstance(tool, dict) else None
        if isinstance(name, str):
            notes(x).place.misannotated.put((x.credentials, name), x.answered_at if wrong else None)
        if wrong is not None and once(notes(x).place, f"MCP627 {printable(name, 100)}"):
            found.append(f"{printable(name, 100)}: {wrong}")
    return found or None


@on_request("MCP639", "POST", sent=REQUEST, needs=CALL | STATELESS)
def misannotated_called(x: Exchange) -> str | None:
    """A client leaves out the tools whose annotations are invalid."""
    name = x.message.params.get("name") if x.message is not None else None
    if not isinstance(name, str):
        return None
    at = notes(x).place.misannotated.get((x.credentials, name))
    if at is None or x.at - at > 300 or not x.client.is_process:
        return None
    return printable(name) if once(notes(x).place, f"MCP639 {printable(name, 100)}") else None


def misplaced(schema: dict[str, Any], names: list[str]) -> Iterator[str]:
    """What is wrong with the `x-mcp-header` in a schema; `names` gets those that are right, in small letters."""
    waiting: list[tuple[Any, bool, bool]] = [(schema, True, True)]
    looked_at = 0
    while waiting and looked_at < 1_000:
        node, reachable, root = waiting.pop()
        looked_at += 1
        if isinstance(node, list):
            waiting += [(item, False, False) for item in node[:100]]
        if not isinstance(node, dict):
            continue
        header, kind = node.get("x-mcp-header"), node.get("type")
        if header is not None and not root:
            if not isinstance(header, str) or not header or not _is_token(header):
                yield "x-mcp-header is no name of a header"
            elif not reachable:
                yield f"{printable(header, 40)} is not reachable through properties alone"
            elif isinstance(kind, str) and kind not in ("string", "integer", "boolean"):
                yield f"{printable(header, 40)} is of type {printable(kind, 40)}"
            else:
                names.append(header.lower())
        for key, value in list(node.items())[:100]:
            if key == "properties" and isinstance(value, dict):
                waiting += [(one, reachable, False) for one in list(value.values())[:100]]
            elif key in _SCHEMAS:
                waiting.append((value, False, False))
            elif key in ("$defs", "definitions", "patternProperties", "dependentSchemas") and isinstance(value, dict):
                waiting += [(one, False, False) for one in list(value.values())[:100]]


_SCHEMAS = ("items", "prefixItems", "oneOf", "anyOf", "allOf", "not", "if", "then", "else", "additionalProperties")


def _is_token(text: str) -> bool:
    return text.isascii() and all(one.isalnum() or one in "!#$%&'*+-.^_`|~" for one in text)
