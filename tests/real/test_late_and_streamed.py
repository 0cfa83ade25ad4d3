"""After a recovery: answers to what went out before it, and requests whose head goes out before their body was read."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from conftest import StartBetween, StartProxy, StartRaw, StartScripted
from harness.exchange import Answer, Request
from harness.mini_mcp import MiniMcp
from harness.proxy import ADDON
from harness.raw import RawClient

pytestmark = pytest.mark.real

both_https = pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])


# A slow answer of an older generation


@both_https
@pytest.mark.parametrize("kind", ["json", "sse", "error"])
async def test_a_late_answer_shows_no_id_of_the_servers(
    kind: str, http2: bool, scripted: StartScripted, between_tls: StartBetween
) -> None:
    mini = MiniMcp(stream=kind == "sse")
    let_go = asyncio.Event()

    async def handler(request: Request) -> Answer:
        answer = mini(request)  # while the session is known still
        if b'"slow"' in request.body:
            await let_go.wait()
            if kind == "error":
                answer.status = 500
        return answer

    server = await scripted(handler, tls=True, http2=http2)
    _, client = await between_tls(server, "reverse", http2=http2)
    await client.handshake()
    known = client.session
    mini.forget()
    assert (await client.call("echo", {"text": "x"})).text == "x"

    slow = asyncio.create_task(client.call("echo", {"text": "slow"}))
    await server.wait_for(lambda request: b'"slow"' in request.body)
    mini.forget()
    assert (await client.call("echo", {"text": "y"})).text == "y"
    assert len(server.requests(rpc="initialize")) == 3
    let_go.set()

    answer = await slow
    assert answer.status == (500 if kind == "error" else 200)
    assert answer.session == known


# Requests whose body is streamed: their head goes out before anybody knows what they are

LIMIT = 2_000
OPTIONS: dict[str, Any] = {"stream_large_bodies": str(LIMIT), "mcp_end_after_idle": 1}


async def large_call(client: RawClient, *, chunked: bool = False) -> tuple[int, str | None]:
    """A call that is larger than the limit; `chunked`: and does not say so before."""
    text = "x" * 3 * LIMIT
    if not chunked:
        answer = await client.call("echo", {"text": text})
        return answer.status, answer.text and answer.text[:1]
    message = client.message("tools/call", {"name": "echo", "arguments": {"text": text}})
    body = client.http.build_request("POST", client.url, json=message).content

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 500):
            yield body[at : at + 500]
            await asyncio.sleep(0)

    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    headers |= {"mcp-session-id": client.session or "", "mcp-protocol-version": client.version}
    answered = await client.http.post(client.url, content=pieces(), headers=headers)
    return answered.status_code, answered.json()["result"]["content"][0]["text"][:1] if answered.is_success else None


def short(request: Request, mini: MiniMcp) -> Answer:
    """The same, but an echo of no more than a hundred characters: what is answered is not streamed."""
    if request.rpc == "tools/call":
        request.body = request.body.replace(b"x" * 3 * LIMIT, b"x")
    return mini(request)


@both_https
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("identify", ["on", "off"])
async def test_a_streamed_request_belongs_to_its_session(
    identify: str,
    chunked: bool,
    http2: bool,
    scripted: StartScripted,
    between_tls: StartBetween,
    raw_client: StartRaw,
) -> None:
    mini = MiniMcp()
    server = await scripted(lambda request: short(request, mini), tls=True, http2=http2)
    proxy, client = await between_tls(server, "reverse", http2=http2, mcp_identify=identify, **OPTIONS)
    await client.handshake()
    mini.forget()
    assert (await client.call("echo", {"text": "y"})).text == "y"

    assert await large_call(client, chunked=chunked) == (200, "x")
    for _ in range(6):  # a session of the same id that nobody uses would be ended by now
        await asyncio.sleep(0.5)
        assert (await client.call("echo", {"text": "y"})).text == "y"
    assert mini.ended == []
    assert len(server.requests(rpc="initialize")) == 2

    # On a connection of its own
    other = await raw_client(client.url, verify=False, http2=http2)
    other.session = client.session
    assert await large_call(other, chunked=chunked) == (200, "x")
    assert len(server.requests(rpc="initialize")) == 2
    assert not proxy.logged("first seen|MCP(?!302|315)[0-9]{3}")


@both_https
async def test_a_streamed_request_waits_for_the_recovery_of_its_session(
    http2: bool, scripted: StartScripted, between_tls: StartBetween
) -> None:
    mini = MiniMcp()
    let_go = asyncio.Event()

    async def handler(request: Request) -> Answer:
        if request.rpc == "initialize" and mini.ready:
            await let_go.wait()
        return short(request, mini)

    server = await scripted(handler, tls=True, http2=http2)
    _, client = await between_tls(server, "reverse", http2=http2, **OPTIONS)
    await client.handshake()
    mini.sessions.clear()  # but it remembers that there was one

    first = asyncio.create_task(client.call("echo", {"text": "y"}))
    await server.wait_for(lambda request: request.rpc == "initialize", count=2)
    large = [asyncio.create_task(large_call(client, chunked=chunked)) for chunked in (False, True)]
    done, _ = await asyncio.wait(large, timeout=0.5)
    assert not done
    let_go.set()

    assert (await first).text == "y"
    assert await asyncio.gather(*large) == [(200, "x")] * 2
    assert len(server.requests(rpc="initialize")) == 2


@both_https
async def test_a_streamed_request_that_finds_its_session_lost_is_the_last_to_do_so(
    http2: bool, scripted: StartScripted, between_tls: StartBetween
) -> None:
    """It can't be sent again, for nobody has kept it; but its session is brought back."""
    mini = MiniMcp()
    server = await scripted(lambda request: short(request, mini), tls=True, http2=http2)
    _, client = await between_tls(server, "reverse", http2=http2, **OPTIONS)
    await client.handshake()
    for n in range(2):
        mini.forget()
        assert await large_call(client) == (404, None)
        assert await large_call(client) == (200, "x")
        assert len(server.requests(rpc="initialize")) == n + 2


