"""Who sends a request: what is to be found out first, what is noted of a client, and what passes to a process."""

from __future__ import annotations

from typing import Any

import pytest

from core.driver import FakeProcess
from core.world import ENDPOINT, LATEST, Peer, World, initialized, request
from mcp_sessions.core.client import Client, ClientKey, Connection
from mcp_sessions.core.decisions import Ask
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.senders import LIKELY
from mcp_sessions.core.session import ID_LIMIT
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import PARSE_LIMIT, dump, parse
from mcp_sessions.wire.sse import Event

ID = "s-one-two-three-four"
SSE = HeaderMap(((b"content-type", b"text/event-stream"),))
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}
OPENING = request("initialize", {"protocolVersion": LATEST})
CALL = request("tools/list")
BOTH, IDENTITY, RECALL = Ask(identity=True, recall=True), Ask(identity=True), Ask(recall=True)


def asked(connection: Connection, message: Any, session: str | None = None, token: str = "") -> Exchange:
    shown = [(b"mcp-session-id", session.encode())] if session else []
    shown += [(b"authorization", token.encode())] if token else []
    body = parse(message if isinstance(message, bytes) else dump(message))
    return Exchange("x1", 1000.0, "POST", ENDPOINT, str(ENDPOINT), HeaderMap(shown), body, connection)


def anonymous(world: World) -> Client:
    (found,) = (client for client in world.core.ledger.clients.values() if client.pid is None)
    return found


# What is found out first


@pytest.mark.parametrize(
    ("message", "session", "known", "unknown"),
    [
        (CALL, None, None, None),
        (CALL, ID, None, BOTH),
        (CALL, "strange", RECALL, BOTH),
        (CALL, "s" * ID_LIMIT, RECALL, BOTH),
        (CALL, "s" * (ID_LIMIT + 1), None, IDENTITY),
        (OPENING, None, None, IDENTITY),
        ([CALL, OPENING], None, None, IDENTITY),
        (READY, ID, None, BOTH),
        (b'{"method":"x","pad":"' + b"." * PARSE_LIMIT + b'"}', None, None, IDENTITY),
    ],
)
def test_what_is_to_be_found_out_before_a_request_goes_on(
    message: Any, session: str | None, known: Ask | None, unknown: Ask | None
) -> None:
    world = World()
    world.open(ID)
    connection = world.connect("c1", FakeProcess(1), world.now)
    assert connection.client is not None
    connection.client.alone = True
    x = asked(connection, message, session)
    assert world.core.arrived(x, world.now) == known
    assert (x.kept_back, connection.kept_back) == (False, 0)
    late = world.connect("late", None, world.now, peer=("10.0.0.9", 1), known=False)
    x = asked(late, message, session)
    assert world.core.arrived(x, world.now) == unknown
    waits = unknown is not None and unknown.identity
    assert (x.kept_back, late.kept_back) == (waits, int(waits))
    world.core.requested(x, world.now)
    assert late.kept_back == 0


def test_nobody_is_asked_about_who_is_plainly_the_client() -> None:
    world = World()
    world.open(ID, peer=Peer(token="a"))
    late = world.connect("late", None, world.now, known=False)
    assert world.core.arrived(asked(late, CALL, ID, "Bearer a"), world.now) is None, "of its address, with its token"
    assert world.core.arrived(asked(late, CALL, ID, "Bearer b"), world.now) == BOTH
    known = world.connect("c1", None, world.now)
    assert world.core.arrived(asked(known, CALL, ID, "Bearer b"), world.now) == RECALL
    assert world.core.arrived(asked(known, CALL, ID, "Bearer a"), world.now) is None


def test_a_process_that_opens_a_session_is_looked_at_once_more_unless_it_was_seen_alone() -> None:
    world = World()
    connection = world.connect("c1", FakeProcess(1), world.now)
    first, second = asked(connection, OPENING), asked(connection, OPENING)
    assert [world.core.arrived(x, world.now) for x in (first, second)] == [IDENTITY, IDENTITY]
    assert connection.kept_back == 2
    assert world.core.senders.wonders(FakeProcess(1))
    assert world.core.senders.wonders(FakeProcess(2)), "nobody has heard of that one"
    world.identify(connection, FakeProcess(1), world.now)
    assert not world.core.senders.wonders(FakeProcess(1))
    for x in (first, second):
        world.core.requested(x, world.now)
    assert connection.kept_back == 0
    assert world.core.arrived(asked(connection, OPENING), world.now) is None
    world.connect("c2", FakeProcess(1), world.now, visited=True)
    assert connection.client is not None
    assert connection.client.carrier == "", "it was alone when it was looked at first"


