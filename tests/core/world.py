"""A core without a proxy: clients and a server as a test's own words have them."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_sessions.core.core import Core
from mcp_sessions.core.decisions import Deliver, End, Forward, OnAnswer, OnRequest, Release, Reply
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.records import AnyRecord
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.options import Settings
from mcp_sessions.rules import Judge
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import parse

ENDPOINT = Endpoint("http", "server", 80, "/mcp")
LATEST = "2025-11-25"


type Headers = Mapping[str, str | None]


@dataclass(frozen=True)
class FakeProcess:
    pid: int
    started: float = 1.0
    name: str = "client"
    parent: int | None = None


@dataclass
class Peer:
    """A client: a process of this host, or (`pid=None`) somebody elsewhere."""

    pid: int | None = 1
    host: str = "127.0.0.1"
    token: str | None = None
    connection: str = "c1"


def fields(headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode("latin-1")) for name, value in headers.items() if value is not None)


@dataclass
class World:
    """Drives a core, with a clock of its own."""

    settings: dict[str, Any] = field(default_factory=dict)
    now: float = 1000.0
    told: list[AnyRecord] = field(default_factory=list)
    sent_ids: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.core = Core(Settings(**self.settings).policy, self.told.append, Judge(self.told.append))
        self._numbers = itertools.count(1)

    # Requests

    def send(
        self,
        message: Any = None,
        *,
        session: str | None = None,
        verb: str = "POST",
        peer: Peer | None = None,
        headers: Headers | None = None,
    ) -> tuple[Exchange, OnRequest]:
        """A request arrives; what is decided about it."""
        peer = peer or Peer()
        self.now += 0.001
        connection = self.core.ledger.connection(peer.connection, (peer.host, 40000), ("127.0.0.1", 8080), self.now)
        if not connection.identified:
            self.core.identified(connection, FakeProcess(peer.pid) if peer.pid else None, self.now)
        accept = "text/event-stream" if verb == "GET" else "application/json, text/event-stream"
        shown: Headers = {
            "accept": accept,
            "content-type": "application/json",
            "mcp-session-id": session,
            "mcp-protocol-version": LATEST,
            "authorization": f"Bearer {peer.token}" if peer.token else None,
            **(headers or {}),
        }
        content = json.dumps(message).encode() if message is not None else b""
        x = self.core.exchange(
            f"x{next(self._numbers)}",
            verb,
            str(ENDPOINT),
            ENDPOINT,
            HeaderMap(fields(shown)),
            content,
            connection,
            self.now,
        )
        decision = self.core.requested(x)
        return x, decision

    def answer(
        self,
        x: Exchange,
        status: int = 200,
        body: Any = None,
        *,
        session: str | None = None,
        headers: Headers | None = None,
    ) -> OnAnswer:
        """The server answers with JSON (or bytes, as they are); what is decided about that."""
        self.now += 0.001
        shown: Headers = {
            "content-type": "application/json",
            "mcp-session-id": session,
            **(headers or {}),
        }
        self.core.answering(x, status, HeaderMap(fields(shown)), self.now)
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        decision = self.core.answered(x, content, self.now)
        if isinstance(decision, (Deliver, Reply)):
            self.finish(x)
        return decision

    def finish(self, x: Exchange, how: Finish = Finish.COMPLETE) -> list[End]:
        self.now += 0.001
        return self.core.finished(x, how, self.now)

    # Short cuts

    def open(
        self, session: str = "s-one-two-three-four", *, peer: Peer | None = None, capabilities: Any = None
    ) -> Session:
        """A client opens a session and calls a tool in it."""
        params = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        x, _ = self.send(request("initialize", params), peer=peer, headers={"mcp-protocol-version": None})
        self.answer(x, 200, initialized(x.message.id if x.message else 0, capabilities), session=session)
        x, _ = self.send({"jsonrpc": "2.0", "method": "notifications/initialized"}, session=session, peer=peer)
        self.answer(x, 202)
        found = self.core.ledger.find(ENDPOINT, session)
        assert found is not None
        return found

    def call(self, session: str, tool: str = "echo", *, peer: Peer | None = None) -> tuple[Exchange, OnRequest]:
        return self.send(request("tools/call", {"name": tool}), session=session, peer=peer)

    def works(self, x: Exchange) -> OnAnswer:
        """The server answers with a result."""
        assert x.message is not None
        return self.answer(x, 200, {"jsonrpc": "2.0", "id": x.message.id, "result": {}})

    def lose(self, x: Exchange) -> OnAnswer:
        """The server answers that the session is not known."""
        return self.answer(
            x, 404, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}
        )

    def shake(self, session: Session, new_id: str | None, status: int = 200) -> tuple[list[Release], list[End]]:
        """The handshake is answered: with a new id, or not at all."""
        self.now += 0.001
        body = json.dumps(initialized("own")).encode() if new_id else b"<html>not here</html>"
        headers = HeaderMap(fields({"mcp-session-id": new_id}))
        if self.core.shaken(session, status if new_id else 404, headers, parse(body), self.now):
            return self.core.recovered(session, self.now)
        return self.core.not_recovered(session, "no", self.now)

    def lines(self) -> list[str]:
        return [record.line() for record in self.told]


def request(method: str, params: Any = None, id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}


def initialized(id: Any, capabilities: Any = None) -> dict[str, Any]:
    result = {
        "protocolVersion": LATEST,
        "capabilities": capabilities if capabilities is not None else {"tools": {"listChanged": True}},
        "serverInfo": {"name": "server", "version": "1"},
    }
    return {"jsonrpc": "2.0", "id": id, "result": result}


def forwarded_as(decision: object) -> str | None:
    assert isinstance(decision, Forward), decision
    return decision.session_id
