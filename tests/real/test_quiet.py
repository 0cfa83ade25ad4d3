"""Exchanges that are quiet for longer than mitmproxy leaves a quiet connection open: they are in use."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from conftest import StartBetween, StartProxy, StartRaw, StartScripted
from harness.exchange import Answer, Handler, Request, event, sse
from harness.mini_mcp import MiniMcp
from harness.proxy import ADDON

pytestmark = pytest.mark.real

QUIET = {"tcp_timeout": 1}
LONG = 3.5
"""Seconds: several times as long as that."""

CUT = "Closing connection due to inactivity"

both_https = pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])


def slowly(mini: MiniMcp, seconds: float = LONG) -> Handler:
    """A server that takes its time for calls: before the head of its answer, or between two events of it."""

    async def handler(request: Request) -> Answer:
        if b'"between"' in request.body:
            return sse(_between(request), session=request.session)
        if b'"before"' in request.body:
            await asyncio.sleep(seconds)
        return mini(request)

    async def _between(request: Request) -> AsyncIterator[bytes]:
        yield event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "begun"}})
        await asyncio.sleep(seconds)
        value = {"content": [{"type": "text", "text": "between"}]}
        yield event({"jsonrpc": "2.0", "id": request.id, "result": value})

    return handler


@both_https
@pytest.mark.parametrize("mode", ["reverse", "regular"])
@pytest.mark.parametrize("silent", ["before", "between"])
async def test_a_quiet_call_is_not_cut(
    silent: str, mode: str, http2: bool, scripted: StartScripted, between_tls: StartBetween
) -> None:
    server = await scripted(slowly(MiniMcp()), tls=True, http2=http2)
    proxy, client = await between_tls(server, mode, http2=http2, **QUIET)
    await client.handshake()
    answer = await client.call("echo", {"text": silent})
    assert (answer.status, answer.text, answer.broken) == (200, silent, None)
    assert answer.ended_at - answer.began > 3
    assert not proxy.logged(CUT)


@both_https
async def test_a_quiet_stream_is_not_cut(http2: bool, scripted: StartScripted, between_tls: StartBetween) -> None:
    mini = MiniMcp()
    server = await scripted(mini, tls=True, http2=http2)
    proxy, client = await between_tls(server, "reverse", http2=http2, **QUIET)
    await client.handshake()
    async with client.get() as stream:
        await asyncio.sleep(LONG)
        assert client.session is not None
        assert mini.push(client.session, {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}) == 1
        async with asyncio.timeout(5):
            assert (await stream.event()).json["method"] == "notifications/tools/list_changed"
    assert not proxy.logged(CUT)


async def test_a_quiet_call_that_is_sent_again_is_not_cut(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()
    server = await scripted(slowly(mini))
    proxy = await mitmdump(server.port, options=QUIET)
    client = await raw_client(proxy.url)
    await client.handshake()
    mini.forget()
    assert (await client.call("echo", {"text": "before"})).text == "before"
    assert len(server.requests(rpc="initialize")) == 2
    assert len(server.requests(rpc="tools/call")) == 2


async def test_all_else_is_cut_as_ever(scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw) -> None:
    """Another path, and an MCP connection over which nothing is under way."""
    mini = MiniMcp()

    async def handler(request: Request) -> Answer:
        if request.path == "/other":
            await asyncio.sleep(LONG)
            return Answer(200, {}, b"late")
        return mini(request)

    server = await scripted(handler)
    proxy = await mitmdump(server.port, options=QUIET)
    async with httpx.AsyncClient(trust_env=False, timeout=10) as other:
        began = time.time()
        with pytest.raises(httpx.TransportError):
            await other.get(f"{proxy.base}/other")
        assert time.time() - began < 3
    client = await raw_client(proxy.url)
    await client.handshake()
    await proxy.wait_log(CUT, count=2)
    await proxy.wait_log("client disconnect", count=2)
    assert (await client.call("echo", {"text": "x"})).text == "x"


async def test_where_mitmproxy_is_not_as_expected_this_is_said_once(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw, tmp_path: Path
) -> None:
    other = tmp_path / "other.py"
    other.write_text(
        "from mitmproxy.proxy.server import TimeoutWatchdog as Dog\n"
        "Dog.heard = Dog.register_activity\n"
        "from mitmproxy.proxy.server import ConnectionHandler\n"
        "init = ConnectionHandler.__init__\n"
        "def __init__(self, context):\n"
        "    init(self, context)\n"
        "    self.timeout_watchdog.register_activity = self.timeout_watchdog.heard\n"
        "ConnectionHandler.__init__ = __init__\n"
        "del Dog.register_activity\n"
    )
    server = await scripted(slowly(MiniMcp()))
    proxy = await mitmdump(server.port, options=QUIET, script=[other, ADDON])
    client = await raw_client(proxy.url)
    await client.handshake()
    with pytest.raises(httpx.TransportError):
        await client.call("echo", {"text": "before"})
    assert proxy.logged(CUT)
    assert len(proxy.logged("quiet calls are cut")) == 1


# Signs of life

ALIVE = b": keep-alive\n\n"


@pytest.mark.parametrize("client_http2", [False, True], ids=["client-http1", "client-http2"])
@pytest.mark.parametrize("server_http2", [False, True], ids=["server-http1", "server-http2"])
@pytest.mark.parametrize("mode", ["reverse", "regular"])
async def test_a_quiet_stream_gives_signs_of_life(
    mode: str, server_http2: bool, client_http2: bool, scripted: StartScripted, between_tls: StartBetween
) -> None:
    """Calls, several at once, one of them sent again after its session was lost; and a stream of its own."""
    mini = MiniMcp()
    server = await scripted(slowly(mini), tls=True, http2=server_http2)
    proxy, client = await between_tls(server, mode, http2=client_http2, mcp_keepalive=1, connection_strategy="lazy")
    await client.handshake()
    mini.forget()
    answers = await asyncio.gather(*(client.call("echo", {"text": "between"}) for _ in range(3)))
    for answer in answers:
        assert (answer.text, answer.broken) == ("between", None)
        assert 2 <= answer.body.count(ALIVE) <= 4
        first, *signs, last = answer.body.split(ALIVE)
        assert first.endswith(b"\r\n\r\n")
        assert last.startswith(b"event: message\r\n")
        assert not any(signs)
    async with client.get() as stream:
        await asyncio.sleep(2.5)
        assert client.session is not None
        mini.push(next(iter(mini.sessions)), {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        async with asyncio.timeout(5):
            assert (await stream.event()).json["method"] == "notifications/tools/list_changed"
        assert bytes(stream.body).count(ALIVE) == 2
    assert (await client.call("echo", {"text": "x"})).text == "x"
    assert not proxy.logged("MCP4")


async def test_by_an_upstream_proxy_and_without_tls(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    server = await scripted(slowly(MiniMcp(), 2.5))
    upstream = await mitmdump(mode="regular")  # with the addon as well: alone, mitmproxy does not stream
    proxy = await mitmdump(mode=f"upstream:{upstream.base}", options={"mcp_keepalive": 1})
    client = await raw_client(server.url, proxy=proxy.base)
    await client.handshake()
    assert (await client.call("echo", {"text": "between"})).body.count(ALIVE) == 2


WHOLE = event({"jsonrpc": "2.0", "id": 7, "result": {"content": [{"type": "text", "text": "slow"}]}})


async def in_pieces(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(2.5)


STREAM = {"content-type": "text/event-stream"}

UNTOUCHED = [
    ("mid-line", STREAM, [WHOLE[:30], WHOLE[30:]]),
    ("mid-event", STREAM, [b"event: message\n", WHOLE.partition(b"\r\n")[2]]),
    ("mid-end", STREAM, [WHOLE[:-1], WHOLE[-1:]]),
    ("compressed", {**STREAM, "content-encoding": "gzip"}, [gzip.compress(WHOLE)[:-5], gzip.compress(WHOLE)[-5:]]),
    ("length", {**STREAM, "content-length": str(len(WHOLE) + 4)}, [b": x\n", WHOLE]),
]


@both_https
@pytest.mark.parametrize(("headers", "pieces"), [row[1:] for row in UNTOUCHED], ids=[row[0] for row in UNTOUCHED])
async def test_where_nothing_may_be_put_in_the_bytes_stay_as_they_are(
    headers: dict[str, str], pieces: list[bytes], http2: bool, scripted: StartScripted, between_tls: StartBetween
) -> None:
    mini = MiniMcp()

    def handler(request: Request) -> Answer:
        return Answer(200, headers, in_pieces(pieces)) if request.rpc == "tools/call" else mini(request)

    server = await scripted(handler, tls=True, http2=http2)
    _, client = await between_tls(server, "reverse", http2=http2, mcp_keepalive=1)
    await client.handshake()
    answer = await client.request("tools/call", {"name": "echo"}, id=7)
    assert answer.body.replace(ALIVE, b"", 2 if answer.body.endswith(ALIVE) else 0) == b"".join(pieces)
    assert ALIVE not in answer.body.removesuffix(ALIVE).removesuffix(ALIVE)


async def test_nobody_is_given_signs_who_has_not_asked_for_them(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    server = await scripted(slowly(MiniMcp()))
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    answer = await client.call("echo", {"text": "between"})
    assert b"alive" not in answer.body
