"""Whatever the order of calls, refusals, answers, hang-ups, deaths, timeouts and whims: the promises hold.

No request is lost and none is executed twice; a session whose client lives is not ended, unless by hand or at the
proxy's exit; one that its client has ended is not brought back; whatever is under way comes to an end.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.driver import FakeProcess
from core.world import DELETE, Peer, World, initialized, outcome
from mcp_sessions.core.decisions import Decision, Deliver, Forward, Hold, Outcome, Reply, Resend, Send
from mcp_sessions.core.ending import evidence
from mcp_sessions.core.ending.deletions import MOST, Deletion
from mcp_sessions.core.ending.departures import GRACE
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.recovery.attempts import Attempt
from mcp_sessions.core.recovery.handshake import Step
from mcp_sessions.core.recovery.recovery import Recovery
from mcp_sessions.core.states import OPENED, ClientSide, ServerSide, State, Trigger
from mcp_sessions.core.tally import ENDED_TOO_SOON
from mcp_sessions.options import Settings
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.sse import Event

ID = "the-id-that-the-client-knows"
PEERS = (
    Peer(pid=1, connection="c1", token="t"),
    Peer(pid=2, connection="c2", token="t"),
    Peer(pid=None, host="10.0.0.9", connection="c3", token="t"),
    Peer(pid=None, host="10.0.0.7", connection="c4", token="another"),
    Peer(pid=3, connection="c5", token="t", visited=True),
)
"""Two processes of this host, somebody elsewhere, a stranger whom the server does not accept, and a process that
carries somebody: its end proves nothing."""
STRANGER = 3
CARRIER = 4
UNSEEN = {2, CARRIER}
"""Those whose end nobody sees."""
DELETE_ANSWERS = (200, 204, 404, 405, 401, 429, 500, None)
GRACES: dict[str, Any] = {"mcp_end_after_idle": 100, "mcp_end_after_stream": 20, "mcp_end_after_superseded": 15}
STREAM = HeaderMap(((b"content-type", b"text/event-stream"),))


class CoreMachine(RuleBasedStateMachine):
    """Clients with many calls, a server that forgets, a user with whims, and the core between them.

    The server executes a call when it knows the session that the call was sent with, and refuses it otherwise.
    """

    @initialize(superseded=st.sampled_from(["on", "off"]))
    def begin(self, superseded: str = "off") -> None:
        self.world = World(mcp_end_superseded=superseded, **GRACES)
        self.session = self.world.open(ID, peer=PEERS[0])
        self.known: set[str] = {ID}
        self.generations = 0
        self.made: set[str] = set()
        """Sessions that the server has made for the proxy."""
        self.at_server: dict[str, tuple[Exchange, str, int]] = {}
        self.waiting: dict[str, Exchange] = {}
        self.streams: dict[str, Exchange] = {}
        self.executed: dict[str, int] = {}
        self.answered: set[str] = set()
        self.hung_up: set[str] = set()
        self.sent: set[str] = set()
        self.dead: set[int] = set()
        self.used_by: set[int] = {0}
        self.latecomers = False
        """Somebody has used the session after its client was taken for gone."""
        self.side = ClientSide.USING
        self.children_until = 0.0
        """Until when children of a process that has ended may go on in its place."""
        self.ended_by_client = self.ended_by_hand = self.exiting = False
        self.was_left = False
        self.seen: dict[int, Send] = {}
        """DELETEs of the proxy's own that were to be sent when somebody looked last."""
        self.gave_up = False
        """A DELETE of the proxy's own was not answered well, or got lost."""
        self.quiet_since = self.world.now
        self.superseded = superseded == "on"
        """What a client leaves behind is to be ended, or was once."""
        self.others: list[float] = []
        """When the first client has opened other sessions."""

    # Clients

    @rule(who=st.integers(0, len(PEERS) - 1))
    def call(self, who: int) -> None:
        if who not in self.dead:
            if who in (0, 1, CARRIER):  # of anybody else it counts as soon as the server has accepted it
                self.used_by.add(who)
                self.quiet_since = self.world.now
            self._on_request(*self.world.call(ID, peer=PEERS[who]), who)

    @precondition(lambda self: not self.dead & {0})
    @rule()
    def listen(self) -> None:
        self.quiet_since = self.world.now
        self._on_request(*self.world.send(verb="GET", session=ID, peer=PEERS[0]), 0)

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), how=st.sampled_from(list(Finish)))
    def stream_ends(self, data: st.DataObject, how: Finish) -> None:
        x = self.streams.pop(data.draw(st.sampled_from(sorted(self.streams))))
        self.answered.add(x.id)
        self.quiet_since = self.world.now
        self.world.finish(x, how)
        self._take_releases()

    @precondition(lambda self: not self.dead & {0})
    @rule()
    def open_another(self) -> None:
        """At the same endpoint."""
        self.others.append(self.world.now)
        self.known.add(f"another-one-{len(self.others)}")
        self.world.open(f"another-one-{len(self.others)}", peer=PEERS[0])
        self._take_releases()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def hang_up_while_waiting(self, data: st.DataObject) -> None:
        x = self.waiting.pop(data.draw(st.sampled_from(sorted(self.waiting))))
        self.hung_up.add(x.id)
        if x.verb == "DELETE":
            self.ended_by_client = True
        self.world.hang_up(x)
        self._take_releases()

    @precondition(lambda self: self.at_server)
    @rule(data=st.data(), how=st.sampled_from([Finish.CLIENT, Finish.SERVER]))
    def break_off(self, data: st.DataObject, how: Finish) -> None:
        x, _, _ = self.at_server.pop(data.draw(st.sampled_from(sorted(self.at_server))))
        self.hung_up.add(x.id)
        if x.verb == "DELETE" and not x.stranger:
            self.ended_by_client = True
        self.world.finish(x, how)
        self._take_releases()

    @rule(who=st.integers(0, 2))
    def delete(self, who: int) -> None:
        if who not in self.dead:
            self._on_request(*self.world.send(verb="DELETE", session=ID, peer=PEERS[who]), who)

    @rule(who=st.sampled_from([0, 1, CARRIER]))
    def die(self, who: int) -> None:
        self._die(who)

    @precondition(lambda self: not self.dead & {0})
    @rule()
    def die_before_its_children(self) -> None:
        self.children_until = self.world.now + GRACE
        self._die(0, FakeProcess(99))

    def _die(self, who: int, *left: FakeProcess) -> None:
        self.dead.add(who)
        self.world.disconnected(PEERS[who].connection, self.world.now)
        self.world.dies(PEERS[who], *left)
        self._take_releases()

    @rule(who=st.integers(0, len(PEERS) - 1))
    def disconnect(self, who: int) -> None:
        self.world.disconnected(PEERS[who].connection, self.world.now)

    # The server

    @rule()
    def forget(self) -> None:
        self.known.clear()

    @precondition(lambda self: self.at_server)
    @rule(data=st.data(), stream=st.booleans())
    def answer(self, data: st.DataObject, stream: bool) -> None:
        x, sent_with, who = self.at_server.pop(data.draw(st.sampled_from(sorted(self.at_server))))
        if sent_with not in self.known or who == STRANGER:
            self._on_answer(x, self.world.lose(x), who)
        elif x.verb == "DELETE":
            self.known.discard(sent_with)
            self.ended_by_client |= not x.stranger
            self._on_answer(x, self.world.answer(x, 200), who)
        elif x.verb == "GET" or stream:
            self._accepted(x, who)
            self.executed[x.id] = self.executed.get(x.id, 0) + (x.verb == "POST")
            assert self.world.head(x, 200, STREAM, self.world.now).stream
            if x.verb == "POST":  # that it was accepted shows in a result, and in no status
                self.world.event(x, Event(b'{"jsonrpc":"2.0","id":1,"result":{}}'), self.world.now)
            self.streams[x.id] = x
        else:
            self._accepted(x, who)
            self.executed[x.id] = self.executed.get(x.id, 0) + 1
            self._on_answer(x, self.world.works(x), who)
        self._take_releases()

    def _accepted(self, x: Exchange, who: int) -> None:
        if not (x.stranger and self.session.mapped):  # else what the server knows by that id is not this session
            self.used_by.add(who)
            self.quiet_since = self.world.now

    @precondition(lambda self: self.at_server)
    @rule(data=st.data(), status=st.sampled_from([500, 503, 401]))
    def refuse_for_now(self, data: st.DataObject, status: int) -> None:
        x, _, who = self.at_server.pop(data.draw(st.sampled_from(sorted(self.at_server))))
        self._on_answer(x, self.world.answer(x, status, b"busy"), who)
        self._take_releases()

    @precondition(lambda self: self.world.sends)
    @rule(data=st.data(), works=st.booleans(), status=st.sampled_from(DELETE_ANSWERS))
    def answer_own(self, data: st.DataObject, works: bool, status: int | None) -> None:
        """A request of the proxy's own is answered."""
        number = data.draw(st.integers(0, len(self.world.sends) - 1))
        send = self.world.sends.pop(number)
        self.world.sent(send, self._own(send, works, status), self.world.now)
        self._take_releases()

    @precondition(lambda self: self.asked and not (self.ended_by_hand or self.ended_by_client))
    @rule()
    def left_to_another(self) -> None:
        """Another proxy has the session, for its client went there; and comes back."""
        self.world.delete_not_sent()
        if self.session.number not in self.world.core.ledger.sessions:
            self.session.standing = OPENED
            self.session.reason = None
            for client in self.session.owners:  # as whoever makes a session of a row enters them
                client.sessions[self.session] = None
            assert self.world.core.adopt([self.session], [], self.world.now) == [self.session]
            self.quiet_since = self.world.now
            self.side = ClientSide.USING  # its client has used it there, and nobody else: no one came late
        self._take_releases()

    @property
    def asked(self) -> bool:
        """Whether the first DELETE that is to be sent is not to be, if another proxy has the session."""
        first = next((send for send in self.world.sends if send.request.what == DELETE), None)
        return first is not None and first.request.unless_elsewhere

    def _own(self, send: Send, works: bool, status: int | None) -> Outcome:
        what = send.request.what
        if what == DELETE:
            if status in (200, 204, 404):
                self.known.discard(dict(send.request.headers)["mcp-session-id"])
            else:
                self.gave_up = True
            return outcome(status) if status else Outcome(problem="connection refused")
        if what != "initialize":
            return outcome(200, {"jsonrpc": "2.0", "id": 1, "result": {}}) if works else Outcome(problem="no answer")
        if not works:
            return outcome(503, b"") if status else Outcome(problem="not answered within 30 s")
        self.generations += 1
        new_id = f"generation-{self.generations}"
        self.known.add(new_id)
        self.made.add(new_id)
        return outcome(200, initialized("own"), session=new_id)

    # Time, and the user

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0, 101.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)
        self._take_releases()

    @rule(kept=st.booleans())
    def keep(self, kept: bool) -> None:
        self.world.core.keep(self.session, kept, self.world.now)
        self.world.fetch()

    @rule()
    def reinit(self) -> None:
        try:
            self.world.core.reinit(self.session, self.world.now)
        except ValueError:
            return
        self.world.fetch()

    @rule()
    def end(self) -> None:
        try:
            self.world.core.end(self.session, self.world.now)
        except ValueError:
            return
        self.ended_by_hand = True
        self.world.fetch()
        self._take_releases()

    @rule(
        end=st.sampled_from(["on", "log", "off"]),
        recover=st.sampled_from(["on", "reinit", "off"]),
        superseded=st.sampled_from(["on", "off"]),
    )
    def configure(self, end: str, recover: str, superseded: str = "off") -> None:
        chosen: dict[str, Any] = {"mcp_end": end, "mcp_recover": recover, "mcp_end_superseded": superseded}
        policy = Settings(**chosen, **GRACES).policy
        self.superseded = self.superseded or superseded == "on"
        self.gave_up = self.gave_up or end != "on"
        self.world.core.configure(policy, self.world.now)
        self.world.fetch()

    @rule()
    def reload(self) -> None:
        """The script is loaded anew: who waits is let go, and what the proxy had sent is lost."""
        waiting, self.waiting = self.waiting, {}
        for x in waiting.values():
            if x.status is None:  # it was held: it goes out as it is
                self._on_request(x, Forward(), 0)
            else:
                self._on_answer(x, Deliver(), 0)
                self.world.finish(x)
        self.world.sends.clear()
        self.gave_up = True
        self.world.core.interrupted(self.world.now)
        self.world.fetch()
        assert not self.world.released()

    # What the shell does

    def _take_releases(self) -> None:
        for release in self.world.released():
            assert release.exchange.id in self.waiting, "released once, and only who waits"
            x = self.waiting.pop(release.exchange.id)
            if isinstance(release.decision, Forward):
                self._on_request(x, release.decision, 0)
            else:
                self._on_answer(x, release.decision, 0)

    def _on_request(self, x: Exchange, decision: Decision, who: int) -> None:
        self.sent.add(x.id)
        match decision:
            case Forward(session_id):
                self.at_server[x.id] = (x, session_id or ID, who)
            case Hold():
                assert who != STRANGER
                self.waiting[x.id] = x
            case Reply():
                self.answered.add(x.id)
            case _:
                raise AssertionError(decision)
        self._take_releases()

    def _on_answer(self, x: Exchange, decision: Decision, who: int) -> None:
        match decision:
            case Hold():
                assert who != STRANGER
                self.waiting[x.id] = x
            case Resend(session_id):
                assert x.id not in self.executed, "what was executed is not sent again"
                assert x.attempts
                self.at_server[x.id] = (x, session_id, who)
            case Deliver() | Reply():
                assert x.id not in self.answered
                self.answered.add(x.id)
                if x.verb == "DELETE" and x.status == 404:
                    self.ended_by_client = True
            case _:
                raise AssertionError(decision)

    # What always holds

    @invariant()
    def nothing_is_executed_twice(self) -> None:
        assert all(times <= 1 for times in getattr(self, "executed", {}).values())

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if not hasattr(self, "sent"):
            return
        accounted = self.answered | self.hung_up | self.at_server.keys() | self.waiting.keys() | self.streams.keys()
        assert self.sent <= accounted
        attempts = self.world.core._recovery.attempts.values()
        under_way = [send for send in self.world.sends if getattr(send.tag, "attempt", None) in attempts]
        to_come = any(attempt.due is not None for attempt in attempts)
        assert not self.waiting or under_way or to_come, "whoever waits, waits for a handshake that has a time"
        openings = [send.tag for send in self.world.sends if send.request.what == "initialize"]
        not_late = [tag for tag in openings if isinstance(tag, Step) and _deadline(tag) > self.world.now]
        assert len(not_late) <= 1, "one handshake at a time"

    @invariant()
    def only_the_abandoned_are_ended(self) -> None:
        if not hasattr(self, "sent"):
            return
        standing = self.session.standing
        deletes = {
            id(send): send
            for send in self.world.sends
            if isinstance(send.tag, Deletion) and send.tag.final and send.request.session is self.session
        }
        self.latecomers |= self.side is ClientSide.GONE and standing.client is ClientSide.USING
        self.side = standing.client
        if deletes.keys() - self.seen.keys():
            quiet = self.world.now - self.quiet_since >= 20 and (bool(UNSEEN & self.used_by) or self.latecomers)
            meant = self.ended_by_client or self.ended_by_hand
            left_behind = self.superseded and self.used_by - self.dead <= {0} and not self.streams
            since = next((at for at in self.others if at >= self.quiet_since), self.world.now)
            quiet = quiet or (left_behind and self.world.now - since >= 15)
            certain = self.used_by <= self.dead - UNSEEN and self.world.now >= self.children_until
            assert meant or quiet or certain, "a session whose client lives is not ended"
            assert meant or quiet or not self.latecomers, "who comes later proves nothing by its end"
        self.seen = deletes
        assert not self.was_left or standing.client is ClientSide.LEFT, "what was ended by its client stays so"
        self.was_left = standing.client is ClientSide.LEFT
        if standing.server is ServerSide.RECOVERING:
            assert self.session in self.world.core._recovery.attempts
        else:
            assert self.session not in self.world.core._recovery.attempts
        assert len(self.world.deleting) <= MOST

    @invariant()
    def the_counts_are_right(self) -> None:
        if not hasattr(self, "sent"):
            return
        ledger = self.world.core.ledger
        assert ledger.tally.states.total() == len(ledger.sessions)
        assert all(ledger.tally.states[session.state] >= 1 for session in ledger.sessions.values())
        assert ledger.streams == sum(len(session.streams) for session in ledger.sessions.values())
        # What was counted is what stands in the histories, as far as their sessions are still known.
        told = Counter(
            entry.what for session in ledger.sessions.values() for entry in session.history if entry.detail != "by hand"
        )
        closed = sum(entry.state is State.CLOSED for session in ledger.sessions.values() for entry in session.history)
        tally = ledger.tally
        assert tally.recovery.count == told[Trigger.RECOVERED]
        assert tally.lost.total() - tally.lost[ENDED_TOO_SOON] == told[Trigger.REFUSED]
        assert tally.ended.total() == closed
        assert tally.returned == told[Trigger.RETURNED]

    def teardown(self) -> None:
        """Let everything come to its end: nobody waits for ever, and what is to be ended is ended."""
        if not hasattr(self, "sent"):
            return
        self.world.core.keep(self.session, False, self.world.now)
        self.configure("on", "off")
        for who in (0, 1, CARRIER):
            self.die(who)
        for _ in range(2000):
            if self.world.sends:
                send = self.world.sends.pop(0)
                self.world.sent(send, self._own(send, True, 200), self.world.now)
                self._take_releases()
            elif self.at_server:
                x, _sent, who = self.at_server.pop(next(iter(self.at_server)))
                self._on_answer(x, self.world.answer(x, 500, b"busy"), who)
            elif self.streams:
                self.world.finish(self.streams.pop(next(iter(self.streams))), Finish.SERVER)
            else:
                self.disconnect(2)
                self.disconnect(STRANGER)
                before = self.world.now
                self.world.wait(200)
                if not self.world.sends and self.world.now > before and self.session.state.value in ("closed", "stuck"):
                    break
        assert not self.waiting
        assert self.session.standing.server in (ServerSide.DELETED, ServerSide.STUCK)
        assert not self.world.sends
        if self.session.standing.server is ServerSide.DELETED and not self.gave_up:
            assert not self.made & self.known, "what was made for the proxy does not stay behind"
        assert self.world.core.next_timer() is None, "nothing is left to be done"


