"""What is left when something is over: nothing in any table, nobody who waits, and no time at which to look again."""

from __future__ import annotations

from typing import Any

import pytest

from core.driver import FakeProcess
from core.test_fleet import GRANTED, REMOTE, Fleet, news
from core.test_tables import ONE, OTHER, a_session
from core.test_unreachable import REFUSED, Down, answered
from core.world import Peer, World, fields, initialized, outcome, request
from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.decisions import HOLD, PASS, Counsel, Deliver, Forward, Matter, Outcome
from mcp_sessions.core.ending import asking, deletions
from mcp_sessions.core.ending.deletions import LIMIT
from mcp_sessions.core.exchange import Finish
from mcp_sessions.core.records import Weight
from mcp_sessions.core.recovery.attempts import Lane
from mcp_sessions.core.recovery.limits import Limits
from mcp_sessions.core.recovery.unreachable import Patience
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import STANDINGS, ClientSide, Reason, RecoveryState, ServerSide, State, Why, WhyNot
from mcp_sessions.wire.headers import HeaderMap

ID, NEW = "s-one-two-three-four", "new-id-of-the-server"
FAR = Peer(pid=None, host="10.0.0.7", token="a", connection="f1")


def recovery(world: World) -> Any:
    return world.core._recovery


# After a recovery


def test_of_a_session_that_is_over_no_trouble_is_remembered() -> None:
    world = World()
    session = world.open(ID)
    world.lose(world.call(ID)[0])
    world.shake(session, None)
    assert recovery(world)._troubles.of(session).failures == 1
    world.answer(world.send(verb="DELETE", session=ID)[0], 200)
    assert recovery(world)._troubles._sessions == {}
    assert recovery(world).attempts == {}


def test_a_recovery_that_another_proxy_has_made_is_one_here() -> None:
    world = Fleet()
    session, x = world.is_lost()
    world.advised(Matter.HANDSHAKE, Counsel(news=news("theirs", 1)))
    trouble = recovery(world)._troubles.of(session)
    assert (trouble.state, len(trouble.recoveries), session.recoveries) == (RecoveryState.IDLE, 1, 1)
    assert len(recovery(world).shaking.storms) == 0
    assert [release.exchange for release in world.released()] == [x]


def test_that_another_proxy_does_not_let_it_slows_nobody_down() -> None:
    world = Fleet()
    session, _ = world.is_lost()
    world.advised(Matter.HANDSHAKE, Counsel(problem="not now"))
    assert len(recovery(world).shaking.storms) == 0
    assert [(one.session, one.problem) for one in world.concluded] == [(session, "not now")]


def test_whose_session_is_forgotten_leaves_the_handshake_to_others_without_a_word() -> None:
    world = Fleet()
    session, x = world.is_lost()
    held, decision = world.call(session.client_id, peer=REMOTE)
    assert decision == HOLD
    world.core.ledger.evict(session)
    world.fetch()
    assert [(one.session, one.problem) for one in world.concluded] == [(session, "")]
    released = {release.exchange: release.decision for release in world.released()}
    assert released == {x: Deliver(), held: PASS}, "a refusal is delivered, a request goes out as it came"


@pytest.mark.parametrize(
    ("problem", "status", "why"),
    [
        ("Certificate verify failed", None, WhyNot.UNREACHABLE),
        ("", None, WhyNot.UNREACHABLE),
        ("", 500, WhyNot.REFUSED),
    ],
)
def test_why_a_handshake_has_failed(problem: str, status: int | None, why: WhyNot) -> None:
    world = World()
    session = world.open(ID)
    world.lose(world.call(ID)[0])
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(status) if status else Outcome(problem=problem), world.now)
    assert world.core.ledger.tally.not_recovered == {why: 1}
    said = problem or ("no answer" if status is None else "initialize was answered 500")
    assert [entry.detail for entry in session.history if entry.what == "handshake failed"] == [said]
    assert world.lines()[-1].endswith(f"not recovered client=client[1] http://server:80/mcp {said}")


