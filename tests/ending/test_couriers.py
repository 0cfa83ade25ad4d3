"""What part a process plays in a session, and what its end proves: clients, couriers, the shell that started them."""

from __future__ import annotations

from typing import Any

import pytest

from core.driver import FakeProcess
from core.world import ENDPOINT, LATEST, Peer, World, fields, initialized, request
from mcp_sessions.core.decisions import Watch
from mcp_sessions.core.ending.departures import GRACE
from mcp_sessions.core.ending.parts import CLIENT, COURIER, NAMED, SHELL, UNSEEN, is_orphaned, is_seen, mourned, part_of
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import State
from mcp_sessions.processes.place import Place
from mcp_sessions.store.rows import row_of, session_of
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import dump

ID = "s-one-two-three-four"
SHELL_PROCESS = FakeProcess(50, name="sh")
PLACE = Place.here()


class Scripts(World):
    """Processes that send one message each; the processes to be watched are kept."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.watched: list[int] = []

    def fetch(self) -> None:
        for effect in self.core.effects():
            if isinstance(effect, Watch):
                self.watched.append(effect.process.pid)

    def one(self, process: FakeProcess | None, method: str, *, session: str | None = ID, late: bool = False) -> Any:
        """A process opens a connection, sends a message, and closes it; with `late` its process is not known yet."""
        number = f"c{self._next()}"
        connection = self.connect(number, process, self.now, known=not late)
        params = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "script", "version": "1"}}
        message = request(method, params if method == "initialize" else {})
        if method.startswith("notifications/"):
            del message["id"]
        x, _ = self.over(connection, message, session)
        if method == "initialize":
            self.answer(x, 200, initialized(1), session=ID)
        elif "id" in message:
            self.works(x)
        else:
            self.answer(x, 202)
        return connection

    def over(self, connection: Any, message: Any, session: str | None) -> Any:
        shown = {"accept": "application/json, text/event-stream", "mcp-session-id": session}
        return self.request(
            "POST", str(ENDPOINT), ENDPOINT, HeaderMap(fields(shown)), dump(message), connection, self.now
        )

    def sends_and_ends(self, process: FakeProcess, method: str, **more: Any) -> None:
        connection = self.one(process, method, **more)
        self.disconnected(connection.id, self.now)
        self.gone(process, self.now)

    def script(self, *parents: FakeProcess | None) -> Session:
        """A handshake and calls, each by a process of its own, started by these."""
        methods = ["initialize", "notifications/initialized", *["tools/list"] * (len(parents) - 2)]
        for n, (parent, method) in enumerate(zip(parents, methods, strict=True)):
            session = None if method == "initialize" else ID
            self.sends_and_ends(FakeProcess(100 + n, name="curl", above=parent), method, session=session)
        return self.session(ID)


def shaken(world: Scripts, process: FakeProcess) -> Session:
    world.one(process, "initialize", session=None)
    world.one(process, "notifications/initialized")
    return world.session(ID)


def is_open(session: Session) -> bool:
    return session.state is State.OPEN


# Couriers


def test_each_message_by_a_process_of_its_own() -> None:
    world = Scripts(mcp_end_after_idle=100)
    session = world.script(None, None, None, None)
    assert is_open(session)
    assert {part_of(owner, session) for owner in session.owners} == {COURIER}
    assert not is_seen(session)
    world.wait(99)
    assert is_open(session)
    world.wait(2)
    assert session.state is State.ENDING
    assert session.reason is not None
    assert session.reason.kind == "idle"


@pytest.mark.parametrize("method", ["initialize", "notifications/initialized"])
def test_half_a_handshake_makes_no_client(method: str) -> None:
    world = Scripts()
    one = FakeProcess(1)
    if method == "initialize":
        world.one(one, "initialize", session=None)
    else:
        world.one(FakeProcess(2), "initialize", session=None)
        world.one(one, method)
        world.gone(FakeProcess(2), world.now)
    world.gone(one, world.now)
    assert is_open(world.session(ID))


def test_who_shook_hands_itself_is_the_client() -> None:
    world = Scripts()
    session = shaken(world, FakeProcess(1))
    assert [part_of(owner, session) for owner in session.owners] == [CLIENT]
    world.gone(FakeProcess(1), world.now)
    assert session.state is State.ENDING
    assert "client[1]" in session.evidence


def test_a_courier_that_lives_protects_and_proves_nothing() -> None:
    world = Scripts(mcp_end_after_idle=10)
    session = shaken(world, FakeProcess(1))
    world.one(FakeProcess(2), "tools/list")
    world.gone(FakeProcess(1), world.now)
    world.wait(100)
    assert is_open(session)
    world.gone(FakeProcess(2), world.now)
    assert session.state is State.ENDING, "the client is gone, and so is who had used it beside the client"


def test_who_comes_later_is_a_courier() -> None:
    world = Scripts()
    session = shaken(world, FakeProcess(1))
    world.gone(FakeProcess(1), world.now)
    world.sends_and_ends(FakeProcess(2), "tools/list")
    assert is_open(session)
    world.sends_and_ends(FakeProcess(3), "tools/list")
    assert is_open(session)


def test_a_session_that_was_opened_before_anybody_looked() -> None:
    world = Scripts()
    world.sends_and_ends(FakeProcess(2), "tools/list")
    assert is_open(world.session(ID))


@pytest.mark.parametrize("first", [0, 1])
def test_a_handshake_of_which_it_is_known_later_whose_it_was(first: int) -> None:
    world = Scripts()
    process = FakeProcess(1)
    opened = world.one(process, "initialize", session=None, late=True)
    confirmed = world.one(process, "notifications/initialized", late=True)
    session = world.session(ID)
    for connection in (opened, confirmed) if first == 0 else (confirmed, opened):
        world.identify(connection, process, world.now)
    assert [part_of(owner, session) for owner in session.owners] == [CLIENT]
    assert opened.steps == ()


def test_two_couriers_of_which_it_is_known_later_who_they_were_are_no_client() -> None:
    world = Scripts()
    opened = world.one(FakeProcess(1), "initialize", session=None, late=True)
    confirmed = world.one(FakeProcess(2), "notifications/initialized", late=True)
    for connection, pid in ((opened, 1), (confirmed, 2)):
        world.identify(connection, FakeProcess(pid), world.now)
    world.gone(FakeProcess(1), world.now)
    world.gone(FakeProcess(2), world.now)
    assert is_open(world.session(ID))


# The shell


def test_the_end_of_the_shell_that_started_all_couriers_is_the_clients() -> None:
    world = Scripts()
    session = world.script(*[SHELL_PROCESS] * 4)
    assert is_open(session)
    assert set(world.watched) == {50}
    assert session.shell is not None
    assert part_of(session.shell, session) is SHELL
    world.gone(SHELL_PROCESS, world.now)
    assert session.state is State.ENDING
    assert session.evidence.startswith("process gone: sh[50], ")


def test_the_life_of_the_shell_protects_nothing() -> None:
    world = Scripts(mcp_end_after_idle=10)
    session = world.script(*[SHELL_PROCESS] * 3)
    world.wait(11)
    assert session.state is State.ENDING
    assert session.reason is not None
    assert session.reason.kind == "idle"


def test_who_comes_after_the_end_finds_the_shell_anew() -> None:
    world = Scripts(mcp_end_after_idle=10)
    session = world.script(*[SHELL_PROCESS] * 3)
    world.wait(11)
    assert session.state is State.ENDING
    world.one(FakeProcess(200, above=SHELL_PROCESS), "tools/list")
    assert is_open(session)
    assert session.shell is None
    assert [owner.pid for owner in session.owners if not owner.gone] == [200], "the shell itself uses nothing"
    world.gone(FakeProcess(200), world.now)
    assert session.shell is not None
    world.gone(SHELL_PROCESS, world.now)
    assert session.state is State.ENDING


def test_couriers_of_two_shells_have_none() -> None:
    world = Scripts()
    session = world.script(SHELL_PROCESS, SHELL_PROCESS, FakeProcess(51, name="sh"))
    assert session.shell is None
    assert 50 not in [owner.pid for owner in session.owners]
    world.gone(SHELL_PROCESS, world.now)
    world.gone(FakeProcess(51), world.now)
    assert is_open(session)


def test_a_shell_that_ends_while_a_courier_lives() -> None:
    world = Scripts()
    session = world.script(*[SHELL_PROCESS] * 3)
    last = FakeProcess(200, above=SHELL_PROCESS)
    world.one(last, "tools/list")
    world.gone(SHELL_PROCESS, world.now)
    assert is_open(session)
    world.gone(last, world.now)
    assert session.state is State.ENDING


def test_a_client_has_no_shell() -> None:
    world = Scripts()
    session = shaken(world, FakeProcess(1, above=SHELL_PROCESS))
    world.one(FakeProcess(2, above=SHELL_PROCESS), "tools/list")
    world.gone(FakeProcess(2), world.now)
    assert session.shell is None
    world.gone(FakeProcess(1, above=SHELL_PROCESS), world.now)
    assert session.state is State.ENDING


# Children


def test_what_leaves_children_has_a_grace() -> None:
    world = Scripts()
    session = shaken(world, FakeProcess(1))
    world.gone(FakeProcess(1), world.now, FakeProcess(9))
    assert any("left 1 process behind that may go on" in line for line in world.lines())
    world.wait(GRACE - 0.1)
    assert is_open(session)
    world.wait(0.2)
    assert session.state is State.ENDING
    assert world.core.ending.departures.next_timer is None


def test_a_child_that_goes_on_inherits() -> None:
    world = Scripts()
    session = shaken(world, FakeProcess(1))
    world.gone(FakeProcess(1), world.now, FakeProcess(9))
    world.one(FakeProcess(9), "tools/list")
    world.wait(1000)
    assert is_open(session)
    world.gone(FakeProcess(9), world.now)
    assert session.state is State.ENDING


@pytest.mark.parametrize("seen_by", ["parent", "left behind"])
def test_a_child_ends_the_handshake_that_its_parent_began(seen_by: str) -> None:
    world = Scripts()
    parent = FakeProcess(1)
    child = FakeProcess(9, above=parent if seen_by == "parent" else None)
    world.one(parent, "initialize", session=None)
    world.gone(parent, world.now, *([child] if seen_by == "left behind" else []))
    world.one(child, "notifications/initialized")
    session = world.session(ID)
    world.wait(GRACE + 1)
    assert is_open(session)
    world.gone(child, world.now)
    assert session.state is State.ENDING


def test_who_has_nothing_open_leaves_nothing() -> None:
    world = Scripts()
    session = shaken(world, FakeProcess(1))
    assert world.core.ending.departures.concern(FakeProcess(1))
    assert not world.core.ending.departures.concern(FakeProcess(2))
    world.gone(FakeProcess(1), world.now)
    world.core.ending._close(session, "for a test")
    assert not world.core.ending.departures.concern(FakeProcess(1))


# What is remembered


def test_parts_are_remembered() -> None:
    for made, part in (
        (shaken(Scripts(), FakeProcess(1)), CLIENT),
        (Scripts().script(SHELL_PROCESS, SHELL_PROCESS), SHELL),
    ):
        found, _ = session_of(row_of(made, PLACE), Scripts().core.ledger, lambda *_: False, 0)
        assert part in {part_of(owner, found) for owner in found.owners}
        assert {part_of(owner, found) for owner in found.owners} == {part_of(owner, made) for owner in made.owners}


def test_nothing_follows_from_the_end_of_who_is_remembered_without_a_part() -> None:
    made = shaken(Scripts(), FakeProcess(1))
    row = row_of(made, PLACE)
    row = row._replace(owners=row.owners.replace(', "part": "client"', ""))
    found, gone = session_of(row, Scripts().core.ledger, lambda *_: True, 0)
    for client in gone:
        client.gone_at = 1
    assert gone
    assert not is_orphaned(found)


def test_many_are_not_all_named() -> None:
    world = Scripts()
    session = world.script(*[SHELL_PROCESS] * 10)
    named = mourned(session)
    assert named.startswith("sh[50], ")
    assert named.endswith(f" and {len(session.owners) - NAMED} more")


def test_as_many_as_fit_are_all_named_and_first_whose_end_proves_it() -> None:
    world = Scripts()
    session = shaken(world, FakeProcess(1))
    for pid in range(2, NAMED + 1):
        world.one(FakeProcess(pid, name=f"n{pid}"), "tools/list")
    assert mourned(session) == "client[1], n2[2], n3[3]"
    world.one(FakeProcess(9, name="n9"), "tools/list")
    assert mourned(session) == "client[1], n2[2], n3[3] and 1 more"
    world.one(FakeProcess(1), "tools/list")
    assert [*session.owners][-1].pid == 1
    assert mourned(session).startswith("client[1], ")


def test_who_is_no_process_plays_no_part() -> None:
    for peer in (Peer(pid=None), Peer(visited=True)):
        session = World().open(peer=peer)
        assert [part_of(owner, session) for owner in session.owners] == [UNSEEN]