def _deadline(step: Step) -> float:
    assert isinstance(step.attempt, Attempt)
    return step.attempt.deadline


TestCoreMachine = pytest.mark.long(CoreMachine.TestCase)
TestCoreMachine.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_the_machine_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the core: a session is ended although one of its clients lives. The machine must notice."""
    monkeypatch.setattr("mcp_sessions.core.ending.ending.is_orphaned", lambda _: True)
    machine = CoreMachine()
    machine.begin()
    machine.call(1)
    machine.die(1)
    with pytest.raises(AssertionError, match="a session whose client lives is not ended"):
        machine.only_the_abandoned_are_ended()


def test_the_machine_sees_a_courier_that_is_taken_for_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the core: whoever uses a session is its client. The machine must notice."""
    monkeypatch.setattr("mcp_sessions.core.ending.ending.start_over", lambda _: None)
    machine = CoreMachine()
    machine.begin()
    machine.die(0)
    machine.only_the_abandoned_are_ended()
    machine.call(1)
    machine.only_the_abandoned_are_ended()
    machine.world.sends.clear()
    machine.only_the_abandoned_are_ended()
    machine.die(1)
    with pytest.raises(AssertionError, match="who comes later proves nothing"):
        machine.only_the_abandoned_are_ended()


def test_the_machine_sees_that_children_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the core: who ends is gone, whatever it leaves behind. The machine must notice."""
    monkeypatch.setattr("mcp_sessions.core.ending.departures.GRACE", 0.0)
    machine = CoreMachine()
    machine.begin()
    machine.die_before_its_children()
    machine.world.wait(0.1)
    with pytest.raises(AssertionError, match="a session whose client lives is not ended"):
        machine.only_the_abandoned_are_ended()


def test_the_machine_sees_a_carrier_that_is_taken_for_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the core: whatever process is behind a connection is the client. The machine must notice."""
    monkeypatch.setattr("mcp_sessions.core.senders.Senders._carry", lambda *_: None)
    machine = CoreMachine()
    machine.begin()
    machine.call(CARRIER)
    machine.die(CARRIER)
    machine.only_the_abandoned_are_ended()
    machine.die(0)
    with pytest.raises(AssertionError, match="a session whose client lives is not ended"):
        machine.only_the_abandoned_are_ended()


