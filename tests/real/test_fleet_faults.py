# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Proxies that die or stop, and a Redis that does: no call is executed twice, nothing is ended wrongly or forgotten."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from harness.exchange import Answer
from harness.mini_mcp import MiniMcp, Rule
from real.fleets import FAST, client_of, deletes, fleet, initializes, redis_server, until

__all__ = ["client_of", "fleet", "redis_server"]

pytestmark = pytest.mark.real

WITHIN = 30.0
"""Seconds from the end of a fault within which a dead client's session is ended."""


async def call(client, word):
    answer = await client.do(f"call {word}", 60)
    assert answer.startswith("200"), answer
    assert word in answer


async def known_to(one, two, client):
    """A session that both proxies know."""
    session = await client.open()
    await call(client, "at-one")
    await client.do(f"url {two.url}")
    await call(client, "at-two")
    await client.do(f"url {one.url}")
    await asyncio.sleep(0.2)  # each is told of the other: nobody says when
    return session


async def test_the_one_that_shakes_hands_is_killed(scripted, fleet, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    one, two = await fleet(server, 2)
    client, same = await client_of(one.url, token="t"), await client_of(two.url, token="t")
    session = await known_to(one, two, client)
    await same.do(f"use {session}")
    mini.rules.append(Rule({"rpc": "initialize"}, {"delay": 60}, times=1))
    mini.forget(session)
    await client.tell("call first")
    await server.wait_for(lambda seen: seen.rpc == "initialize", count=2)
    waiting = asyncio.create_task(call(same, "second"))
    await asyncio.sleep(0.5)
    await one.kill()
    killed = time.monotonic()
    await waiting
    assert time.monotonic() - killed < 12
    assert initializes(server) == 3
    assert sorted(mini.executed.elements()) == ["at-one", "at-two", "second"]


async def test_the_one_that_owes_deletes_is_killed(scripted, fleet, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    one, two = await fleet(server, 2)
    dying, living = await client_of(one.url), await client_of(one.url)
    dead = (await dying.do("many 10")).split()
    session = await living.open()
    mini.rules.append(Rule({"method": "DELETE"}, {"status": 500}, times=10))
    await dying.process.kill()
    await server.wait_for(lambda seen: seen.method == "DELETE")
    await one.kill()
    mini.rules.clear()
    await until(lambda: sorted(mini.ended) == sorted(dead), WITHIN)
    await living.do(f"url {two.url}")
    await call(living, "lives")
    assert list(mini.sessions) == [session]
    assert initializes(server) == 11


@pytest.mark.parametrize("data", ["kept", "lost"])
async def test_redis_is_killed_and_comes_back(data, scripted, fleet, client_of, redis_server):
    mini = MiniMcp()
    server = await scripted(mini)
    one, two = await fleet(server, 2, redis=redis_server)
    client, other, dying = await client_of(one.url), await client_of(two.url), await client_of(one.url)
    session, second = await known_to(one, two, client), await other.open()
    dead = await known_to(one, two, dying)
    redis_server.kill()
    await call(client, "while-away")
    mini.forget(session)
    await call(client, "brought-back-while-away")
    await dying.process.kill()  # it was seen through both: nobody can say who else uses it
    for proxy in (one, two):
        await proxy.wait_log("can't be reached; sessions are not shared until it can be")
    assert not deletes(server), "\n".join(line for proxy in (one, two) for line in ["--", *proxy.logged("mcp: ")])
    redis_server.start(*(["--appendonly", "no"] if data == "lost" else []))
    back = time.monotonic()
    await until(lambda: dead in mini.ended, WITHIN)
    for proxy in (one, two):
        assert len(proxy.logged("can't be reached")) == 1
    # What one has brought back alone is known to the other by now.
    await until(lambda: two.logged("session .* follows .*generation 1"), WITHIN - (time.monotonic() - back))
    await client.do(f"url {two.url}")
    await call(client, "at-the-other")
    await other.do(f"url {one.url}")
    await call(other, "there-too")
    assert initializes(server) == 4
    assert len(mini.executed) == mini.executed.total() - 2  # each session was called at both
    await client.process.kill()
    await other.process.kill()
    await until(lambda: not mini.sessions, WITHIN)
    assert second in mini.ended
    assert len(set(mini.ended)) == len(mini.ended)


async def test_redis_stops_for_ten_seconds(scripted, fleet, client_of, redis_server):
    mini = MiniMcp()
    server = await scripted(mini)
    one, two = await fleet(server, 2, redis=redis_server, **FAST)
    client, idle = await client_of(one.url, token="a"), await client_of(two.url, token="b")
    session = await known_to(one, two, client)
    dead = await known_to(two, one, idle)
    redis_server.pause()
    stopped = time.monotonic()
    slowest = 0.0
    while time.monotonic() - stopped < 10:
        began = time.monotonic()
        await call(client, "on")
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.3)
    assert slowest < 1.5
    assert not deletes(server), "weighed while nobody could be asked"
    redis_server.resume()
    resumed = time.monotonic()
    while time.monotonic() - resumed < WITHIN and not deletes(server):
        await call(client, "on")
        await asyncio.sleep(0.5)
    assert deletes(server) == [dead]
    assert list(mini.sessions) == [session]
    assert initializes(server) == 2


FAULTS = {
    "full": (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"], "is full"),
    "read-only": (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"], "can only be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_redis_takes_nothing(fault, scripted, fleet, client_of, redis_server):
    begin, end, said = FAULTS[fault]
    mini = MiniMcp()
    server = await scripted(mini)
    one, two = await fleet(server, 2, redis=redis_server)
    client = await client_of(one.url)
    session = await known_to(one, two, client)
    with redis_server.client() as admin:
        admin.execute_command(*begin)
        mini.forget(session)
        await call(client, "brought-back-alone")
        await one.wait_log(said)
        admin.execute_command(*end)
    await two.wait_log("session .* follows .*generation 1", WITHIN)
    await client.do(f"url {two.url}")
    await call(client, "at-two-again")
    assert initializes(server) == 2
    assert len(one.logged(said)) == 1
    await client.process.kill()
    await until(lambda: not mini.sessions, WITHIN)


async def test_a_proxy_that_was_stopped_for_longer_than_its_lease(scripted, fleet, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    one, two = await fleet(server, 2)
    client, same = await client_of(one.url, token="t"), await client_of(two.url, token="t")
    session = await known_to(one, two, client)
    await same.do(f"use {session}")
    mini.rules.append(Rule({"rpc": "initialize"}, {"delay": 1.0}, times=1))
    mini.forget(session)
    first = asyncio.create_task(call(client, "first"))
    await server.wait_for(lambda seen: seen.rpc == "initialize", count=2)
    os.kill(one.pid, signal.SIGSTOP)
    await call(same, "second")  # after the lease has ended
    assert initializes(server) == 3
    os.kill(one.pid, signal.SIGCONT)
    await first  # with the other's session, not with its own
    await one.wait_log("session .* follows .*generation 1")
    stands = server.requests(rpc="tools/call")[-1].session
    assert {seen.session for seen in server.requests(rpc="tools/call") if seen.status == 200} == {session, stands}
    await until(lambda: list(mini.sessions) == [stands])  # what one has made is not used by anybody
    assert sorted(mini.executed.elements()) == ["at-one", "at-two", "first", "second"]
    await call(client, "third")
    await call(same, "fourth")
    assert initializes(server) == 3


@pytest.mark.parametrize("key", [True, False], ids=["with a key", "without"])
async def test_credentials_for_what_is_taken_over(key, scripted, fleet, client_of, redis_server, tmp_path):
    mini = MiniMcp()
    server = await scripted(mini)

    def guarded(request):
        return mini.default(request) if "authorization" in dict(request.headers) else Answer(401)

    mini.rules.append(Rule({"method": "DELETE"}, guarded))
    options = {}
    if key:
        (tmp_path / "key").write_text("k" * 32)
        options["mcp_ledger_key"] = tmp_path / "key"
    one, two = await fleet(server, 2, redis=redis_server, **options)
    client = await client_of(one.url, token="SECRET")
    session = await client.open()
    await call(client, "x")
    await asyncio.sleep(0.2)
    await one.kill()
    await client.process.kill()
    if key:
        await until(lambda: mini.ended == [session], WITHIN)
    else:
        await two.wait_log("not ended .*needs credentials", WITHIN)
    with redis_server.client() as admin:
        stored = b"".join(b"".join(admin.hgetall(name).values()) for name in admin.scan_iter("*:s:*"))
    assert b"SECRET" not in stored
