"""The core without a proxy: told what a test wants to have happened, its effects kept, its timers kept in step."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from mcp_sessions.core.client import Connection, ProcessLike
from mcp_sessions.core.core import Core
from mcp_sessions.core.decisions import Conclude, Consult, Decision, Head, Outcome, Release, Send
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.observer import Observer
from mcp_sessions.core.policy import Policy
from mcp_sessions.core.records import AnyRecord
from mcp_sessions.core.reporter import Reporter
from mcp_sessions.core.session import Endpoint
from mcp_sessions.options import Settings
from mcp_sessions.rules import Judge
from mcp_sessions.wire.headers import HeaderMap, coded
from mcp_sessions.wire.jsonrpc import UNREAD, Body, parse
from mcp_sessions.wire.sse import Event


@dataclass(frozen=True)
class FakeProcess:
    """A process of this host."""

    pid: int
    started: float = 1.0
    name: str = "client"
    parent: int | None = None
    above: FakeProcess | None = None


class Driver:
    """Tells a core of inputs; `sends` and `releases` are the effects that nobody has taken yet."""

    def __init__(
        self, policy: Policy | None = None, *, observer: Observer | None = None, judged: bool = True, **options: Any
    ) -> None:
        chosen = Settings(**options)
        self.told: list[AnyRecord] = []
        self.reporter = Reporter(self.told.append)
        self.judge = Judge(self.reporter.tell, chosen.silenced, chosen.level)
        watching = observer or (self.judge if judged else None)
        self.core = Core(policy or chosen.policy, self.reporter, watching)
        self.sends: list[Send] = []
        self.releases: list[Release] = []
        self.consults: list[Consult] = []
        self.concluded: list[Conclude] = []
        self._numbers = itertools.count(1)

    def connect(
        self,
        connection_id: str,
        process: ProcessLike | None,
        now: float,
        *,
        peer: tuple[str, int] = ("127.0.0.1", 40000),
        known: bool = True,
        **more: Any,
    ) -> Connection:
        """A connection, and who is behind it, unless that is not `known` yet."""
        connection = self.core.connected(connection_id, peer, ("127.0.0.1", 8080), now)
        if known and not connection.identified:
            self.identify(connection, process, now, **more)
        return connection

    def identify(self, connection: Connection, process: ProcessLike | None, now: float, **more: Any) -> None:
        """It was found out who is behind a connection."""
        self.core.identified(connection, process, now, **more)
        self.fetch()

    def request(
        self,
        verb: str,
        url: str,
        endpoint: Endpoint,
        headers: HeaderMap,
        content: bytes | None,
        connection: Connection,
        now: float,
        exchange_id: str = "",
    ) -> tuple[Exchange, Decision]:
        """A request was read; what is decided about it."""
        body = Body()
        if verb == "POST":
            body = UNREAD if content is None or coded(headers) else parse(content)
        name = exchange_id or f"x{next(self._numbers)}"
        x = Exchange(name, now, verb, endpoint, url, headers, body, connection)
        self.core.arrived(x, now)
        decision = self.core.requested(x, now)
        self.fetch()
        return x, decision

    def head(self, x: Exchange, status: int, headers: HeaderMap, now: float) -> Head:
        """The head of the answer has arrived."""
        head = self.core.head(x, status, headers, now)
        self.fetch()
        return head

    def event(self, x: Exchange, event: Event, now: float) -> None:
        """An event has arrived."""
        self.core.event(x, event, now)
        self.fetch()

    def answered(self, x: Exchange, content: bytes | None, now: float) -> Decision:
        """The answer was read whole; what is decided about it."""
        decision = self.core.answered(x, content, now)
        self.fetch()
        return decision

    def finished(self, x: Exchange, how: Finish, now: float) -> None:
        """The exchange is over."""
        self.core.finished(x, how, now)
        self.fetch()

    def gone(self, process: ProcessLike, now: float, *left: ProcessLike) -> None:
        """A process has ended, and has left others behind."""
        self.core.gone(process, now, left)
        self.fetch()

    def disconnected(self, connection_id: str, now: float) -> Connection | None:
        """A connection was closed."""
        connection = self.core.disconnected(connection_id, now)
        self.fetch()
        return connection

    def sent(self, send: Send, outcome: Outcome, now: float) -> None:
        """What came of a request of the proxy's own."""
        self.core.sent(send.tag, outcome, now)
        self.fetch()

    def pass_time(self, now: float, until: float) -> None:
        """Let time pass: timers go off when they are due."""
        turns = 0
        while (due := self.core.next_timer()) is not None and due <= until:
            now = max(now, due)
            turns += 1
            assert turns < 100_000, "a timer that is always due"
            self.core.timer(now)
            self.fetch()

    def fetch(self) -> None:
        """Take the effects, as a shell does after every input."""
        for effect in self.core.effects():
            match effect:
                case Send():
                    self.sends.append(effect)
                case Release():
                    self.releases.append(effect)
                case Consult():
                    self.consults.append(effect)
                case Conclude():
                    self.concluded.append(effect)

    def take(self, what: str) -> list[Send]:
        """The requests of the proxy's own of this kind that are to be sent, the oldest first; they are taken."""
        found = [send for send in self.sends if send.request.what == what]
        self.sends = [send for send in self.sends if send.request.what != what]
        return found