def test_a_handshake_that_reaches_nobody_is_tried_as_long_as_a_client_waits() -> None:
    world = World(mcp_recover_timeout=1)
    world.open(ID)
    x, _ = world.call(ID)
    world.lose(x)
    for pause in (0.1, 0.2, 0.3, 0.0):
        (opening,) = world.take("initialize")
        assert world.released() == []
        world.sent(opening, Outcome(problem=REFUSED), world.now)
        world.wait(pause)
    assert world.take("initialize") == [], "half a second later it would be too late"
    assert [release.exchange for release in world.released()] == [x]
    assert world.core.ledger.tally.not_recovered == {WhyNot.UNREACHABLE: 1}


def comparing() -> tuple[World, Session]:
    """A session whose tools were listed is brought back, and about to be asked for them."""
    world = World()
    session = world.open(ID)
    result = {"tools": [{"name": "a"}]}
    world.answer(world.send(request("tools/list"), session=ID)[0], 200, {"jsonrpc": "2.0", "id": 1, "result": result})
    world.lose(world.call(ID)[0])
    world.sent(world.take("initialize")[0], outcome(200, initialized("own"), session=NEW), world.now)
    world.sent(world.take("notifications/initialized")[0], outcome(202), world.now)
    return world, session


def test_of_a_list_so_many_pages_are_read() -> None:
    world, session = comparing()
    pages = 0
    while sends := world.take("tools/list"):
        page = {"tools": [{"name": f"{pages}"}], "nextCursor": f"{pages}"}
        pages += 1
        world.sent(sends[0], outcome(200, {"jsonrpc": "2.0", "id": "own", "result": page}), world.now)
    assert pages == Limits().pages
    assert session.held is not None
    assert len(session.held.lists["tools/list"]) == pages
    assert session.held.untold == ["notifications/tools/list_changed"]
    assert session.state is State.OPEN


def test_a_stream_that_has_an_end_is_given_nothing_of_the_proxys_own() -> None:
    world = World()
    session = world.open(ID)
    session.holding().untold.append("notifications/tools/list_changed")
    for length, told in (("10", False), (None, True)):
        x, _ = world.send(verb="GET", session=ID)
        shown = fields({"content-type": "text/event-stream", "content-length": length})
        assert bool(world.head(x, 200, HeaderMap(shown), world.now).first) is told
        assert session.holding().untold == ([] if told else ["notifications/tools/list_changed"])


# After a server was down


def test_nothing_is_left_of_those_who_waited() -> None:
    world = Down()
    world.open(ID)
    unreachable: Any = world.core._unreachable
    for how in ("reached", "late", "hung up", "something else"):
        calls = [world.call(ID)[0] for _ in range(2)]
        for x in calls:
            assert world.refuse(x) == HOLD
        assert (len(unreachable._held), dict(unreachable._counts)) == (2, {world.session(ID): 2})
        if how == "reached":
            world.reach(calls[0])
            assert world.let_go() == [(calls[1].id, PASS)]
            world.wait(31)
            assert world.let_go() == [], "it connects, so nothing is answered in its place"
            assert answered(world.refuse(calls[1]))["id"] == 1, "too late"
        elif how == "late":
            world.wait(31)
            released = dict(world.let_go())
            assert (released[calls[0].id], answered(released[calls[1].id])["id"]) == (PASS, 1)
            assert answered(world.refuse(calls[0]))["id"] == 1
        elif how == "hung up":
            for x in calls:
                world.hang_up(x)
        else:
            assert [world.refuse(x, "Certificate verify failed") for x in calls] == [PASS, PASS]
        assert (unreachable._held, unreachable._late, unreachable._outages) == ({}, {}, {}), how
        assert not unreachable._counts
        assert unreachable.next_timer is None


def test_those_who_are_late_count_among_those_who_wait() -> None:
    world = Down()
    world.core._unreachable.patience = Patience(overall=2)
    world.open(ID)
    first, second, third, fourth = (world.call(ID)[0] for _ in range(4))
    assert world.refuse(first) == HOLD
    world.wait(0.1)
    world.wait(31)
    assert world.refuse(second) == HOLD
    for x in (third, fourth):
        assert "too many requests wait" in answered(world.refuse(x))["error"]["message"]
    assert len([what for what in world.whats() if "too many wait" in what]) == 1


