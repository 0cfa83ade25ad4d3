"""What the headers of a stateless request say otherwise than its body: compared once, judged by several rules."""

from __future__ import annotations

from ..core.exchange import Exchange
from ..wire import headers as h
from ..wire.jsonrpc import Kind, Message
from ..wire.revision import META_VERSION
from ..wire.text import printable
from . import mirrored
from .facts import meta_of
from .places import Place

NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The parameter that `Mcp-Name` repeats, by method."""


def mismatches(x: Exchange, place: Place) -> dict[str, str] | None:
    """The headers of a request that do not say what its body says, by kind, and how; None if all do."""
    message = x.message
    if message is None or message.kind is not Kind.REQUEST or x.body.batch or x.body.sniffed:
        return None
    return dict(_compare(x, message, place)) or None


def _compare(x: Exchange, message: Message, place: Place) -> list[tuple[str, str]]:
    found = []
    headers, params = x.headers, message.params
    method = headers.get(h.METHOD)
    if method is None:
        found.append(("method", f"{printable(message.method)} without Mcp-Method"))
    elif method.strip(" \t") != message.method:
        found.append(("method", f"Mcp-Method: {printable(method)}, body {printable(message.method)}"))
    named = NAMED_BY.get(message.method or "")
    wanted = params.get(named) if named is not None else None
    if isinstance(wanted, str):
        name = headers.get(h.NAME)
        if name is None:
            found.append(("name", f"{printable(message.method)} without Mcp-Name"))
        elif mirrored.decoded(name) != wanted:
            found.append(("name", f"Mcp-Name: {printable(name)}, body {printable(wanted)}"))
    said, inside = headers.get(h.PROTOCOL_VERSION), meta_of(message).get(META_VERSION)
    body = f"_meta {printable(inside or '(none)')}"
    if said is None:
        found.append(("no version", f"no MCP-Protocol-Version, {body}"))
    elif said.strip(" \t") != inside:
        found.append(("version", f"MCP-Protocol-Version: {printable(said)}, {body}"))
    if message.method == "tools/call" and place.tools:
        wrong = _wrong_param(x, message, place)
        if wrong:
            found.append(("param", wrong))
    return found


def _wrong_param(x: Exchange, message: Message, place: Place) -> str | None:
    wanted = mirrored.told(place, x, message.params.get("name")) or ()
    for entry in wanted:
        header = f"Mcp-Param-{entry.header}"
        said = x.headers.get(header.lower())
        value = mirrored.value_at(message.params.get("arguments"), entry.path)
        if value is None:
            if said is not None:
                return f"{header} although the argument is null or absent"
        elif said is None:
            return f"{header} is missing"
        else:
            plain = mirrored.decoded(said)
            if plain is None or not mirrored.equals(plain, value):
                return f"{header} does not say what the argument says"
    return None
