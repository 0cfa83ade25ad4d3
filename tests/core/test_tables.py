"""Tables that are full or nearly so: who goes, who stays, and that nothing of who went is left anywhere."""

from __future__ import annotations

import pytest

from core.driver import FakeProcess
from core.world import ENDPOINT, LATEST, Peer, World, initialized, request
from mcp_sessions.core import carriers, ledger
from mcp_sessions.core.bounded import ASKED, FEW, make_room, with_one, without
from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.ending import deletions
from mcp_sessions.core.ledger import Ledger
from mcp_sessions.core.place import Place
from mcp_sessions.core.recovery.limits import Limits, Trouble, Troubles
from mcp_sessions.core.session import HISTORY_LIMIT, Endpoint, Session
from mcp_sessions.core.states import RecoveryTrigger, State

ID = "s-one-two-three-four"
ONE, OTHER = ("10.0.0.1", "a"), ("10.0.0.2", "b")


def a_session(client_id: str = ID, server_id: str = "", endpoint: Endpoint = ENDPOINT) -> Session:
    return Session(endpoint, client_id, server_id or client_id, opened=1, last_used=1, revision=LATEST)


def a_client(pid: int) -> Client:
    return Client(ClientKey(pid=pid, started=1.0), "c", "127.0.0.1", first_seen=1, last_seen=1, pid=pid, started=1.0)


# A few connections in a tuple, many in a table


def test_connections_are_noted_once_and_taken_off_whether_few_or_many() -> None:
    few = with_one(with_one((), "a"), "b")
    assert few == ("a", "b")
    assert with_one(few, "a") is few
    assert without(few, "a") == ("b",)
    assert without(few, "c") is few
    names = [f"n{number}" for number in range(FEW)]
    many = tuple(names)
    assert len(with_one(many[:-1], names[-1])) == FEW
    assert isinstance(with_one(many[:-1], names[-1]), tuple)
    grown = with_one(many, "more")
    assert isinstance(grown, dict)
    assert [*grown] == [*names, "more"]
    assert with_one(grown, "again") is grown
    assert with_one(grown, "again") == dict.fromkeys([*names, "more", "again"])
    assert without(grown, "more") is grown
    assert "more" not in without(grown, "nobody")


def test_the_oldest_that_can_be_spared_makes_room() -> None:
    table = {n: n for n in range(4)}
    assert make_room(table, 5) is None
    assert make_room(table, 4) == 0
    assert [*table] == [1, 2, 3]
    assert make_room(table, 3, lambda value: value == 2) == 2
    assert [*table] == [3, 1], "who was asked in vain comes last"
    assert make_room(table, 2, lambda _: False, force=False) is None
    assert len(table) == 2
    assert make_room(table, 2, lambda _: False) == 3, "the oldest, after all"
    assert [*table] == [1]


def test_so_many_are_asked_and_no_more() -> None:
    asked: list[int] = []

    def spare(value: int) -> bool:
        asked.append(value)
        return value == ASKED

    table = {n: n for n in range(2 * ASKED)}
    assert make_room(table, 2 * ASKED, spare, force=False) is None
    assert asked == [*range(ASKED)]
    assert make_room(table, 2 * ASKED, spare) == ASKED


# The ledger


def test_the_oldest_connection_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "CONNECTION_LIMIT", 2)
    world = World()
    session = world.open(ID)
    (client,) = session.owners
    for n in range(2):
        world.connect(f"more-{n}", FakeProcess(7), world.now + 5)
    assert [*world.core.ledger.connections] == ["more-0", "more-1"]
    assert world.core.ledger.dropped == 1
    assert (session.connections, client.connections) == ((), ())
    assert session.left_at == client.left_at == world.now + 5


def test_the_oldest_client_goes_that_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "CLIENT_LIMIT", 2)
    table = Ledger()
    busy, idle, late = a_client(1), a_client(2), a_client(3)
    table.own(a_session(), busy, 1.0)
    assert table.client(busy) is table.client(busy) is busy
    assert table.client(idle) is idle
    table.gone(idle, 5.0)
    table.gone(idle, 6.0)
    assert (idle.gone_at, table.clients_gone) == (5.0, 1)
    table.client(late)
    assert [*table.clients.values()] == [busy, late]
    assert (table.dropped, table.clients_gone) == (1, 0)
    late.connections = ("c",)
    table.client(a_client(4))
    assert [*table.clients] == [busy.key, late.key, ClientKey(pid=4, started=1.0)], "their ends are still to be seen"
    assert table.dropped == 1
    assert table.client(a_client(4)) is not a_client(4)