def test_an_answer_waits_until_it_is_known_to_whom_it_is_given() -> None:
    world = World()
    world.open(ID, peer=Peer(pid=5, token="a", connection="p"))
    doubts = world.core.senders.doubts
    known, _ = world.call(ID, peer=Peer(pid=5, token="a", connection="p"))
    unknown, _ = world.call(ID, peer=Peer(pid=None, token="a", connection="v", known=False))
    stranger, _ = world.call(ID, peer=Peer(pid=None, host="10.0.0.9", token="other", connection="w", known=False))
    without, _ = world.send(request("ping"), peer=Peer(pid=None, connection="u", known=False))
    assert [doubts(x) for x in (known, unknown, stranger, without)] == [False, True, False, False]
    session, unknown.stranger = unknown.session, True
    assert not doubts(unknown)
    unknown.stranger, unknown.session = False, None
    assert not doubts(unknown)
    unknown.session = session
    assert doubts(unknown)
    world.identify(unknown.connection, FakeProcess(5), world.now)
    assert not doubts(unknown)


def test_who_has_used_a_session_last_is_looked_at_first() -> None:
    world = World()
    world.open(ID, peer=Peer(pid=1, connection="p1"))
    for pid in range(2, LIKELY + 3):
        world.works(world.call(ID, peer=Peer(pid=pid, connection=f"p{pid}"))[0])
    world.works(world.call(ID, peer=Peer(pid=None, host="127.0.0.1", connection="v"))[0])
    world.dies(Peer(pid=LIKELY))
    x, _ = world.call(ID, peer=Peer(pid=None, host="127.0.0.1", connection="w", known=False))
    assert [one.pid for one in world.core.senders.likely(x)] == [LIKELY + 2, LIKELY + 1, LIKELY - 1, LIKELY - 2]
    opening, _ = world.send(request("initialize", {"protocolVersion": LATEST}), peer=Peer(connection="z", known=False))
    assert world.core.senders.likely(opening) == []


# What is noted


def test_what_is_noted_of_who_comes_from_elsewhere() -> None:
    world = World()
    agent = "agent\n" + "x" * 300
    for number, said in enumerate((agent, agent, "another")):
        peer = Peer(pid=None, host="10.0.0.\n9", connection=f"c{number}")
        world.send(CALL, peer=peer, headers={"user-agent": said})
    first, second = world.core.ledger.clients.values()
    assert first.key == ClientKey(host="10.0.0.\n9", user_agent=agent[:200])
    assert (first.name, first.host, first.requests, second.requests) == ("10.0.0.\ufffd9", "10.0.0.\n9", 2, 1)
    assert (len(first.user_agent), first.user_agent[:7]) == (64, "agent\ufffdx")
    times = [round(time - 1000, 3) for time in (first.first_seen, first.last_seen, second.first_seen)]
    assert times == [0.001, 0.002, 0.003]
    assert (first.pid, first.is_process, [*first.connections]) == (None, False, ["c0", "c1"])
    world.send(CALL, peer=Peer(pid=None, host="10.0.0.\n9", connection="c0"), headers={"user-agent": "another"})
    assert ([*first.connections], [*second.connections]) == (["c1"], ["c2", "c0"])


def test_what_is_noted_of_a_process() -> None:
    world = World()
    parent = FakeProcess(9)
    world.connect("c1", FakeProcess(7, 5.0, "n\node" + "x" * 60, 9), 1500.0, peer=("127.0.0.9", 1))
    (client,) = world.core.ledger.clients.values()
    assert (client.key, client.pid, client.started) == (ClientKey(pid=7, started=5.0), 7, 5.0)
    assert (client.parent, client.above, client.host) == (9, None, "127.0.0.9")
    assert (client.first_seen, client.last_seen, len(client.name)) == (1500.0, 1500.0, 40)
    world.connect("c2", FakeProcess(7, 5.0, "other", 9, parent), 1600.0)
    assert (client.above, client.name[:3], client.last_seen) == (parent, "n\ufffdo", 1600.0)
    assert [*client.connections] == ["c1", "c2"]
    world.connect("c3", FakeProcess(7, 5.0, "other", 9), 1700.0)
    assert client.above is parent, "it was known before"


# What passes to a process


