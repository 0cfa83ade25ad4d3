"""While a server restarts: calls whose connect was refused wait for it, through a real mitmdump."""

import asyncio
import json
import time

import pytest

from conftest import StartBetween, StartProxy, StartRaw, StartScripted
from harness.mini_mcp import MiniMcp
from harness.proxy import Mitmdump
from harness.raw import RawAnswer, RawClient
from harness.scripted import ScriptedServer

pytestmark = pytest.mark.real

WAITS = "waits: its server can't be reached"
NO_LONGER = "waits no longer"


async def back_after_waiting(proxy: Mitmdump, server: ScriptedServer, waiting: int = 1) -> None:
    """Start the server again once so many wait for it."""
    await proxy.wait_log(WAITS, count=waiting)
    await server.start()


def texts(answers: list[RawAnswer]) -> list[tuple[int, str | None]]:
    return [(answer.status, answer.text) for answer in answers]


@pytest.mark.parametrize("strategy", ["eager", "lazy"])
async def test_a_call_waits_for_its_server(
    strategy: str, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options={"connection_strategy": strategy})
    client, other = [await raw_client(proxy.url) for _ in range(2)]
    await client.handshake()
    other.session = client.session
    await server.stop()

    calls = [asyncio.create_task(one.call("echo", {"text": "x"})) for one in (client, other)]
    await proxy.wait_log(WAITS, count=2)
    await asyncio.sleep(2)  # a server takes its time to come back
    assert not any(call.done() for call in calls)
    await server.start()
    up = time.time()
    answers = await asyncio.gather(*calls)

    assert texts(answers) == [(200, "x")] * 2
    assert max(answer.ended_at for answer in answers) - up < 1.5
    assert len(server.requests(rpc="tools/call")) == 2
    assert len(proxy.logged("waits no longer: its server is reached again")) == 2
    assert (await client.call("echo", {"text": "y"})).text == "y"
    assert len(proxy.logged("connection_strategy=lazy so that")) == (strategy == "eager")


@pytest.mark.parametrize("client_http2", [False, True], ids=["client-http1", "client-http2"])
@pytest.mark.parametrize("server_http2", [False, True], ids=["server-http1", "server-http2"])
@pytest.mark.parametrize("mode", ["reverse", "regular"])
async def test_a_session_that_is_forgotten_by_the_restart(
    mode: str,
    server_http2: bool,
    client_http2: bool,
    scripted: StartScripted,
    between_tls: StartBetween,
) -> None:
    mini = MiniMcp()
    server = await scripted(mini, tls=True, http2=server_http2)
    proxy, client = await between_tls(server, mode, http2=client_http2)
    await client.handshake()
    for _ in range(2):
        await server.stop()
        mini.forget()
        seen = len(proxy.logged(WAITS))
        calls = [asyncio.create_task(client.call("progress", {"steps": 2})) for _ in range(4)]
        await back_after_waiting(proxy, server, seen + 4)
        answers = await asyncio.gather(*calls)
        assert texts(answers) == [(200, "done")] * 4

    assert {answer.http for answer in answers} == {"HTTP/2" if client_http2 else "HTTP/1.1"}
    assert len(server.requests(rpc="initialize")) == 3


