# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Clients that no process is seen of: their sessions are ended by evidence, and only by evidence that stands."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import pytest

from harness import namespaces
from harness.environments import PEERS
from harness.mini_mcp import MiniMcp
from harness.process import Process
from harness.proxy import ADDON, Mitmdump
from harness.session_client import SessionClient

pytestmark = pytest.mark.real


@pytest.fixture
def client_of(started):
    async def start(url, **more):
        return await started.enter_async_context(SessionClient(url, **more))

    return start


def deletes(server, session=None):
    return server.requests("DELETE", session=session)


async def deleted(server, session, within=10.0):
    return await server.wait_for(lambda seen: seen.method == "DELETE" and seen.session == session, within)


BLIND = {"mcp_identify": "off", "mcp_end_after_stream": 1, "mcp_end_after_idle": 3}


async def test_an_aborted_stream_ends_the_session_after_its_grace(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options=BLIND | {"mcp_end_after_idle": 600})
    client = await client_of(proxy.url)
    session = await client.open()
    assert await client.do("stream") == "200"
    killed = time.time()
    await client.process.kill()
    gone = await deleted(server, session)
    assert gone.at - killed >= 1
    await proxy.wait_log("closed .*stream aborted by its client, and no connection left for 1 s; DELETE answered 200")
    assert len(proxy.logged("mcp_identify is off")) == 1
    assert not proxy.logged("process gone")


async def test_an_open_stream_protects_and_an_idle_client_is_ended(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options=BLIND | {"mcp_end_after_idle": 2})
    listening, silent = await client_of(proxy.url, name="listening"), await client_of(proxy.url, name="silent")
    live = await listening.open()
    await listening.do("stream")
    dead = await silent.open()
    gone = await deleted(server, dead)
    await proxy.wait_log("closed .*no connection and no request for 2 s")
    assert gone.status == 200
    # As long again as the grace time, for a stream that nothing passes on.
    await asyncio.sleep(3)
    assert not deletes(server, live)
    assert (await listening.do("call x")).startswith("200")


async def test_a_request_after_the_stream_was_aborted_is_a_sign_of_life(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options=BLIND)
    client = await client_of(proxy.url)
    session = await client.open()
    await client.do("stream")
    await client.do("hang-up")
    await server.wait_ended(lambda seen: seen.method == "GET")
    assert (await client.do("call x")).startswith("200")
    used = time.time()
    gone = await deleted(server, session, 15)
    assert gone.at - used >= 2.5


async def test_a_stream_that_the_server_ends_is_no_evidence(scripted, mitmdump, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options=BLIND)
    client = await client_of(proxy.url)
    session = await client.open()
    await client.do("stream")
    for queue in mini._pushes[session]:
        queue.put_nowait(None)
    await client.do("drain")
    ended = time.time()
    await client.do("hang-up")
    gone = await deleted(server, session, 15)
    assert gone.at - ended >= 2.5
    assert proxy.logged("no connection and no request")


async def test_a_stream_that_the_proxy_ends_is_no_evidence(scripted, mitmdump, client_of, tmp_path):
    """Where mitmproxy's watchdog can't be told that a quiet stream is in use."""
    other = tmp_path / "other.py"
    other.write_text(HIDDEN)
    server = await scripted(MiniMcp())
    proxy = await mitmdump(
        server.port,
        options=BLIND | {"tcp_timeout": 2, "mcp_end_after_idle": 4, "connection_strategy": "lazy"},
        script=[other, ADDON],
    )
    client = await client_of(proxy.url)
    session = await client.open()
    await client.do("stream")
    await server.wait_ended(lambda seen: seen.method == "GET", 30)
    ended = time.time()
    gone = await deleted(server, session, 30)
    assert gone.at - ended >= 3
    await proxy.wait_log("closed .*no connection and no request")
    assert proxy.logged("quiet calls are cut")


HIDDEN = """
from mitmproxy.proxy.server import TimeoutWatchdog as Dog, ConnectionHandler
heard, init = Dog.register_activity, ConnectionHandler.__init__
def __init__(self, context):
    init(self, context)
    dog = self.timeout_watchdog
    dog.register_activity = lambda: heard(dog)
ConnectionHandler.__init__ = __init__
del Dog.register_activity
"""


