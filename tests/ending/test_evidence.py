"""The weighing of evidence, as a state machine: nobody who gave a sign of life is given up before the grace time."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.ending.evidence import Evidence, weigh
from mcp_sessions.core.ledger import Ledger
from mcp_sessions.core.policy import Policy
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.core.states import STANDINGS, Reason, State, Trigger, Why

GRACES = Policy(end_after_stream=10, end_after_idle=100)
ENDPOINT = Endpoint("http", "127.0.0.1", 80, "/mcp")


def a_client(pid: int | None = None) -> Client:
    key = ClientKey(pid=pid or 0, credentials="" if pid else "some")
    return Client(key, "c", "10.0.0.1", 0, 0, pid=pid, started=1.0 if pid else None)


def a_session(*owners: Client, at: float = 0.0) -> Session:
    session = Session(ENDPOINT, "an-id", "an-id", opened=at, last_used=at, revision="2025-11-25")
    session.owners = dict.fromkeys(owners or (a_client(),), at)
    return session


def due(session: Session, at: float) -> bool:
    return isinstance(weigh(session, GRACES, at), Reason)


def test_idleness_alone() -> None:
    session = a_session()
    assert not due(session, 99.9)
    assert due(session, 100)
    session.last_used = 60
    assert not due(session, 159)
    assert due(session, 160)


def test_an_aborted_stream_counts_only_without_connections_and_later_requests() -> None:
    session = a_session()
    session.stream_aborted_at = 5
    assert not due(session, 14)
    assert due(session, 15)
    session.connections = ("c1",)
    assert not due(session, 1000)
    session.connections = ()
    session.left_at = 20
    assert not due(session, 29)
    assert due(session, 30)
    session.last_used = 6
    assert not due(session, 30)


def test_another_connection_of_the_client_protects_for_as_long_as_idleness_would() -> None:
    client = a_client()
    session = a_session(client)
    session.stream_aborted_at = 5
    client.connections = ("another",)
    assert not due(session, 99)
    # Clients that can't be told apart do not protect each other for good.
    assert due(session, 100)
    client.connections = ()
    client.left_at = 40
    assert not due(session, 49)
    assert due(session, 50)


def test_a_living_process_protects_whatever_its_connections_do() -> None:
    process = a_client(pid=7)
    session = a_session(process, a_client())
    session.stream_aborted_at = 1
    assert not due(session, 1e9)
    process.gone_at = 2
    assert due(session, 1e9)


@pytest.mark.parametrize("state", [s for s in State if s not in (State.OPEN, State.LOST)])
def test_only_sessions_that_are_held_are_given_up(state: State) -> None:
    session = a_session()
    session.standing = next(standing for standing in STANDINGS.values() if standing.word is state)
    assert not due(session, 1e9)


def test_time_in_which_nobody_watched_does_not_count() -> None:
    session = a_session()
    session.watched_from = 500
    assert not due(session, 599)
    assert due(session, 600)


def opened(client: Client, at: float, **more: Any) -> Session:
    """A session that this client has opened."""
    session = a_session(client, at=at)
    for name, value in more.items():
        setattr(session, name, value)
    client.sessions[session] = None
    return session


ON = replace(GRACES, end_superseded=True, end_after_superseded=30)


@pytest.mark.parametrize("pid", [7, None])
def test_what_a_client_has_left_alone_since_it_opened_another_is_due_if_that_is_wanted(pid: int | None) -> None:
    client = a_client(pid)
    older = opened(client, 0, last_used=5)
    newer = opened(client, 10)
    policy = replace(ON, end_after_idle=1e6)
    assert weigh(older, policy, 39.9) == 40
    reason = weigh(older, policy, 40)
    assert isinstance(reason, Reason)
    assert reason.kind is Why.SUPERSEDED
    assert not isinstance(weigh(newer, policy, 1e5), Reason)
    assert not isinstance(weigh(older, replace(policy, end_superseded=False), 1e5), Reason)


def test_who_uses_two_sessions_keeps_both() -> None:
    client = a_client(7)
    older, newer = opened(client, 0), opened(client, 10)
    for at in range(11, 1000, 29):
        older.last_used = newer.last_used = at
        assert not isinstance(weigh(older, ON, at + 28), Reason)
    assert not isinstance(weigh(older, ON, 1e6), Reason), "it has been used since: only the next one counts"
    opened(client, 2e6)
    assert not isinstance(weigh(older, ON, 2e6 + 29), Reason)
    assert isinstance(weigh(older, ON, 2e6 + 30), Reason)


def test_a_stream_another_client_or_another_endpoint_speak_for_a_session() -> None:
    client, other = a_client(7), a_client(8)
    older, _ = opened(client, 0), opened(client, 10)
    older.streams["s"] = 1
    assert not isinstance(weigh(older, ON, 1e6), Reason)
    older.streams.clear()
    assert isinstance(weigh(older, ON, 1e6), Reason)
    older.owners[other] = 2  # who else uses it may want it
    assert not isinstance(weigh(older, ON, 1e6), Reason)
    other.gone_at = 3
    assert isinstance(weigh(older, ON, 1e6), Reason)
    elsewhere = opened(a_client(9), 0)
    next(iter(elsewhere.owners)).sessions[opened(client, 10, endpoint=ENDPOINT._replace(path="/other"))] = None
    assert not isinstance(weigh(elsewhere, ON, 1e6), Reason)
    unnamed = a_client(pid=None)
    unnamed.key = ClientKey(host="10.0.0.1")  # without credentials nobody knows if it is the same client
    anonymous, _ = opened(unnamed, 0), opened(unnamed, 10)
    assert not isinstance(weigh(anonymous, replace(ON, end_after_idle=1e6), 1e5), Reason)


def test_who_opens_one_after_the_other_does_not_put_it_off() -> None:
    client = a_client(7)
    sessions = [opened(client, at) for at in range(1000)]
    found = [at for at, session in enumerate(sessions) if isinstance(weigh(session, ON, 1000), Reason)]
    assert found == list(range(970))


@pytest.mark.long
def test_to_look_for_what_was_opened_since_costs_little() -> None:
    client = a_client(7)
    sessions = [opened(client, at / 100) for at in range(10_000)]
    evidence = Evidence(ON)
    for session in sessions:
        evidence.watch(session, session.opened)
    before = time.thread_time()
    for at in range(130, 150):
        list(evidence.due(at))
    assert (time.thread_time() - before) / 20 < 0.02


@pytest.mark.long
def test_a_tick_costs_next_to_nothing_with_ten_thousand_sessions() -> None:
    evidence = Evidence(Policy())
    sessions = [a_session() for _ in range(10_000)]
    for n, session in enumerate(sessions):
        session.last_used = session.opened = n / 100
        evidence.watch(session, session.opened)
    began = time.process_time()
    assert not [found for at in range(100, 200) for found in evidence.due(at)]
    # Per tick; a walk over all of them takes several times as long.
    assert (time.process_time() - began) / 100 < 0.003


class Watching(RuleBasedStateMachine):
    """What `Evidence` finds by its heap is what `weigh` says of every session at every second."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0
        self.evidence = Evidence(GRACES)
        self.clients = [a_client(), a_client(), a_client(pid=7)]
        self.sessions: list[Session] = []
        self.life: dict[Session, float] = {}
        self.late: dict[Session, float] = {}
        """Since when sessions are due that were not looked at yet."""

    @rule(owner=st.integers(0, 2))
    def opens(self, owner: int) -> None:
        if len(self.sessions) < 6:
            session = a_session(self.clients[owner], at=self.at)
            self.sessions.append(session)
            self.lives(session)

    def lives(self, session: Session) -> None:
        self.life[session] = self.at
        self.evidence.watch(session, self.at)

    @precondition(lambda self: self.sessions)
    @rule(
        which=st.integers(0, 5),
        what=st.sampled_from(["use", "stream", "abort", "end", "connect", "disconnect", "lose"]),
    )
    def happens(self, which: int, what: str) -> None:
        session = self.sessions[which % len(self.sessions)]
        if session.state not in (State.OPEN, State.LOST):
            return
        match what:
            case "use":
                session.last_used = self.at
                self.lives(session)
            case "stream":
                session.streams["s"] = self.at
                session.stream_aborted_at = None
                session.last_used = self.at
            case "abort" if session.streams:
                session.streams.clear()
                session.stream_aborted_at = session.left_at = self.at  # its connection is closed with it
                self.lives(session)
            case "end" if session.streams:
                session.streams.clear()
                session.left_at = self.at
                self.lives(session)
            case "connect":
                session.connections = ("c",)
                session.last_used = self.at
            case "disconnect" if session.connections:
                session.connections = ()
                session.left_at = self.at
                self.lives(session)
            case "lose":
                Ledger().fire(session, Trigger.REFUSED, self.at)

    @rule(gone=st.booleans())
    def process(self, gone: bool) -> None:
        self.clients[2].gone_at = self.at if gone else None
        for session in self.sessions:
            if self.clients[2] in session.owners:
                self.evidence.watch(session, self.at)

    @rule(seconds=st.sampled_from([1, 5, 10, 50, 100]))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self.at += 1
            expected = {session for session in self.sessions if due(session, self.at)}
            found = dict(self.evidence.due(self.at))
            # Looked at when due, or within the shortest grace time after.
            assert set(found) <= expected
            for session in found:
                assert not session.streams
                assert not session.connections
                assert self.at - self.life[session] >= GRACES.end_after_stream
                if self.clients[2] in session.owners:
                    assert self.clients[2].gone
                Ledger().fire(session, Trigger.GONE, self.at)
            late = expected - set(found)
            assert not [s for s in late if s not in self.evidence]
            self.late = {session: self.late.get(session, self.at) for session in late}
            assert all(self.at - since <= GRACES.end_after_idle for since in self.late.values())

    @invariant()
    def bounded(self) -> None:
        assert len(self.evidence._heap) < 50 * (len(self.sessions) + 1) + self.at


Watching.TestCase.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWatching = pytest.mark.long(Watching.TestCase)