def test_the_machine_sees_a_session_ended_that_is_used_beside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the core: whoever has opened another session has left the first behind. The machine must notice."""
    for used in (False, True):
        machine = CoreMachine()
        machine.begin("on")
        machine.open_another()
        if used:
            monkeypatch.setattr(evidence, "SUPERSEDED", replace(evidence.SUPERSEDED, since=lambda _: 0.0))
            machine.call(0)
        machine.time_passes(30.0)
        assert machine.world.deleting
        if not used:
            machine.only_the_abandoned_are_ended()
            continue
        with pytest.raises(AssertionError, match="a session whose client lives is not ended"):
            machine.only_the_abandoned_are_ended()


def test_the_machine_sees_a_second_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the core: whoever is refused begins a handshake of its own. The machine must notice."""

    def careless(self: Recovery, session: Any, x: Exchange, reading: Any) -> Any:
        self.attempts.pop(session, None)
        return original(self, session, x, reading)

    original = Recovery._refused
    monkeypatch.setattr(Recovery, "_refused", careless)
    machine = CoreMachine()
    machine.begin()
    machine.call(0)
    machine.call(0)
    machine.forget()
    for x, _, who in list(machine.at_server.values()):
        machine.at_server.pop(x.id)
        machine._on_answer(x, machine.world.lose(x), who)
    with pytest.raises(AssertionError, match="one handshake at a time"):
        machine.nothing_is_forgotten()
