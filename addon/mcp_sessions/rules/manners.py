"""Checks of manners over time: reconnects, sessions that nobody uses, changes that nobody tells of, names."""

from __future__ import annotations

from itertools import islice

from ..core.exchange import Exchange
from ..wire import headers as h
from ..wire.jsonrpc import Message, dump
from ..wire.revision import FIRST_STATELESS, META_VERSION
from ..wire.text import printable
from .checks import Arrival, on_answer, on_event, on_request
from .facts import meta_of, notes, talk_of, valid_key
from .modern import once
from .replies import on_error, on_reply
from .talks import Talk, history
from .traits import DISCOVER, EVENT_AGAIN, INITIALIZE, KNOWN, LIST, NOTIFICATION, OK, REQUEST, STATELESS

STORM, WITHIN = 20, 10.0
"""So many streams opened within so many seconds are too many."""
UNUSED, AFTER = 5, 60.0
"""So many sessions that are not used so many seconds after they were opened are too many."""
LATEST = 50
"""Sessions of a client that are looked at, the latest first."""
URL_REQUIRED = -32042


@on_request("MCP316", "GET", needs=KNOWN)
def reconnect_storm(x: Exchange) -> str | None:
    """A client waits between two attempts to open a stream."""
    talk = talk_of(x)
    if talk is None:
        return None
    times = history(talk).opened
    times.append(x.at)
    if len(times) <= STORM or x.at - times.pop(0) > WITHIN or not talk.once("MCP316"):
        return None
    return f"{STORM + 1} GET within {WITHIN:g} s"


@on_request("MCP317", "POST", needs=INITIALIZE)
def sessions_unused(x: Exchange) -> str | None:
    """A client opens the sessions that it uses."""
    if not x.client.is_process or not x.client.sessions:
        return None
    found = 0
    for session in islice(reversed(x.client.sessions), LATEST):
        talk = session.notes if session.endpoint == x.endpoint else None
        if isinstance(talk, Talk) and talk.known_at is not None and not talk.used and not talk.delete_sent:
            found += talk.lost_at is None and x.at - talk.known_at > AFTER
    if found < UNUSED or not once(notes(x).place, f"MCP317 {x.client.label}"):
        return None
    return f"{found} sessions"


# Lists of tools that change


@on_answer("MCP909", "GET", needs=KNOWN | OK)
def note_listening(x: Exchange) -> None:
    """Note the stream on which a change can be told of."""
    talk = talk_of(x)
    if talk is not None and x.streamed:
        history(talk).listening = x.id


@on_event("MCP909", said=NOTIFICATION, needs=KNOWN)
def note_change(x: Exchange, it: Arrival) -> None:
    """Note that a change was told of."""
    talk = talk_of(x)
    if talk is None or it.body is None:
        return
    if any(message.method == "notifications/tools/list_changed" for message in it.body.messages):
        history(talk).listed = None


@on_reply("MCP909", needs=LIST | KNOWN)
def tools_changed_silently(x: Exchange, message: Message) -> str | None:
    """A server that tells of changes does."""
    talk, result = talk_of(x), message.result or {}
    tools = result.get("tools")
    if talk is None or x.method != "tools/list" or not isinstance(tools, list) or len(tools) > 2_000:
        return None
    if "nextCursor" in result or (x.message is not None and "cursor" in x.message.params):
        return None
    kept, now = history(talk), hash(frozenset(hash(dump(tool)) for tool in tools))
    before, kept.listed = kept.listed, (now, kept.listening)
    if before is None or before[0] == now or "tools.listChanged" not in talk.server_can:
        return None
    # The stream has to have been open all the time.
    if not before[1] or before[1] != kept.listening or talk.open is None or before[1] not in talk.open:
        return None
    return f"{len(tools)} tools" if talk.once("MCP909") else None


# Streams


@on_event("MCP515", "GET", said=NOTIFICATION, needs=KNOWN, unless=EVENT_AGAIN)
def progress_on_get_stream(x: Exchange, it: Arrival) -> str | None:
    """What is about a request that runs comes on its stream."""
    talk = talk_of(x)
    if it.body is None or talk is None or not talk.tokens or h.LAST_EVENT_ID in x.headers:
        return None
    for message in it.body.messages:
        value = message.params.get("progressToken") if message.method == "notifications/progress" else None
        token = talk.tokens.get(value) if valid_key(value) else None
        if token is not None and token.active > 0 and not token.task and talk.once("MCP515"):
            return f"progress of token {printable(value)}"
    return None


# Names of revisions, extensions, and what an error has to bring


@on_request("MCP641", "POST", sent=REQUEST, unless=INITIALIZE | STATELESS)
def eras_differ(x: Exchange) -> str | None:
    """The header and the body of a request are of one era."""
    said, inside = x.headers.get(h.PROTOCOL_VERSION), meta_of(x.message).get(META_VERSION)
    if inside != FIRST_STATELESS or said is None:
        return None
    return f"MCP-Protocol-Version: {printable(said)}, _meta {inside}"


@on_request("MCP914", "POST", sent=REQUEST, needs=STATELESS)
def client_extension_name(x: Exchange) -> list[str] | None:
    """An extension of a client has a prefix."""
    declared = meta_of(x.message).get("io.modelcontextprotocol/clientCapabilities")
    return _unprefixed(declared)


@on_reply("MCP922", needs=DISCOVER | STATELESS)
def server_extension_name(_: Exchange, message: Message) -> list[str] | None:
    """An extension of a server has a prefix."""
    return _unprefixed((message.result or {}).get("capabilities"))


def _unprefixed(capabilities: object) -> list[str] | None:
    extensions = capabilities.get("extensions") if isinstance(capabilities, dict) else None
    names = list(extensions)[:50] if isinstance(extensions, dict) else []
    return [printable(name, 60) for name in names if isinstance(name, str) and not name.rpartition("/")[0]] or None


@on_error("MCP916", needs=KNOWN)
def url_required_without_list(_: Exchange, message: Message) -> str | None:
    """An error that asks for URLs names them."""
    if message.error_code != URL_REQUIRED:
        return None
    data = (message.error or {}).get("data")
    listed = data.get("elicitations") if isinstance(data, dict) else None
    if not isinstance(listed, list) or not listed:
        return "-32042 without data.elicitations"
    for one in listed[:50]:
        if not isinstance(one, dict) or one.get("mode") != "url" or not isinstance(one.get("elicitationId"), str):
            return "an elicitation without mode url or elicitationId"
    return None
