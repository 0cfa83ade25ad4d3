"""A core without a proxy: clients and a server as a test's own words have them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.driver import Driver, FakeProcess
from mcp_sessions.core.decisions import Decision, Deliver, Forward, Outcome, Release, Reply, Send
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import parse

ENDPOINT = Endpoint("http", "server", 80, "/mcp")
LATEST = "2025-11-25"

DELETE = "DELETE session"
"""What a DELETE of the proxy's own is called."""

type Headers = Mapping[str, str | None]


@dataclass
class Peer:
    """A client: a process of this host, or (`pid=None`) somebody elsewhere."""

    pid: int | None = 1
    host: str = "127.0.0.1"
    token: str | None = None
    connection: str = "c1"
    known: bool = True
    """Whether it is known at once which process is behind its connection."""
    visited: bool = False
    """Whether others are connected to that process: it is not the client, but what carries it."""


def fields(headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode("latin-1")) for name, value in headers.items() if value is not None)


class World(Driver):
    """Drives a core, with a clock of its own."""

    def __init__(self, settings: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**(settings or {}), **options)
        self.now = 1000.0

    def _next(self) -> float:
        self.now += 0.001
        return self.now

    # Requests

    def send(
        self,
        message: Any = None,
        *,
        session: str | None = None,
        verb: str = "POST",
        peer: Peer | None = None,
        headers: Headers | None = None,
    ) -> tuple[Exchange, Decision]:
        """A request arrives; what is decided about it."""
        peer = peer or Peer()
        process = FakeProcess(peer.pid) if peer.pid else None
        connection = self.connect(
            peer.connection,
            process,
            self._next(),
            peer=(peer.host, 40000),
            known=peer.known,
            visited=peer.visited,
        )
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
        return self.request(verb, str(ENDPOINT), ENDPOINT, HeaderMap(fields(shown)), content, connection, self.now)

    def answer(
        self,
        x: Exchange,
        status: int = 200,
        body: Any = None,
        *,
        session: str | None = None,
        headers: Headers | None = None,
    ) -> Decision:
        """The server answers with JSON (or bytes, as they are); what is decided about that."""
        shown: Headers = {
            "content-type": "application/json",
            "mcp-session-id": session,
            **(headers or {}),
        }
        self.head(x, status, HeaderMap(fields(shown)), self._next())
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        decision = self.answered(x, content, self.now)
        if isinstance(decision, (Deliver, Reply)):
            self.finish(x)
        return decision

    def finish(self, x: Exchange, how: Finish = Finish.COMPLETE) -> None:
        self.finished(x, how, self._next())

    def hang_up(self, x: Exchange) -> None:
        """The client of an exchange that is kept waiting hangs up."""
        self.core.hung_up(x, self._next())
        self.finish(x, Finish.CLIENT)

    def dies(self, peer: Peer, *left: FakeProcess) -> None:
        """The process of a client ends, and leaves children behind."""
        assert peer.pid
        self.gone(FakeProcess(peer.pid), self._next(), *left)

    def wait(self, seconds: float) -> None:
        """Time passes, and timers go off when they are due."""
        until = self.now + seconds
        self.pass_time(self.now, until)
        self.now = until

    # Short cuts

    def open(
        self,
        session: str = "s-one-two-three-four",
        *,
        peer: Peer | None = None,
        capabilities: Any = None,
        name: str = "test",
    ) -> Session:
        """A client opens a session."""
        params = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": name, "version": "1"}}
        opening, _ = self.send(request("initialize", params), peer=peer, headers={"mcp-protocol-version": None})
        self.answer(
            opening, 200, initialized(opening.message.id if opening.message else 0, capabilities), session=session
        )
        x, _ = self.send({"jsonrpc": "2.0", "method": "notifications/initialized"}, session=session, peer=peer)
        self.answer(x, 202)
        return opening.opened or self.session(session)

    def session(self, session_id: str) -> Session:
        """The session that a client knows by this id."""
        found = self.core.ledger.find(ENDPOINT, session_id)
        assert found is not None
        return found

    def call(self, session: str, tool: str = "echo", *, peer: Peer | None = None) -> tuple[Exchange, Decision]:
        return self.send(request("tools/call", {"name": tool}), session=session, peer=peer)

    def works(self, x: Exchange) -> Decision:
        """The server answers with a result."""
        assert x.message is not None
        return self.answer(x, 200, {"jsonrpc": "2.0", "id": x.message.id, "result": {}})

    def lose(self, x: Exchange) -> Decision:
        """The server answers that the session is not known."""
        return self.answer(
            x, 404, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}
        )

    # Requests of the proxy's own

    @property
    def shaking(self) -> list[Session]:
        """The sessions for which an `initialize` of the proxy's own is to be answered."""
        return [send.request.session for send in self.sends if send.request.what == "initialize"]

    @property
    def deleting(self) -> list[str]:
        """The server's ids of the sessions of which a DELETE of the proxy's own is to be answered."""
        return [dict(send.request.headers)["mcp-session-id"] for send in self.sends if send.request.what == DELETE]

    def shake(self, session: Session, new_id: str | None) -> dict[str, Decision]:
        """The handshake for a session is answered, with a new id or with nonsense, and so is all that follows.

        What becomes of those who waited, by exchange.
        """
        (opening,) = [send for send in self.sends if send.request == self._opening(session)]
        self.sends.remove(opening)
        before = len(self.releases)
        if new_id is None:
            self.sent(opening, outcome(404, b"<html>not here</html>"), self._next())
        else:
            self.sent(opening, outcome(200, initialized("own"), session=new_id), self._next())
            while following := [s for s in self.sends if s.request.session is session and s.request.what != DELETE]:
                for send in following:
                    self.sends.remove(send)
                    self.sent(send, self.restored(send), self._next())
        released, self.releases = self.releases[before:], self.releases[:before]
        return {release.exchange.id: release.decision for release in released}

    def restored(self, send: Send) -> Outcome:
        """What the server answers to a message that restores a session."""
        if send.request.what.startswith("notifications/"):
            return outcome(202)
        return outcome(200, {"jsonrpc": "2.0", "id": "own", "result": {}})

    def _opening(self, session: Session) -> Any:
        requests = [s.request for s in self.sends if s.request.what == "initialize" and s.request.session is session]
        assert requests, "no handshake is under way"
        return requests[0]

    def delete_answered(self, status: int | None, said: str = "", **headers: str) -> Send:
        """The oldest DELETE of the proxy's own is answered so (None: not at all)."""
        send = next(send for send in self.sends if send.request.what == DELETE)
        self.sends.remove(send)
        body = {"jsonrpc": "2.0", "id": None, "error": {"code": -1, "message": said}} if said else None
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        self.sent(
            send, outcome(status, body, **shown) if status else Outcome(problem="connection refused"), self._next()
        )
        return send

    def delete_not_sent(self) -> Send:
        """The oldest DELETE of the proxy's own was not sent: another proxy sees to the session's end."""
        send = next(send for send in self.sends if send.request.what == DELETE)
        assert send.request.unless_elsewhere
        self.sends.remove(send)
        self.sent(send, Outcome(elsewhere=True), self._next())
        return send

    def released(self) -> list[Release]:
        """Whoever was let go and not asked for yet."""
        released, self.releases = self.releases, []
        return released

    def lines(self) -> list[str]:
        return [record.line() for record in self.told]

    def whats(self) -> list[str]:
        return [getattr(record, "what", "") for record in self.told]


def outcome(status: int | None, body: Any = None, *, session: str | None = None, **headers: str) -> Outcome:
    """What came of a request of the proxy's own."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    return Outcome(status, HeaderMap(fields({"mcp-session-id": session, **headers})), parse(content))


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
