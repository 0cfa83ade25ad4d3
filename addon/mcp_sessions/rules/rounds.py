"""Checks of multi-round-trip requests: what a result may ask for, and how a client comes back with it (2026-07-28)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..core.exchange import Exchange
from ..wire.jsonrpc import Message, dump
from ..wire.revision import META_CAPABILITIES
from ..wire.text import printable
from .checks import on_request
from .facts import meta_of, notes
from .replies import on_reply
from .talks import OF_CLIENTS
from .traits import REQUEST, RETRY, STATELESS

ASKING = ("prompts/get", "resources/read", "tools/call")
"""What may be answered with a request for input."""
KINDS = ("elicitation/create", "sampling/createMessage", "roots/list")
MANY = 50
"""Requests for input that are looked at in one result."""
SAME = 10
"""Equal requests that wait for their next round; beyond, nobody knows which is which."""


class Round(NamedTuple):
    """A result that asked for input."""

    id: object
    state: object
    """None if there was none."""
    asked: frozenset[str]
    """The kinds of input."""


@on_reply("MCP623", needs=STATELESS)
def input_required_wrong(x: Exchange, message: Message) -> str | None:
    """A result asks for input where it may, and for something."""
    result = message.result or {}
    if result.get("resultType") != "input_required":
        return None
    if x.method not in ASKING and "/" in (x.method or "") and (x.method or "").partition("/")[0] in _CORE:
        return f"in answer to {printable(x.method)}"
    asked = result.get("inputRequests")
    if asked is None and result.get("requestState") is None:
        return "neither inputRequests nor requestState"
    for entry in list(asked.values())[:MANY] if isinstance(asked, dict) else ():
        method = entry.get("method") if isinstance(entry, dict) else None
        if isinstance(method, str) and method not in KINDS:
            return f"asks for {printable(method, 60)}"
    return None


_CORE = ("tools", "prompts", "resources", "completion", "server", "subscriptions")


def note_round(x: Exchange, message: Message) -> None:
    """Note that a result asked for input."""
    result = message.result or {}
    if result.get("resultType") != "input_required" or x.body.sniffed:
        return
    asked = result.get("inputRequests")
    kinds = [e.get("method") for e in asked.values() if isinstance(e, dict)] if isinstance(asked, dict) else []
    state = result.get("requestState")
    found = Round(message.id, state, frozenset(kind for kind in kinds[:MANY] if isinstance(kind, str)))
    rounds, key = notes(x).place.rounds, _key(x)
    rounds.put(key, (*rounds.get(key, ()), found)[-SAME - 1 :])


for _rule in ("MCP409", "MCP624", "MCP625"):  # whichever of them is silenced
    on_reply(_rule, needs=STATELESS)(note_round)


def _key(x: Exchange) -> int:
    """What a request has in common with its next round: all but its id, its state and its input."""
    params = x.message.params if x.message is not None else {}
    same = {name: params[name] for name in params if name not in ("_meta", "requestState", "inputResponses")}
    return hash((x.client.key, x.credentials, x.method, dump(same)))


def _before(x: Exchange) -> Iterator[Round]:
    """The rounds that this request may go on with; none where that is not known."""
    rounds = notes(x).place.rounds.get(_key(x), ())
    # What came later first; an older one may have been given up.
    return iter(() if len({*rounds}) > SAME or x.body.sniffed else reversed(list(dict.fromkeys(rounds))))


@on_request("MCP624", "POST", sent=REQUEST, needs=RETRY | STATELESS)
def request_state(x: Exchange) -> str | None:
    """The next round brings the state that the one before gave, and the input that it asked for."""
    before, params = list(_before(x)), x.message.params if x.message is not None else {}
    if not before:
        return None
    state = params.get("requestState")
    fitting = [one for one in before if one.state == state]
    if not fitting:
        if state is None:
            return "requestState left out"
        return "requestState where there was none" if not any(one.state for one in before) else "requestState changed"
    if "inputResponses" not in params and all(one.asked for one in fitting):
        return "without the inputResponses that were asked for"
    return None


@on_request("MCP625", "POST", sent=REQUEST, needs=RETRY | STATELESS)
def retry_id_same(x: Exchange) -> str | None:
    """The next round is another request."""
    asked = x.message.id if x.message is not None else None
    fitting = [one for one in _before(x) if x.message is not None and one.state == x.message.params.get("requestState")]
    if not fitting or any(type(one.id) is not type(asked) or one.id != asked for one in fitting):
        return None
    return f"id {printable(asked)}"


@on_request("MCP409", "POST", sent=REQUEST, needs=RETRY | STATELESS)
def input_undeclared(x: Exchange) -> list[str] | None:
    """A client declares what it gives input for."""
    params = x.message.params if x.message is not None else {}
    declared = meta_of(x.message).get(META_CAPABILITIES)
    if not params.get("inputResponses") or not isinstance(declared, dict):
        return None
    fitting = [one for one in _before(x) if one.state == params.get("requestState")]
    if len(fitting) != 1:
        return None
    families = sorted({kind.partition("/")[0] for kind in fitting[0].asked})
    return [f"{one} answered" for one in families if one in OF_CLIENTS and declared.get(one) is None] or None
