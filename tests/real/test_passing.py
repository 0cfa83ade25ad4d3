"""What the addon can't read, or need not touch, passes unchanged; and a wrong option is refused."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import zstandard

from conftest import StartProxy, StartRaw, StartScripted
from harness.exchange import Answer
from harness.mini_mcp import MiniMcp, Rule
from harness.process import Process
from harness.proxy import Mitmdump

pytestmark = pytest.mark.real

BODIES = {
    "not JSON": b"{this is not JSON",
    "not UTF-8": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\xff\xfe"}}',
    "empty": b"",
    "null": b"null",
    "deep": b"[" * 100_000,
    "10 MB": b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"x":"%s"}}' % (b"y" * 10_000_000),
    "10 MB of garbage": b"\x00\xff" * 5_000_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_any_body_passes_unchanged(
    body: bytes, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    odd = Rule({"method": "POST", "path": "/mcp"}, lambda request: Answer(200, {"x-odd": "yes"}, request.body[::-1]))
    mini = MiniMcp()
    server = await scripted(lambda request: odd.answer(request) if "x-odd" in request.headers else mini(request))  # type: ignore[operator]
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()

    answer = await client.send("POST", body, headers={"X-Odd": "yes"})

    assert answer.status == 200
    assert answer.body == body[::-1]
    seen = next(request for request in server.seen if "x-odd" in request.headers)
    assert seen.body == body
    assert (await client.call("echo", {"text": "still here"})).text == "still here"


async def test_requests_without_what_they_need_get_the_servers_answer(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    direct, through = await raw_client(server.url), await raw_client(proxy.url)
    for client in (direct, through):
        await client.handshake()

    async def ask(client: object, **kw: object) -> tuple[int, bytes]:
        answer = await client.request("tools/list", id=5, **kw)  # type: ignore[attr-defined]
        return answer.status, answer.body

    for odd in (
        {"session": None},
        {"headers": {"Accept": None}},
        {"headers": {"Content-Type": None}},
        {"protocol_header": False},
    ):
        assert await ask(direct, **odd) == await ask(through, **odd)
    assert (await through.call("echo", {"text": "x"})).text == "x"


async def test_an_event_line_without_end_passes_and_costs_no_memory(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    piece = b"data: " + b"x" * 65_530
    total = 40_000_000

    async def endless() -> AsyncIterator[bytes]:
        yield piece
        for _ in range(total // len(piece)):
            yield b"y" * len(piece)

    stream = Rule({"rpc": "tools/list"}, lambda _: Answer(200, {"content-type": "text/event-stream"}, endless()))
    server = await scripted(MiniMcp(rules=[stream]))
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()

    answer = await client.request("tools/list")

    assert len(answer.body) == len(piece) * (1 + total // len(piece))
    assert (await client.call("echo", {"text": "still here"})).text == "still here"


async def test_an_answer_to_listen_passes_as_it_comes_whatever_its_type(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    seen = asyncio.Event()

    async def told() -> AsyncIterator[bytes]:
        yield b": open\n\n"
        await seen.wait()
        yield b": end\n\n"

    server = await scripted(lambda _: Answer(200, {"content-type": "application/json"}, told()))
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    listen = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {"_meta": meta}}

    async with client.stream("POST", listen, headers={"MCP-Protocol-Version": "2026-07-28"}) as stream:
        chunks = stream.response.aiter_raw()
        assert await asyncio.wait_for(anext(chunks), 5) == b": open\n\n"
        seen.set()
        assert await asyncio.wait_for(anext(chunks), 5) == b": end\n\n"


async def test_an_answer_in_a_coding_that_is_not_read_passes_and_is_not_judged(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    packed = zstandard.ZstdCompressor().compress(b'{"jsonrpc":"2.0","id":7,"result":{"tools":[]}}')

    headers = {"content-type": "application/json", "content-encoding": "zstd"}
    server = await scripted(MiniMcp(rules=[Rule({"rpc": "tools/list"}, lambda _: Answer(200, headers, packed))]))
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()

    answer = await client.request("tools/list", id=7)

    assert answer.body == packed
    assert proxy.logged("an answer passes unread: unknown content coding 'zstd'")
    assert (await client.call("echo", {"text": "still here"})).text == "still here"
    assert proxy.logged("MCP2") == []  # rules about answers


async def test_an_unknown_session_gets_the_servers_404(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    """Nobody knows it, and the server can't say how to begin one: nothing is made up."""
    server = await scripted(lambda request: Answer(404, {"content-type": "text/plain"}, b"no such page"))
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)

    answer = await client.request("tools/list", session="never-seen-before")

    assert (answer.status, answer.body) == (404, b"no such page")


async def test_other_traffic_is_left_alone(scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw) -> None:
    server = await scripted(lambda request: Answer(404, {}, b"nothing"))
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)

    ethereum = b'{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]}'
    plain = {"Accept": "*/*", "MCP-Protocol-Version": None}
    await client.send("POST", ethereum, headers=plain, path="/rpc")
    await client.send("GET", headers={"Accept": "text/html", "MCP-Protocol-Version": None}, path="/page")
    for path in (
        "/.well-known/oauth-protected-resource/mcp",
        "/mcp/.well-known/openid-configuration",
        "/metadata.json",
    ):
        await client.send("GET", headers={"Accept": "*/*"}, path=path)  # as the SDKs ask for it: with the version

    assert len(server.seen) == 5
    assert all("mcp-protocol-version" in request.headers for request in list(server.seen)[2:])
    await proxy.stop()
    assert not proxy.logged("mcp:(?! mitmproxy-mcp-sessions)|MCP")


WRONG = {
    "mcp_body_limit": "lots",
    "mcp_filter": "~~~(",
    "mcp_recover": "maybe",
    "mcp_recover_timeout": "0",
    "mcp_end": "sometimes",
}


@pytest.mark.parametrize(("name", "value"), WRONG.items())
async def test_a_wrong_option_is_refused_at_start_in_one_line(name: str, value: str) -> None:
    proxy = Mitmdump(1, options={name: value})
    process: Process = proxy.process
    await process.start()
    try:
        assert await process.wait(15) != 0
    finally:
        await process.kill()
    said = [line for line in (*process.lines, *process.errors) if name in line]
    assert len(said) == 1, process.report()
    assert not [line for line in (*process.lines, *process.errors) if "Traceback" in line]


async def test_a_stream_is_kept_in_the_saved_flow_up_to_the_limit(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw, tmp_path: object
) -> None:
    from mitmproxy import http, io

    mini = MiniMcp()
    server = await scripted(mini)
    path = tmp_path / "flows.mitm"  # type: ignore[operator]
    proxy = await mitmdump(server.port, write=path, options={"mcp_body_limit": "1k"})
    client = await raw_client(proxy.url)
    await client.handshake()
    short = await client.call("progress", {"steps": 2})
    long = await client.call("progress", {"steps": 40})
    async with client.get() as stream:
        mini.push(client.session or "", {"jsonrpc": "2.0", "method": "notifications/message", "params": {"n": 1}})
        await asyncio.wait_for(stream.event(), 5)
    await proxy.stop()

    with path.open("rb") as file:
        flows = [flow for flow in io.FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]
    bodies = [flow.response.raw_content for flow in flows if flow.response and flow.request.method == "POST"]
    assert short.body in bodies
    assert long.body[:1024] in bodies
    broken = next(flow for flow in flows if flow.request.method == "GET")
    assert broken.response is not None
    assert b"notifications/message" in (broken.response.raw_content or b"")