def test_the_oldest_endpoint_goes_with_its_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ENDPOINT_LIMIT", 2)
    evicted: list[Session] = []
    table = Ledger(evicted=evicted.append)
    places = [Endpoint("http", f"server-{n}", 80, "/mcp") for n in range(5)]
    first, empty, second = a_session(endpoint=places[0]), places[1], a_session(endpoint=places[2])
    beside = a_session(endpoint=places[0])
    table.open(first, 1.0, ONE)
    table.open(beside, 1.0, OTHER)
    table.place(empty, 1.0)
    table.open(second, 2.0)
    assert not table.knows(empty), "nothing is lost with that one"
    assert table.knows(places[0])
    table.place(places[3], 3.0)
    assert evicted == [first, beside]
    assert [*table.endpoints] == [places[2], places[3]]
    assert table.dropped == 2
    assert [*table.sessions.values()] == [second]
    assert not table.stands(first)
    assert table.find(places[0], ID) is None


def test_a_session_that_is_forgotten_leaves_nothing_behind() -> None:
    table = Ledger()
    session, client = a_session(), a_client(1)
    table.open(session, 1.0)
    connection = table.connection("c1", ("127.0.0.1", 1), ("127.0.0.1", 2), 1.0)
    connection.client = client
    for name in ("c1", "c1"):
        table.carry(table.connection(name, ("127.0.0.1", 1), ("127.0.0.1", 2), 1.0), session)
    assert session.connections == ("c1",)
    session.connections = ("c1", "closed-by-now")
    table.own(session, client, 1.0)
    table.listens(session, "x1", 1.0)
    table.listens(session, "x1", 2.0)
    table.recovered_once(session)
    assert (table.streams, table.recovered) == (1, 1)
    table.evict(session)
    assert (table.streams, +table.tally.states) == (0, {})
    assert table.recovered == 1, "it has happened all the same"
    assert not connection.sessions
    assert not client.sessions
    table.evict(session)
    assert table.find(ENDPOINT, ID) is None


def test_who_was_never_entered_is_mapped_nowhere() -> None:
    table = Ledger()
    session = a_session()
    table.remap(session, "new")
    assert (session.server_id, session.generation) == ("new", 1)
    assert [*table.place(ENDPOINT, 1.0).at_server("new")] == []


def test_there_is_no_room_where_every_owner_is_a_process_that_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "OWNERS_LIMIT", 2)
    table, session = Ledger(), a_session()
    owners = [a_client(n) for n in range(4)]
    for owner in owners[:3]:
        table.own(session, owner, 1.0)
    assert [*session.owners] == owners[:3], "each end is to be seen"
    session.vouched = (owners[1], owners[2])
    table.gone(owners[1], 2.0)
    table.own(session, owners[3], 3.0)
    assert [*session.owners] == [owners[0], owners[2], owners[3]]
    assert [*session.vouched] == [owners[2]]
    assert not owners[1].sessions


def test_sessions_are_found_by_what_a_user_types() -> None:
    table = Ledger()
    session = a_session("abc-def-ghi")
    table.open(session, 1.0)
    assert table.named("abc") == table.named(session.label) == [session]
    assert table.named("x") == []


# An endpoint


def test_of_several_under_one_id_the_next_takes_the_place_of_the_first() -> None:
    place = Place(ENDPOINT, 1.0)
    first, second, third = a_session(), a_session(), a_session()
    for session, whose in ((first, None), (second, ONE), (third, OTHER)):
        place.enter(session, whose)
    assert [*place.named(ID)] == [first, second, third]
    place.leave(first)
    assert [*place.named(ID)] == [second, third]
    place.leave(first)
    assert [*place.named(ID)] == [second, third]
    place.leave(third)
    assert [*place.named(ID)] == [second]
    assert not place.beside
    place.leave(second)
    assert [*place.named(ID)] == []


def test_a_first_one_that_is_somebodys_steps_aside_for_who_is_found_by_the_id_alone() -> None:
    place = Place(ENDPOINT, 1.0)
    first, second = a_session(), a_session()
    place.enter(first, None)
    first.whose = ONE
    place.enter(second, None)
    assert [*place.named(ID)] == [second, first]


