"""Two and three cores over one ledger, whose messages are lost, late and repeated: what always holds.

The ledger is a model of the one in Redis: a lease, a generation, what each proxy saw, and that a session is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.world import DELETE, Peer, World, outcome
from core.world import initialized as negotiated
from mcp_sessions.core.decisions import Consult, Counsel, Decision, Forward, Matter, News, Resend, Send
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import ClientSide

ID = "the-id-that-the-client-knows"
LEASE = 6.0


@dataclass
class Ledger:
    """What the proxies share."""

    server_id: str = ID
    generation: int = 0
    over: float = 0.0
    holder: int | None = None
    until: float = 0.0
    seen: dict[int, tuple[float, int]] = field(default_factory=dict)
    """By proxy: when it has seen the session last, and over how many connections."""


class FleetMachine(RuleBasedStateMachine):
    @initialize(count=st.sampled_from([2, 3]), process=st.booleans())
    def begin(self, count: int, process: bool) -> None:
        self.now = 1000.0
        self.worlds = [World() for _ in range(count)]
        self.ledger = Ledger()
        self.alive_at_server = {ID}
        self.executed: dict[str, int] = {}
        self.wrongly_ended: list[str] = []
        self.client_lives = True
        self.numbers = 0
        self.process = process
        self.peers = [
            Peer(pid=1 if process else None, host="192.0.2.7", connection=f"c{n}", token="t") for n in range(count)
        ]
        self.news: list[set[int]] = []
        for world, peer in zip(self.worlds, self.peers, strict=True):
            world.core.ending.sharing.on = True
            world.now = self.now
            world.open(ID, peer=peer)
            self._hang_up(world, peer)
            self._note(world)

    # What the ledger does

    def _session(self, world: World) -> Session:
        return world.session(ID)

    def _note(self, world: World) -> None:
        session = self._session(world)
        self.ledger.seen[self.worlds.index(world)] = (session.last_used, len(session.connections))

    def _news(self, world: World) -> Counsel:
        ledger, number = self.ledger, self.worlds.index(world)
        if ledger.over:
            return Counsel(over=ledger.over)
        others = [seen for one, seen in ledger.seen.items() if one != number]
        return Counsel(
            news=News(
                ledger.server_id,
                ledger.generation,
                "2025-11-25",
                None,
                None,
                "client",
                max((used for used, _ in others), default=0.0),
                None,
                None,
                0,
                sum(connections for _, connections in others),
                (),
                None,
                True,
            )
        )

    def _granted(self, world: World, *, granted: bool) -> Counsel:
        found = self._news(world)
        return Counsel(granted=granted, over=found.over, news=found.news)

    def _lease(self, world: World) -> bool:
        number = self.worlds.index(world)
        if self.ledger.holder not in (None, number) and self.ledger.until > self.now:
            return False
        self.ledger.holder, self.ledger.until = number, self.now + LEASE
        return True

    def _committed(self, world: World) -> Counsel:
        ledger, number, session = self.ledger, self.worlds.index(world), self._session(world)
        held = ledger.holder == number and ledger.until > self.now
        taken = ledger.holder not in (None, number) and ledger.until > self.now
        if taken or (not held and ledger.generation >= session.generation):
            return self._granted(world, granted=False)
        self._write(world)
        ledger.holder = None
        return Counsel(granted=True)

    def _write(self, world: World) -> None:
        session = self._session(world)
        if session.generation >= self.ledger.generation and not session.over:
            self.ledger.server_id, self.ledger.generation = session.server_id, session.generation
            self.ledger.over = 0.0
            self.news.append(set(range(len(self.worlds))) - {self.worlds.index(world)})

    # What happens

    def _at(self, number: int) -> World:
        world = self.worlds[number % len(self.worlds)]
        world.now = max(world.now, self.now)
        return world

    def _serve(self, world: World, x: Exchange, decision: Decision) -> None:
        """The server answers, and whatever follows from that."""
        while isinstance(decision, Forward | Resend):
            sid = decision.session_id or x.presented
            if sid in self.alive_at_server:
                text = str(x.message.id) if x.message else ""
                self.executed[text] = self.executed.get(text, 0) + 1
                decision = world.works(x)
                break
            decision = world.lose(x)
        self._released(world)

    def _released(self, world: World) -> None:
        for release in world.released():
            self._serve(world, release.exchange, release.decision)

    @rule(number=st.integers(0, 2))
    def call(self, number: int) -> None:
        if self.client_lives:
            world = self._at(number)
            self.numbers += 1
            peer = self._connected(self.worlds.index(world))
            message = {"jsonrpc": "2.0", "id": self.numbers, "method": "tools/call", "params": {"name": "echo"}}
            self._serve(world, *world.send(message, session=ID, peer=peer))
            self._hang_up(world, peer)
            self.now = max(self.now, world.now)

    def _connected(self, number: int) -> Peer:
        """A client that no process is seen of holds no connection between two calls."""
        if not self.process:
            self.numbers += 1
            self.peers[number] = Peer(None, "192.0.2.7", "t", f"c{number}-{self.numbers}")
        return self.peers[number]

    def _hang_up(self, world: World, peer: Peer) -> None:
        if not self.process:
            world.disconnected(peer.connection, world._next())

    @rule()
    def lose(self) -> None:
        if len(self.alive_at_server) > 0 and self.numbers % 3 == 0:
            self.alive_at_server.clear()

    @rule(number=st.integers(0, 2), which=st.integers(0, 5), works=st.booleans())
    def own(self, number: int, which: int, works: bool) -> None:
        """A request of a proxy's own is answered, or is not."""
        world = self._at(number)
        if world.sends:
            self._answer(world, world.sends.pop(which % len(world.sends)), works=works)

    def _answer(self, world: World, send: Send, *, works: bool) -> None:
        what = send.request.what
        if what == "initialize" and works:
            self.numbers += 1
            new = f"server-{self.numbers}"
            self.alive_at_server.add(new)
            came = outcome(200, negotiated("own"), session=new)
        elif what == DELETE:
            sid = dict(send.request.headers)["mcp-session-id"]
            if self.client_lives and sid == self.ledger.server_id and sid in self.alive_at_server and not self.idle:
                self.wrongly_ended.append(sid)
            came = outcome(200 if sid in self.alive_at_server else 404)
            self.alive_at_server.discard(sid)
        else:
            came = outcome(202 if works else 500)
        world.sent(send, came, world._next())
        self._released(world)

    @property
    def idle(self) -> bool:
        """Whether nobody has called for so long that a client that lives may be taken for gone."""
        last = max(self._session(world).last_used for world in self.worlds)
        return not self.process and self.now - last >= 1800

    @rule(number=st.integers(0, 2), fate=st.sampled_from(["answered", "answered", "answered", "lost", "late"]))
    def consulted(self, number: int, fate: str) -> None:
        """A question reaches the ledger and is answered; or it does not, or the answer is lost."""
        world = self._at(number)
        if not world.consults:
            return
        consult = world.consults.pop(0)
        if fate == "late" and len(world.consults) < 20:
            world.consults.append(consult)
            return
        counsel = self._advise(world, consult) if fate == "answered" else Counsel(alone=True)
        if counsel is None:
            world.consults.append(consult)  # it waits for another proxy
            return
        world.core.ending.sharing.advised(consult.tag, counsel, world._next())
        world.fetch()
        self._released(world)

    def _advise(self, world: World, consult: Consult) -> Counsel | None:
        if consult.matter in (Matter.WEIGH, Matter.DELETE):  # uses are written down every few seconds, unasked
            for one in self.worlds:
                self._note(one)
        match consult.matter:
            case Matter.WEIGH:
                return self._granted(world, granted=True)
            case Matter.HANDSHAKE:
                return self._granted(world, granted=True) if self._lease(world) else None
            case Matter.COMMIT:
                return self._committed(world)
            case Matter.DELETE:
                return self._granted(world, granted=self._lease(world))

    @rule(number=st.integers(0, 2), lost=st.booleans())
    def concluded(self, number: int, lost: bool) -> None:
        world = self._at(number)
        if not world.concluded:
            return
        conclude = world.concluded.pop(0)
        if lost:
            return  # its lease ends by itself
        if conclude.session.over and not self.ledger.over:
            self.ledger.over = world.now
            self.news.append(set(range(len(self.worlds))) - {self.worlds.index(world)})
        if self.ledger.holder == self.worlds.index(world):
            self.ledger.holder = None

    @rule(which=st.integers(0, 5), fate=st.sampled_from(["told", "told", "repeated", "lost"]))
    def told(self, which: int, fate: str) -> None:
        """News reach those whom they concern; or not."""
        if self.news:
            whom = self.news[which % len(self.news)] if fate == "repeated" else self.news.pop(which % len(self.news))
            for number in whom if fate != "lost" else ():
                self._tell(self._at(number))

    def _tell(self, world: World) -> None:
        self._note(world)
        world.core.ending.sharing.told(self._session(world), self._news(world), world._next())
        world.fetch()
        self._released(world)

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0, 40.0, 950.0, 950.0]))
    def time(self, seconds: float) -> None:
        self.now += seconds
        for world in self.worlds:
            world.wait(max(0.0, self.now - world.now))
            self._released(world)

    @rule(number=st.integers(0, 2))
    def stays_with_one(self, number: int) -> None:
        """The others see nothing of the client for longer than every grace time."""
        for _ in range(4):
            self.call(number)
            self.time(950.0)
        self.call(number)
        for other in range(len(self.worlds)):
            self.settles(other)

    @rule()
    def lost_everywhere(self) -> None:
        self.alive_at_server.clear()
        for number in range(len(self.worlds)):
            self.call(number)

    @rule(number=st.integers(0, 2))
    def settles(self, number: int) -> None:
        """Nothing that this proxy has sent or asked is lost."""
        world, number = self._at(number), number % len(self.worlds)
        for _ in range(20):
            while world.concluded:
                self.concluded(number, lost=False)
            while world.sends:
                self._answer(self._at(number), world.sends.pop(0), works=True)
            if world.consults:
                self.consulted(number, "answered")

    @rule(really=st.sampled_from([True, False, False, False, False]))
    def dies(self, really: bool) -> None:
        if self.client_lives and really:
            self.client_lives = False
            for world, peer in zip(self.worlds, self.peers, strict=True):
                world.now = max(world.now, self.now)
                if self.process:
                    world.disconnected(peer.connection, world._next())
                    world.dies(peer)

    # What always holds

    @invariant()
    def nothing_is_executed_twice(self) -> None:
        assert all(times == 1 for times in getattr(self, "executed", {}).values())

    @invariant()
    def no_session_is_ended_whose_client_lives(self) -> None:
        assert not getattr(self, "wrongly_ended", [])

    # And in the end, when nothing is lost any more

    def _heal(self) -> None:
        for _ in range(60):
            for number in range(len(self.worlds)):
                self.settles(number)
            while self.news:
                self.told(0, "told")
            self.time(40.0)

    def teardown(self) -> None:
        if not hasattr(self, "worlds"):
            return
        self._heal()
        for number, world in enumerate(self.worlds):
            if self._session(world).standing.client is ClientSide.USING:
                self._write(world)
            while self.news:
                self.told(0, "told")
            assert not world.core._recovery.attempts, f"somebody waits for ever at {number}"
        if self.client_lives:
            living: Any = [s for s in map(self._session, self.worlds) if not s.over]
            assert len({(s.server_id, s.generation) for s in living if s.generation == self.ledger.generation}) <= 1
        else:
            self._heal()
            assert self.ledger.server_id not in self.alive_at_server, "its client is dead, and nobody has ended it"


TestFleetMachine = pytest.mark.long(FleetMachine.TestCase)
TestFleetMachine.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
