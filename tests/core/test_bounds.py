"""What the core keeps has limits, each of which is said once; and nobody gains a say by ids that no server gave."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from core.world import ENDPOINT, LATEST, Peer, World, initialized, request
from mcp_sessions.core import ledger
from mcp_sessions.core.decisions import Hold
from mcp_sessions.core.ledger import Ledger
from mcp_sessions.core.recovery.server_state import SUBSCRIPTIONS_SIZE, URI_LIMIT
from mcp_sessions.core.session import ID_LIMIT, Session
from mcp_sessions.core.states import STANDINGS, ClientSide, ServerSide, State, Trigger
from mcp_sessions.wire.headers import CARRIED_LIMIT

OPEN = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
LONG = "x" * (ID_LIMIT + 1)


def test_an_id_that_is_too_long_is_passed_on_and_not_kept() -> None:
    world = World()
    for number in range(3):
        x, _ = world.send(request("initialize", OPEN), headers={"mcp-protocol-version": None})
        world.answer(x, 200, initialized(1), session=f"{LONG}{number}")
        assert x.opened is None
        call, _ = world.call(f"{LONG}{number}")
        world.works(call)
        world.lose(world.call(f"{LONG}{number}")[0])
    assert not world.core.ledger.sessions
    assert not world.sends
    assert len([what for what in world.whats() if "not kept" in what]) == 1


@pytest.mark.long
def test_a_long_id_costs_no_more_than_a_short_one() -> None:
    world = World()
    world.open()
    before = time.thread_time()
    for number in range(20):
        x, _ = world.send(request("initialize", OPEN), headers={"mcp-protocol-version": None})
        world.answer(x, 200, initialized(1), session="a" * 40_000 + str(number))
    assert time.thread_time() - before < 0.2


def entered(table: Ledger, name: str, client: ClientSide, server: ServerSide = ServerSide.ALIVE) -> Session:
    session = Session(ENDPOINT, name, name, opened=1, last_used=1, revision=LATEST)
    session.standing = STANDINGS[client, server, False]
    table.open(session, 1.0)
    return session


def test_a_full_table_lets_the_closed_go_first_then_those_without_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SESSION_LIMIT", 4)
    crowded: list[Session] = []
    table = Ledger(crowded=lambda session, _: crowded.append(session))
    living = entered(table, "living", ClientSide.USING)
    gone = entered(table, "gone", ClientSide.GONE)
    closed = entered(table, "closed", ClientSide.LEFT, ServerSide.DELETED)
    leaving = entered(table, "leaves later", ClientSide.USING)
    entered(table, "one", ClientSide.USING)
    assert closed.number not in table.sessions
    entered(table, "two", ClientSide.USING)
    assert gone.number not in table.sessions
    table.fire(leaving, Trigger.GONE, 2.0)
    entered(table, "three", ClientSide.USING)
    assert leaving.number not in table.sessions
    assert not crowded
    entered(table, "four", ClientSide.USING)
    assert crowded == [living]


def test_of_what_is_over_the_latest_is_known_and_who_used_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "OVER_LIMIT", 2)
    world = World()
    bridge = Peer(pid=99, connection="c-bridge")
    living = world.open("s-living-one-two", peer=bridge)
    for number in range(1, 5):
        peer = Peer(pid=number, connection=f"c{number}")
        world.open(f"s-{number}-one-two-three", peer=peer)
        world.disconnected(peer.connection, world.now)
        world.dies(peer)
        world.delete_answered(200)
    known = world.core.ledger
    assert [one.client_id for one in known.sessions.values()] == [
        living.client_id,
        "s-3-one-two-three",
        "s-4-one-two-three",
    ]
    assert sorted(client.pid for client in known.clients.values() if client.pid is not None) == [3, 4, 99]
    assert known.clients_gone == 2
    assert known.tally.states[State.CLOSED] == 2
    for session in known.sessions.values():
        assert all(owner in known.clients.values() for owner in session.owners)


def test_who_comes_back_with_what_is_known_no_more_is_brought_back_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "OVER_LIMIT", 1)
    world = World(mcp_end_after_idle=30)
    far = Peer(pid=None, host="10.0.0.7", connection="far")
    for name in ("s-1-one-two-three", "s-2-one-two-three"):
        world.open(name, peer=far)
        world.disconnected("far", world.now)
        world.wait(31)
        world.delete_answered(200)
    x, _ = world.call("s-1-one-two-three", peer=far)
    assert x.session is None
    assert isinstance(world.lose(x), Hold)
    assert world.sends, "a handshake in the client's place"


def test_who_has_no_session_is_forgotten_with_his_connection_or_process() -> None:
    world = World()
    for number in range(1, 4):
        far = Peer(pid=None, host=f"10.0.0.{number}", connection=f"far{number}")
        near = Peer(pid=number, connection=f"near{number}")
        for peer in (far, near):
            world.works(world.send(request("tools/list"), peer=peer)[0])
        world.disconnected(far.connection, world.now)
        world.disconnected(near.connection, world.now)
        world.dies(near)
    for token in ("one", "two", "three"):  # behind one connection
        peer = Peer(pid=None, host="10.0.0.9", connection="bridge", token=token)
        world.works(world.send(request("tools/list"), peer=peer)[0])
        assert len(world.core.ledger.clients) == 1
    world.disconnected("bridge", world.now)
    assert not world.core.ledger.clients
    assert world.core.ledger.clients_gone == 0


def test_who_is_forgotten_while_his_request_is_under_way_owns_what_it_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "OVER_LIMIT", 1)
    world = World()
    one, two = (Peer(pid=None, host="10.0.0.7", connection="bridge", token=token) for token in ("one", "two"))
    for name, peer in (("s-one-two-three", one), ("s-two-two-three", two)):
        world.open(name, peer=peer)
        opening, _ = world.send(request("initialize", OPEN), peer=one, headers={"mcp-protocol-version": None})
        world.answer(world.send(session=name, verb="DELETE", peer=peer)[0], 200)
    world.answer(opening, 200, initialized(1), session="s-new-one-two")
    session = world.session("s-new-one-two")
    world.works(world.call(session.client_id, peer=one)[0])
    assert [owner in world.core.ledger.clients.values() for owner in session.owners] == [True]


def test_a_living_clients_session_goes_with_a_warning_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SESSION_LIMIT", 3)
    world = World()
    for number in range(8):
        world.open(f"s-{number}-one-two-three")
    assert len(world.core.ledger.sessions) == 3
    assert world.whats().count("forgotten") == 1
    world.wait(61)
    world.open("s-9-one-two-three")
    assert world.whats().count("forgotten") == 2


def test_headers_that_are_carried_over_are_bounded_which_is_said_once() -> None:
    world = World()
    session = world.open()
    for _ in range(3):
        headers = {f"x-{number}": "v" * 10_000 for number in range(10)}
        world.works(world.send(request("tools/list"), session=session.client_id, headers=headers)[0])
        assert sum(len(name) + len(value) for name, value in session.fields) <= CARRIED_LIMIT
    assert world.whats().count("not kept, for want of room: 9 headers") == 1


def test_subscriptions_are_bounded_in_bytes_which_is_said_once() -> None:
    world = World()
    session = world.open()
    for number in range(100):
        uri = f"{number}" + "u" * (URI_LIMIT - 10)
        world.works(world.send(request("resources/subscribe", {"uri": uri}), session=session.client_id)[0])
    assert session.held
    assert sum(map(len, session.held.subscriptions)) <= SUBSCRIPTIONS_SIZE
    assert world.whats().count("holds more than is kept") == 1


def test_nothing_of_a_large_initialize_is_kept() -> None:
    world = World()
    world.open("s-warm-up-one-two")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(10):
            large = {**OPEN, "clientInfo": {"name": "n" * 1_300_000, "version": "v" * 1_300_000, "x": "y" * 1_300_000}}
            x, _ = world.send(request("initialize", large), headers={"mcp-protocol-version": None})
            world.answer(x, 200, initialized(1), session=f"s-{number}-one-two-three")
            del x, large
        assert tracemalloc.get_traced_memory()[0] - before < 1_000_000
    finally:
        tracemalloc.stop()


def test_an_id_that_no_server_gave_is_never_deleted() -> None:
    world = World(mcp_end_at_exit="all", mcp_recover_timeout=60)
    peer = Peer(7)
    for number in range(20):
        world.lose(world.call(f"guessed-{number}-one-two", peer=peer)[0])
    turns = 0
    while world.shaking:
        turns += 1
        world.shake(world.shaking[0], None)  # the server does not even shake hands
        world.wait(2)
    assert turns == 20
    world.dies(peer)
    world.core.exits(world.now)
    while world.core.ending.busy and not world.deleting:
        world.fetch()
    assert world.deleting == []
    assert {session.state for session in world.core.ledger.sessions.values()} <= {State.CLOSED}


def ends_by_evidence(world: World, peer: Peer) -> None:
    """A process ends that nobody has seen to shake hands: that proves nothing."""
    world.disconnected(peer.connection, world.now)
    world.dies(peer)
    assert world.deleting == []
    world.wait(1801)


def test_of_a_session_that_was_brought_back_only_the_servers_id_is_deleted() -> None:
    world = World()
    peer = Peer(7)
    world.lose(world.call("guessed-one-two-three", peer=peer)[0])
    session = world.session("guessed-one-two-three")
    world.shake(session, "given-by-the-server")
    ends_by_evidence(world, peer)
    assert world.deleting == ["given-by-the-server"]
    world.delete_answered(200)
    assert world.deleting == []


def test_an_id_that_the_server_accepted_is_deleted() -> None:
    world = World()
    peer = Peer(7)
    world.works(world.call("accepted-one-two-three", peer=peer)[0])
    ends_by_evidence(world, peer)
    assert world.deleting == ["accepted-one-two-three"]


def test_of_a_list_half_a_megabyte_is_looked_at_which_is_said_once() -> None:
    world = World()
    session = world.open()
    for large in (600_000, 10, 600_000):
        x, _ = world.send(request("tools/list"), session=session.client_id)
        tools = [{"name": "first"}, {"name": "large", "description": "d" * large}]
        world.answer(x, 200, {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}})
        assert session.held
        assert len(session.held.lists["tools/list"]) == (1 if large > 10 else 2)
    assert world.whats().count("holds more than is kept") == 1