@both_https
async def test_a_streamed_request_waits_for_its_server(
    http2: bool, scripted: StartScripted, between_tls: StartBetween
) -> None:
    mini = MiniMcp()
    server = await scripted(lambda request: short(request, mini), tls=True, http2=http2)
    proxy, client = await between_tls(server, "reverse", http2=http2, mcp_recover_timeout="2", **OPTIONS)
    await client.handshake()
    await server.stop()
    large = [asyncio.create_task(large_call(client, chunked=chunked)) for chunked in (False, True)]
    await proxy.wait_log("waits: its server can't be reached", count=2)
    await server.start()
    assert await asyncio.gather(*large) == [(200, "x")] * 2

    await server.stop()
    answer = await client.call("echo", {"text": "x" * 3 * LIMIT})
    assert (answer.status, "can't be reached" in answer.error["message"]) == (502, True)
    await server.start()
    assert (await client.call("echo", {"text": "y"})).text == "y"


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "buffered"])
async def test_a_request_that_another_addon_has_streamed(
    in_place: bool, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw, tmp_path: Path
) -> None:
    other = tmp_path / "other.py"
    other.write_text(
        "from mitmproxy.proxy.layers.http import HttpLayer\n"
        "def requestheaders(flow):\n"
        "    flow.request.stream = 'x-large' in flow.request.headers\n"
        + ("" if in_place else "HttpLayer.make_stream = lambda self, id, old=HttpLayer.make_stream: old(self, id)\n")
    )
    mini = MiniMcp()
    server = await scripted(mini)
    # Without a place in mitmproxy's HTTP layer the other one has to be the first.
    proxy = await mitmdump(server.port, script=[ADDON, other] if in_place else [other, ADDON])
    client = await raw_client(proxy.url)
    await client.handshake()
    mini.forget()
    assert (await client.call("echo", {"text": "y"})).text == "y"
    for one in (client, await raw_client(proxy.url)):
        one.session = client.session
        assert (await one.call("echo", {"text": "x"}, headers={"x-large": "yes"})).text == "x"
    assert len(server.requests(rpc="initialize")) == 2
    assert not proxy.logged("first seen")
