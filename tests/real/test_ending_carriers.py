# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""What stands between clients and the proxy is no client: its end proves nothing, and its life protects nobody."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from harness.bridge import NGINX, VIA, Bridge, Nginx
from harness.mini_mcp import MiniMcp
from harness.session_client import SessionClient

pytestmark = pytest.mark.real

CARRIES = "client carries others' requests"
SHORT = {"mcp_end_after_stream": 1, "mcp_end_after_idle": 3}


@pytest.fixture
def client_of(started):
    async def start(url, **more):
        return await started.enter_async_context(SessionClient(url, **more))

    return start


def deletes(server, session=None):
    return server.requests("DELETE", session=session)


async def deleted(server, session, within=15.0):
    return await server.wait_for(lambda seen: seen.method == "DELETE" and seen.session == session, within)


async def five(client_of, url):
    """Five clients: one holds a stream, the others no connection at all."""
    clients = [await client_of(url, name=f"client-{n}") for n in range(5)]
    sessions = [await client.open() for client in clients]
    assert await clients[0].do("stream") == "200"
    return clients, sessions


@pytest.mark.parametrize("header", ["", VIA], ids=["plain", "via"])
async def test_a_bridge_that_ends_ends_nobodys_session(header, scripted, mitmdump, client_of, started):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    bridge = await started.enter_async_context(Bridge(proxy.port, header=header))
    clients, _ = await five(client_of, bridge.url)
    await proxy.wait_log(CARRIES)
    await bridge.restart()
    for client in clients:
        assert (await client.do("call still-here")).startswith("200")
    assert not deletes(server)
    assert not proxy.logged("process gone")


async def test_the_streams_that_a_bridge_takes_along_were_not_aborted_by_their_clients(
    scripted, mitmdump, client_of, started
):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options={"mcp_end_after_stream": 1})
    bridge = await started.enter_async_context(Bridge(proxy.port))
    client = await client_of(bridge.url)
    await client.open()
    await client.do("stream")
    await bridge.process.kill()
    await server.wait_ended(lambda seen: seen.method == "GET")
    await asyncio.sleep(3)  # longer than the grace time
    assert not deletes(server)


async def test_behind_a_living_bridge_a_dead_client_is_found_by_evidence(scripted, mitmdump, client_of, started):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options=SHORT)
    bridge = await started.enter_async_context(Bridge(proxy.port))
    listening, silent, living = [await client_of(bridge.url, name=name) for name in ("listening", "silent", "living")]
    aborted, idle, live = await listening.open(), await silent.open(), await living.open()
    await living.do("stream")
    await listening.do("stream")
    await listening.process.kill()
    await silent.process.kill()
    killed = time.time()
    assert (await deleted(server, aborted)).at - killed >= 1
    assert (await deleted(server, idle)).at - killed >= 2.5
    assert not deletes(server, live)
    assert (await living.do("call still-here")).startswith("200")
    assert not proxy.logged("process gone")


@pytest.mark.skipif(NGINX is None, reason="no nginx on this machine")
async def test_nginx_is_reloaded(scripted, mitmdump, client_of, started):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    nginx = await started.enter_async_context(Nginx(proxy.port))
    clients, sessions = await five(client_of, nginx.url)
    await clients[0].do("hang-up")
    await nginx.reload()
    for client in clients:
        assert (await client.do("call still-here")).startswith("200")
    assert not deletes(server)
    assert len(set(sessions)) == 5


@pytest.mark.skipif(NGINX is None, reason="no nginx on this machine")
async def test_behind_nginx_the_connections_of_others_protect_nobody(scripted, mitmdump, client_of, started):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options=SHORT)
    nginx = await started.enter_async_context(Nginx(proxy.port))
    dying, busy = await client_of(nginx.url, name="dying"), await client_of(nginx.url, name="busy")
    dead, live = await dying.open(), await busy.open()
    await dying.process.kill()
    ended = asyncio.create_task(deleted(server, dead))
    while not ended.done():  # its requests go over the connections that the other's went over
        assert (await busy.do("call x")).startswith("200")
        await asyncio.sleep(0.2)
    await ended
    assert not deletes(server, live)


async def test_a_client_that_listens_is_a_client(scripted, mitmdump, client_of):
    """As for the redirect of a sign-in: nobody comes in by that port while it sends."""
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url)
    port = int(await client.do("listen-on"))
    session = await client.open()
    visitor = socket.create_connection(("127.0.0.1", port))
    assert (await client.do("call x")).startswith("200")
    killed = time.time()
    await client.process.kill()
    gone = await deleted(server, session, 5)
    assert gone.at - killed < 1
    visitor.close()
    assert not proxy.logged(CARRIES)


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "interrupted"])
async def test_another_proxy_with_the_addon_that_is_restarted_ends_nothing_here(kill, scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    inner = await mitmdump(server.port)
    outer = await mitmdump(inner.ports[0])
    clients, sessions = await five(client_of, outer.url)
    await inner.wait_log(CARRIES)
    await (outer.kill() if kill else outer.stop())
    await outer.start()
    for client in clients:
        assert (await client.do("call still-here")).startswith("200")
    assert not deletes(server)
    assert not inner.logged("process gone")
    # Whoever is gone is seen by the proxy that he uses, and ended once.
    await clients[4].process.kill()
    await deleted(server, sessions[4])
    assert len(deletes(server)) == 1
