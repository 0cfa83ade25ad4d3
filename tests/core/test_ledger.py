"""The ledger, told directly: what is counted, whom a connection belongs to, and when a session is the next to go."""

from __future__ import annotations

from typing import Any

import pytest

from core.test_tables import ONE, OTHER, a_client, a_session
from core.world import ENDPOINT
from mcp_sessions.core import ledger as module
from mcp_sessions.core.client import Client, ClientKey, Connection
from mcp_sessions.core.ledger import Ledger
from mcp_sessions.core.place import Place
from mcp_sessions.core.session import REPLACED_LIMIT, Endpoint, Session
from mcp_sessions.core.states import STANDINGS, ClientSide, ServerSide, State, Trigger

PEER, LOCAL = ("10.0.0.1", 1), ("127.0.0.1", 2)


def connected(table: Ledger, name: str = "c1", now: float = 1.0) -> Connection:
    return table.connection(name, PEER, LOCAL, now)


def an_address(host: str = "10.0.0.1") -> Client:
    return Client(ClientKey(host=host), host, host, first_seen=1, last_seen=1)


def entered(table: Ledger, name: str, **more: Any) -> Session:
    session = a_session(name)
    for key, value in more.items():
        setattr(session, key, value)
    table.open(session, 1.0)
    return session


def standing(client: ClientSide, server: ServerSide = ServerSide.ALIVE) -> Any:
    return STANDINGS[client, server, False]


# Connections


def test_a_connection_is_entered_at_first_sight() -> None:
    table = Ledger()
    connection = connected(table, now=5.0)
    assert (connection.peer, connection.local, connection.opened, connection.last_active) == (PEER, LOCAL, 5.0, 5.0)
    assert connected(table, now=7.0) is connection
    assert (connection.opened, connection.last_active, table.dropped) == (5.0, 7.0, 0)
    assert table.disconnected("c1", 8.0) is connection
    assert table.disconnected("c1", 9.0) is None


def test_a_connection_that_is_closed_is_nobodys_any_more() -> None:
    table, session, client = Ledger(), a_session(), a_client(1)
    table.open(session, 1.0)
    table.client(client)
    one, other = connected(table, "one"), connected(table, "other")
    for connection in (one, other):
        connection.client = client
        client.connections = (*client.connections, connection.id)
        table.carry(connection, session)
    for x, connection in (("x1", one), ("x2", other), ("x3", one)):
        table.asks(session, x, connection.id)
    table.disconnected("one", 8.0)
    assert (session.connections, session.left_at, session.under_way) == (("other",), 8.0, {"x2": "other"})
    assert (client.connections, client.left_at) == (("other",), 8.0)
    table.disconnected("other", 9.0)
    assert (session.connections, session.left_at, session.under_way) == ((), 9.0, None)
    assert client in table.clients.values(), "its end is still to be seen"


def test_an_address_is_forgotten_with_its_connection_and_a_process_with_its_end() -> None:
    for client, gone, known in (
        (an_address(), False, False),
        (a_client(1), False, True),
        (a_client(1), True, False),
    ):
        table = Ledger()
        table.client(client)
        if gone:
            table.gone(client, 2.0)
        connection = connected(table)
        connection.client, client.connections = client, ("c1",)
        table.let_go(client)
        assert client in table.clients.values()
        table.disconnected("c1", 3.0)
        assert (client in table.clients.values()) is known
        assert table.clients_gone == 0
        table.let_go(client)
    table, client = Ledger(), an_address()
    table.client(client)
    table.let_go(an_address())
    assert client in table.clients.values(), "another one of that key"


def test_what_a_connection_carries() -> None:
    table, session, other = Ledger(), a_session("one"), a_session("other")
    connection = connected(table)
    table.carry(connection, session)
    table.carry(connection, other)
    assert ([*connection.sessions], session.connections, other.connections) == ([session, other], ("c1",), ("c1",))
    table.disconnected("c1", 2.0)
    late = a_session("late")
    table.carry(connection, late)
    assert (late.connections, late in connection.sessions) == ((), False), "it is closed"


def test_the_connection_of_a_carrier_speaks_for_one_session_alone() -> None:
    table = Ledger()
    one, two, three = (entered(table, name) for name in ("one", "two", "three"))
    connection = connected(table)
    connection.carrier = a_client(1)
    table.carry(connection, one)
    table.carry(connection, one)
    assert (connection.shared, one.connections) == (False, ("c1",))
    for session in (two, three):
        table.carry(connection, session)
        assert (connection.shared, one.connections, session.connections) == (True, (), ())
    assert [*connection.sessions] == [one, two, three]


@pytest.mark.parametrize(
    ("identified", "vanished", "process", "vouched"),
    [(True, False, False, True), (False, False, False, False), (True, True, False, False), (True, False, True, False)],
)
def test_it_is_settled_of_whom_it_is_known_that_nobody_knows_him(
    identified: bool, vanished: bool, process: bool, vouched: bool
) -> None:
    table, session = Ledger(), a_session()
    connection = connected(table)
    connection.identified, connection.vanished = identified, vanished
    connection.client = a_client(1) if process else an_address()
    table.carry(connection, session)
    table.carry(connection, session)
    assert session.vouched == ((connection.client,) if vouched else ())


