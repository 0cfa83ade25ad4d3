"""Checks of what is in a message by itself: tools and what they return, content, addresses, keys of `_meta`.

Nearly all are made off the request path: see `checks.on_message`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from ..core.exchange import Exchange
from ..wire.jsonrpc import Kind, Message
from ..wire.text import printable
from .checks import Arrival, Said, on_event, on_message, on_request
from .facts import notes, talk_of, valid_key
from .fitting import invalid, misfit
from .replies import on_reply
from .talks import history
from .traits import KNOWN, LIST, NOTIFICATION, REQUEST

MANY = 1_000
"""Tools, blocks and the like that are looked at in one message."""
MANY_KEYS = 50
LONG_KEY = 256
"""Keys of one `_meta`, and characters of one, up to which they are looked at."""

_ASKING = ("tools/call", "prompts/get", "resources/read")
"""What may be answered with requests for input in the stateless era."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_MEDIA_TYPE = re.compile(r"[!#$&^_.+A-Za-z0-9-]{1,127}/[!#$&^_.+A-Za-z0-9-]{1,127}(\s*;.*)?", re.S)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.", re.S)
_LABEL = re.compile(r"[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?")
_META_NAME = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-|$)")


def _structured(_: Exchange, message: Message) -> bool:
    return message.result is not None and "structuredContent" in message.result


def _has_outputs(x: Exchange, _: Message) -> bool:
    return bool(notes(x).place.outputs)


def _more_than_text(_: Exchange, message: Message) -> bool:
    """Whether there is content other than text in it."""
    if message.result is None:
        return message.kind is Kind.REQUEST
    content = message.result.get("content")
    if not isinstance(content, list):
        return True
    return any(not isinstance(block, dict) or block.get("type") != "text" for block in content[:MANY])


def _asks(_: Exchange, message: Message) -> bool:
    """Whether it asks for something of a client."""
    return message.kind is Kind.REQUEST or (message.result is not None and "inputRequests" in message.result)


def _gives(_: Exchange, message: Message) -> bool:
    """Whether it answers something that a server asked for."""
    return message.kind is Kind.RESPONSE or "inputResponses" in message.params


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    for one in value[:MANY] if isinstance(value, list) else ():
        if isinstance(one, dict):
            yield one


# Tools


@on_message("MCP903", "tools/list")
def tool_names(said: Said) -> list[str] | None:
    """Tools have names that everybody can say, each its own."""
    names = [
        tool["name"] for tool in _objects((said.message.result or {}).get("tools")) if isinstance(tool.get("name"), str)
    ]
    found = [f"{printable(name, 60)!r}" for name in dict.fromkeys(names) if not _NAME.fullmatch(name)]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    return [*found[:5], *(f"{printable(name, 60)} twice" for name in twice[:5])] or None


@on_message("MCP911", "tools/list")
def tool_schemas(said: Said) -> list[str] | None:
    """The schemas of tools are JSON Schemas."""
    found = []
    for tool in _objects((said.message.result or {}).get("tools")):
        for member in ("inputSchema", "outputSchema"):
            wrong = invalid(tool.get(member))
            if wrong is not None:
                found.append(f"{printable(tool.get('name'), 60)}, {member}: {wrong}")
    return found[:5] or None


@on_reply("MCP901", needs=LIST)
def note_outputs(x: Exchange, message: Message) -> None:
    """Note what the tools of a list return."""
    if x.method == "tools/list":
        outputs = notes(x).place.outputs
        for tool in _objects((message.result or {}).get("tools")):
            key, schema = (_whose(x), tool.get("name")), tool.get("outputSchema")
            if isinstance(key[1], str) and (schema is not None or key in outputs):
                outputs.put((key[0], key[1]), schema)


def _whose(x: Exchange) -> str:
    """Whose list of tools it is: a session's, or a user's where there are none."""
    return x.session.client_id if x.session is not None else x.credentials


@on_message("MCP901", "tools/call", when=_has_outputs)
def structured_content(said: Said) -> str | None:
    """What a tool returns fits its schema."""
    x, result = said.x, said.message.result
    if x is None or not result or result.get("isError") is True or x.message is None:
        return None
    name = x.message.params.get("name")
    schema = notes(x).place.outputs.get((_whose(x), name)) if isinstance(name, str) else None
    if schema is None or result.get("resultType", "complete") != "complete":
        return None
    if "structuredContent" not in result:
        return f"{printable(name, 60)}: no structuredContent"
    wrong = misfit(schema, result["structuredContent"])
    return f"{printable(name, 60)}: {wrong}" if wrong is not None else None


