# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Sessions of processes on this host: ended when the last one that used them is gone, and never before."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from harness.environments import PEERS
from harness.mini_mcp import MiniMcp, Rule
from harness.proxy import ADDON
from harness.session_client import SessionClient

pytestmark = pytest.mark.real


def deletes(server, session=None):
    return server.requests("DELETE", session=session)


@pytest.fixture
def client_of(started):
    async def start(url, **more):
        return await started.enter_async_context(SessionClient(url, **more))

    return start


async def deleted(server, session, within=10.0):
    return await server.wait_for(lambda seen: seen.method == "DELETE" and seen.session == session, within)


@pytest.mark.parametrize("major", [1, 2])
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "exit"])
async def test_a_client_that_ends_without_delete(how, major, sdk_server, sdk_client, mitmdump):
    server = await sdk_server(major)
    proxy = await mitmdump(server.port)
    client = await sdk_client(major, proxy.url)
    session = await client.session_id()
    assert (await client.call("echo", text="x")).ok
    if how == "exit":
        await client.exit()
    else:
        client.process.signal(signal.Signals[how])
        await client.process.wait()
    gone = await server.wait_state(lambda seen: seen.method == "DELETE" and seen.status is not None)
    assert (gone.session, gone.status) == (session, 200)
    await proxy.wait_log(r"closed .*process gone: .*DELETE answered 200")
    assert len(server.requests("DELETE")) == 1


@pytest.mark.parametrize("part", ["half", "whole"])
async def test_a_delete_that_is_cut_off(part, scripted, mitmdump, client_of):
    # A server that takes its time, so that the client is gone before the answer.
    mini = MiniMcp(rules=[Rule({"method": "DELETE"}, {"delay": 0.5}, times=1)])
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url)
    session = await client.open()
    await client.do(f"delete {part}")
    if part == "whole":
        await deleted(server, session)
    await client.tell("exit")
    await client.process.wait()
    await proxy.wait_log("closed .*DELETE answered (200|404)")
    assert mini.ended == [session]
    # The client's own, which the server had begun to answer, and one in its place.
    assert len(deletes(server)) == (2 if part == "whole" else 1)
    await proxy.stop()
    assert len(deletes(server)) == (2 if part == "whole" else 1)


async def test_an_idle_client_without_any_connection_lives(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp(get=405))
    proxy = await mitmdump(server.port, options={"mcp_end_after_stream": 1, "mcp_end_after_idle": 1})
    idle, busy = await client_of(proxy.url, name="idle"), await client_of(proxy.url, name="busy")
    session = await idle.open()
    other = await busy.open()
    # Idleness is the point here, and can't be awaited: twice every grace time.
    await asyncio.sleep(2.5)
    assert not deletes(server)
    assert (await idle.do("call still-here")).startswith("200")
    await busy.tell("exit")
    await deleted(server, other)
    assert (await idle.do("call still-here")).startswith("200")
    assert not deletes(server, session)
    await idle.process.kill()
    await deleted(server, session)


async def test_a_process_with_two_sessions(sdk_server, sdk_client, mitmdump):
    server = await sdk_server(1)
    proxy = await mitmdump(server.port)
    client = await sdk_client(1)
    await client.connect(proxy.url, as_="a")
    await client.connect(proxy.url, as_="b")
    a, b = await client.session_id("a"), await client.session_id("b")
    await client.close("a")
    await server.wait_state(lambda seen: seen.method == "DELETE" and seen.session == a and seen.status is not None)
    assert (await client.call("echo", as_="b", text="x")).ok
    await client.kill()
    await server.wait_state(lambda seen: seen.method == "DELETE" and seen.session == b and seen.status is not None)
    assert [seen.session for seen in server.requests("DELETE")] == [a, b]


async def test_a_session_that_is_opened_during_exit(scripted, mitmdump, client_of):
    mini = MiniMcp(rules=[Rule({"rpc": "notifications/initialized"}, {"hang": True, "status": 202})])
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url)
    await client.tell("open")
    await server.wait_for(lambda seen: seen.rpc == "notifications/initialized")
    await client.process.kill()
    (session,) = mini.sessions
    await deleted(server, session)
    assert len(deletes(server)) == 1


