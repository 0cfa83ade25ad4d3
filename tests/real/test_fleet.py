# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Several proxies with one ledger in a real Redis: one mapping, one handshake, one end."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from harness.mini_mcp import MiniMcp
from real.fleets import FAST, balanced, client_of, deletes, fleet, initializes, redis_server, until

__all__ = ["balanced", "client_of", "fleet", "redis_server"]

pytestmark = pytest.mark.real


async def test_what_one_has_brought_back_all_honour(scripted, fleet, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    one, two, three = await fleet(server, 3)
    client = await client_of(one.url)
    session = await client.open()
    await client.do(f"url {two.url}")
    assert (await client.do("call at-two")).startswith("200")
    mini.forget(session)
    await client.do(f"url {one.url}")
    assert (await client.do("call at-one")).startswith("200")
    assert initializes(server) == 2
    await two.wait_log("session .* follows .*generation 1")
    for proxy in (two, three):
        await client.do(f"url {proxy.url}")
        answered = await client.do("call again")
        assert answered.startswith(f"200 {session}")
    assert initializes(server) == 2
    assert len(server.requests(rpc="tools/call")) == 5  # one of them was refused: no other needed to be
    # For this client only.
    for number, proxy in enumerate((one, two, three), 3):
        other = await client_of(proxy.url, token=f"another-{number}")
        await other.do(f"use {session}")
        # Whoever comes with other credentials has a session of his own.
        assert (await other.do("call stolen")).startswith("200")
        assert server.requests(rpc="tools/call")[-1].session == f"session-{number}"
        assert initializes(server) == number
    await client.process.kill()
    # The id that was lost is discarded, too: once. The others have not shaken hands, so that only evidence ends theirs.
    await until(lambda: len(deletes(server)) == 2)
    await asyncio.sleep(1.5)
    assert sorted(deletes(server)) == [session, "session-2"]
    assert set(mini.sessions) == {"session-3", "session-4", "session-5"}


async def test_three_hundred_calls_on_one_lost_session(scripted, fleet, balanced, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    proxies = await fleet(server, 3, mcp_identify="off")
    balancer = await balanced(proxies)
    client = await client_of(balancer.url)
    session = await client.open()
    for word in "abc":
        assert (await client.do(f"call {word}")).startswith("200")
    mini.forget(session)
    before = len(server.requests(rpc="tools/call"))
    headers = {"accept": "application/json, text/event-stream", "mcp-session-id": session}
    headers |= {"mcp-protocol-version": "2025-11-25", "user-agent": "session-client"}
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=100)) as http:

        async def call(number):
            params = {"name": "echo", "arguments": {"text": f"call-{number}"}}
            message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
            return await http.post(balancer.url, json=message, headers=headers)

        answers = await asyncio.gather(*map(call, range(300)))
    assert [answer.status_code for answer in answers] == [200] * 300
    results = [answer.json() for answer in answers]
    assert [one["id"] for one in results] == list(range(300))
    assert [one["result"]["content"][0]["text"] for one in results] == [f"call-{n}" for n in range(300)]
    assert initializes(server) == 2
    done = [
        seen.params["arguments"]["text"] for seen in server.requests(rpc="tools/call")[before:] if seen.status == 200
    ]
    assert sorted(done) == sorted(f"call-{number}" for number in range(300))


async def test_a_client_that_moves_with_every_request(scripted, fleet, balanced, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    proxies = await fleet(server, 3, **FAST)
    balancer = await balanced(proxies)
    client, listening = await client_of(balancer.url), await client_of(balancer.url, token="t")
    session, other = await client.open(), await listening.open()
    assert await listening.do("stream") == "200"
    # Longer than the grace time: each proxy sees it only now and then.
    for number in range(10):
        await asyncio.sleep(0.5)
        assert (await client.do(f"call {number}")).startswith("200")
    assert not deletes(server)
    assert initializes(server) == 2
    await client.process.kill()
    await until(lambda: deletes(server) == [session], 12)
    await asyncio.sleep(4)  # a stream through one proxy protects it from the others
    assert deletes(server) == [session]
    await listening.process.kill()
    await until(lambda: deletes(server) == [session, other], 12)
    await asyncio.sleep(4)
    assert deletes(server) == [session, other]
    assert not mini.sessions


async def test_who_turns_up_after_the_end_is_served_by_all(scripted, fleet, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    one, two = await fleet(server, 2, **FAST)
    client = await client_of(one.url)
    session = await client.open()
    await client.do(f"url {two.url}")
    assert (await client.do("call a")).startswith("200")
    await until(lambda: deletes(server) == [session], 15)
    for proxy in (one, two):
        await proxy.wait_log("session .* closed")
    for proxy in (two, one, two):
        await client.do(f"url {proxy.url}")
        assert (await client.do("call b")).startswith(f"200 {session}")
    assert initializes(server) == 2


async def test_sdk_clients_whose_requests_go_to_all(sdk_server, sdk_client, fleet, balanced):
    server = await sdk_server(1)
    proxies = await fleet(server, 3, flow_detail=1, **FAST)
    balancer = await balanced(proxies)
    clients = [await sdk_client(major, balancer.url) for major in (1, 2)]
    for client in clients:
        for number in range(6):
            assert (await client.call("echo", text=f"before {number}")).text == f"before {number}"
    opened = initializes(server)
    await server.restart()
    for client in clients:
        answers = await client.calls("echo", 30, text="after {i}")
        assert [answer.text for answer in answers] == [f"after {number}" for number in range(30)]
    assert (opened, initializes(server)) == (2, 4)  # one handshake for all calls of one that were refused at once
    for proxy in proxies:
        assert proxy.logged("POST .*/mcp")
    # They live, one of them listens: none is ended before both are gone, and then each once.
    assert not deletes(server)
    known = {seen.answer_session for seen in server.requests(rpc="initialize", run=2)}
    for client in clients:
        await client.kill()
    await until(lambda: set(deletes(server)) >= known, 20)
    assert len(deletes(server)) == len(set(deletes(server)))