# What is counted


def test_sessions_are_counted_by_how_they_stand() -> None:
    table = Ledger()
    session, other = entered(table, "one"), entered(table, "other", recoveries=3)
    assert (table.tally.states, table.recovered) == ({State.OPEN: 2}, 3)
    assert table.fire(session, Trigger.REFUSED, 5.0, "404")
    assert not table.fire(session, Trigger.REFUSED, 6.0)
    assert table.tally.states == {State.OPEN: 1, State.LOST: 1}
    assert [tuple(entry) for entry in session.history] == [(5.0, "refused", "404", State.LOST)]
    assert table.fire(session, Trigger.KEPT, 7.0)
    assert [tuple(entry) for entry in session.history][1:] == [(7.0, "kept by hand", "", None)]
    apart = a_session("in no ledger")
    assert table.fire(apart, Trigger.REFUSED, 5.0)
    assert table.tally.states == {State.OPEN: 1, State.LOST: 1}
    table.recovered_once(other)
    assert (other.recoveries, table.recovered) == (4, 4)
    table.evict(session)
    assert table.tally.states == {State.OPEN: 1, State.LOST: 0}


def test_streams_are_counted_and_requests_noted_until_they_are_over() -> None:
    table = Ledger()
    session = entered(table, "one", stream_aborted_at=3.0)
    table.listens(session, "x1", 5.0)
    table.listens(session, "x2", 6.0)
    assert (table.streams, session.streams, session.stream_aborted_at) == (2, {"x1": 5.0, "x2": 6.0}, None)
    assert table.asks_no_more(session, "x1", 7.0)
    assert not table.asks_no_more(session, "x1", 8.0)
    assert (table.streams, session.last_used) == (1, 7.0)
    table.silent(session)
    assert (table.streams, session.streams) == (0, {})
    for x in ("a", "b"):
        table.asks(session, x, "c1")
    assert not table.asks_no_more(session, "a", 9.0)
    assert (session.under_way, session.left_at) == ({"b": "c1"}, None)
    assert not table.asks_no_more(session, "nobody", 9.5)
    assert (session.under_way, session.left_at) == ({"b": "c1"}, None)
    table.asks_no_more(session, "b", 10.0)
    assert (session.under_way, session.left_at, session.last_used) == (None, 10.0, 7.0)


def test_who_has_used_a_session_stands_last() -> None:
    table, session = Ledger(), a_session()
    one, other = a_client(1), a_client(2)
    assert table.own(session, one, 1.0)
    assert not table.own(session, one, 2.0)
    assert table.own(session, other, 3.0)
    assert not table.own(session, one, 4.0)
    assert [*session.owners.items()] == [(other, 3.0), (one, 4.0)]
    assert [*one.sessions] == [*other.sessions] == [session]


# Who is the next to go


def test_what_is_over_goes_first_then_what_has_no_client_then_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSION_LIMIT", 4)
    said: list[tuple[str, float]] = []
    table = Ledger(crowded=lambda session, now: said.append((session.client_id, now)))
    oldest = entered(table, "oldest")
    left = entered(table, "left", standing=standing(ClientSide.LEFT))
    gone = entered(table, "gone", standing=standing(ClientSide.GONE))
    over = entered(table, "over", standing=standing(ClientSide.LEFT, ServerSide.DELETED))
    assert (table.dropped, said) == (0, [])
    table.fire(left, Trigger.DELETE_DONE, 2.0)
    for n, next_to_go in enumerate((over, left, gone)):
        assert next_to_go.number in table.sessions
        entered(table, f"new-{n}")
        assert next_to_go.number not in table.sessions
    assert (table.dropped, said) == (3, [])
    table.open(a_session("another"), 9.0)
    assert (table.dropped, said, oldest.number in table.sessions) == (4, [("oldest", 9.0)], False)


def test_who_comes_back_is_not_the_next_to_go_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSION_LIMIT", 3)
    table = Ledger()
    oldest, back = entered(table, "oldest"), entered(table, "back", standing=standing(ClientSide.GONE))
    gone = entered(table, "gone", standing=standing(ClientSide.GONE))
    table.fire(back, Trigger.RETURNED, 2.0)
    entered(table, "one")
    assert [one.client_id for one in table.sessions.values()] == ["oldest", "back", "one"]
    assert gone.number not in table.sessions
    entered(table, "two")
    assert oldest.number not in table.sessions
    assert back.number in table.sessions


def test_what_was_over_and_is_not_is_no_more_the_first_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSION_LIMIT", 2)
    table = Ledger()
    oldest = entered(table, "oldest")
    back = entered(table, "back", standing=standing(ClientSide.GONE, ServerSide.DELETED))
    assert table.fire(back, Trigger.RETURNED, 2.0)
    assert (back.over, back.state) == (False, State.LOST)
    entered(table, "new")
    assert (oldest.number in table.sessions, back.number in table.sessions) == (False, True)