def test_who_went_out_as_he_came_is_given_no_id_of_the_servers() -> None:
    world = Down()
    session = world.open(ID, peer=Peer(token="a"))
    stranger, _ = world.call(ID, peer=Peer(token="b"))
    opening, _ = world.send(request("initialize"), session=ID, peer=Peer(token="a"))
    owner, _ = world.call(ID, peer=Peer(token="a"))
    assert [world.refuse(x) for x in (stranger, opening, owner)] == [HOLD] * 3
    world.core.ledger.remap(session, NEW)
    assert [world.reach(x) for x in (stranger, opening, owner)] == [PASS, PASS, Forward(NEW)]


# After a session has ended


def test_who_deletes_what_nobody_uses_does_not_bring_it_back_to_life() -> None:
    for verb, goes_on in (("DELETE", False), ("POST", True)):
        world = World(mcp_end="off")
        session = world.open(ID)
        world.dies(Peer())
        assert session.state is State.ABANDONED
        other = Peer(pid=2, connection="c2")
        world.send(request("ping") if verb == "POST" else None, verb=verb, session=ID, peer=other)
        assert ("goes on" in world.whats()) is goes_on
        assert session.state is (State.OPEN if goes_on else State.LEAVING)


def test_a_late_request_of_a_process_that_has_ended_does_not_either() -> None:
    world = World(mcp_end="off")
    session = world.open(ID)
    world.dies(Peer())
    world.works(world.call(ID)[0])
    assert ("goes on" in world.whats(), session.state) == (False, State.ABANDONED)


# After an earlier run


def of_an_earlier_run(side: ClientSide, **more: Any) -> Session:
    session = a_session()
    session.standing = STANDINGS[side, ServerSide.ALIVE, False]
    for name, value in more.items():
        setattr(session, name, value)
    return session


def test_what_was_to_be_ended_is_ended_for_the_same_reason() -> None:
    by_hand = Reason(Why.BY_HAND, "by hand")
    for reason, why in ((by_hand, by_hand), (None, Reason(Why.DELETE_CUT, "its client's DELETE was cut off"))):
        world = World()
        session = of_an_earlier_run(ClientSide.LEFT, reason=reason)
        assert world.core.adopt([session], [], world.now) == [session]
        world.fetch()
        assert (world.deleting, session.reason) == ([ID], why)
        assert world.core.adopt([session], [], world.now) == [], "it is known by now"


def test_sessions_of_one_id_are_told_apart_by_whose_they_are() -> None:
    world = World()
    one, other = (of_an_earlier_run(ClientSide.USING, whose=whose) for whose in (ONE, OTHER))
    assert world.core.adopt([one, other], [], world.now) == [one, other]
    assert [*world.core.ledger.sessions.values()] == [one, other]
    assert world.core.ledger.find(one.endpoint, ID) is one, "the first is found by the id alone"
    assert world.core.ledger.tally.found.total() == 2
    assert all(session in world.core.ending.evidence for session in (one, other))


def test_whose_process_is_gone_by_now_is_ended_and_who_lives_is_not() -> None:
    world = World()
    gone, lives = (
        Client(ClientKey(pid=pid, started=1.0), "c", "127.0.0.1", first_seen=1, last_seen=1, pid=pid, started=1.0)
        for pid in (7, 8)
    )
    sessions = []
    for client, name in ((gone, "gone"), (lives, "lives")):
        session = a_session(name)
        session.owners, session.opener, session.confirmer = {client: 1.0}, client, client
        sessions.append(session)
    world.core.adopt(sessions, [gone], world.now)
    world.fetch()
    assert world.deleting == ["gone"]
    assert (gone.gone_at, lives.gone_at, world.core.ledger.clients_gone) == (world.now, None, 1)


# After somebody has left


def test_a_shell_is_named_in_so_many_characters() -> None:
    world = World()
    shell = FakeProcess(50, 1.0, "s\n" + "h" * 60)
    for n, message in enumerate((request("initialize", {}), request("ping"))):
        process = FakeProcess(100 + n, 1.0, "curl", 50, shell)
        world.connect(f"k{n}", process, world.now)
        peer = Peer(100 + n, connection=f"k{n}")
        x, _ = world.send(message, session=ID if n else None, peer=peer, headers={"mcp-protocol-version": None})
        world.answer(x, 200, initialized(1), session=None if n else ID)
        world.disconnected(f"k{n}", world.now)
        world.gone(process, world.now)
    session = world.session(ID)
    assert session.shell is not None
    assert (len(session.shell.name), session.shell.name[:3], session.shell.host) == (40, "s\ufffdh", "127.0.0.1")
    assert session.history[-1].detail == f"started by {session.shell.label}"


