"""Processes that pass on what others send: how they are told, and that nothing follows from their end or their life."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.driver import FakeProcess
from core.world import ENDPOINT, Peer, World, request
from mcp_sessions.core.carriers import RENEWAL, SIGNS, VISITED, VOICES_LIMIT, sign_of
from mcp_sessions.core.client import ClientKey, Connection
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import parse

STREAM = HeaderMap(((b"content-type", b"text/event-stream"),))
GRACES = {"mcp_end_after_idle": 100, "mcp_end_after_stream": 10}


def carrier(world: World, pid: int = 1) -> str:
    return world.core.ledger.clients[ClientKey(pid=pid, started=1.0)].carrier


def said(world: World) -> list[str]:
    return [line for line in world.lines() if "carries others' requests" in line]


def uses(world: World, session: str, peer: Peer, **more: Any) -> None:
    x, _ = world.send(request("tools/call", {"name": "echo"}), session=session, peer=peer, **more)
    world.works(x)


def an_exchange(connection: Connection, method: str) -> Exchange:
    body = parse(json.dumps(request(method)).encode())
    return Exchange("x", 1000.0, "POST", ENDPOINT, str(ENDPOINT), HeaderMap(), body, connection)


def listens(world: World, session: str, peer: Peer) -> Any:
    x, _ = world.send(verb="GET", session=session, peer=peer)
    world.core.head(x, 200, STREAM, world.now)
    return x


# How they are told


def test_one_that_others_are_connected_to() -> None:
    world = World()
    world.open(peer=Peer(visited=True))
    assert carrier(world) == VISITED
    assert said(world) == [f"mcp: client carries others' requests client=client[1] it {VISITED}"]


def test_whoever_has_sent_without_a_visitor_may_have_some_later() -> None:
    world = World()
    connection = world.connect("c1", None, world.now, known=False)
    x = an_exchange(connection, "initialize")
    ask = world.core.arrived(x, world.now)
    assert ask is not None
    assert ask.identity
    world.identify(connection, FakeProcess(1), world.now)
    world.core.requested(x, world.now)
    assert not world.core.senders.wonders(FakeProcess(1))
    assert world.core.arrived(an_exchange(connection, "initialize"), world.now) is None
    world.connect("c2", FakeProcess(1), world.now, visited=True)
    assert not carrier(world)


def test_a_look_while_nothing_waited_proves_nothing() -> None:
    world = World()
    connection = world.connect("c1", FakeProcess(1), world.now)
    assert world.core.senders.wonders(FakeProcess(1))
    ask = world.core.arrived(an_exchange(connection, "initialize"), world.now)
    assert ask is not None
    assert ask.identity, "it is looked at again when a session is about to be its own"
    assert world.core.arrived(an_exchange(connection, "tools/list"), world.now) is None
    world.identify(connection, FakeProcess(1), world.now, visited=True)
    assert carrier(world)


@pytest.mark.parametrize("header", ["via", "forwarded", "x-forwarded-for"])
def test_one_that_says_so(header: str) -> None:
    world = World()
    session = world.open()
    assert not carrier(world)
    uses(world, session.client_id, Peer(), headers={header: "1.1 somebody"})
    assert carrier(world) == SIGNS[0].text


def test_one_that_uses_two_credentials_in_turn() -> None:
    world = World()
    world.open("one", peer=Peer(token="a"))
    world.open("two", peer=Peer(token="b"))
    for token, session in (("a", "one"), ("b", "two")):
        uses(world, session, Peer(token=token))
    world.wait(RENEWAL + 1)
    assert not carrier(world)
    uses(world, "one", Peer(token="a"))
    assert carrier(world) == "uses several credentials in turn"


def test_credentials_that_are_renewed_make_no_carrier() -> None:
    world = World()
    session = world.open(peer=Peer(token="0"))
    uses(world, session.client_id, Peer(token="0"))
    for n in range(30):
        uses(world, session.client_id, Peer(token=str(n + 1)))
        uses(world, session.client_id, Peer(token=str(n)))  # it was on its way already
        uses(world, session.client_id, Peer(token=str(n + 1)))
        world.wait(RENEWAL + 1)
    assert not carrier(world)
    (client,) = [one for one in world.core.ledger.clients.values() if one.is_process]
    assert client.voices is not None
    assert all(len(said) <= VOICES_LIMIT for said in client.voices.heard.values())


def test_one_that_speaks_for_two_clients_in_turn() -> None:
    world = World()
    world.open("one", name="one")
    world.open("two", name="two")
    for session in ("one", "two"):
        uses(world, session, Peer())
    world.wait(RENEWAL + 1)
    listens(world, "one", Peer())
    assert not carrier(world), "a session that something was tried out in, and whose stream is opened again"
    uses(world, "one", Peer())
    assert carrier(world) == "speaks for several clients in turn"


def test_two_sessions_of_one_client_make_no_carrier() -> None:
    world = World()
    world.open("one")
    world.open("two")
    for _ in range(3):
        for session in ("one", "two"):
            uses(world, session, Peer())
        world.wait(RENEWAL + 1)
    assert not carrier(world)


# What follows


def test_its_end_ends_nothing_and_its_life_protects_nothing() -> None:
    world = World(GRACES)
    world.open(peer=Peer(visited=True))
    world.disconnected("c1", world.now)
    world.dies(Peer())
    assert world.deleting == []
    world.wait(50)
    assert world.deleting == []
    uses(world, "s-one-two-three-four", Peer(pid=2, connection="c2", visited=True))  # through its successor
    world.disconnected("c2", world.now)
    world.wait(99)
    assert world.deleting == []
    world.wait(2)
    assert world.deleting == ["s-one-two-three-four"], "the successor lives"


def test_once_learnt_it_holds_for_what_it_carries_already() -> None:
    world = World(GRACES)
    early = world.open("early")
    stream = listens(world, "early", Peer(connection="c2"))
    world.open("late", peer=Peer(connection="c3"))
    uses(world, "late", Peer(connection="c3"), headers={"via": "1.1 somebody"})
    world.finish(stream, Finish.CLIENT)
    for connection in ("c1", "c2", "c3"):
        world.disconnected(connection, world.now)
    world.wait(11)
    assert world.deleting == ["early"]
    world.dies(Peer())
    assert world.deleting == ["early"]
    uses(world, "early", Peer(pid=2, connection="c4", visited=True))
    assert early.state == "open"


def test_streams_that_end_with_it_were_not_aborted() -> None:
    for gone_first in (False, True):
        world = World(GRACES)
        session = world.open(peer=Peer(visited=True))
        stream = listens(world, session.client_id, Peer())
        if gone_first:
            world.dies(Peer())
        world.finish(stream, Finish.CLIENT)
        world.disconnected("c1", world.now)
        if not gone_first:
            world.dies(Peer())
        world.wait(50)
        assert world.deleting == []
        world.wait(60)
        assert world.deleting == [session.client_id]


def test_a_connection_that_carries_several_sessions_protects_none() -> None:
    world = World(GRACES)
    bridge = Peer(visited=True)
    world.open("dead", peer=bridge)
    uses(world, "dead", bridge)
    world.open("live", peer=bridge)
    for _ in range(25):
        world.wait(10)
        uses(world, "live", bridge)
    assert world.deleting == ["dead"]
    world.wait(201)
    assert world.deleting == ["dead", "live"], "the connection is open all the time"


def test_who_waits_for_an_answer_lives_whatever_it_came_by() -> None:
    world = World(GRACES)
    bridge = Peer(visited=True)
    session = world.open("patient", peer=bridge)
    world.open("other", peer=bridge)
    call, _ = world.call("patient", peer=bridge)
    world.wait(1000)
    assert world.deleting == ["other"]
    world.works(call)
    assert not session.under_way
    world.wait(99)
    assert world.deleting == ["other"]
    world.wait(2)
    assert world.deleting == ["other", "patient"]


def test_who_waits_for_an_answer_has_not_left_his_session_behind() -> None:
    world = World(mcp_end_superseded="on", mcp_end_after_superseded=30)
    world.open("patient")
    call, _ = world.call("patient")
    world.open("other")
    world.wait(100)
    assert world.deleting == []
    world.works(call)
    world.wait(31)
    assert world.deleting == ["patient"]


def test_a_connection_that_carries_one_session_protects_it() -> None:
    world = World(GRACES)
    world.open(peer=Peer(visited=True))
    world.wait(1000)
    assert world.deleting == []


def test_who_comes_by_it_is_told_by_address_and_credentials() -> None:
    world = World()
    session = world.open(peer=Peer(visited=True, token="a"))
    x, _ = world.call(session.client_id, peer=Peer(visited=True, token="b"))
    assert x.stranger
    x, _ = world.call(session.client_id, peer=Peer(visited=True, token="a"))
    assert not x.stranger


def test_what_was_renewed_may_still_arrive_for_a_while_to_the_moment() -> None:
    world = World()
    connection = world.connect("c1", FakeProcess(1), world.now)
    assert connection.client is not None
    client = connection.client
    one, other = world.open("one"), world.open("other")

    def sends(session: Any, credentials: str, at: float) -> str:
        x = an_exchange(connection, "tools/call")
        x.session, x.credentials, x.at, x.client = session, credentials, at, client
        return sign_of(client, x)

    assert [sends(one, "a", 10.0), sends(other, "b", 20.0)] == ["", ""]
    assert sends(one, "a", 20.0 + RENEWAL) == ""
    assert sends(other, "b", 20.5 + RENEWAL) == "", "it is the newest"
    assert sends(one, "a", 20.5 + RENEWAL) == "uses several credentials in turn"
    assert sends(one, "a", 99.0) == "", "the same as before, as nearly always"
    x = an_exchange(connection, "tools/call")
    assert sign_of(client, x) == "", "without a session it says nothing"


def test_so_many_voices_are_remembered_and_the_oldest_goes() -> None:
    world = World()
    connection = world.connect("c1", FakeProcess(1), world.now)
    assert connection.client is not None
    client, session = connection.client, world.open("one")
    for n in range(VOICES_LIMIT + 2):
        x = an_exchange(connection, "tools/call")
        x.session, x.credentials, x.at, x.client = session, f"t{n}", 10.0 + n, client
        assert sign_of(client, x) == ""
    assert client.voices is not None
    assert client.voices.heard[ENDPOINT, "credentials"] == {f"t{n}": 10.0 + n for n in range(2, VOICES_LIMIT + 2)}
    assert client.voices.latest == (session.number, f"t{VOICES_LIMIT + 1}")
    (said,) = client.voices.heard[ENDPOINT, "clientInfo"]
    assert said == "{'name': 'test', 'version': '1'}"


def test_of_what_a_client_calls_itself_the_beginning_counts() -> None:
    world = World()
    connection = world.connect("c1", FakeProcess(1), world.now)
    assert connection.client is not None
    for n, name in enumerate(("n" * 189 + "a", "n" * 189 + "b", "n" * 190 + "a", "n" * 400)):
        x = an_exchange(connection, "tools/call")
        x.session, x.at, x.client = world.open(f"session-{n}", name=name), 10.0 + n, connection.client
        sign_of(connection.client, x)
    assert connection.client.voices is not None
    assert len(connection.client.voices.heard[ENDPOINT, "clientInfo"]) == 3


def test_only_calls_count() -> None:
    world = World()
    connection = world.connect("c1", FakeProcess(1), world.now)
    assert connection.client is not None
    session = world.open("one")
    for method in ("notifications/x", "initialize"):
        x = an_exchange(connection, method)
        x.kind = None if method.startswith("n") else x.kind
        x.session, x.credentials = session, "a"
        assert sign_of(connection.client, x) == ""
        assert connection.client.voices is None
    x = an_exchange(connection, "notifications/x")
    x.headers = HeaderMap(((b"x-forwarded-for", b"10.0.0.1"),))
    assert sign_of(connection.client, x) == "says that it forwards", "that counts wherever it stands"