def test_an_endpoint_that_goes_takes_its_sessions_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENDPOINT_LIMIT", 1)
    said: list[tuple[Session, float]] = []
    table = Ledger(crowded=lambda session, now: said.append((session, now)))
    one, over = entered(table, "one"), entered(table, "over", standing=standing(ClientSide.LEFT, ServerSide.DELETED))
    place = table.place(ENDPOINT, 2.0)
    assert (place.first_seen, place.endpoint) == (1.0, ENDPOINT)
    table.place(Endpoint("http", "other", 80, "/"), 3.0)
    assert (table.sessions, said, table.dropped) == ({}, [(one, 3.0)], 1)
    assert not table.stands(over)


def test_it_is_told_of_those_who_are_forgotten_unless_they_are_over() -> None:
    told: list[Session] = []
    table = Ledger(evicted=told.append)
    one, over = entered(table, "one"), entered(table, "over", standing=standing(ClientSide.LEFT, ServerSide.DELETED))
    for session in (one, over):
        session.owners = {an_address(): 1.0}
        table.evict(session)
    assert told == [one]


# By which id


def test_of_one_id_the_new_session_takes_the_place_unless_it_is_said_whose_they_are() -> None:
    table = Ledger()
    first = entered(table, "same")
    second = entered(table, "same")
    assert [*table.sessions.values()] == [second]
    assert first.number not in table.sessions
    beside = a_session("same")
    table.open(beside, 2.0, ONE)
    assert [*table.sessions.values()] == [second, beside]
    assert table.find(ENDPOINT, "same") is second
    table.fire(second, Trigger.DELETE_DONE, 3.0)
    last = a_session("same")
    table.open(last, 4.0, OTHER)
    assert [*table.sessions.values()] == [beside, last], "what is over makes room"
    assert last.endpoint is table.place(ENDPOINT, 1.0).endpoint
    assert table.stands(beside)
    unknown = a_session("same")
    assert not table.stands(unknown)
    unknown.endpoint = Endpoint("http", "unknown", 80, "/")
    assert not table.stands(unknown)
    assert table.find(unknown.endpoint, "same") is None
    assert (table.knows(ENDPOINT), table.knows(unknown.endpoint)) == (True, False)


def test_ids_that_were_replaced_are_remembered_up_to_a_number_and_each_once() -> None:
    table = Ledger()
    session = entered(table, "id")
    for n in range(REPLACED_LIMIT + 2):
        table.remap(session, f"new-{n}")
    assert session.replaced == tuple(f"new-{n}" for n in range(1, REPLACED_LIMIT + 1))
    assert (session.server_id, session.generation) == (f"new-{REPLACED_LIMIT + 1}", REPLACED_LIMIT + 2)
    table.remap(session, "new-5")
    assert "new-5" not in session.replaced
    assert [*table.place(ENDPOINT, 1.0).mapped] == ["new-5"]
    table.follow(session, "theirs", 77)
    assert (session.server_id, session.generation) == ("theirs", 77)
    never = entered(table, "never given", opened_by="unknown")
    table.remap(never, "given")
    assert never.replaced == ()


def test_a_session_that_is_written_down_is_found_by_what_stands_there() -> None:
    place, session = Place(ENDPOINT, 1.0), a_session("id")
    session.whose = ONE
    place.enter(session, None)
    assert [*place.unwritten] == [session]
    assert (place.stands("id", ONE), place.stands("id", None), place.stands("id", OTHER)) == (True, False, False)
    assert not place.stands("other", None)
    beside = a_session("id")
    place.enter(beside, OTHER)
    assert [*place.unwritten] == [session, beside]
    assert (place.stands("id", ONE), place.stands("id", OTHER), place.stands("id", None)) == (True, True, False)
    session.written_as, place.written["row"] = "row", session
    place.leave(session)
    assert (place.written, [*place.unwritten], place.sessions) == ({}, [beside], {"id": beside})
    stranger = a_session("id")
    stranger.whose = ("nobody", "knows")
    place.leave(stranger)
    assert place.sessions == {"id": beside}
    gone = a_session("of no name")
    gone.whose = ONE
    place.leave(gone)
    place.renew(gone, OTHER)
    assert gone.whose == OTHER


def test_an_id_is_shared_while_somebody_uses_it_or_it_is_being_ended() -> None:
    for client, server, shared in (
        (ClientSide.USING, ServerSide.ALIVE, True),
        (ClientSide.LEAVING, ServerSide.ALIVE, True),
        (ClientSide.GONE, ServerSide.ALIVE, False),
        (ClientSide.GONE, ServerSide.DELETING, True),
        (ClientSide.LEFT, ServerSide.STUCK, False),
        (ClientSide.LEAVING, ServerSide.DELETED, False),
    ):
        place, session = Place(ENDPOINT, 1.0), a_session("id")
        session.standing = standing(client, server)
        place.enter(session, None)
        assert place.shared("id") is shared, (client, server)
        assert not place.shared("id", session)
        assert not place.shared("other")
