"""The examples of the catalogue, written out: a handshake and the usual headers stand in them as `%` and a word."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

REVISION = "2025-11-25"
"""The revision that an example is told in, unless it names another."""
SESSION = "f3c2a5d87b91e4c6a0d2b8e7f6154c39"
SERVER_CAN = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "prompts": {}, "logging": {}}

type Headers = list[tuple[str, str]]

_ACCEPTED = [("Accept", "application/json, text/event-stream"), ("Content-Type", "application/json")]

_MARKS = (
    (r"@ ", "@ N: what follows arrives N seconds after the beginning"),
    (r"### client \w+ at ", "at N: N seconds after the beginning"),
    (r"### client \w+ gone", "gone: the process of the client has ended"),
    (r"! cut", "! cut: the client hangs up before the answer"),
    (r"! left-open", "! left-open: the stream stays open"),
    (r"! server-breaks ", "! server-breaks N: the server breaks off N seconds after the beginning"),
)
"""Signs that stand in an example, and what each means."""


def written_out(example: str) -> str:
    """An example with nothing abbreviated: `%init` as a handshake, `%headers` and `%modern` as headers."""
    return "\n".join(_lines(example.strip("\n").split("\n")))


def legend(example: str) -> list[str]:
    """What the signs in an example mean, a line each."""
    found = ["> is the client, < is the server"]
    return found + [words for sign, words in _MARKS if re.search(rf"^{sign}", example, re.M)]


def _lines(lines: list[str]) -> Iterator[str]:
    revision, session = REVISION, SESSION
    for number, line in enumerate(lines):
        if line.startswith("%init"):
            client, revision, session, server, caller = _negotiated(line.split()[1:])
            yield from _handshake(client, revision, session, server, caller)
        elif line.startswith(("> %headers", "> %modern")):
            name, *words = line.removeprefix("> %").split()
            given = _usual(revision, session) if name == "headers" else _modern(words)
            left_out = {word[1:].lower() for word in words if word.startswith("-")} | _names(lines[number + 1 :])
            yield from (f"> {name}: {value}" for name, value in given if name.lower() not in left_out)
        else:
            yield line


def _names(lines: list[str]) -> set[str]:
    """The headers that follow, in lower case: they take the place of the usual ones."""
    found = set()
    for line in lines:
        name, colon, _ = line.removeprefix("> ").partition(": ")
        if not line.startswith("> ") or not colon:
            break
        found.add(name.lower())
    return found


def _negotiated(words: list[str]) -> tuple[str, str, str, object, object]:
    """Who shakes hands, the revision and session id that come of it, and what each side can."""
    client, revision, session = "A", REVISION, SESSION
    server: object = SERVER_CAN
    caller: object = {}
    for word in words:
        name, _, value = word.partition("=")
        match name:
            case "client":
                client = value
            case "session":
                session = value
            case "nosession":
                session = ""
            case "server":
                server = json.loads(value)
            case "caller":
                caller = json.loads(value)
            case _:
                revision = word
    return client, revision, session, server, caller


def _handshake(client: str, revision: str, session: str, server: object, caller: object) -> Iterator[str]:
    asked = {"protocolVersion": revision, "capabilities": caller, "clientInfo": {"name": "example", "version": "1.0"}}
    agreed = {
        "protocolVersion": revision,
        "capabilities": server,
        "serverInfo": {"name": "example-server", "version": "1.0"},
    }
    yield f"### client {client}"
    yield "> POST /mcp"
    yield from (f"> {name}: {value}" for name, value in _ACCEPTED)
    yield ">"
    yield f"> {_compact({'jsonrpc': '2.0', 'id': 1, 'method': 'initialize', 'params': asked})}"
    yield "< 200"
    yield "< Content-Type: application/json"
    if session:
        yield f"< Mcp-Session-Id: {session}"
    yield "<"
    yield f"< {_compact({'jsonrpc': '2.0', 'id': 1, 'result': agreed})}"
    yield f"### client {client}"
    yield "> POST /mcp"
    yield from (f"> {name}: {value}" for name, value in _usual(revision, session))
    yield ">"
    yield f"> {_compact({'jsonrpc': '2.0', 'method': 'notifications/initialized'})}"
    yield "< 202"


def _usual(revision: str, session: str) -> Headers:
    """The headers that a client sends in a session."""
    found = list(_ACCEPTED)
    if session:
        found.append(("Mcp-Session-Id", session))
    if revision != "2025-03-26":
        found.append(("MCP-Protocol-Version", revision))
    return found


def _modern(words: list[str]) -> Headers:
    """Those of 2026-07-28, for this method and name."""
    method, *name = [word for word in words if not word.startswith("-")]
    found = [*_ACCEPTED, ("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)]
    return found + [("Mcp-Name", one) for one in name[:1]]


def _compact(message: object) -> str:
    return json.dumps(message, separators=(",", ":"))