def test_a_session_beside_others_is_found_by_its_latest_credentials() -> None:
    place = Place(ENDPOINT, 1.0)
    first, second, third = a_session(), a_session(), a_session()
    for session, whose in ((first, None), (second, ONE), (third, OTHER)):
        place.enter(session, whose)
    place.renew(first, ("10.0.0.9", "c"))
    assert first.whose is None, "it needs none"
    place.renew(second, OTHER)
    assert place.beside[ID] == {ONE: second, OTHER: third}, "taken"
    renewed = ("10.0.0.1", "new")
    place.renew(second, renewed)
    assert place.beside[ID] == {renewed: second, OTHER: third}
    assert second.whose == renewed
    place.leave(second)
    place.renew(second, ONE)
    assert place.beside[ID] == {OTHER: third}, "it is known no more"
    assert second.whose == ONE


def test_two_sessions_with_one_id_at_the_server_are_told_apart() -> None:
    place = Place(ENDPOINT, 1.0)
    one, other = a_session("one", "same"), a_session("other", "same")
    for session in (one, other):
        place.enter(session, None)
    assert [*place.at_server("same")] == [one, other]
    assert place.shared("same", one)
    place.unmap(one)
    assert [*place.at_server("same")] == [other]
    place.unmap(other)
    assert not place.mapped
    assert not place.shared("same")


# What went wrong lately


def test_troubles_of_sessions_that_are_brought_back_just_now_are_kept() -> None:
    troubles = Troubles(Limits(troubles=2))
    busy, quiet, late = a_session(), a_session(), a_session()
    troubles.begin(busy, 1.0)
    kept = troubles.of(busy)
    troubles.of(quiet).deaths = 1
    troubles.of(late)
    assert troubles.of(busy) is kept
    assert troubles.of(quiet).deaths == 0, "forgotten"
    again = Troubles(Limits(troubles=2))
    for session in (busy, quiet):
        again.begin(session, 1.0)
    assert again.of(late) != again.of(busy), "both are needed: there are no more of them than recoveries"
    assert again.of(busy).state == again.of(quiet).state != Trouble().state


def test_a_success_shows_that_the_trouble_is_over() -> None:
    troubles, session = Troubles(Limits()), a_session()
    assert not troubles.worked(session)
    troubles.begin(session, 1.0)
    troubles.failed(session, 1.0)
    troubles.failed(session, 1.0)
    assert troubles.worked(session)
    troubles.begin(session, 1.0)
    assert troubles.of(session).failures == 0
    troubles.of(session).fire(RecoveryTrigger.TIRED)
    assert troubles.of(session).state != Trouble().state


def test_a_session_rests_after_so_many_recoveries_in_a_minute() -> None:
    limits = Limits()
    troubles, session = Troubles(limits), a_session()
    told = []
    for n in range(limits.recoveries_per_minute + 3):
        troubles.begin(session, 61.0 + 2.0 * n)
        told.append(troubles.recovered(session, 61.0 + 2.0 * n))
    assert troubles.recovered_at(session) == 61.0 + 2.0 * (len(told) - 1)
    assert len(troubles.of(session).recoveries) == limits.recoveries_per_minute
    assert [often for often in told if often] == [limits.thrash, 30], "said once a minute"


# Other tables


def test_endpoints_of_which_it_is_remembered_who_spoke_there_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriers, "PLACES_LIMIT", 1)
    world = World()
    session = world.open(ID, peer=Peer(token="a"))
    world.works(world.call(ID, peer=Peer(token="a"))[0])
    (client,) = session.owners
    assert client.voices is not None
    assert [kind for _, kind in client.voices.heard] == ["clientInfo"], "the older one went"


def test_a_session_that_cannot_be_queued_is_said_not_to_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletions, "LIMIT", 0)
    world = World()
    session = world.open(ID)
    world.dies(Peer())
    assert (world.deleting, world.whats()[-1]) == ([], "not ended")
    assert session.state is State.ENDING


def test_the_history_of_a_session_is_bounded() -> None:
    session = a_session()
    for n in range(HISTORY_LIMIT + 1):
        session.note(n, f"{n}")
    assert session.history[-1].what == f"{HISTORY_LIMIT}"
    assert session.history[0].what == f"{HISTORY_LIMIT // 4}"
    assert len(session.history) == HISTORY_LIMIT - HISTORY_LIMIT // 4 + 1


def test_an_id_that_a_living_session_has_is_the_same_session_again() -> None:
    world = World()
    session = world.open(ID)
    params = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    x, _ = world.send(request("initialize", params), headers={"mcp-protocol-version": None})
    world.answer(x, 200, initialized(1), session=ID)
    assert [*world.core.ledger.sessions.values()] == [session]
    assert [entry.what for entry in session.history].count("initialized again") == 1
    (owner,) = session.owners
    assert session.opener is owner