async def test_by_a_regular_proxy_without_tls(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(mode="regular")
    client = await raw_client(server.url, proxy=proxy.base)
    await client.handshake()
    await server.stop()
    mini.forget()

    call = asyncio.create_task(client.call("echo", {"text": "x"}))
    await back_after_waiting(proxy, server)

    assert (await call).text == "x"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_by_an_upstream_proxy(
    scheme: str, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    """Only of a tunnel it can be told that the server was not reached; of an upstream proxy that is down, always."""
    server = await scripted(MiniMcp(), tls=scheme == "https")
    upstream = await mitmdump(mode="regular", script=None, options={"ssl_insecure": "true"})
    proxy = await mitmdump(mode=f"upstream:{upstream.base}", options={"ssl_insecure": "true"})
    client, other = [await raw_client(server.url, proxy=proxy.base, verify=False) for _ in range(2)]
    await client.handshake()
    other.session = client.session
    await upstream.stop()

    call = asyncio.create_task(client.call("echo", {"text": "x"}))
    await proxy.wait_log(WAITS)
    await upstream.start()
    assert (await call).text == "x"

    if scheme == "https":
        await server.stop()
        call = asyncio.create_task(other.call("echo", {"text": "y"}))
        await back_after_waiting(proxy, server, 2)
        assert (await call).text == "y"


async def test_initialize_waits(scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw) -> None:
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await server.stop()

    opening = asyncio.create_task(client.initialize())
    await back_after_waiting(proxy, server)

    assert (await opening).status == 200
    assert (await client.call("echo", {"text": "x"})).text == "x"


async def test_the_stream_of_a_session_waits(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    await server.stop()

    async def listen() -> int:
        async with client.get() as stream:
            return int(stream.status)

    listening = asyncio.create_task(listen())
    await back_after_waiting(proxy, server)

    assert await listening == 200


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_a_server_that_does_not_come_back(
    http2: bool, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    server = await scripted(MiniMcp(), tls=http2)
    proxy = await mitmdump(server.url, options={"mcp_recover_timeout": 1, "ssl_insecure": "true"})
    url = f"https://127.0.0.1:{proxy.port}/mcp" if http2 else proxy.url
    client = await raw_client(url, verify=False, http2=http2)
    await client.handshake()
    await server.stop()

    for id in ("seven", 8):
        answer = await client.request("tools/call", {"name": "echo"}, id=id)
        assert answer.status in (502, 503)
        assert answer.headers["content-type"] == "application/json"
        assert (answer.reply["id"], answer.reply["jsonrpc"]) == (id, "2.0")
        assert "can't be reached" in answer.error["message"]
        assert 0.9 < answer.ended_at - answer.began < 3
    told = await client.notify("notifications/progress", {"progressToken": 1, "progress": 1})
    assert (told.status, "id" in json.loads(told.body)) == (502, False)
    assert len(proxy.logged(NO_LONGER)) == 3
    assert not proxy.logged("MCP2")

    await server.start()
    assert (await client.call("echo", {"text": "x"})).text == "x"


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_whoever_hangs_up_waits_no_longer(
    http2: bool, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    server = await scripted(MiniMcp(), tls=http2)
    proxy = await mitmdump(server.url, options={"ssl_insecure": "true"})
    url = f"https://127.0.0.1:{proxy.port}/mcp" if http2 else proxy.url
    client: RawClient = await raw_client(url, verify=False, http2=http2)
    await client.handshake()
    await server.stop()

    given_up = asyncio.create_task(client.call("echo", {"text": "given up"}))
    await proxy.wait_log(WAITS)
    patient = asyncio.create_task(client.call("echo", {"text": "patient"}))
    await proxy.wait_log(WAITS, count=2)
    if http2:
        await client.reset(5)  # the third stream: two were the handshake
    given_up.cancel()
    await asyncio.wait([given_up])
    await proxy.wait_log("waits no longer: its client has hung up", 2)
    await server.start()

    assert (await patient).text == "patient"
    assert (await client.call("echo", {"text": "next"})).text == "next"
    executed = [request.params["arguments"]["text"] for request in server.requests(rpc="tools/call")]
    assert executed == ["patient", "next"]


@pytest.mark.parametrize("forgotten", [False, True], ids=["remembered", "forgotten"])
async def test_a_hundred_calls(
    forgotten: bool, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    await server.stop()
    if forgotten:
        mini.forget()

    calls = [asyncio.create_task(client.call("echo", {"text": str(n)})) for n in range(100)]
    await back_after_waiting(proxy, server, 100)
    answers = await asyncio.gather(*calls)

    assert texts(answers) == [(200, str(n)) for n in range(100)]
    assert len(server.requests(rpc="initialize")) == 1 + forgotten
    assert len([r for r in server.requests(rpc="tools/call") if r.status == 200]) == 100
    assert len(proxy.logged(NO_LONGER)) == 100


async def test_a_handshake_waits_too(scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw) -> None:
    """The server forgets its sessions, says so once, and is down when it is asked for a new one."""
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    mini.forget()
    original = mini.lost

    def lost(request):  # type: ignore[no-untyped-def]
        server._server.close()  # type: ignore[union-attr]
        mini.lost = original
        return original(request)

    mini.lost = lost
    call = asyncio.create_task(client.call("echo", {"text": "x"}))
    await proxy.wait_log("the handshake waits")
    await server.start()

    assert (await call).text == "x"
    assert len(server.requests(rpc="initialize")) == 2


async def test_nothing_waits_where_nothing_is_recovered(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options={"mcp_recover": "off"})
    client = await raw_client(proxy.url)
    await client.handshake()
    await server.stop()

    answer = await client.call("echo", {"text": "x"})

    assert answer.status == 502
    assert answer.headers["content-type"].startswith("text/html")
    assert not proxy.logged(WAITS)


async def test_what_is_not_mcp_does_not_wait(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.base + "/page")
    await server.stop()

    answer = await client.send("GET", session=None, protocol_header=False, headers={"accept": "text/html"})

    assert answer.status == 502
    assert answer.headers["content-type"].startswith("text/html")
    assert not proxy.logged(WAITS)