async def test_a_stream_that_was_quiet_for_long_is_aborted_like_any_other(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options=BLIND | {"tcp_timeout": 1, "mcp_end_after_idle": 600})
    client = await client_of(proxy.url)
    session = await client.open()
    await client.do("stream")
    await asyncio.sleep(4)
    assert server.open_connections, "in use"
    assert not deletes(server)
    await client.process.kill()
    await deleted(server, session)
    await proxy.wait_log("closed .*stream aborted by its client")


async def test_a_client_that_was_given_up_too_early_is_brought_back(scripted, mitmdump, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options=BLIND | {"mcp_end_after_idle": 1})
    client = await client_of(proxy.url)
    session = await client.open()
    await proxy.wait_log("session .* closed")
    assert mini.ended == [session]
    assert (await client.do("call still-here")).startswith("200")
    assert proxy.logged("goes on")


class InNamespace(Mitmdump):
    """A mitmdump on the near host."""

    within: list[str]

    def _command(self):
        return [*self.within, *super()._command(), "--listen-host", namespaces.NEAR]


async def test_a_client_on_another_host(started):
    reason = namespaces.missing()
    if reason:
        pytest.skip(reason)
    near, far = started.enter_context(namespaces.two_hosts())
    server = await started.enter_async_context(
        Process([*near, sys.executable, PEERS / "scripted_server.py"], name="scripted_server.py")
    )
    ready = await server.wait_line(r"^READY (http://\S+:(\d+))/mcp", 20)
    InNamespace.within = near
    proxy = await started.enter_async_context(
        InNamespace(int(ready[2]), options={"mcp_end_after_stream": 1, "mcp_end_after_idle": 3})
    )
    url = f"http://{namespaces.NEAR}:{proxy.port}/mcp"
    dead = await started.enter_async_context(SessionClient(url, name="dead", within=far))
    live = await started.enter_async_context(SessionClient(url, name="live", within=far, token="other"))
    session, other = await dead.open(), await live.open()
    await dead.do("stream")
    await live.do("stream")
    await dead.process.kill()
    line = await server.wait_line(r'^(\{.*"method": "DELETE".*)', 15)
    assert json.loads(line[1])["session"] == session
    await proxy.wait_log("closed .*stream aborted by its client")
    assert proxy.logged(f"mcp: {namespaces.FAR}: a client on another host")
    await asyncio.sleep(4)  # longer than every grace time
    assert (await live.do("call x")).startswith("200")
    assert sum('"method": "DELETE"' in line for line in server.lines) == 1
    assert other != session


async def test_a_client_that_vanishes_without_a_word_is_noticed_and_not_taken_for_one_that_hung_up(started):
    reason = namespaces.missing()
    if reason:
        pytest.skip(reason)
    near, far = started.enter_context(namespaces.two_hosts())
    server = await started.enter_async_context(
        Process([*near, sys.executable, PEERS / "scripted_server.py"], name="scripted_server.py")
    )
    ready = await server.wait_line(r"^READY (http://\S+:(\d+))/mcp", 20)
    InNamespace.within = near
    options = {"tcp_timeout": 2, "mcp_end_after_stream": 1, "mcp_end_after_idle": 4}
    proxy = await started.enter_async_context(InNamespace(int(ready[2]), options=options))
    url = f"http://{namespaces.NEAR}:{proxy.port}/mcp"
    client = await started.enter_async_context(SessionClient(url, within=far))
    session = await client.open()
    await client.do("stream")
    await asyncio.sleep(3)
    assert len(proxy.logged("client disconnect")) == 2, "the connections of its handshake"
    namespaces.cut(far)
    await proxy.wait_log("client disconnect", 30, count=3)
    line = await server.wait_line(r'^(\{.*"method": "DELETE".*)', 15)
    assert json.loads(line[1])["session"] == session
    await proxy.wait_log("closed .*no connection and no request for 4 s")
