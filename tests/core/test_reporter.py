"""What is said, by whom, and in which order."""

from __future__ import annotations

import pytest

from core.driver import FakeProcess
from core.world import Peer, World, request
from mcp_sessions.core.client import Client, ClientKey, Connection
from mcp_sessions.core.records import Action, AnyRecord, Change, Violation, Weight
from mcp_sessions.core.reporter import PATIENCE, WAITING_LIMIT, Over, Reporter
from mcp_sessions.core.session import Endpoint, Session

ID = "s-one-two-three-four"
LATE = Peer(pid=7, known=False)


def clients(world: World) -> list[str]:
    return [record.client for record in world.told]


def test_the_first_record_names_the_process_that_is_found_a_moment_later() -> None:
    world = World()
    x, _ = world.send(request("tools/list"), session=ID, peer=LATE, headers={"accept": "application/json"})
    assert world.told == [], "it is about to be known who that is"
    world.lose(x)
    world.identify(x.connection, FakeProcess(7, name="node"), world.now)
    assert {record.kind for record in world.told} == {"violation", "change"}
    assert set(clients(world)) == {"node[7]"}
    assert [record.at for record in world.told] == sorted(record.at for record in world.told)


def test_what_is_said_later_of_the_same_exchange_names_the_process_too() -> None:
    world = World()
    x, _ = world.send(request("tools/list"), session=ID, peer=LATE, headers={"accept": "application/json"})
    world.identify(x.connection, FakeProcess(7, name="node"), world.now)
    world.told.clear()
    world.reporter.action("sent again", x)
    assert clients(world) == ["node[7]"]


def test_what_another_says_meanwhile_keeps_its_place() -> None:
    world = World()
    x, _ = world.send(request("tools/list"), session=ID, peer=LATE, headers={"accept": "application/json"})
    world.open("another-session", peer=Peer(pid=8, connection="c8"))
    assert world.told == []
    world.identify(x.connection, FakeProcess(7, name="node"), world.now)
    assert clients(world)[0] == "node[7]"
    assert "client[8]" in clients(world)


def test_who_stays_unknown_is_named_by_address() -> None:
    world = World()
    x, _ = world.send(request("tools/list"), session=ID, peer=LATE, headers={"accept": "application/json"})
    world.identify(x.connection, None, world.now)
    assert set(clients(world)) == {"127.0.0.1"}


def test_nobody_waits_for_ever() -> None:
    world = World()
    world.send(request("tools/list"), session=ID, peer=LATE, headers={"accept": "application/json"})
    assert world.told == []
    world.wait(1.1)
    assert set(clients(world)) == {"127.0.0.1"}


def test_those_who_wait_are_bounded() -> None:
    world = World()
    for _ in range(1_100):
        world.send(request("tools/list"), session=ID, peer=LATE, headers={"accept": "application/json"})
    assert len(world.told) > 1_000


# Whose record waits, and for how long


def a_connection(**more: bool) -> Connection:
    return Connection("c1", ("10.0.0.1", 1), ("127.0.0.1", 2), opened=1, last_active=1, **more)  # type: ignore[arg-type]


def a_process(name: str = "node") -> Client:
    return Client(ClientKey(pid=7, started=1.0), name, "10.0.0.1", first_seen=1, last_seen=1, pid=7, started=1.0)


def whats(told: list[AnyRecord]) -> list[str]:
    return [getattr(record, "what", "") for record in told]


def a_change(what: str, client: str = "10.0.0.1") -> Change:
    return Change(at=1.0, what=what, client=client)


def test_records_wait_for_each_other_to_the_moment() -> None:
    told: list[AnyRecord] = []
    reporter = Reporter(told.append)
    assert (reporter.now, reporter.next_timer) == (0.0, None)
    unknown = a_connection()
    reporter.now = 10.0
    reporter.tell(a_change("first"), unknown)
    reporter.now = 10.5
    reporter.tell(a_change("second"))
    assert (whats(told), reporter.next_timer) == ([], 10.0 + PATIENCE)
    reporter.now = 10.0 + PATIENCE - 0.001
    reporter.settle()
    assert whats(told) == []
    reporter.now = 10.0 + PATIENCE
    reporter.settle()
    assert (whats(told), reporter.next_timer) == (["first", "second"], None)