@on_message("MCP902", "tools/call", when=_structured)
def structured_text(said: Said) -> str | None:
    """What a tool returns as structure it returns as text, too."""
    result = said.message.result or {}
    if result.get("structuredContent") is None or result.get("isError") is True:
        return None
    return None if any(block.get("type") == "text" for block in _objects(result.get("content"))) else ""


# Content


def _blocks(message: Message) -> Iterator[dict[str, Any]]:
    """The content of a message, wherever it stands."""
    here = message.result if message.result is not None else message.params
    for member in ("content", "contents"):
        value = here.get(member)
        yield from _objects(value if isinstance(value, list) else [value])
    for one in _objects(here.get("messages")):
        content = one.get("content")
        yield from _objects(content if isinstance(content, list) else [content])


_WITH_CONTENT = ("tools/call", "prompts/get", "resources/read", "sampling/createMessage")


@on_message("MCP904", *_WITH_CONTENT, when=_more_than_text)
def content_encoding(said: Said) -> list[str] | None:
    """Binary content is base64, and says of what type it is."""
    found = []
    for block in _blocks(said.message):
        resource = block.get("resource")
        kind = block.get("type", "resource")
        if isinstance(resource, dict):
            data = resource.get("blob")
        else:
            data = block.get("data") if kind in ("image", "audio") else block.get("blob")
        if isinstance(data, str) and not _is_base64(data):
            found.append(f"{printable(kind, 20)}: no base64")
        media_type = block.get("mimeType")
        if kind in ("image", "audio") and isinstance(media_type, str) and not _MEDIA_TYPE.fullmatch(media_type):
            found.append(f"{kind}: mimeType {printable(media_type, 40)}")
    return found[:5] or None


def _is_base64(data: str) -> bool:
    data = "".join(data.split())
    return bool(_BASE64.fullmatch(data)) and len(data.rstrip("=")) % 4 != 1


# Addresses


@on_message("MCP905", "resources/list", "resources/read", "tools/call", "prompts/get", when=_more_than_text)
def resource_uri(said: Said) -> list[str] | None:
    """A resource has a URI."""
    result = said.message.result or {}
    uris = [one.get("uri") for one in (*_objects(result.get("resources")), *_objects(result.get("contents")))]
    for block in _blocks(said.message):
        resource = block.get("resource")
        uris.append(resource.get("uri") if isinstance(resource, dict) else block.get("uri"))
    found = [printable(uri, 60) or "empty" for uri in uris if isinstance(uri, str) and not _SCHEME.match(uri)]
    return found[:5] or None


@on_message("MCP906", "roots/list", *_ASKING, when=_gives)
def root_uri(said: Said) -> list[str] | None:
    """A root is a file."""
    given = said.message.params.get("inputResponses")
    results = [said.message.result or {}, *(_objects(list(given.values())) if isinstance(given, dict) else ())]
    uris = [root.get("uri") for result in results for root in _objects(result.get("roots"))]
    return [printable(uri, 60) for uri in uris if isinstance(uri, str) and not uri.lower().startswith("file://")][
        :5
    ] or None


def _asked(said: Said, method: str) -> Iterator[dict[str, Any]]:
    """The parameters of what a server asks of a client, by a request or in a result."""
    if said.message.kind is Kind.REQUEST and said.message.method == method:
        yield said.message.params
    asked = (said.message.result or {}).get("inputRequests")
    for one in _objects(list(asked.values())) if isinstance(asked, dict) else ():
        if one.get("method") == method and isinstance(one.get("params"), dict):
            yield one["params"]


def _elicited_urls(said: Said) -> list[str]:
    urls = [p.get("url") for p in _asked(said, "elicitation/create") if p.get("mode") == "url"]
    return [url for url in urls if isinstance(url, str)]


@on_message("MCP907", "elicitation/create", *_ASKING, when=_asks)
def elicitation_url(said: Said) -> list[str] | None:
    """The URL of an elicitation is one."""
    return [printable(url, 60) or "empty" for url in _elicited_urls(said) if not _is_url(url)][:5] or None


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.scheme not in ("http", "https"))) and " " not in url


@on_message("MCP915", "elicitation/create", *_ASKING, when=_asks)
def elicitation_https(said: Said) -> list[str] | None:
    """The URL of an elicitation is one of HTTPS."""
    return [printable(url, 60) for url in _elicited_urls(said) if _is_url(url) and _in_clear(url)][:5] or None