async def test_a_restarted_client_keeps_its_session(scripted, mitmdump, client_of, tmp_path):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    first = await client_of(proxy.url, file=tmp_path / "session")
    session = await first.open()
    second = await client_of(proxy.url, file=tmp_path / "session")
    assert (await second.do("call x")).startswith("200")
    await first.process.kill()
    await proxy.wait_log(r"client gone")
    assert (await second.do("call y")).startswith("200")
    assert not deletes(server)
    await second.process.kill()
    await deleted(server, session)


@pytest.mark.parametrize("stream", [False, True])
async def test_who_has_an_answer_is_known_however_long_that_takes(stream, scripted, mitmdump, client_of, tmp_path):
    """Its connection is closed at once, and then nobody could say any more that somebody else lives."""
    server = await scripted(MiniMcp(stream=stream))
    proxy = await mitmdump(server.port, script=[ADDON, PEERS / "slow_look.py"])
    first = await client_of(proxy.url, file=tmp_path / "session")
    session = await first.open()
    second = await client_of(proxy.url, file=tmp_path / "session")
    assert (await second.do("call x")).startswith("200")
    await first.process.kill()
    await proxy.wait_log("client gone")
    assert (await second.do("call y")).startswith("200")
    assert not deletes(server)
    await second.process.kill()
    await deleted(server, session)


async def test_a_client_that_restarts_with_a_gap_is_served_all_the_same(scripted, mitmdump, client_of, tmp_path):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_end_after_idle": 3})
    first = await client_of(proxy.url, file=tmp_path / "session")
    session = await first.open()
    await first.process.kill()
    await deleted(server, session)
    await proxy.wait_log("closed")
    second = await client_of(proxy.url, file=tmp_path / "session")
    assert (await second.do("call y")).startswith("200")
    assert len(mini.sessions) == 1
    killed = time.time()
    await second.process.kill()
    # It did not shake hands itself: the next one may come, as it has.
    assert (await deleted(server, next(iter(mini.sessions)))).at - killed >= 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
async def test_a_child_that_holds_the_connections_keeps_the_session(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url)
    session = await client.open()
    assert await client.do("stream") == "200"
    child = int(await client.do("fork"))
    os.kill(client.pid, signal.SIGKILL)
    # Whether it is handed over, or was never booked to the parent: the stream's process may be known only by now.
    await proxy.wait_log("client gone")
    assert not deletes(server)
    os.kill(child, signal.SIGKILL)
    await deleted(server, session)


async def test_an_endpoint_that_does_not_end_sessions_is_asked_once(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp(rules=[Rule({"method": "DELETE"}, {"status": 405})]))
    proxy = await mitmdump(server.port)
    for _ in range(3):
        client = await client_of(proxy.url)
        await client.open()
        await client.process.kill()
    await proxy.wait_log("session .* closed", count=3)
    assert len(deletes(server)) == 1


async def test_a_refused_delete_is_tried_again_with_the_latest_credentials(scripted, mitmdump, client_of):
    answers: list[dict[str, Any]] = [
        {"status": 503},
        {"status": 429, "headers": {"retry-after": "1"}},
        {"raw": "", "cut": True},
    ]
    mini = MiniMcp(rules=[Rule({"method": "DELETE"}, answer, times=1) for answer in answers])
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url, token="tok-123")
    session = await client.open()
    await client.process.kill()
    await proxy.wait_log("closed .*DELETE answered 200", 20)
    tried = deletes(server, session)
    assert len(tried) == 4
    assert all(seen.headers["authorization"] == "Bearer tok-123" for seen in tried)
    assert tried[2].at - tried[1].at >= 1
    assert not proxy.logged("tok-123")


async def test_what_needs_credentials_is_listed(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp(rules=[Rule({"method": "DELETE"}, {"status": 401})]))
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url)
    await client.open()
    await client.process.kill()
    await proxy.wait_log(r"not ended .*needs credentials \(DELETE answered 401\)")
    assert len(deletes(server)) == 1


async def test_dry_run(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options={"mcp_end": "log"})
    client = await client_of(proxy.url)
    await client.open()
    await client.process.kill()
    await proxy.wait_log("would be ended .*process gone")
    await proxy.stop()
    assert not deletes(server)
