"""What a session holds at its server, learnt from the traffic: restored after a recovery, or compared with.

Log level and subscriptions are set again before anything is resent. Of the lists that the client has read (tools,
prompts, resources) a digest is kept, so that it can be told when the new server offers something else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from ...wire.jsonrpc import Message, dump

SUBSCRIPTION_LIMIT = 1000
TOOL_LIMIT = 5_000
PAGE_SIZE = 512 * 1024
"""Bytes of one page of a list that are looked at."""
URI_LIMIT = 2048
"""Characters of a URI that is kept."""
SUBSCRIPTIONS_SIZE = 64 * 1024
"""Characters of all subscriptions of a session together."""
NAME_LIMIT = 256
"""Characters of a tool's name that is kept."""
SHARED_LIMIT = 1_000
"""Entries up to which equal sets are kept once."""


class Listing(NamedTuple):
    """A list that a client may read, and how it is told that the list has changed."""

    method: str
    items: str
    """The member of the result that holds the list."""
    capability: str
    notification: str


LISTINGS = (
    Listing("tools/list", "tools", "tools", "notifications/tools/list_changed"),
    Listing("prompts/list", "prompts", "prompts", "notifications/prompts/list_changed"),
    Listing("resources/list", "resources", "resources", "notifications/resources/list_changed"),
    Listing("resources/templates/list", "resourceTemplates", "resources", "notifications/resources/list_changed"),
)

SAFE_HINTS = ("readOnlyHint", "idempotentHint")
"""Annotations of a tool that make it safe to call again (server/tools)."""


@dataclass(slots=True)
class Held:
    """What one session holds."""

    level: str | None = None
    subscriptions: dict[str, None] = field(default_factory=dict)
    lists: dict[str, frozenset[bytes]] = field(default_factory=dict)
    """Digests of the items that the client has read, by method."""
    safe_tools: frozenset[str] = frozenset()
    """Tools that say of themselves that calling them again does no harm."""
    full: bool = False
    """Something of it was too much to be kept, and this was said."""
    untold: list[str] = field(default_factory=list)
    """Notifications that the client is still to be given, as the first events of its next stream."""

    def copy(self) -> Held:
        """The same for another session of the same client."""
        return replace(self, subscriptions={**self.subscriptions}, lists={**self.lists}, untold=[*self.untold])


def remember(held: Held, request: Message, response: Message) -> bool:
    """A request was answered: keep what it means for the session; False if that was too much."""
    if response.result is None or request.method is None:
        return True
    keep = KEEPERS.get(request.method)
    return keep is None or keep(held, request.params, response.result)


def promised(answer: dict[str, Any] | None, listing: Listing) -> bool:
    """Whether a server has promised, in its `initialize` result, to tell of changes to this list."""
    capabilities = answer.get("capabilities") if answer else None
    capability = capabilities.get(listing.capability) if isinstance(capabilities, dict) else None
    return isinstance(capability, dict) and capability.get("listChanged") is True


def worth_comparing(held: Held, answer: dict[str, Any] | None) -> list[Listing]:
    """The lists that the client has read and was promised to be told about."""
    return [listing for listing in LISTINGS if listing.method in held.lists and promised(answer, listing)]


def compare(held: Held, listing: Listing, found: frozenset[bytes]) -> bool:
    """Whether the list, of whose items these are the digests, is another one now; if so, the client is to be told."""
    if found == held.lists.get(listing.method):
        return False
    held.lists[listing.method] = found
    if listing.notification not in held.untold:
        held.untold.append(listing.notification)
    return True


def _set_level(held: Held, params: dict[str, Any], _: dict[str, Any]) -> bool:
    level = params.get("level")
    if isinstance(level, str):
        held.level = level[:64]
    return True


def _subscribe(held: Held, params: dict[str, Any], _: dict[str, Any]) -> bool:
    uri = params.get("uri")
    if not isinstance(uri, str) or uri in held.subscriptions:
        return True
    if len(uri) > URI_LIMIT or len(held.subscriptions) >= SUBSCRIPTION_LIMIT:
        return False
    if sum(map(len, held.subscriptions)) + len(uri) > SUBSCRIPTIONS_SIZE:
        return False
    held.subscriptions[uri] = None
    return True


def _unsubscribe(held: Held, params: dict[str, Any], _: dict[str, Any]) -> bool:
    uri = params.get("uri")
    if isinstance(uri, str):
        held.subscriptions.pop(uri, None)
    return True


def _list(listing: Listing) -> Callable[[Held, dict[str, Any], dict[str, Any]], bool]:
    def keep(held: Held, params: dict[str, Any], result: dict[str, Any]) -> bool:
        items = result.get(listing.items)
        if not isinstance(items, list):
            return True
        before = held.lists.get(listing.method, frozenset()) if params.get("cursor") is not None else frozenset()
        found, whole = digests(items, before)
        held.lists[listing.method] = _shared(found)
        if listing.notification in held.untold:
            held.untold.remove(listing.notification)  # it has just seen for itself
        if listing.method == "tools/list":
            _note_safe_tools(held, items)
        return whole

    return keep


def digests(items: list[Any], before: frozenset[bytes]) -> tuple[frozenset[bytes], bool]:
    """Digests of these items and of those before them, and whether there was room, and time, for all."""
    found, size, room = set(before), 0, max(0, TOOL_LIMIT - len(before))
    for item in items[:room]:
        size += len(dump(item))  # which costs little
        if size > PAGE_SIZE:
            return frozenset(found), False
        found.add(_digest(item))
    return frozenset(found), len(items) <= room


def _note_safe_tools(held: Held, tools: list[Any]) -> None:
    safe: set[str] = set()
    others: set[str] = set()
    for tool in tools[:TOOL_LIMIT]:
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            continue
        if len(tool["name"]) > NAME_LIMIT:
            continue  # then it is not called again
        hints = tool.get("annotations")
        promises = isinstance(hints, dict) and any(hints.get(hint) is True for hint in SAFE_HINTS)
        (safe if promises else others).add(tool["name"])
    room = max(0, TOOL_LIMIT - len(held.safe_tools))
    found = (held.safe_tools - others) | frozenset(name[:NAME_LIMIT] for name in islice(safe, room))
    held.safe_tools = _shared(found)


def _shared[T](found: frozenset[T]) -> frozenset[T]:
    """The same object for all sessions of one server, which read the same lists."""
    return _one(found) if len(found) <= SHARED_LIMIT else found


@lru_cache(maxsize=256)
def _one[T](found: frozenset[T]) -> frozenset[T]:
    return found


def _digest(item: Any) -> bytes:
    # Sorted, for a restarted server may order the members in another way.
    return hashlib.blake2b(json.dumps(item, sort_keys=True).encode(), digest_size=8).digest()


KEEPERS: dict[str, Callable[[Held, dict[str, Any], dict[str, Any]], bool]] = {
    "logging/setLevel": _set_level,
    "resources/subscribe": _subscribe,
    "resources/unsubscribe": _unsubscribe,
    **{listing.method: _list(listing) for listing in LISTINGS},
}