def _in_clear(url: str) -> bool:
    """Whether it is HTTP without TLS, to a host that is no development environment by its name."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    local = host.endswith((".localhost", ".local", ".test", ".internal", ".example")) or "." not in host
    return parts.scheme == "http" and not local and not host[-1:].isdigit()


# Sampling and elicitation


@on_message("MCP908", "sampling/createMessage", *_ASKING, when=_asks)
def sampling_tool_results(said: Said) -> str | None:
    """Each use of a tool is followed by its result, and by nothing else."""
    return next(filter(None, (_unbalanced(params) for params in _asked(said, "sampling/createMessage"))), None)


def _unbalanced(params: dict[str, Any]) -> str | None:
    used: set[str] = set()
    for number, one in enumerate(_objects(params.get("messages"))):
        content = one.get("content")
        blocks = list(_objects(content if isinstance(content, list) else [content]))
        results = [block for block in blocks if block.get("type") == "tool_result"]
        if results and len(results) < len(blocks):
            return f"message {number} has tool results and other content"
        missing = used - {str(block.get("toolUseId")) for block in results}
        if missing:
            return f"message {number} lacks the result of {printable(min(missing), 40)}"
        uses = [block for block in blocks if block.get("type") == "tool_use"] if one.get("role") == "assistant" else []
        used = {str(block.get("id")) for block in uses}
    return f"the last message lacks the result of {printable(min(used), 40)}" if used else None


@on_event("MCP910", said=REQUEST, needs=KNOWN)
@on_event("MCP917", said=REQUEST, needs=KNOWN)
def note_question(x: Exchange, it: Arrival) -> None:
    """Note what an elicitation asks for, and which tools a sampling allows."""
    talk = talk_of(x)
    for message in it.body.messages if it.body is not None and talk is not None else ():
        member = {"elicitation/create": "requestedSchema", "sampling/createMessage": "toolChoice"}.get(
            message.method or ""
        )
        wanted = message.params.get(member) if member is not None else None
        if talk is not None and valid_key(message.id) and isinstance(wanted, dict):
            history(talk).wanted.put(message.id, wanted)


def _wanted(said: Said) -> Any:
    """What was asked for with what this answers."""
    talk = talk_of(said.x) if said.x is not None else None
    return talk.history.wanted.get(said.message.id) if talk is not None and talk.history is not None else None


@on_message("MCP910", "sampling/createMessage")
def sampling_tool_choice(said: Said) -> str | None:
    """A model that is to use no tools uses none."""
    wanted, content = _wanted(said), (said.message.result or {}).get("content")
    blocks = _objects(content if isinstance(content, list) else [content])
    if wanted is None or wanted.get("mode") != "none":
        return None
    return "tool_use in the answer" if any(block.get("type") == "tool_use" for block in blocks) else None


@on_message("MCP917", "elicitation/create")
def elicitation_answer(said: Said) -> str | None:
    """What a form is answered with fits it."""
    result, wanted = said.message.result or {}, _wanted(said)
    return (
        misfit(wanted, result.get("content", {})) if wanted is not None and result.get("action") == "accept" else None
    )


# Keys of `_meta`


@on_request("MCP912", "POST", sent=REQUEST | NOTIFICATION)
def client_meta_key(x: Exchange) -> list[str] | None:
    """The keys in what a client sends are names, with a prefix or without."""
    return _strange_keys(x.message.params.get("_meta")) if x.message is not None else None


@on_reply("MCP920")
def server_meta_key(_: Exchange, message: Message) -> list[str] | None:
    """The keys in what a server answers are names, with a prefix or without."""
    return _strange_keys((message.result or {}).get("_meta"))


def _strange_keys(meta: Any) -> list[str] | None:
    if not isinstance(meta, dict) or len(meta) > MANY_KEYS:
        return None
    found = [printable(key, 80) for key in meta if len(key) <= LONG_KEY and not _is_meta_key(key)]
    return found[:5] or None


@lru_cache(maxsize=1_024)
def _is_meta_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not all(_LABEL.fullmatch(label) for label in prefix.split(".")):
        return False
    return bool(_META_NAME.fullmatch(name))


@on_request("MCP913", "POST", sent=REQUEST | NOTIFICATION)
def client_trace_context(x: Exchange) -> str | None:
    """What a client says of a trace is one."""
    return _strange_trace(x.message.params.get("_meta")) if x.message is not None else None


@on_reply("MCP921")
def server_trace_context(_: Exchange, message: Message) -> str | None:
    """What a server says of a trace is one."""
    return _strange_trace((message.result or {}).get("_meta"))


def _strange_trace(meta: Any) -> str | None:
    parent = meta.get("traceparent") if isinstance(meta, dict) else None
    if parent is None or (isinstance(parent, str) and _TRACEPARENT.match(parent) and not parent.startswith("ff")):
        return None
    return f"traceparent {printable(parent, 80)}"
