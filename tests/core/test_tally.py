"""What has happened is counted once, by its reason."""

from __future__ import annotations

import pytest

from core.world import Peer, World, forwarded_as
from mcp_sessions.core.states import DeleteState, State, Why, WhyNot
from mcp_sessions.core.tally import ENDED_TOO_SOON, Found, Spread, Tally, Wait

ID, NEW = "s-one-two-three-four", "t-five-six-seven-eight"


def tally(world: World) -> Tally:
    return world.core.ledger.tally


def test_a_life() -> None:
    world = World()
    session = world.open(ID)
    world.works(world.call(ID)[0])
    first, _ = world.call(ID)
    world.lose(first)
    world.call(ID)  # waits
    world.shake(session, NEW)
    world.works(first)
    world.dies(Peer())
    world.delete_answered(200)
    counted = tally(world)
    assert counted.found == {Found.OPENED: 1}
    assert counted.lost == {"404": 1}
    assert counted.held == {Wait.REFUSED: 1, Wait.RECOVERING: 1}
    assert counted.recovery.count == 1
    assert 0 < counted.recovery.total < 1
    assert counted.ended == {Why.PROCESS_GONE: 1}
    assert counted.exit.count == 1
    assert counted.exit.total < 0.1
    assert counted.deletes == {DeleteState.DONE: 1}
    assert not counted.not_recovered + counted.stuck
    assert (counted.returned, +counted.states) == (0, {State.CLOSED: 1})
    # The id of the first generation is deleted, too: that is another DELETE, and no session.
    world.delete_answered(404)
    assert (counted.deletes, counted.ended.total(), counted.exit.count) == ({DeleteState.DONE: 2}, 1, 1)


def test_what_the_client_ends() -> None:
    world = World()
    world.open(ID)
    world.answer(world.send(verb="DELETE", session=ID)[0], 200)
    assert tally(world).ended == {Why.CLIENT_DELETE: 1}
    assert not tally(world).deletes


def test_a_session_that_is_lost_once_and_not_brought_back() -> None:
    world = World()
    session = world.open(ID)
    world.works(world.call(ID)[0])
    world.lose(world.call(ID)[0])
    world.shake(session, None)
    assert tally(world).not_recovered == {WhyNot.REFUSED: 1}
    world.lose(world.call(ID)[0])  # is tried again at once, and a third time not
    world.shake(session, None)
    world.lose(world.call(ID)[0])
    assert tally(world).not_recovered == {WhyNot.REFUSED: 2, WhyNot.BACKOFF: 1}
    assert tally(world).lost == {"404": 1}, "it was lost once"
    assert tally(world).recovery.count == 0


def test_recovery_is_off() -> None:
    world = World(mcp_recover="off")
    world.open(ID)
    world.lose(world.call(ID)[0])
    assert (tally(world).not_recovered, tally(world).lost) == ({WhyNot.OFF: 1}, {"404": 1})


def test_a_dialect() -> None:
    world = World()
    world.open(ID)
    world.works(world.call(ID)[0])
    world.answer(world.call(ID)[0], 400, b"No valid session ID provided")
    assert tally(world).lost == {"400-for-404": 1}


@pytest.mark.parametrize(("status", "why"), [(401, Why.NEEDS_CREDENTIALS), (403, Why.NEEDS_CREDENTIALS)])
def test_a_session_that_can_not_be_ended(status: int, why: Why) -> None:
    world = World()
    world.open(ID)
    world.dies(Peer())
    world.delete_answered(status)
    assert tally(world).stuck == {why: 1}
    assert not tally(world).ended


def test_one_that_was_ended_too_soon() -> None:
    world = World(mcp_end_after_idle=1, mcp_end_after_stream=1)
    peer = Peer(None, "10.0.0.9")
    session = world.open(ID, peer=peer)
    world.works(world.call(ID, peer=peer)[0])
    world.disconnected("c1", world.now)
    world.wait(10)
    world.delete_answered(200)
    assert tally(world).ended == {Why.IDLE: 1}
    x, _ = world.call(ID, peer=Peer(None, "10.0.0.9", connection="c2"))
    assert tally(world).returned == 1
    assert tally(world).lost == {ENDED_TOO_SOON: 1}
    world.lose(x)
    world.shake(session, NEW)
    assert tally(world).lost == {ENDED_TOO_SOON: 1}, "by the proxy, and by nobody else"
    assert tally(world).recovery.count == 1
    assert forwarded_as(world.call(ID, peer=Peer(None, "10.0.0.9", connection="c2"))[1]) == NEW


def test_first_seen_and_adopted() -> None:
    world = World()
    world.works(world.call(ID)[0])
    assert tally(world).found == {Found.FIRST_SEEN: 1}
    other = World()
    other.core.adopt([world.session(ID)], [], 2000.0)
    assert tally(other).found == {Found.ADOPTED: 1}


def test_a_spread() -> None:
    spread = Spread(1, 2)
    for seconds in (0.5, 1, 1.5, 99):
        spread.add(seconds)
    assert (spread.up_to(), spread.count, spread.total) == ([(1, 2), (2, 3), (float("inf"), 4)], 4, 102)


def test_between_which_bounds_times_are_counted() -> None:
    """Dashboards are made for these: whoever changes one breaks theirs."""
    recoveries = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
    exits = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10, 60)
    assert (Tally().recovery.bounds, Tally().exit.bounds) == (recoveries, exits)
    assert [bound for bound, _ in Tally().exit.up_to()] == [*exits, float("inf")]
