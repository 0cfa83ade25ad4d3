"""Checks of what was declared against what is done: features that are served, notified of, or asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..core.exchange import Exchange
from ..wire.jsonrpc import METHOD_NOT_FOUND, Kind, Message
from ..wire.revision import META_CAPABILITIES, Era
from ..wire.text import printable
from .checks import Arrival, on_answer, on_event, on_request
from .facts import meta_of, notes, talk_of, valid_key
from .lifecycle import NEEDED
from .replies import on_error, on_reply
from .talks import OF_CLIENTS, declared_by_client, declared_by_server
from .traits import (
    ASKS_INPUT,
    CALL,
    DISCOVER,
    FEATURE,
    KNOWN,
    LIST,
    NOTIFICATION,
    REQUEST,
    RESPONSE,
    RESULT,
    STATELESS,
)

NOTIFIED = {
    "notifications/message": "logging",
    "notifications/tools/list_changed": "tools.listChanged",
    "notifications/prompts/list_changed": "prompts.listChanged",
    "notifications/resources/list_changed": "resources.listChanged",
    "notifications/resources/updated": "resources.subscribe",
}
"""What a server must have declared for a notification."""

FEATURES = ("tools", "prompts", "resources", "completions")
"""What a server declares as a whole."""

MANY = 50
"""Requests for input, or blocks of content, that are looked at in one result."""


# What a server has declared


def note_declared(x: Exchange, message: Message) -> None:
    """Note what a stateless server declares."""
    if message.result is not None and isinstance(message.result.get("capabilities"), dict):
        notes(x).place.declared.put(x.credentials, declared_by_server(message.result["capabilities"]))


for _rule in ("MCP407", "MCP408", "MCP412", "MCP414"):  # whichever of them is silenced
    on_reply(_rule, needs=DISCOVER | STATELESS)(note_declared)


def _server_can(x: Exchange) -> frozenset[str] | None:
    """What the server of an exchange has declared; None if that is not known."""
    kept = notes(x)
    if x.era is Era.STATELESS:
        return kept.place.declared.get(x.credentials)
    return kept.talk.server_can if kept.talk is not None and kept.talk.known else None


def _once(x: Exchange, what: str) -> bool:
    kept = notes(x)
    if kept.talk is not None:
        return kept.talk.once(what)
    new = what not in kept.place.said
    kept.place.said.add(what)
    return new


def _needed(x: Exchange) -> str:
    return NEEDED.get((x.method or "").partition("/")[0], "")


@on_reply("MCP407", needs=FEATURE)
def served_undeclared(x: Exchange, message: Message) -> str | None:
    """A server declares what it serves."""
    declared, feature = _server_can(x), _needed(x)
    if declared is None or feature not in FEATURES or feature in declared:
        return None
    if all(value == [] for value in (message.result or {}).values() if isinstance(value, list)) and "/list" in str(
        x.method
    ):
        return None  # nothing is served
    return f"{printable(x.method)} answered, {feature} not declared" if _once(x, f"MCP407 {feature}") else None


@on_error("MCP414", needs=FEATURE | LIST | STATELESS)
def declared_not_served(x: Exchange, message: Message) -> str | None:
    """A server lists what it has declared."""
    declared, feature = _server_can(x), _needed(x)
    if declared is None or feature not in declared or message.error_code != METHOD_NOT_FOUND:
        return None
    if x.method == "resources/templates/list":
        return None
    return f"{printable(x.method)} answered {METHOD_NOT_FOUND}, {feature} declared"


@on_reply("MCP412", needs=CALL)
def embedded_undeclared(x: Exchange, message: Message) -> str | None:
    """A server that embeds resources has the capability."""
    content = message.result.get("content") if message.result else None
    declared = _server_can(x)
    if declared is None or "resources" in declared or not isinstance(content, list):
        return None
    if not any(isinstance(block, dict) and block.get("type") == "resource" for block in content[:MANY]):
        return None
    return printable(x.what) if _once(x, "MCP412") else None


@on_event("MCP408", said=NOTIFICATION)
def notified_undeclared(x: Exchange, it: Arrival) -> list[str] | None:
    """A server notifies of what it has declared."""
    if it.body is None:
        return None
    found = []
    for message in it.body.messages:
        needed = NOTIFIED.get(message.method or "")
        if needed is None or message.kind is not Kind.NOTIFICATION:
            continue
        if x.era is Era.STATELESS and needed != "logging":
            continue  # no clause says so
        declared = _server_can(x)
        if declared is not None and needed not in declared and _once(x, f"MCP408 {needed}"):
            found.append(f"{message.method} needs {needed}")
    return found or None


# What a client has declared


@on_request("MCP409", "POST", sent=NOTIFICATION | RESPONSE, needs=KNOWN)
def client_undeclared(x: Exchange) -> list[str] | None:
    """A client declares what it does."""
    talk = talk_of(x)
    if talk is None or x.body.sniffed:
        return None
    found = []
    for message in x.body.messages:
        if message.method == "notifications/roots/list_changed" and "roots.listChanged" not in talk.client_can:
            what, needed = message.method, "roots.listChanged"
        elif message.result is not None and talk.server_asked and valid_key(message.id):
            what = talk.server_asked.get(message.id) or ""
            needed = what.partition("/")[0]
            if needed not in OF_CLIENTS or needed in talk.client_can:
                continue
        else:
            continue
        if talk.once(f"MCP409 {needed}"):
            found.append(f"{what} needs {needed}")
    return found or None


def _asked(x: Exchange, messages: tuple[Message, ...]) -> Iterator[tuple[str, dict[str, Any], frozenset[str]]]:
    """What a server asks of a client in these messages, with its parameters, and what the client has declared."""
    if x.era is Era.STATELESS:
        declared = meta_of(x.message).get(META_CAPABILITIES)
        if x.body.sniffed or not isinstance(declared, dict):
            return
        for message in messages:
            asked = message.result.get("inputRequests") if message.result else None
            for entry in list(asked.values())[:MANY] if isinstance(asked, dict) else ():
                method, params = (entry.get("method"), entry.get("params")) if isinstance(entry, dict) else (None, None)
                if isinstance(method, str):
                    yield method, params if isinstance(params, dict) else {}, declared_by_client(declared)
        return
    talk = talk_of(x)
    if talk is None or not talk.known:
        return
    for message in messages:
        if message.kind is Kind.REQUEST and message.method is not None:
            yield message.method, message.params, talk.client_can


type OnAsked = Callable[[Exchange, tuple[Message, ...]], list[str] | None]


def _on_asked(rule_id: str) -> Callable[[OnAsked], OnAsked]:
    """Register a check that looks at what a server asks of a client, in a request or a result."""

    def register(check: OnAsked) -> OnAsked:
        on_event(rule_id, said=REQUEST | RESPONSE)(lambda x, it: check(x, it.body.messages) if it.body else None)
        on_answer(rule_id, "POST", needs=STATELESS | RESULT | ASKS_INPUT)(
            lambda x: check(x, x.answer.messages) if x.answer else None
        )
        return check

    return register


@_on_asked("MCP410")
def elicitation_mode(x: Exchange, messages: tuple[Message, ...]) -> list[str] | None:
    """A server asks in a mode that the client has."""
    found = []
    for method, params, declared in _asked(x, messages):
        if method != "elicitation/create" or "elicitation" not in declared:
            continue
        mode = params.get("mode", "form")
        known = {name for name in ("form", "url") if f"elicitation.{name}" in declared} or {"form"}
        if isinstance(mode, str) and mode not in known:
            found.append(f"mode {printable(mode, 40)}, declared {' and '.join(sorted(known))}")
    return found or None


@_on_asked("MCP411")
def sampling_tools_undeclared(x: Exchange, messages: tuple[Message, ...]) -> list[str] | None:
    """A server gives tools to a client that takes them."""
    found = []
    for method, params, declared in _asked(x, messages):
        if method != "sampling/createMessage" or "sampling" not in declared:  # then it is MCP405's
            continue
        if (params.get("tools") or params.get("toolChoice") is not None) and "sampling.tools" not in declared:
            found.append("tools without sampling.tools")
    return found or None


@_on_asked("MCP413")
def sampling_context_undeclared(x: Exchange, messages: tuple[Message, ...]) -> list[str] | None:
    """A server asks for context of a client that gives it."""
    found = []
    for method, params, declared in _asked(x, messages):
        context = params.get("includeContext")
        if method != "sampling/createMessage" or context not in ("thisServer", "allServers"):
            continue
        if "sampling" in declared and "sampling.context" not in declared and _once(x, "MCP413"):
            found.append(f"includeContext {context} without sampling.context")
    return found or None
