"""Exchanges, sessions and messages as a test's own words have them, for the functions of one room alone."""

from __future__ import annotations

import json
from typing import Any

from mcp_sessions.core.client import Client, ClientKey, Connection
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.rules.facts import Notes, Party
from mcp_sessions.rules.places import Place
from mcp_sessions.rules.talks import Talk
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import Body, Message, parse
from mcp_sessions.wire.revision import era

ENDPOINT = Endpoint("http", "mcp.example", 80, "/mcp")
LATEST = "2025-11-25"
AGREED = "2025-06-18"
"""Not the newest: what is said of a violation shows that it was the session's."""
STATELESS = {"mcp-protocol-version": "2026-07-28"}


def message(**members: Any) -> Message:
    return Message({"jsonrpc": "2.0", **members})


def request(method: str, id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def notification(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(id: Any = 1, **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": members}


def error(text: str, id: Any = 1, code: int = -32600, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text, **more}}


def body(value: Any) -> Body:
    return parse(value if isinstance(value, bytes) else json.dumps(value).encode())


def fields(headers: dict[str, str]) -> HeaderMap:
    return HeaderMap((name.encode(), value.encode()) for name, value in headers.items())


def client(pid: int | None = 1, *, parent: int | None = None, host: str = "127.0.0.1") -> Client:
    return Client(ClientKey(pid=pid or 0, host=host), "client", host, 0.0, 0.0, pid=pid, parent=parent)


def session(*owners: Client, id: str = "one-two-three-four-five", revision: str = LATEST) -> Session:
    made = Session(ENDPOINT, id, id, 0.0, 0.0, revision)
    for owner in owners:
        made.owners[owner] = 0.0
        owner.sessions[made] = None
    return made


def exchange(
    sent: Any = None,
    *,
    verb: str = "POST",
    by: Client | None = None,
    session: Session | None = None,
    headers: dict[str, str] | None = None,
    url: str = str(ENDPOINT),
    at: float = 100.0,
    id: str = "x1",
    talk: Talk | None = None,
    party: Party | None = None,
) -> Exchange:
    """A request that was read, as the judge has it: with notes of its own."""
    shown = {"mcp-session-id": session.client_id} if session is not None else {}
    made = fields(shown | (headers or {}))
    by = by or client()
    connection = Connection("c1", ("127.0.0.1", 40000), ("127.0.0.1", 8080), 0.0, 0.0, by)
    x = Exchange(id, at, verb, ENDPOINT, url, made, body(sent) if sent is not None else Body(), connection)
    x.client, x.session = by, session
    x.era = era(made.get("mcp-protocol-version"), x.method, x.message.params if x.message else None)
    x.notes = kept = Notes(talk.place if talk is not None else Place())
    kept.talk, kept.party = talk, party
    return x


def answered(
    x: Exchange, status: int = 200, told: Any = None, headers: dict[str, str] | None = None, at: float = 101.0
) -> Exchange:
    """The same, once its answer was read."""
    x.status, x.answered_at, x.answer_headers = status, at, fields(headers or {})
    x.answer = body(told) if told is not None else parse(b"")
    first = x.answer.first
    if first is not None and x.message is not None and first.id == x.message.id:
        x.response = first
    return x


def known(**more: Any) -> Talk:
    """What is remembered of a session whose handshake was seen."""
    talk = Talk(Place(), **more)
    if talk.known_at is None:
        talk.known_at = 1.0
    return talk
