"""What happens between the decision to end a session and its end, and to those who end at the worst moment."""

from __future__ import annotations

import pytest

from core.driver import FakeProcess
from core.world import DELETE, Peer, World, outcome
from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.decisions import HOLD, Outcome
from mcp_sessions.core.ending import evidence
from mcp_sessions.core.ending.deletions import AT_ONCE, DUE_AT_ONCE, Deletion, Deletions
from mcp_sessions.core.ending.departures import GRACE
from mcp_sessions.core.ending.ending import LOOK_EVERY
from mcp_sessions.core.exchange import Finish
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import STANDINGS, ClientSide, DeleteState, Reason, ServerSide, State, Why
from mcp_sessions.options import Settings
from mcp_sessions.wire.headers import HeaderMap

ID = "s-one-two-three-four"
OTHER = Peer(pid=2, connection="c2")
REMOTE = Peer(pid=None, host="10.0.0.7", token="t", connection="r1")


def state(session: Session) -> State:
    """Its state, which the type checker can't believe to know from a line before."""
    return session.state


def ended(world: World) -> Session:
    """A session whose client's process has ended, and whose DELETE is under way."""
    session = world.open(ID)
    world.dies(Peer())
    assert world.deleting == [ID]
    return session


# While it is brought back


def test_a_client_that_ends_while_its_session_is_brought_back_has_it_ended_by_its_new_id() -> None:
    world = World()
    session = world.open(ID)
    world.lose(world.call(ID)[0])
    world.dies(Peer())
    assert (state(session), world.deleting) == (State.RECOVERING, [])
    world.shake(session, "new")
    assert set(world.deleting) == {"new"}
    assert state(session) is State.ENDING


def test_with_the_proxy_nothing_is_ended_that_is_brought_back_just_now() -> None:
    world = World(mcp_end_at_exit="all")
    session = world.open(ID)
    world.lose(world.call(ID)[0])
    world.core.exits(world.now)
    world.fetch()
    assert (state(session), world.deleting, world.core.ending.left) == (State.RECOVERING, [], 0)


def test_with_the_proxy_every_session_is_ended_once() -> None:
    world = World(mcp_end_at_exit="all")
    session = world.open(ID)
    leaving = world.open("leaves-just-now")
    x, _ = world.send(verb="DELETE", session="leaves-just-now")
    world.core.exits(world.now)
    world.core.exits(world.now)
    assert world.core.ending.left == 4
    world.fetch()
    assert sorted(world.deleting) == ["leaves-just-now", ID]
    assert world.core.ending.left == 2
    world.delete_answered(200)
    world.delete_answered(200)
    assert (state(session), state(leaving), world.core.ending.busy) == (State.CLOSED, State.CLOSED, False)
    world.answer(x, 404)
    assert world.whats().count("closed") == 2


# Who turns up


def test_a_delete_that_is_refused_for_who_turned_up_meanwhile_changes_nothing() -> None:
    world = World()
    session = ended(world)
    world.works(world.call(ID, peer=OTHER)[0])
    world.delete_answered(401)
    assert (state(session), session.outcome) == (State.OPEN, None)
    assert "not ended" not in world.whats()


def test_a_delete_that_works_for_who_turned_up_and_was_refused_meanwhile_is_said_once() -> None:
    world = World()
    session = ended(world)
    x, _ = world.call(ID, peer=OTHER)
    assert world.lose(x) == HOLD
    world.delete_answered(200)
    assert state(session) is State.RECOVERING
    assert world.whats().count("lost") == 1


def test_what_was_to_be_ended_and_is_used_again_before_its_turn_goes_on() -> None:
    world = World(mcp_end="off")
    session = world.open(ID)
    world.dies(Peer())
    assert state(session) is State.ABANDONED
    world.connect(OTHER.connection, FakeProcess(2), world.now)
    world.core.configure(Settings(mcp_end="on").policy, world.now)
    x, _ = world.call(ID, peer=OTHER)
    assert (state(session), world.deleting) == (State.OPEN, [])
    world.works(x)
    world.fetch()
    assert world.deleting == []