def test_nothing_is_to_be_done_for_whom_nobody_knows() -> None:
    world = World()
    world.gone(FakeProcess(7), world.now, FakeProcess(8))
    assert world.disconnected("never seen", world.now) is None
    assert (world.told, world.core.still) == ([], True)


def test_a_stream_that_was_hung_up_long_before_its_carrier_ended_was_aborted() -> None:
    stream = HeaderMap(((b"content-type", b"text/event-stream"),))
    for seconds, aborted in ((4.9, False), (5.1, True)):
        world = World()
        bridge = Peer(pid=5, connection="b1", visited=True)
        session = world.open(ID, peer=bridge)
        x, _ = world.send(verb="GET", session=ID, peer=bridge)
        world.head(x, 200, stream, world.now)
        world.finish(x, Finish.CLIENT)
        world.wait(seconds)
        world.dies(bridge)
        assert (session.stream_aborted_at is not None) is aborted


def test_a_proxy_that_may_ask_again_has_it_granted_once() -> None:
    world = Fleet()
    world.is_to_be_ended()
    world.advised(Matter.DELETE, GRANTED)
    world.delete_answered(503)
    assert len(world.concluded) == 1
    world.wait(0.5)
    world.advised(Matter.DELETE, GRANTED)
    assert world.deleting == [world.core.ledger.named("the-id")[0].server_id]


def test_what_cannot_even_wait_is_said_with_how_many_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletions, "LIMIT", 0)
    world = World()
    world.open(ID)
    world.dies(Peer())
    assert (world.lines()[-1], world.told[-1].weight) == (
        f"mcp: session s-one- not ended client=client[1] http://server:80/mcp {LIMIT} others wait for it",
        Weight.ERROR,
    )


def test_deletes_for_a_server_that_asks_to_be_left_alone_are_put_off_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "AT_ONCE", 2)
    world = World()
    session = world.open(ID)
    for n in range(7):
        world.core.ending.asking.discard(session, f"old-{n}")
    place = world.core.ledger.place(session.endpoint, world.now)
    place.not_before = world.now + 5
    queue = world.core.ending.asking.queue
    left = []
    for _ in range(5):
        world.fetch()
        left.append(len(queue._queue))
    assert left == [5, 3, 1, 0, 0]
    assert (queue.next_timer, len(queue), queue.under_way) == (place.not_before, 7, 0)
    world.wait(5.1)
    assert len(world.deleting) == 7


def test_what_is_used_through_another_proxy_goes_on_and_this_is_said() -> None:
    world = Fleet()
    session = world.is_to_be_ended()
    other = Client(ClientKey(pid=9, started=1.0), "o", "127.0.0.1", first_seen=1, last_seen=1, pid=9, started=1.0)
    world.advised(Matter.DELETE, Counsel(granted=True, news=news(session.client_id, owners=((other, world.now),))))
    assert world.lines()[-1].endswith(" goes on client=o[9] http://server:80/mcp used through another proxy")
    assert tuple(session.history[-1])[1:] == ("adopted", "used through another proxy", State.OPEN)
    assert (session.reason, session.outcome) == (None, None)


def test_a_handshake_that_is_not_answered_slows_the_next_ones_down() -> None:
    world = World()
    session = world.open(ID)
    world.lose(world.call(ID)[0])
    world.wait(36)
    assert world.whats()[-1] == "not recovered"
    assert recovery(world).shaking.storms._storms[Lane(session.endpoint)].failures == 1


def test_a_list_that_nobody_answers_is_not_compared() -> None:
    world, session = comparing()
    world.sent(world.take("tools/list")[0], Outcome(problem="no answer"), world.now)
    assert (session.state, session.holding().untold) == (State.OPEN, [])


def test_after_an_answered_delete_others_have_a_moment_if_any_wait() -> None:
    world = World()
    for n in range(6):
        world.open(f"{ID}-{n}")
    world.dies(Peer())
    queue = world.core.ending.asking.queue
    assert (len(world.deleting), queue.waits) == (4, True)
    world.delete_answered(200)
    assert queue._slots == [world.now + deletions.GAP]