def test_who_waits_behind_one_that_is_known_by_now_goes_on_up_to_the_next_unknown() -> None:
    told: list[AnyRecord] = []
    reporter = Reporter(told.append)
    one, other = a_connection(), a_connection()
    for number, connection in enumerate((one, None, other, one)):
        reporter.tell(a_change(f"{number}"), connection)
    one.identified, one.client = True, a_process()
    reporter.settle()
    assert [(record.client, getattr(record, "what", "")) for record in told] == [("node[7]", "0"), ("10.0.0.1", "1")]
    reporter.flush()
    assert [record.client for record in told] == ["node[7]", "10.0.0.1", "10.0.0.1", "node[7]"]
    assert reporter.next_timer is None
    reporter.tell(a_change("4"), one)
    assert whats(told) == ["0", "1", "2", "3", "4"], "at once"


def test_of_too_many_that_wait_all_are_handed_on() -> None:
    told: list[AnyRecord] = []
    reporter = Reporter(told.append)
    for number in range(WAITING_LIMIT):
        reporter.tell(a_change(f"{number}"), a_connection())
    assert told == []
    reporter.tell(a_change("one more"), a_connection())
    assert len(told) == WAITING_LIMIT + 1


@pytest.mark.parametrize(
    ("client", "carrier", "named"),
    [("10.0.0.1", "", "node[7]"), ("10.0.0.2", "", "10.0.0.2"), ("10.0.0.1", "it forwards", "10.0.0.1")],
)
def test_only_an_address_that_was_a_process_gets_its_name(client: str, carrier: str, named: str) -> None:
    told: list[AnyRecord] = []
    connection = a_connection(identified=True)
    connection.client = a_process()
    connection.client.carrier = carrier
    Reporter(told.append).tell(a_change("x", client), connection)
    assert [record.client for record in told] == [named]


# What a record holds


def test_what_comes_from_the_wire_is_bounded_in_a_record() -> None:
    world = World()
    x, _ = world.call("a-session")
    x.endpoint = Endpoint("http", "h" * 300, 80, "/mcp")
    x.body.messages[0].params["name"] = "n" * 300
    session = Session(x.endpoint, "s" * 30, "s" * 30, opened=1, last_used=1, revision="")
    world.told.clear()
    world.reporter.action("done", x)
    world.reporter.change(session, "changed", x=x, weight=Weight.ERROR)
    action, change = world.told
    assert isinstance(action, Action)
    assert isinstance(change, Change)
    assert (len(action.endpoint), len(change.endpoint), len(action.detail)) == (200, 200, 64)
    assert (action.weight, action.session, action.flow, action.lost) == (Weight.INFO, "", x.id, False)
    assert (change.weight, change.session, change.flow, change.detail) == (Weight.ERROR, "ssssssss", x.id, "")
    assert (change.client, action.client) == ("unknown", "client[1]")
    world.reporter.action("done", x, lost=True)
    assert getattr(world.told[-1], "lost", False)
    x.kind = None
    world.reporter.action("done", x, lost=True)
    assert not getattr(world.told[-1], "lost", True), "what is no request gets no answer anyway"
    world.reporter.client(a_process(), "gone", "held 1 session")
    assert world.told[-1].line() == "mcp: client gone client=node[7] held 1 session"


def test_how_the_kinds_of_records_read() -> None:
    usual = {"at": 0.0, "client": "c[1]", "session": "abc", "endpoint": "http://h/", "detail": "in detail"}
    lines = [
        Change(what="opened", **usual).line(),
        Action(what="sent again", **usual).line(),
        Violation(rule="MCP1", name="a-rule", party="client", level="MUST", clause="http://c", **usual).line(),
        Change(at=0.0, what="gone").line(),
        Action(at=0.0, what="done").line(),
    ]
    assert lines == [
        "mcp: session abc opened client=c[1] http://h/ in detail",
        "mcp: sent again client=c[1] session=abc in detail at http://h/",
        "mcp: MCP1 a-rule client=c[1] session=abc (client MUST) in detail http://c",
        "mcp: client gone",
        "mcp: done",
    ]


@pytest.mark.parametrize(
    ("at", "time"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.1239, "2023-11-14T22:13:20.123Z"),
        (1e20, ""),
        (float("inf"), ""),
        (float("nan"), ""),
    ],
)
def test_a_time_is_written_as_people_read_it(at: float, time: str) -> None:
    assert Change(at=at, what="x").time == time


def test_who_follows_is_told_of_each_session_and_of_each_episode_with_the_time() -> None:
    world = World()
    session = world.open(ID)
    seen: list[object] = []
    world.reporter.followers += [seen.append, seen.append]
    world.reporter.listeners.append(lambda episode, now: seen.append((episode, now)))
    world.reporter.now = 7.0
    world.reporter.changed(session)
    world.reporter.happened(Over(session))
    assert seen == [session, session, (Over(session), 7.0)]