def test_a_second_delete_of_the_client_changes_nothing() -> None:
    world = World()
    session = world.open(ID)
    first, second = (world.send(verb="DELETE", session=ID)[0] for _ in range(2))
    world.answer(first, 200)
    world.answer(second, 404)
    assert (state(session), world.whats().count("closed")) == (State.CLOSED, 1)


def test_a_delete_of_the_client_that_is_refused_after_the_session_was_ended_by_hand_changes_nothing() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.send(verb="DELETE", session=ID)
    world.core.end(session, world.now)
    world.fetch()
    world.answer(x, 500)
    assert (state(session), world.deleting) == (State.ENDING, [ID])
    assert session.reason is not None
    assert session.reason.kind is Why.BY_HAND


@pytest.mark.parametrize("status", [405, 501])
def test_a_server_that_ends_no_sessions_is_not_asked_to_again(status: int) -> None:
    world = World()
    session = world.open(ID)
    world.answer(world.send(verb="DELETE", session=ID)[0], status)
    assert state(session) is State.CLOSED
    other = world.open("another-session", peer=OTHER)
    world.dies(OTHER)
    assert (state(other), world.deleting) == (State.CLOSED, [])


# What a DELETE is answered


def test_a_delete_that_is_refused_for_no_known_reason_is_not_sent_again() -> None:
    world = World()
    session = ended(world)
    world.delete_answered(302)
    assert state(session) is State.STUCK
    assert session.outcome == Reason(Why.REFUSED, "DELETE answered 302")
    assert world.lines()[-1].endswith("DELETE answered 302")
    world.wait(1000)
    assert world.deleting == []


def test_earlier_ids_that_wait_are_dropped_where_a_server_ends_no_sessions() -> None:
    world = World()
    for name in ("one", "two"):
        session = world.open(name)
        for n in range(3):
            world.core.ledger.remap(session, f"{name}-{n}")
        world.answer(world.send(verb="DELETE", session=name)[0], 200)
    assert len(world.deleting) == AT_ONCE
    world.delete_answered(405)
    world.wait(1)
    assert len(world.deleting) == AT_ONCE - 1
    for _ in range(AT_ONCE - 1):
        world.delete_answered(200)
    world.wait(1)
    assert (world.deleting, len(world.core.ending.asking.queue)) == ([], 0)


@pytest.mark.parametrize("end", ["off", "log"])
def test_earlier_ids_are_not_deleted_where_nothing_is(end: str) -> None:
    world = World(mcp_end=end)
    session = world.open(ID)
    world.core.ledger.remap(session, "new")
    world.answer(world.send(verb="DELETE", session=ID)[0], 200)
    assert (state(session), world.sends) == (State.CLOSED, [])


def test_what_became_of_an_earlier_id_stands_in_the_history_alone() -> None:
    world = World()
    session = world.open(ID)
    world.core.ledger.remap(session, "new")
    world.core.ledger.remap(session, "newer")
    world.answer(world.send(verb="DELETE", session=ID)[0], 200)
    said = len(world.told)
    for send, came in zip(world.take(DELETE), (outcome(500), Outcome(problem="connection reset")), strict=True):
        world.sent(send, came, world.now)
    assert [entry.detail for entry in session.history[-2:]] == ["answered 500", "connection reset"]
    assert len(world.told) == said
    world.wait(100)
    assert world.deleting == [], "one attempt is enough"


def test_only_so_many_are_queued_again_in_one_go() -> None:
    queue = Deletions()
    session = Session(World().open(ID).endpoint, "a", "a", opened=1, last_used=1, revision="")
    for n in range(DUE_AT_ONCE + 1):
        one = Deletion(session, Reason(Why.IDLE, ""), f"{n}", state=DeleteState.BACKOFF)
        queue.later(one, 1.0)
    assert queue.next(0.5) is None
    first = queue.next(1.0)
    assert first is not None
    assert (first.server_id, first.state, len(queue)) == ("0", DeleteState.QUEUED, DUE_AT_ONCE + 1)
    assert not queue.short
    assert queue.next_timer == 0.0


# Processes


def test_the_children_of_several_have_their_own_time() -> None:
    world = World()
    sessions = [world.open(f"s-{n}-one-two-three", peer=Peer(pid=n, connection=f"c{n}")) for n in (1, 2)]
    world.dies(Peer(pid=1), FakeProcess(11))
    world.wait(GRACE / 2)
    world.dies(Peer(pid=2), FakeProcess(12))
    world.dies(Peer(pid=2))
    world.wait(GRACE / 2 + 0.1)
    assert [state(session) for session in sessions] == [State.ENDING, State.OPEN]
    world.wait(GRACE)
    assert [state(session) for session in sessions] == [State.ENDING, State.ENDING]


