"""Whatever the order of refusals, answers, hang-ups and timeouts: no request is lost, none is executed twice."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.world import World
from mcp_sessions.core.decisions import Deliver, Forward, Hold, OnAnswer, OnRequest, Release, Reply, Resend, Shake, Wait
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.states import State

ID = "the-id-that-the-client-knows"


class RecoveryMachine(RuleBasedStateMachine):
    """A client with many calls, a server that forgets, and the core between them.

    The server executes a call when it knows the session that the call was sent with, and refuses it otherwise.
    """

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.session = self.world.open(ID)
        self.known: set[str] = {ID}
        self.generations = 0
        self.at_server: dict[str, tuple[Exchange, str]] = {}
        self.waiting: dict[str, Exchange] = {}
        self.executed: dict[str, int] = {}
        self.answered: set[str] = set()
        self.hung_up: set[str] = set()
        self.sent: set[str] = set()
        self.shaking = False
        self.deleting: str | None = None
        self.deleted = False

    # The client

    @rule()
    def call(self) -> None:
        x, decision = self.world.call(ID)
        self.sent.add(x.id)
        self._on_request(x, decision)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def hang_up_while_waiting(self, data: st.DataObject) -> None:
        x = self.waiting.pop(data.draw(st.sampled_from(sorted(self.waiting))))
        self.hung_up.add(x.id)
        self.world.core.recoveries.hung_up(x)
        self.world.finish(x, Finish.CLIENT)

    @precondition(lambda self: not self.deleting)
    @rule()
    def delete(self) -> None:
        x, decision = self.world.send(verb="DELETE", session=ID)
        self.deleting = x.id
        self._on_request(x, decision)

    # The server

    @rule()
    def forget(self) -> None:
        self.known.clear()

    @precondition(lambda self: self.at_server)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        x, sent_with = self.at_server.pop(data.draw(st.sampled_from(sorted(self.at_server))))
        if sent_with not in self.known:
            self._on_answer(x, self.world.lose(x))
        elif x.verb == "DELETE":
            self.known.discard(sent_with)
            self._on_answer(x, self.world.answer(x, 200))
        else:
            self.executed[x.id] = self.executed.get(x.id, 0) + 1
            self._on_answer(x, self.world.works(x))

    @precondition(lambda self: self.shaking)
    @rule(works=st.booleans())
    def answer_handshake(self, works: bool) -> None:
        self.shaking = False
        self.generations += 1
        new_id = f"generation-{self.generations}" if works else None
        if new_id:
            self.known.add(new_id)
        releases, _ = self.world.shake(self.session, new_id)
        for release in releases:
            self._release(release)

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    # What the shell does

    def _release(self, release: Release) -> None:
        assert release.exchange_id in self.waiting, "released once, and only who waits"
        x = self.waiting.pop(release.exchange_id)
        if isinstance(release.decision, Forward):
            self.world.core.released(x, self.world.now)
            self._on_request(x, release.decision)
        else:
            self._on_answer(x, release.decision)

    def _on_request(self, x: Exchange, decision: OnRequest | OnAnswer) -> None:
        match decision:
            case Forward(session_id):
                self.at_server[x.id] = (x, session_id or ID)
            case Hold():
                self.waiting[x.id] = x
            case _:
                raise AssertionError(decision)

    def _on_answer(self, x: Exchange, decision: OnRequest | OnAnswer) -> None:
        match decision:
            case Shake():
                assert not self.shaking, "one handshake at a time"
                assert not self.deleted, "no session that its client ended returns"
                self.shaking = True
                self.waiting[x.id] = x
            case Wait():
                assert self.shaking
                self.waiting[x.id] = x
            case Resend(session_id):
                assert x.id not in self.executed, "what was executed is not sent again"
                self.world.core.recoveries.resent(x)
                self.at_server[x.id] = (x, session_id)
            case Deliver() | Reply():
                assert x.id not in self.answered
                self.answered.add(x.id)
                self.deleted = self.deleted or x.verb == "DELETE"
            case _:
                raise AssertionError(decision)

    # What always holds

    @invariant()
    def nothing_is_executed_twice(self) -> None:
        assert all(times == 1 for times in getattr(self, "executed", {}).values())

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if not hasattr(self, "sent"):
            return
        accounted = self.answered | self.hung_up | self.at_server.keys() | self.waiting.keys()
        assert self.sent <= accounted
        assert not self.waiting or self.shaking, "whoever waits, waits for a handshake that is under way"

    @invariant()
    def the_ended_stay_ended(self) -> None:
        if getattr(self, "deleted", False) and not self.shaking:
            assert self.session.state is State.CLOSED

    def teardown(self) -> None:
        """Let everything come to its end: nobody waits for ever."""
        for _ in range(1000):
            if self.shaking:
                self.answer_handshake(works=False)
            elif self.at_server:
                x, _sent = self.at_server.pop(next(iter(self.at_server)))
                self._on_answer(x, self.world.lose(x))
            else:
                break
        assert not getattr(self, "waiting", {})


TestRecoveryMachine = RecoveryMachine.TestCase
TestRecoveryMachine.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_the_machine_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the core: a refused request is sent again without a new generation. The machine must notice."""
    from mcp_sessions.core.recovery.machine import Recovery

    def careless(self: Recovery, x: Exchange, treatment: Any, at: float) -> OnAnswer:
        return Shake(x.session) if x.session else Deliver()

    monkeypatch.setattr(Recovery, "refused", careless)
    machine = RecoveryMachine()
    machine.begin()
    machine.call()
    machine.call()
    machine.forget()
    first, second = [x for x, _ in machine.at_server.values()]
    machine._on_answer(first, machine.world.lose(first))
    with pytest.raises(AssertionError, match="one handshake at a time"):
        machine._on_answer(second, machine.world.lose(second))
