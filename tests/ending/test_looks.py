"""When a session is looked at: the next time that something may be due, never sooner, and never twice at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.driver import FakeProcess
from core.world import LATEST, Peer, World
from ending.test_evidence import ENDPOINT, GRACES, ON, a_client, a_session, opened
from mcp_sessions.core.client import ClientKey
from mcp_sessions.core.ending import evidence as module
from mcp_sessions.core.ending.departures import GRACE
from mcp_sessions.core.ending.ending import AT_ONCE
from mcp_sessions.core.ending.evidence import ALONE, CERTAIN, NEWER_LIMIT, WEIGHED, Evidence, graces, weigh
from mcp_sessions.core.exchange import Finish
from mcp_sessions.core.policy import Policy
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import STANDINGS, ClientSide, Reason, ServerSide, State, Why
from mcp_sessions.options import Settings
from mcp_sessions.wire.headers import HeaderMap

ID = "s-one-two-three-four"
FAR = Peer(pid=None, host="10.0.0.7", connection="f1")


def in_state(state: State) -> Session:
    session = a_session()
    session.standing = next(standing for standing in STANDINGS.values() if standing.word is state)
    return session


# When the next look is


def test_a_session_is_looked_at_when_it_may_be_due() -> None:
    session = a_session()
    assert weigh(session, GRACES, 30) == 100, "idle since 0"
    session.stream_aborted_at = 20
    assert weigh(session, GRACES, 25) == 30, "aborted is sooner"
    session.last_used = 21
    assert weigh(session, GRACES, 25) == 121
    session.last_used, session.left_at, session.watched_from = 20, 22, 24
    assert weigh(session, GRACES, 25) == 34
    assert weigh(session, GRACES, 34) == Reason(
        Why.STREAM_ABORTED, "stream aborted by its client, and no connection left for 10 s"
    )
    assert weigh(a_session(), GRACES, 100) == Reason(Why.IDLE, "no connection and no request for 100 s")


def test_what_is_held_is_looked_at_after_the_longest_grace() -> None:
    for name in ("streams", "connections", "under_way"):
        session = a_session()
        setattr(session, name, {"x": "y"})
        assert weigh(session, GRACES, 500) == 600, name
        session.last_used = 490
        assert weigh(session, ON, 500) == 530, "sooner, for it may be left behind"
    assert weigh(a_session(a_client(7)), GRACES, 500) is None, "its end will be seen"
    assert weigh(a_session(a_client(7)), ON, 500) == 530
    policy = replace(GRACES, end_after_stream=1000.0)
    held = a_session()
    held.streams["x"] = 1.0
    assert weigh(held, policy, 500) == 1500


def test_what_may_be_left_behind_is_not_looked_at_later_for_that() -> None:
    held = a_session()
    held.connections = ("c1",)
    assert weigh(held, replace(ON, end_after_superseded=1000.0), 500) == 600


def test_what_is_under_way_is_looked_at_soon_and_what_is_over_never() -> None:
    for state in State:
        look = weigh(in_state(state), GRACES, 5000)
        if state in (State.RECOVERING, State.LEAVING):
            assert look == 5010
        elif state in (State.OPEN, State.LOST):
            assert isinstance(look, Reason)
        else:
            assert look is None


def test_while_others_of_the_same_kind_are_connected_it_is_looked_at_again() -> None:
    client = a_client()
    client.connections = ("another",)
    session = a_session(client)
    session.stream_aborted_at = 0.0
    assert weigh(session, GRACES, 50) == 60
    session.stream_aborted_at = -1.0
    assert weigh(session, GRACES, 50) == 100, "it was used since"
    session.last_used, session.left_at, session.stream_aborted_at = 5.0, 5.0, 7.0
    client.connections, client.left_at = (), 9.0
    assert weigh(session, GRACES, 10) == 19


def test_of_very_many_sessions_the_latest_are_looked_at() -> None:
    client = a_client(7)
    first = opened(client, 0.0)
    for n in range(NEWER_LIMIT - 1):
        opened(client, 10.0 + n)
    assert weigh(first, ON, 20.0) == 40.0, "since the first of those"
    opened(client, 100.0)
    assert weigh(first, replace(ON, end_after_superseded=100.0), 20.0) == 100.0, "since its last use"
    assert weigh(first, ON, 40.0) == Reason(Why.SUPERSEDED, "not used for 30 s since its client opened another session")
    late = opened(client, 101.0)
    assert weigh(late, ON, 5000.0) == 5030.0, "none was opened since"


# Who is due


def test_a_session_that_is_due_is_said_once_and_others_are_looked_at_later() -> None:
    evidence = Evidence(GRACES)
    one, other, over = a_session(), a_session(at=50.0), in_state(State.CLOSED)
    assert (one in evidence, evidence.next_timer) == (False, None)
    for session in (one, other, over):
        evidence.watch(session, session.opened)
    assert evidence.next_timer == 10.0
    assert [*evidence.due(9.9)] == []
    assert [*evidence.due(10.0)] == []
    assert (one in evidence, over in evidence, evidence.next_timer) == (True, False, 60.0)
    assert [*evidence.due(60.0)] == []
    assert evidence.next_timer == 100.0
    assert [session for session, _ in evidence.due(100.0)] == [one]
    assert (one in evidence, evidence.next_timer) == (False, 150.0)
    evidence.forget(other)
    assert [*evidence.due(1000.0)] == []
    assert evidence.next_timer is None


def test_nobody_is_looked_at_twice_in_one_tick() -> None:
    evidence = Evidence(replace(GRACES, end_after_stream=0.0, end_after_idle=0.0))
    session = in_state(State.RECOVERING)
    evidence.watch(session, 5.0)
    assert [*evidence.due(5.0)] == []
    assert evidence.next_timer == 5.001


def test_a_look_is_put_forward_and_never_off() -> None:
    evidence = Evidence(GRACES)
    session = a_session()
    for now in (20.0, 10.0, 30.0):
        evidence.watch(session, now)
    assert evidence.next_timer == 20.0
    session.last_used = 18.0
    assert [*evidence.due(35.0)] == [], "the others were earlier plans"
    assert evidence.next_timer == 118.0


def test_what_was_not_borne_out_is_looked_at_again() -> None:
    for alone, seconds in ((True, ALONE), (False, 10.0)):
        evidence = Evidence(GRACES)
        evidence.again(a_session(), 500.0, alone=alone)
        assert evidence.next_timer == 500.0 + seconds


def test_whose_end_is_seen_is_not_watched_unless_it_may_be_left_behind() -> None:
    for policy, watched in ((GRACES, False), (ON, True)):
        evidence, session = Evidence(policy), a_session(a_client(7))
        evidence.watch(session, 0.0)
        assert (session in evidence) is watched


def test_evidence_of_one_kind_stands_or_not() -> None:
    evidence, session = Evidence(GRACES), a_session()
    session.stream_aborted_at = 85.0
    assert [evidence.stands(session, why, 95.0) for why in (Why.STREAM_ABORTED, Why.IDLE)] == [True, False]
    assert [evidence.stands(session, why, 94.9) for why in (Why.STREAM_ABORTED, Why.IDLE)] == [False, False]
    assert evidence.stands(session, Why.IDLE, 100.0)
    assert not evidence.stands(session, Why.SUPERSEDED, 1e6)
    session.connections = ("c1",)
    assert not evidence.stands(session, Why.IDLE, 1e6)


def test_which_graces_count_and_what_is_certain() -> None:
    assert graces(Policy()) == [60.0, 1800.0]
    assert graces(ON) == [10, 100, 30]
    likely, certain = {Why.STREAM_ABORTED, Why.IDLE, Why.SUPERSEDED}, {Why.PROCESS_GONE, Why.DELETE_CUT}
    assert [*map(set, (WEIGHED, CERTAIN))] == [likely, certain]


def test_other_graces_count_at_once() -> None:
    evidence, session, other = Evidence(GRACES), a_session(), a_session()
    evidence.watch(session, 0.0)
    evidence.regrade(replace(GRACES, end_after_idle=50.0), [session, other], 40.0)
    assert evidence.next_timer == 40.0
    assert [*evidence.due(40.0)] == []
    assert evidence.next_timer == 50.0
    assert [one for one, _ in evidence.due(50.0)] == [session, other]


def test_a_tick_looks_at_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKS_AT_ONCE", 2)
    evidence, sessions = Evidence(GRACES), [a_session() for _ in range(5)]
    for session in sessions:
        evidence.watch(session, 90.0)
    found = [[session for session, _ in evidence.due(100.0)] for _ in range(4)]
    assert found == [sessions[:2], sessions[2:4], sessions[4:], []]


# In the core


def test_a_change_of_the_graces_is_a_new_look_at_all() -> None:
    world = World(mcp_end_after_idle=1000)
    world.open(ID, peer=FAR)
    world.disconnected("f1", world.now)
    world.wait(500)
    world.core.configure(Settings(mcp_end_after_idle=400).policy, world.now)
    world.wait(1)
    assert world.deleting == [ID]


def test_the_evidence_is_looked_at_once_a_second() -> None:
    world = World(mcp_end_after_idle=30, mcp_end_after_stream=30)
    for n in range(3):
        world.open(f"{ID}-{n}", peer=FAR)
        world.disconnected("f1", world.now)
    times: list[tuple[float, int]] = []
    while (due := world.core.next_timer()) is not None and len(times) < 3 and due < world.now + 100:
        world.wait(due - world.now)
        times.append((round(world.now - 1030, 1), len(world.deleting)))
    assert times[-1][1] == 3
    assert len(times) == 2, times


def test_nothing_is_due_where_nothing_is_ended_or_the_proxy_leaves() -> None:
    for leaves in (False, True):
        world = World(mcp_end="on" if leaves else "off")
        world.open(ID, peer=FAR)
        world.disconnected("f1", world.now)
        if leaves:
            world.core.exits(world.now)
        assert world.core.next_timer() is None
        world.wait(5000)
        assert (world.deleting, world.session(ID).state) == ([], State.OPEN)


def test_only_the_last_stream_counts_and_only_if_its_client_has_hung_up() -> None:
    stream = HeaderMap(((b"content-type", b"text/event-stream"),))
    for how, counts in ((Finish.CLIENT, True), (Finish.SERVER, False), (Finish.COMPLETE, False), (Finish.PROXY, False)):
        world = World()
        session = world.open(ID, peer=FAR)
        streams = [world.send(verb="GET", session=ID, peer=FAR)[0] for _ in range(2)]
        for x in streams:
            world.head(x, 200, stream, world.now)
        world.finish(streams[0], how)
        assert session.stream_aborted_at is None, "there is another one"
        world.finish(streams[1], how)
        assert session.stream_aborted_at == (world.now if counts else None)


def test_who_is_used_again_before_the_weighing_is_over_is_not_given_up() -> None:
    session = Session(ENDPOINT, ID, ID, opened=0, last_used=0, revision=LATEST)
    session.standing = STANDINGS[ClientSide.USING, ServerSide.ALIVE, False]
    session.owners = {a_client(): 0.0}
    assert weigh(session, GRACES, 100.0) == Reason(Why.IDLE, "no connection and no request for 100 s")
    session.last_used = 99.0
    assert weigh(session, GRACES, 100.0) == 199.0


def test_of_two_kinds_of_evidence_the_quiet_one_is_named() -> None:
    session = a_session()
    session.stream_aborted_at = 0.0
    assert weigh(session, GRACES, 1000.0) == Reason(Why.IDLE, "no connection and no request for 100 s")
    session.last_used = session.stream_aborted_at = 500.0
    assert weigh(session, replace(GRACES, end_after_stream=1000.0), 510.0) == 600.0, "what comes sooner counts"


def test_a_connection_that_is_closed_long_after_the_stream_is_a_new_look() -> None:
    world = World()
    world.open(ID, peer=FAR)
    x, _ = world.send(verb="GET", session=ID, peer=FAR)
    world.head(x, 200, HeaderMap(((b"content-type", b"text/event-stream"),)), world.now)
    world.finish(x, Finish.CLIENT)
    world.wait(100)
    assert world.core.next_timer() > world.now + 1000  # type: ignore[operator]
    world.disconnected("f1", world.now)
    world.wait(59)
    assert world.deleting == []
    world.wait(2)
    assert world.deleting == [ID]


# Who is left, and what is worth remembering


def test_how_many_a_process_has_left_behind_is_said_in_words() -> None:
    for left, said in (
        ((8,), "left 1 process behind that may go on"),
        ((8, 9), "left 2 processes behind that may go on"),
    ):
        world = World(judged=False)
        session = world.open(ID)
        world.dies(Peer(), *map(FakeProcess, left))
        (client,) = session.owners
        assert world.lines()[-1] == f"mcp: client has ended client=client[1] {said}"
        assert client.left_behind == {ClientKey(pid=pid, started=1.0) for pid in left}
        assert world.core.ending.departures.next_timer == world.now + GRACE
        world.dies(Peer())
        assert world.whats().count("gone") == 0, "it is known already"
        world.wait(GRACE)
        assert world.lines()[-2:] == [
            "mcp: client gone client=client[1] held 1 session",
            "mcp: session s-one- ending client=client[1] http://server:80/mcp process gone: client[1]",
        ]


def test_who_held_nothing_or_only_carried_leaves_nobody_in_its_place() -> None:
    for visited, said in ((False, ["mcp: client gone client=client[1] held 0 sessions"]), (True, [])):
        world = World()
        session = world.open(ID, peer=Peer(visited=visited))
        if not visited:
            world.answer(world.send(verb="DELETE", session=ID)[0], 200)
        world.told.clear()
        assert not world.core.ending.departures.concern(FakeProcess(1))
        world.dies(Peer(), FakeProcess(8))
        assert (world.lines(), world.deleting) == (said, [])
        assert session.over is not visited
        assert world.core.ledger.clients_gone == 1


def test_which_sessions_that_are_over_are_worth_remembering() -> None:
    """Those whose client is likely to live and to use them again."""
    for client, why, worth in (
        (ClientSide.GONE, Why.PROXY_ENDS, True),
        (ClientSide.GONE, Why.IDLE, False),
        (ClientSide.GONE, None, False),
        (ClientSide.LEFT, Why.PROXY_ENDS, False),
        (ClientSide.LEFT, None, False),
    ):
        session = a_session()
        session.standing = STANDINGS[client, ServerSide.DELETED, False]
        session.reason = Reason(why, "for a test") if why else None
        assert World().core.ending.may_return(session) is worth


@pytest.mark.parametrize("shared", [False, True])
def test_which_sessions_are_ended_with_the_proxy(shared: bool) -> None:
    for which, ended in (("none", []), ("mapped", [] if shared else ["new"]), ("all", ["new", "plain"])):
        world = World(mcp_end_at_exit=which)
        world.core.ending.sharing.on = shared
        for name in ("mapped", "plain", "left", "gone"):
            session = world.open(name, peer=Peer(ord(name[0]), connection=name))
            if name == "mapped":
                world.core.ledger.remap(session, "new")
        world.answer(world.send(verb="DELETE", session="left", peer=Peer(ord("l"), connection="left"))[0], 200)
        world.core.configure(Settings(mcp_end="off", mcp_end_at_exit=which).policy, world.now)
        world.dies(Peer(ord("g")))
        world.core.configure(Settings(mcp_end_at_exit=which).policy, world.now)
        world.core.ending._backlog.clear()
        world.core.exits(world.now)
        assert [pending.session.server_id for pending in world.core.ending._backlog] == ended
        assert (world.core.ending.left, world.core.ending.busy) == (len(ended), bool(ended))


def test_a_few_are_decided_upon_in_one_go() -> None:
    world = World()
    for n in range(AT_ONCE + 2):
        world.open(f"{ID}-{n}")
    world.core.gone(FakeProcess(1), world.now)
    ending = world.core.ending
    assert (ending.left, ending.stirs) == (AT_ONCE + 2, True)
    assert ending.next_timer == world.now
    ending.pump()
    assert len(ending._backlog) == 2
    assert len(ending.asking.queue) == AT_ONCE