def test_nothing_is_handed_over_by_or_to_somebody_unknown() -> None:
    world = World()
    session = world.open(ID)
    closed = world.open("closed-by-now")
    world.answer(world.send(verb="DELETE", session="closed-by-now")[0], 200)
    world.connect("c2", FakeProcess(2), world.now)
    (owner,) = session.owners
    for one, heir in ((1, 99), (99, 2), (1, 1)):
        world.core.outlived(FakeProcess(one), FakeProcess(heir), world.now)
        assert [*session.owners] == [owner]
    world.core.outlived(FakeProcess(1), FakeProcess(2), world.now)
    assert [one.pid for one in session.owners] == [1, 2]
    assert [*closed.owners] == [owner], "nothing is left to be handed over"
    world.core.outlived(FakeProcess(1), FakeProcess(2), world.now)
    assert world.whats().count("handed over") == 1


def test_a_stream_that_its_client_hangs_up_is_evidence() -> None:
    world = World()
    session = world.open(ID, peer=REMOTE)
    x, _ = world.send(verb="GET", session=ID, peer=REMOTE)
    world.head(x, 200, HeaderMap(((b"content-type", b"text/event-stream"),)), world.now)
    assert [*session.streams] == [x.id]
    world.finish(x, Finish.CLIENT)
    assert session.stream_aborted_at == world.now
    world.disconnected(REMOTE.connection, world.now)
    world.wait(59)
    assert state(session) is State.OPEN
    world.wait(2)
    assert (state(session), world.deleting) == (State.ENDING, [ID])


def test_who_turns_out_to_be_a_living_process_is_not_looked_at_any_more() -> None:
    world = World()
    late = Peer(pid=5, connection="late", known=False)
    session = world.open(ID, peer=late)
    assert world.core.next_timer() is not None
    world.identify(world.core.ledger.connections["late"], FakeProcess(5), world.now)
    world.wait(2000)
    assert (state(session), world.core.next_timer()) == (State.OPEN, None)


def test_a_tick_looks_at_so_many_and_the_next_one_at_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "LOOKS_AT_ONCE", 2)
    world = World(mcp_end_after_idle=30)
    sessions = [world.open(f"s-{n}-one-two-three", peer=REMOTE) for n in range(3)]
    world.disconnected(REMOTE.connection, world.now)
    world.now += 100
    world.core.timer(world.now)
    world.fetch()
    assert [state(session) for session in sessions] == [State.ENDING, State.ENDING, State.OPEN]
    world.wait(LOOK_EVERY)
    assert state(sessions[2]) is State.ENDING


# From an earlier run


def test_sessions_of_an_earlier_run_are_ended_whose_client_is_gone_or_has_left() -> None:
    world = World()
    endpoint = world.open(ID).endpoint
    gone = Client(ClientKey(pid=7, started=1.0), "c", "127.0.0.1", first_seen=1, last_seen=1, pid=7, started=1.0)
    lives = Client(ClientKey(pid=8, started=1.0), "c", "127.0.0.1", first_seen=1, last_seen=1, pid=8, started=1.0)
    sessions = []
    for name, owner, side in (
        ("orphaned", gone, ClientSide.USING),
        ("left", lives, ClientSide.LEFT),
        ("in-use", lives, ClientSide.USING),
        (ID, lives, ClientSide.USING),
    ):
        one = Session(endpoint, name, name, opened=1, last_used=1, revision="", opener=owner, confirmer=owner)
        one.standing = STANDINGS[side, ServerSide.ALIVE, False]
        one.owners[owner] = 1.0
        sessions.append(one)
    new = world.core.adopt(sessions, [gone], world.now)
    world.fetch()
    assert new == sessions[:3], "one is known already"
    assert sorted(world.deleting) == ["left", "orphaned"]
    assert [state(one) for one in new] == [State.ENDING, State.ENDING, State.OPEN]
    assert world.core.ledger.clients_gone == 1
