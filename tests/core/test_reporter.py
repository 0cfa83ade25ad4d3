"""What is said, by whom, and in which order."""

from core.driver import FakeProcess
from core.world import Peer, World, request

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