def test_what_was_booked_to_an_address_passes_to_the_process_that_it_was() -> None:
    world = World()
    late = Peer(pid=7, connection="late", known=False)
    agent = {"user-agent": "agent/1", "mcp-protocol-version": None}
    x, _ = world.send(request("initialize", {"clientInfo": {"name": "test"}}), peer=late, headers=agent)
    world.answer(x, 200, initialized(1), session=ID)
    world.works(world.send(CALL, session=ID, peer=late, headers=agent)[0])
    session, before = world.session(ID), anonymous(world)
    connection = world.core.ledger.connections["late"]
    assert (before.requests, [*session.owners], session.opener) == (2, [before], None)
    world.identify(connection, FakeProcess(7), world.now + 5)
    (client,) = session.owners
    assert world.core.ledger.clients == {client.key: client}
    assert (client.requests, client.user_agent, client.info) == (2, "agent/1", {"name": "test"})
    assert (session.opener, session.owners[client], client.last_seen) == (client, world.now + 5, world.now + 5)
    assert (connection.client, [*client.connections], before.connections) == (client, ["late"], ())
    world.send(CALL, session=ID, peer=Peer(pid=7, connection="late"), headers={"user-agent": "agent/2"})
    assert client.user_agent == "agent/1", "what was said first"


def test_who_has_other_connections_or_sessions_keeps_what_it_did() -> None:
    world = World()
    late, other = (Peer(pid=7, connection=name, known=False) for name in ("late", "other"))
    session = world.open(ID, peer=late)
    world.works(world.call(ID, peer=other)[0])
    before = anonymous(world)
    world.identify(world.core.ledger.connections["late"], FakeProcess(7), world.now)
    assert (before in session.owners, before.requests) == (True, 3), "the other one may be somebody else's"
    world.identify(world.core.ledger.connections["other"], FakeProcess(8), world.now)
    assert [client.label for client in session.owners] == ["client[7]", "client[8]"]
    assert before not in world.core.ledger.clients.values()


def test_of_whom_nobody_knows_it_is_settled_that_nobody_does() -> None:
    for vanished, answered, vouched in ((False, False, True), (True, True, True), (True, False, False)):
        world = World()
        session = world.open(ID, peer=Peer(token="a"))
        late = Peer(token="a", host="127.0.0.1", connection="late", known=False)
        x, _ = world.call(ID, peer=late)
        x.connection.answered = answered
        world.identify(x.connection, None, world.now, vanished=vanished)
        stays = [client.pid for client in session.owners if client.pid is None] == [None]
        assert (stays, len(session.vouched) == 1) == (vouched, vouched)
        assert (x.connection.identified, x.connection.vanished, x.connection.steps) == (True, vanished, ())


@pytest.mark.parametrize(
    ("events", "finish", "stays"), [(0, Finish.COMPLETE, True), (1, Finish.CLIENT, True), (0, Finish.CLIENT, False)]
)
def test_who_had_an_answer_before_it_was_known_who_that_is_may_live(events: int, finish: Finish, stays: bool) -> None:
    """And who had none does not matter: the server may not even have seen it."""
    world = World()
    session = world.open(ID, peer=Peer(pid=5, connection="p"))
    x, _ = world.call(ID, peer=Peer(pid=None, host="127.0.0.1", connection="v", known=False))
    world.head(x, 200, SSE, world.now)
    for _ in range(events):
        world.event(x, Event(b"{}"), world.now)
    world.finish(x, finish)
    world.core.identified(x.connection, None, world.now, vanished=True)
    assert [owner.pid for owner in session.owners] == ([5, None] if stays else [5])


def test_what_shakes_hands_before_it_is_known_is_noted_for_who_it_is() -> None:
    world = World()
    late = Peer(connection="late", known=False)
    x, _ = world.send(OPENING, peer=late, headers={"mcp-protocol-version": None})
    world.answer(x, 200, initialized(1), session=ID)
    session = world.session(ID)
    assert [*x.connection.steps] == [(session, "initialize")]
    world.answer(world.send(READY, session=ID, peer=late)[0], 202)
    assert [*x.connection.steps] == [(session, "initialize"), (session, "notifications/initialized")]
    world.identify(x.connection, FakeProcess(7), world.now, visited=True)
    assert [*x.connection.steps] == [], "whoever carries it is nobody"
    assert (session.opener, session.confirmer) == (None, None)


def test_what_a_carrier_has_said_so_far_is_said_by_addresses_from_then_on() -> None:
    world = World()
    session = world.open(ID, peer=Peer(7, connection="c7"))
    world.connect("c8", FakeProcess(7), world.now)
    (process,) = session.owners
    world.works(world.send(CALL, session=ID, peer=Peer(7, connection="c7"), headers={"via": "1.1 x"})[0])
    connections = [world.core.ledger.connections[name] for name in ("c7", "c8")]
    assert [(one.carrier, one.client is process) for one in connections] == [(process, False)] * 2
    assert (process.connections, process.carrier) == ((), "says that it forwards")
    world.connect("c9", FakeProcess(7), world.now)
    assert (world.core.ledger.connections["c9"].carrier, process.connections) == (process, ())
    assert world.whats().count("carries others' requests") == 1
    assert not world.core.senders.wonders(FakeProcess(7))
