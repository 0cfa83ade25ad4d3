"""Values in headers that repeat the body, as 2026-07-28 has them: their encoding, and which ones a tool asks for.

See basic/transports/streamable-http#custom-headers-from-tool-parameters.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from ..core.exchange import Exchange
from .places import Annotated, Place

FRESH = 300.0
"""Seconds for which a client is held to the list of tools that it was given, however soon that is stale."""
DEEP = 8
"""Levels of a schema that are looked at."""
MANY = 100
"""Properties and tools that are looked at in one place."""
KINDS = ("string", "integer", "boolean")

_ENCODED = re.compile(r"=\?base64\?([A-Za-z0-9+/]*={0,2})\?=")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


def decoded(value: str) -> str | None:
    """What a header says; None if it is encoded and can't be decoded."""
    value = value.strip(" \t")
    if not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    found = _ENCODED.fullmatch(value)
    if found is None:
        return None
    try:
        return base64.b64decode(found[1], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None


def told(place: Place, x: Exchange, tool: Any) -> tuple[Annotated, ...] | None:
    """What a tool asks for, as the client of this exchange was told lately; None if it was not."""
    if not isinstance(tool, str):
        return None
    until, annotated = place.tools.get(((x.client.key, x.credentials), tool), (0.0, ()))
    return annotated if x.at < until else None


def remember(place: Place, x: Exchange, result: dict[str, Any], at: float) -> None:
    """Note what the tools of a list ask for, and who was told."""
    tools = result.get("tools")
    for tool in tools[:MANY] if isinstance(tools, list) else ():
        name = tool.get("name") if isinstance(tool, dict) else None
        if not isinstance(name, str):
            continue
        found: list[Annotated] = []
        valid = _walk(tool.get("inputSchema"), (), found)
        names = [entry.header.lower() for entry in found]
        if not valid or len(names) != len(set(names)):
            found = []
        place.tools.put(((x.client.key, x.credentials), name), (at + FRESH, tuple(found)))


def _walk(schema: Any, path: tuple[str, ...], found: list[Annotated]) -> bool:
    """Collect the annotations of a schema's properties; whether all of them are valid."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or len(path) >= DEEP:
        return True
    for name, below in list(properties.items())[:MANY]:
        if not isinstance(below, dict):
            continue
        header = below.get("x-mcp-header")
        if header is not None:
            kind = below.get("type")
            if not isinstance(header, str) or not _TOKEN.fullmatch(header) or kind not in KINDS:
                return False
            found.append(Annotated((*path, name), header, kind))
        if not _walk(below, (*path, name), found):
            return False
    return True


def value_at(arguments: Any, path: tuple[str, ...]) -> Any:
    """The value that an annotated parameter has in a call; None if it has none."""
    for name in path:
        arguments = arguments.get(name) if isinstance(arguments, dict) else None
    return arguments


def equals(said: str, value: Any) -> bool:
    """Whether a header, decoded, says the same as the value in the body: integers as numbers."""
    if isinstance(value, bool):
        return said == ("true" if value else "false")
    if isinstance(value, (int, float)):
        try:
            return bool(float(said) == value)
        except ValueError:
            return False
    return bool(said == value)
