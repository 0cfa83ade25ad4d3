"""What a review found at the edges: each would fail without what was mended."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from core.driver import FakeProcess
from core.world import DELETE, Peer, World, initialized, outcome, request
from mcp_sessions.core.decisions import HOLD, Deliver
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.ledger import OWNERS_LIMIT
from mcp_sessions.core.observer import Nobody
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import State
from mcp_sessions.wire.headers import HeaderMap

ID = "s-one-two-three-four"
ELSEWHERE = Peer(pid=None, host="10.0.0.9", token="other", connection="c9")
SOMEBODY = Peer(pid=None, host="10.0.0.7", token="mine", connection="c7")


def test_an_id_that_is_given_again_belongs_to_the_new_one_alone() -> None:
    world = World(mcp_end_after_idle=30)
    before = world.open(ID, peer=SOMEBODY)
    world.disconnected(SOMEBODY.connection, world.now)
    world.wait(20)
    now = world.open(ID, peer=ELSEWHERE)
    assert now is not before
    for _ in range(5):
        world.wait(20)
        world.works(world.call(ID, peer=ELSEWHERE)[0])
    assert world.deleting == []
    assert before not in world.core.ending.evidence


class Failing(Nobody):
    def told_lost(self, session: Session, at: float) -> None:
        raise RuntimeError("told_lost")

    def answer(self, x: Exchange) -> None:
        raise RuntimeError("answer")

    def request(self, x: Exchange) -> None:
        raise RuntimeError("request")

    def abandoned(self, session: Session, at: float) -> None:
        raise RuntimeError("abandoned")


def test_an_observer_that_fails_changes_nothing() -> None:
    world = World(observer=Failing())
    session = world.open(ID)
    x, _ = world.call(ID)
    assert world.lose(x) == HOLD
    held, decision = world.call(ID)
    assert decision == HOLD
    assert set(world.shake(session, None)) == {x.id, held.id}
    world.dies(Peer())
    assert world.deleting == [ID]
    assert 0 < world.whats().count("could not judge, please report it") <= 4, "once each"


def test_a_late_answer_to_an_earlier_id_says_nothing_of_the_present_one() -> None:
    world = World()
    session = world.open(ID, peer=SOMEBODY)
    gone = Peer(pid=5, token="mine", connection="c5")
    session = world.open("another-session-id", peer=gone)
    world.dies(gone)
    late = world.take(DELETE)[0]
    again = Peer(pid=6, token="mine", connection="c6")
    world.lose(world.call("another-session-id", peer=again)[0])
    world.shake(session, "new-id")
    world.core.end(session, world.now)
    world.fetch()
    assert world.deleting == ["new-id"]
    world.sent(late, outcome(404), world.now)
    assert session.state is State.ENDING
    world.delete_answered(503)
    world.wait(1)
    assert world.deleting == ["new-id"], "it is asked for until it is answered"


def test_a_late_answer_to_an_earlier_id_shows_the_one_that_the_client_knows() -> None:
    world = World()
    session = world.open(ID)
    slow = []
    for n in range(3):
        slow.append(world.call(ID)[0])
        world.lose(world.call(ID)[0])
        world.shake(session, f"new-{n}")
    shown = [
        world.head(x, 200, HeaderMap(((b"mcp-session-id", given.encode()),)), world.now).session_id
        for x, given in zip(slow * 2, [ID, "new-0", "new-1", "other", "new-2", "new-0"], strict=True)
    ]
    assert shown == [ID, ID, ID, None, ID, None], "an id that is nobody's passes"


def test_a_reload_sends_everything_once_more_and_once_only() -> None:
    world = World()
    session = world.open(ID)
    for n in range(3):
        world.core.ledger.remap(session, f"new-{n}")
    world.dies(Peer())
    world.delete_answered(200)
    world.wait(0.1)
    old = world.sends
    assert len(old) == 3
    world.sends = []
    world.core.interrupted(world.now)
    world.wait(0.1)
    assert sorted(world.deleting) == sorted([ID, "new-0", "new-1"])
    for send in old:  # what the one before is told of still
        world.sent(send, outcome(200), world.now)
    assert world.core.ending.asking.queue.under_way == 3
    for _ in range(3):
        world.delete_answered(200)
    assert len(world.core.ending.asking.queue) == 0


def test_a_reload_while_a_session_is_restored_keeps_what_the_server_has_made() -> None:
    world = World()
    session = world.open(ID)
    world.lose(world.call(ID)[0])
    held, _ = world.send(verb="DELETE", session=ID)
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, initialized("own"), session="new-id"), world.now)
    world.sends.clear()
    world.core.interrupted(world.now)
    world.fetch()
    assert (session.server_id, session.generation) == ("new-id", 1)
    # The DELETE went out as it was, about an id that nobody knows any more.
    held.generation = 0
    world.answer(held, 404)
    assert world.deleting == ["new-id"]


@pytest.mark.long
def test_recoveries_under_way_cost_others_nothing() -> None:
    world = World(mcp_recover_timeout=600)
    healthy = Peer(pid=2, connection="c2")
    world.open("a-healthy-session", peer=healthy)

    def cost() -> float:
        began = time.process_time()
        for _ in range(200):
            world.works(world.call("a-healthy-session", peer=healthy)[0])
            world.core.next_timer()
        return time.process_time() - began

    cost()
    before = min(cost() for _ in range(3))
    for n in range(3_000):
        world.open(f"session-number-{n}")
        assert world.lose(world.call(f"session-number-{n}")[0]) == HOLD
    assert min(cost() for _ in range(3)) < 3 * before


@pytest.mark.long
def test_the_owners_of_a_session_are_bounded() -> None:
    world = World()
    session = world.open(ID, peer=SOMEBODY)
    for n in range(500):
        x, _ = world.send(
            request("ping"),
            session=ID,
            peer=SOMEBODY,
            headers={"user-agent": f"agent-{n}", "authorization": "Bearer mine"},
        )
        world.works(x)
    assert len(session.owners) <= OWNERS_LIMIT
    assert len(session.vouched) <= OWNERS_LIMIT
    assert not [client for client in world.core.ledger.clients.values() if session in client.sessions] > [
        *session.owners
    ]


@pytest.mark.long
def test_a_living_process_is_not_pushed_out_by_strangers() -> None:
    world = World()
    session = world.open(ID, peer=Peer(token="mine"))
    for n in range(200):
        peer = Peer(pid=None, host="127.0.0.1", token="mine", connection=f"d{n}")
        world.works(world.send(request("ping"), session=ID, peer=peer, headers={"user-agent": f"a{n}"})[0])
    assert any(owner.is_process for owner in session.owners)
    world.dies(Peer(token="mine"))
    assert world.deleting == [], "others use it"


@pytest.mark.long
@pytest.mark.usefixtures("timed")
def test_many_connections_of_one_client_cost_no_more_than_few() -> None:
    world = World()
    took = []
    for part in range(4):
        began = time.process_time()
        for n in range(1_000):
            world.connect(f"k{part}-{n}", FakeProcess(1), world.now)
        took.append(time.process_time() - began)
    assert took[-1] < 4 * took[0]
    client = next(iter(world.core.ledger.clients.values()))
    assert len(client.connections) == 4_000
    for n in range(1_000):
        world.disconnected(f"k0-{n}", world.now)
    assert len(client.connections) == 3_000


@pytest.mark.long
def test_an_endpoint_that_wants_to_be_left_alone_takes_no_time() -> None:
    world = World()
    for n in range(5_000):
        world.open(f"session-number-{n}")
    world.dies(Peer())
    for _ in range(2_000):
        world.wait(0.01)
        if len(world.core.ending.asking.queue) > 500 or not world.deleting:
            break
        world.delete_answered(200)
    world.delete_answered(429, retry_after="60")
    longest = 0.0
    for _ in range(300):
        began = time.process_time()
        world.fetch()
        longest = max(longest, time.process_time() - began)
    assert longest < 0.05


def test_a_session_that_was_replaced_while_it_was_found_out_who_asks() -> None:
    world = World()
    session = world.open(ID, peer=Peer(token="mine"))
    world.lose(world.call(ID, peer=Peer(token="mine"))[0])
    world.shake(session, "new-id")
    x, _ = world.send(request("ping"), session="nobody-knows-it", peer=ELSEWHERE)
    x.session = session
    other = world.open(ID, peer=ELSEWHERE)
    late = Exchange("late", world.now, "POST", x.endpoint, x.url, x.headers, x.body, x.connection)
    late.session = session
    late.presented = ID
    assert world.core.requested(late, world.now) != HOLD
    assert late.session in (None, other)


def test_an_empty_session_id_is_none() -> None:
    world = World()
    x, _ = world.send(request("initialize", {"protocolVersion": "2025-11-25"}), headers={"mcp-protocol-version": None})
    world.answer(x, 200, initialized(1), session="")
    assert not world.core.ledger.sessions


def test_a_record_of_a_recovery_names_the_process_that_waited_for_it() -> None:
    world = World()
    session = world.open(ID, peer=Peer(pid=9, token="mine"))
    late = Peer(pid=9, token="mine", connection="late", known=False)
    x, _ = world.call(ID, peer=late)
    world.told.clear()
    world.lose(x)
    world.shake(session, "new-id")
    world.identify(x.connection, FakeProcess(9), world.now)
    assert {record.client for record in world.told} == {"client[9]"}
    assert "recovered" in world.whats()


@pytest.mark.parametrize("closed", [True, False])
async def test_nobody_waits_for_ever_in_the_shell(closed: bool) -> None:
    from mcp_sessions.proxy.effects import Effects
    from mcp_sessions.proxy.flows import Live

    world = World()
    world.open(ID)
    x, _ = world.call(ID)
    effects: Any = Effects(world.core, None, lambda: None)  # type: ignore[arg-type]  # nothing is sent
    live: Any = Live(x, None)  # type: ignore[arg-type]
    if closed:
        effects.give_up()
    effects.patience = 0.05
    effects.expect(live)
    assert await asyncio.wait_for(effects.decision(live), 5) == Deliver()
    assert not effects._waiting


def test_an_answer_to_listen_is_streamed_whatever_its_type() -> None:
    """It has no end that could be waited for."""
    world = World()
    for status, content_type, streamed in (
        (200, "application/json", True),
        (200, "", True),
        (200, "text/event-stream", True),
        (404, "application/json", False),
    ):
        x, _ = world.send(request("subscriptions/listen"), headers={"mcp-protocol-version": "2026-07-28"})
        assert (
            world.head(x, status, HeaderMap([(b"content-type", content_type.encode())]), world.now).stream is streamed
        )
    x, _ = world.send(request("tools/list"), headers={"mcp-protocol-version": "2026-07-28"})
    assert not world.head(x, 200, HeaderMap([(b"content-type", b"application/json")]), world.now).stream
