"""What one proxy sees of its fleet when somebody looks: who holds what, bounded, and nothing waits for it."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from harness.redis_server import RedisServer, running
from mcp_sessions.core.core import Core
from mcp_sessions.core.policy import Policy
from mcp_sessions.core.reporter import Reporter
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import ClientSide
from mcp_sessions.store.redis import Address, RedisStore
from mcp_sessions.store.redis import overview as module
from mcp_sessions.store.redis.overview import Lookout

from .backends import a_proxy
from .samples import a_client, a_row, a_session

NOW = time.time()


class Fleet:
    """Proxies over one prefix; `lookout` is that of the first, which has a core."""

    def __init__(self, stack: AsyncExitStack, server: RedisServer) -> None:
        self.address = Address.parse(server.url(prefix=f"t{secrets.token_hex(5)}"))
        self.core = Core(Policy(), Reporter(lambda _: None))
        self._stack = stack

    async def begin(self) -> Fleet:
        self.store = await self.proxy()
        self.lookout = Lookout(self.core, self.store)
        self._stack.push_async_callback(self.lookout._ask.close)
        return self

    async def proxy(self, *, dead: bool = False) -> RedisStore:
        store = RedisStore(self.address, a_proxy(dead=dead))
        await store.open()
        self._stack.push_async_callback(store.close)
        return store

    def known(self, name: str) -> Session:
        """A session that the first proxy knows."""
        session = a_session(name, opened=NOW, last_used=NOW)
        self.core.ledger.open(session, NOW)
        return session


@pytest_asyncio.fixture
async def make() -> AsyncIterator[Callable[[], Awaitable[Fleet]]]:
    async with AsyncExitStack() as stack:
        yield lambda: Fleet(stack, running()).begin()


def written(prefix: str) -> dict[bytes, object]:
    """All keys, with what stands in those that are tables."""
    with running().client() as client:
        names = sorted(client.scan_iter(f"{prefix}:*"))
        return {name: client.hgetall(name) if client.type(name) == b"hash" else None for name in names}


async def test_who_holds_what_and_what_only_others_know(make: Callable[[], Awaitable[Fleet]]) -> None:
    fleet = await make()
    other, dead = await fleet.proxy(), await fleet.proxy(dead=True)
    here, moved, new = fleet.known("one-here"), fleet.known("one-that-moved"), fleet.known("not-written-yet")
    await fleet.store.write([a_row("one-here"), a_row("one-that-moved")])
    await other.claim(a_row("one-that-moved")[:5])
    owners = (a_client(), a_client(4711))
    await other.write([a_row("only-there", owners=owners)])
    await dead.write([a_row("of-a-dead-one", ClientSide.LEFT)])
    gone = await fleet.proxy()
    await gone.write([a_row("of-nobody")])
    gone.leave([], [], 1.0)
    overview = await fleet.lookout.look()
    there = overview.members[other.proxy.id].name
    assert [overview.holder(one) for one in (here, moved, new)] == ["here", there, "here"]
    known = {held.row.client_id: overview.named(held.holder) for held in overview.others}
    assert known == {
        "only-there": there,
        "of-a-dead-one": f"{overview.members[dead.proxy.id].name}, dead",
        "of-nobody": "nobody",
    }
    assert {one.proxy.id: one.sessions for one in overview.members.values()} == {
        fleet.store.proxy.id: 1,
        other.proxy.id: 2,
        dead.proxy.id: 1,
    }
    assert overview.total == 5
    assert overview.left_out == 0
    assert overview.problem == ""


async def test_nothing_is_changed_by_looking(make: Callable[[], Awaitable[Fleet]]) -> None:
    fleet = await make()
    other = await fleet.proxy()
    await other.write([a_row("only-there")])
    before = written(fleet.address.prefix)
    await fleet.lookout.look()
    assert written(fleet.address.prefix) == before
    assert not fleet.core.ledger.sessions
    assert not fleet.core.ledger.clients


async def test_many_sessions_are_listed_in_part_and_cost_few_round_trips(
    make: Callable[[], Awaitable[Fleet]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LISTED", 400)
    fleet = await make()
    one, two = await fleet.proxy(), await fleet.proxy()
    await one.write([a_row(f"a-{number}") for number in range(900)])
    await two.write([a_row(f"b-{number}") for number in range(30)])
    asked, matters = fleet.lookout._ask, (fleet.store.connection.round_trips, fleet.store._ordered.round_trips)
    overview = await fleet.lookout.look()
    assert len(overview.others) == 230
    assert overview.left_out == 700
    assert overview.total == 930
    assert asked.round_trips <= 6
    before = asked.round_trips
    assert await fleet.lookout.look() is overview  # not read again within a second
    assert asked.round_trips == before
    assert (fleet.store.connection.round_trips, fleet.store._ordered.round_trips) == matters


async def test_while_redis_is_away_the_last_look_is_given_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.0)
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    server = RedisServer().start()
    async with AsyncExitStack() as stack:
        fleet = await Fleet(stack, server).begin()
        other = await fleet.proxy()
        await other.write([a_row("only-there")])
        assert len((await fleet.lookout.look()).others) == 1
        server.pause()
        began = time.monotonic()
        overview = await fleet.lookout.look()
        assert time.monotonic() - began < 1.0
        assert overview.problem == f"{fleet.address} does not answer"
        assert len(overview.others) == 1
        assert not fleet.store.connection.away  # what matters is not held for that
        server.resume()
        assert (await fleet.lookout.look()).problem == ""
    server.close()


async def test_an_entry_of_another_version_is_passed_over(make: Callable[[], Awaitable[Fleet]]) -> None:
    fleet = await make()
    other = await fleet.proxy()
    await other.write([a_row("fine"), a_row("odd")])
    with running().client() as client:
        client.hset(f"{fleet.address.prefix}:proxies", "someone", "no JSON")
        client.hset(f"{fleet.address.prefix}:s:{other.name(a_row('odd')[:5])}", "row", "no JSON")
    overview = await fleet.lookout.look()
    assert [held.row.client_id for held in overview.others] == ["fine"]
    assert set(overview.members) == {fleet.store.proxy.id, other.proxy.id}
