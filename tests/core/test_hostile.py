"""What nobody sends who means well, told to the core: nothing is done twice, and no turn takes long."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from core.driver import FakeProcess
from core.world import ENDPOINT, Peer, World, initialized, outcome, request
from mcp_sessions.core import ledger
from mcp_sessions.core.decisions import Resend
from mcp_sessions.core.session import Session

pytestmark = pytest.mark.usefixtures("timed")

ID = "s-one-two-three-four"
LONGEST = 0.05
"""Seconds of processor time that one input may take."""


class Timed:
    """`with Timed():` what is done may not take longer than one turn of an event loop may."""

    def __enter__(self) -> None:
        self._began = time.thread_time()

    def __exit__(self, *_: object) -> None:
        took = time.thread_time() - self._began
        assert took < LONGEST, f"{took * 1000:.0f} ms"


# Ids that are none

IDS: dict[str, Any] = {
    "a fraction": 1.5,
    "a negative zero": -0.0,
    "a large float": 1e22,
    "a number of thousands of digits": 10**4200,
    "true": True,
    "an object": {"a": 1},
    "a list": [1, 2],
    "a text of a megabyte": "x" * 1_000_000,
    "a text of brackets": '"[{' * 10_000,
}


@pytest.mark.parametrize("written", ["json", "two values", "an event stream"])
@pytest.mark.parametrize("id", IDS.values(), ids=IDS)
def test_a_call_with_an_odd_id_is_not_executed_again_either(id: Any, written: str) -> None:
    world = World(judged=False)
    world.open(ID)
    x, _ = world.send(request("tools/call", {"name": "buy"}, id=id), session=ID)
    error = json.dumps({"jsonrpc": "2.0", "id": id, "error": {"code": -32001, "message": "User 5 not found"}})
    shown = {"json": error, "two values": f"{error}\n{error}", "an event stream": f"data: {error}\n\n"}[written]
    with Timed():
        decision = world.answer(x, 404, shown.encode())
    released = world.shake(world.shaking[0], "new") if world.shaking else {}
    assert not isinstance(decision, Resend)
    assert not any(isinstance(one, Resend) for one in released.values())


# Lists

TOOL = {"name": "x", "inputSchema": {"type": "object"}}

LISTS: dict[str, list[Any]] = {
    "ten thousand tools": [{**TOOL, "name": f"tool-{n}", "description": "d" * 330} for n in range(10_000)],
    "more tools than that": [{**TOOL, "name": f"{n}"} for n in range(35_000)],
    "one of a hundred thousand parts": [{**TOOL, "inputSchema": {f"k{n}": [] for n in range(70_000)}}],
    "one of four megabytes": [{**TOOL, "description": "d" * 4_000_000}],
    "nothing but names": [{"name": ""}] * 70_000,
}


@pytest.mark.long
@pytest.mark.parametrize("tools", LISTS.values(), ids=LISTS)
def test_no_list_of_tools_holds_up_anybody(tools: list[Any]) -> None:
    world = World(judged=False)
    session = world.open(ID)
    x, _ = world.send(request("tools/list"), session=ID)
    answer = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}).encode()
    with Timed():
        world.answer(x, 200, answer)
    world.lose(world.call(ID)[0])
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, initialized("own"), session="new"), world.now)
    world.sent(world.take("notifications/initialized")[0], outcome(202), world.now)
    (listing,) = world.take("tools/list")
    answered = outcome(200, answer)
    with Timed():
        world.sent(listing, answered, world.now)
    assert session.held is not None
    assert not session.held.untold, "it is the same list"


# Numbers

MANY = 10_000


def many(world: World, peer: Peer) -> None:
    """A client that has opened so many sessions over one connection, and closed none."""
    first = world.open(ID, peer=peer)
    connection = world.core.ledger.connections[peer.connection]
    client = first.client
    assert client is not None
    for number in range(MANY):
        name = f"{number:06}-of-so-many"
        session = Session(ENDPOINT, name, name, opened=1.0, last_used=world.now, revision="")
        session.credentials, session.opener, session.confirmer = first.credentials, first.opener, first.confirmer
        world.core.ledger.open(session, world.now)
        world.core.ledger.own(session, client, world.now)
        world.core.ledger.carry(connection, session)


LOCAL, REMOTE = Peer(pid=5), Peer(pid=None, host="10.0.0.7", token="a")


def _forwards(world: World) -> None:
    world.send(request("ping"), session=ID, peer=LOCAL, headers={"via": "1.1 somebody"})


AT_ONCE: dict[str, tuple[Peer, Callable[[World], object]]] = {
    "its connection is closed": (LOCAL, lambda world: world.disconnected("c1", world.now)),
    "its connection is closed, elsewhere": (REMOTE, lambda world: world.disconnected("c1", world.now)),
    "it ends": (LOCAL, lambda world: world.dies(LOCAL)),
    "it ends and leaves a child": (LOCAL, lambda world: world.dies(LOCAL, FakeProcess(6, parent=5))),
    "it is taken for a carrier": (LOCAL, _forwards),
    "the proxy ends": (LOCAL, lambda world: world.core.exits(world.now)),
    "the script is loaded anew": (LOCAL, lambda world: world.core.interrupted(world.now)),
    "it is found out who it is": (
        REMOTE,
        lambda world: world.identify(world.core.ledger.connections["c1"], FakeProcess(9), world.now),
    ),
}


@pytest.mark.long
@pytest.mark.parametrize(("peer", "what"), AT_ONCE.values(), ids=AT_ONCE)
def test_whatever_happens_to_who_has_ten_thousand_sessions_holds_up_nobody(
    peer: Peer, what: Callable[[World], object]
) -> None:
    world = World(judged=False, mcp_end_at_exit="all")
    many(world, peer)
    with Timed():
        what(world)
    for _ in range(20):
        with Timed():
            world.core.timer(world.now)
            world.fetch()


@pytest.mark.long
def test_one_session_more_costs_no_more_where_the_table_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SESSION_LIMIT", MANY)
    world = World(judged=False)
    many(world, LOCAL)
    for number in range(20):
        with Timed():
            world.open(f"{number}-one-more-than-there-is-room-for", peer=REMOTE)
    assert len(world.core.ledger.sessions) == MANY
