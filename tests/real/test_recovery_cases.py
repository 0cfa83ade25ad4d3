"""Recovery in every mode and against every kind of server, through a real mitmdump."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from statistics import median

import httpx
import pytest

from conftest import StartBetween, StartClient, StartProxy, StartRaw, StartScripted, StartServer
from harness.exchange import Answer, Request, error, event, result, sse
from harness.mini_mcp import MiniMcp, Rule, lost_everything_style
from harness.sdk import Major

pytestmark = pytest.mark.real


# Ways to be in between


@pytest.mark.parametrize("client_http2", [False, True], ids=["client-http1", "client-http2"])
@pytest.mark.parametrize("server_http2", [False, True], ids=["server-http1", "server-http2"])
@pytest.mark.parametrize("mode", ["reverse", "regular"])
async def test_tls_and_both_versions_of_http(
    mode: str,
    server_http2: bool,
    client_http2: bool,
    scripted: StartScripted,
    between_tls: StartBetween,
) -> None:
    mini = MiniMcp()
    server = await scripted(mini, tls=True, http2=server_http2)
    # Eager, mitmproxy speaks no more with a client than the server does.
    _, client = await between_tls(server, mode, http2=client_http2, connection_strategy="lazy")
    await client.handshake()
    mini.forget()

    answers = await asyncio.gather(*(client.call("progress", {"steps": 3, "interval": 0.3}) for _ in range(16)))

    assert {answer.text for answer in answers} == {"done"}
    assert {answer.http for answer in answers} == {"HTTP/2" if client_http2 else "HTTP/1.1"}
    assert len(server.requests(rpc="initialize")) == 2
    spread = [answer.events[-1].at - answer.events[0].at for answer in answers]
    # The first ones wait for mitmproxy's own TLS set-up, with or without the addon.
    assert median(spread) > 0.2, "events arrive as they are sent"
    again = await client.call("echo", {"text": "again"})
    assert again.text == "again"
    assert len(server.requests(rpc="initialize")) == 2


async def test_through_an_upstream_proxy(scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw) -> None:
    mini = MiniMcp()
    server = await scripted(mini)
    upstream = await mitmdump(mode="regular", script=None)
    proxy = await mitmdump(mode=f"upstream:{upstream.base}")
    client = await raw_client(server.url, proxy=proxy.base)
    await client.handshake()
    mini.forget()

    assert (await client.call("echo", {"text": "x"})).text == "x"
    assert len(server.requests(rpc="initialize")) == 2
    assert server.connections, "all of it came by the upstream proxy"


async def test_without_a_place_in_mitmproxys_http_layer(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw, tmp_path: Path
) -> None:
    """mitmproxy's internals are not as expected: the addon says so, once, and resends in a buffered way."""
    from harness.proxy import ADDON

    other = tmp_path / "other.py"
    other.write_text(
        "from mitmproxy.proxy.layers.http import HttpLayer\n"
        "original = HttpLayer.make_stream\n"
        "def make_stream(self, stream_id):\n"
        "    return original(self, stream_id)\n"
        "HttpLayer.make_stream = make_stream\n"
    )
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, script=[other, ADDON])
    client = await raw_client(proxy.url)
    await client.handshake()
    for _ in range(2):
        mini.forget()
        answer = await client.call("progress", {"steps": 3})
        assert answer.text == "done"
        assert len(answer.events) == 4
    assert len(proxy.logged("sent again in a buffered way")) == 1


# Ways to lose a session


async def test_a_400_for_a_404(scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw) -> None:
    mini = MiniMcp(lost=lost_everything_style)
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    assert (await client.call("echo", {"text": "1"})).text == "1"
    mini.forget()

    assert (await client.call("echo", {"text": "2"})).text == "2"
    assert proxy.logged("MCP305 lost-session-not-404")


async def test_two_replicas_without_stickiness(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    """Every request goes to the other replica: recovered while that succeeds, and named in the log."""
    replicas = [MiniMcp(prefix="a"), MiniMcp(prefix="b")]
    turn = 0

    def balance(request: Request) -> Answer:
        nonlocal turn
        turn += 1
        return replicas[turn % 2](request)

    server = await scripted(balance)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    texts = [(await client.call("echo", {"text": str(n)})).text for n in range(8)]
    # The limit of attempts may give one of them the server's answer, never an unending loop.
    assert [text for text in texts if text is not None] == [str(n) for n, text in enumerate(texts) if text is not None]
    assert len([text for text in texts if text is not None]) >= 7
    await proxy.wait_log("is lost again and again")


async def test_two_replicas_behind_a_balancer_of_connections(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    """A connection stays with its replica, the next one goes to the other: also a session's own handshake."""
    replicas = [MiniMcp(prefix="a"), MiniMcp(prefix="b")]
    server = await scripted(lambda request: replicas[request.connection % 2](request))
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    replicas[0].forget()
    replicas[1].forget()

    for n in range(3):
        assert (await client.call("echo", {"text": str(n)})).text == str(n)


async def test_a_redeploy_wedges_nothing(scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw) -> None:
    """For a while there is a page instead of a server; then a server that has forgotten everything."""
    mini = MiniMcp()
    page = Rule({}, {"status": 404, "headers": {"content-type": "text/html"}, "body": "<html>deploying</html>"})
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    mini.forget()
    mini.rules.append(page)
    for _ in range(5):
        answer = await client.call("echo", {"text": "x"})
        assert (answer.status, answer.body) == (404, b"<html>deploying</html>")
    assert 1 <= len(server.requests(rpc="initialize")) - 1 <= 3, "backs off"
    await server.stop()
    call = asyncio.create_task(client.call("echo", {"text": "x"}))
    await proxy.wait_log("waits: its server can't be reached")
    mini.rules.clear()
    await server.start()
    await call

    # The back-off is over within seconds; each call meanwhile gets the server's answer.
    async def back() -> None:
        while (await client.call("echo", {"text": "back"})).text != "back":
            pass

    await asyncio.wait_for(back(), 10)


async def test_a_server_that_dies_between_handshake_and_resend_gives_the_original_answer(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    mini.forget()
    lost = mini.lost
    mini.rules.append(Rule({"rpc": "tools/call", "session": "known"}, lambda request: Answer(raw=b"", cut=True)))

    answer = await client.call("echo", {"text": "x"})

    assert answer.status == 404
    assert answer.body == lost(server.requests(rpc="tools/call")[0]).body
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_a_resend_that_fails_gives_the_original_answer(
    status: int, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    mini.forget()
    mini.rules.append(Rule({"rpc": "tools/call", "session": "known"}, {"status": status, "body": "no"}))

    answer = await client.call("echo", {"text": "x"})

    assert answer.status == 404
    assert answer.error["message"] == "Session not found"


# Handshakes that go wrong


SERVER = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "n", "version": "1"}}


async def _never(_: Request) -> AsyncIterator[bytes]:
    yield b": still thinking\n\n"
    await asyncio.Event().wait()


def _never_answered(request: Request) -> Answer:
    return Answer(hang=True)


def _stream_without_end(request: Request) -> Answer:
    return Answer(200, {"content-type": "text/event-stream", "mcp-session-id": "never-ready"}, _never(request))


def _no_session(request: Request) -> Answer:
    return result(
        request, {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "n", "version": "1"}}
    )


def _an_error(request: Request) -> Answer:
    return error(request, -32602, "Unsupported protocol version", 400)


BAD_HANDSHAKES = [_never_answered, _stream_without_end, _no_session, _an_error]


@pytest.mark.parametrize("handshake", BAD_HANDSHAKES)
async def test_a_handshake_that_fails_gives_the_original_answer(
    handshake: Callable[[Request], Answer], scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_recover_timeout": 1})
    client = await raw_client(proxy.url)
    await client.handshake()
    mini.forget()
    mini.rules.append(Rule({"rpc": "initialize"}, handshake))

    answer = await asyncio.wait_for(client.call("echo", {"text": "x"}), 10)

    assert answer.status == 404
    assert answer.error["message"] == "Session not found"
    await proxy.wait_log("not recovered")


async def test_an_initialize_answered_on_a_stream_that_stays_open(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()

    async def open_ended(request: Request, session: str) -> AsyncIterator[bytes]:
        yield event({"jsonrpc": "2.0", "id": request.id, "result": SERVER})
        await asyncio.Event().wait()

    def initialize(request: Request) -> Answer:
        mini.sessions["streamed"] = request
        headers = {"content-type": "text/event-stream", "mcp-session-id": "streamed"}
        return Answer(200, headers, open_ended(request, "streamed"))

    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    mini.forget()
    mini.rules.append(Rule({"rpc": "initialize"}, initialize))

    assert (await asyncio.wait_for(client.call("echo", {"text": "x"}), 5)).text == "x"


# Clients that go away


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_nothing_is_sent_again_for_a_client_that_hung_up(
    http2: bool, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()
    server = await scripted(mini, tls=http2)
    mode = f"reverse:https://127.0.0.1:{server.port}" if http2 else None
    proxy = await mitmdump(None if http2 else server.port, mode=mode, options={"ssl_insecure": "true"})
    url = f"https://127.0.0.1:{proxy.port}/mcp" if http2 else proxy.url
    client, other = [await raw_client(url, verify=False, http2=http2) for _ in range(2)]
    await client.handshake()
    other.session = client.session
    mini.forget()
    let_go = asyncio.Event()

    async def slowly(request: Request) -> Answer:
        await let_go.wait()
        return mini.default(request)

    async def handler(request: Request) -> Answer:
        return await slowly(request) if request.rpc == "initialize" else mini(request)

    server.handler = handler
    calls = [asyncio.create_task(client.call("echo", {"text": "given up"}))]
    await server.wait_for(lambda request: request.rpc == "initialize", count=2)
    if http2:
        await client.reset(5)  # the third stream: two were the handshake
    calls[0].cancel()
    await asyncio.wait(calls)
    waiting = asyncio.create_task(other.call("echo", {"text": "patient"}))
    await proxy.wait_log("client disconnect") if not http2 else None
    let_go.set()

    assert (await asyncio.wait_for(waiting, 10)).text == "patient"
    assert list(mini.executed.elements()) == ["patient"]


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_a_second_answer_that_breaks_off_breaks_nothing_else(
    http2: bool, scripted: StartScripted, between_tls: StartBetween
) -> None:
    mini = MiniMcp()
    proxy, client = await between_tls(await scripted(mini, tls=True), "reverse", http2=http2)
    await client.handshake()
    mini.forget()
    told = event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    mini.rules = [Rule({"method": "GET", "session": "known"}, lambda _: sse([told], cut=True), times=1)]

    beside = asyncio.create_task(client.call("progress", {"steps": 5, "interval": 0.2}))
    async with client.stream("GET") as stream:
        assert (await stream.event()).json["method"] == "notifications/tools/list_changed"
        with pytest.raises(httpx.HTTPError):
            async with asyncio.timeout(5):
                await stream.event()
    assert (await beside).text == "done", "over HTTP/2 on the same connection"
    assert (await client.call("echo", {"text": "after"})).text == "after"
    assert not proxy.logged("crashed|Traceback")


async def test_a_client_that_ended_its_session_gets_the_servers_404(
    sdk_server: StartServer, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    server = await sdk_server(1)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    await client.delete()

    answer = await client.call("echo", {"text": "x"})

    assert answer.status == 404
    assert answer.error["message"] == "Session not found"
    assert len(server.requests(rpc="initialize")) == 1
    await proxy.wait_log("MCP309 used-after-delete")


# What the session held


@pytest.mark.parametrize("major", [1, 2])
async def test_what_a_session_held_is_restored(
    major: Major, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    server = await sdk_server(major)
    proxy = await mitmdump(server.port)
    client = await sdk_client(major, proxy.url)
    await server.wait_opened()
    await client.do("set_level", level="debug")
    await client.do("subscribe", uri="test://one")
    old = await client.session_id()

    await server.forget()
    who = await client.call("whoami")
    await server.wait_state(lambda seen: seen.method == "GET" and seen.status == 200 and seen.session != old)
    await client.call("touch", uri="test://one")

    assert '"debug"' in (who.text or "")
    assert "test://one" in (who.text or "")
    updated = await client.do("wait_notification", method="notifications/resources/updated", timeout=5)
    assert updated.ok


async def test_changed_tools_are_the_first_event_of_the_next_stream(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp(stream=True)
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    assert len((await client.request("tools/list")).result["tools"]) == 2
    mini.forget()
    fewer = {"jsonrpc": "2.0", "id": "{id}", "result": {"tools": [{"name": "echo", "inputSchema": {}}]}}
    mini.rules.append(Rule({"rpc": "tools/list"}, {"json": fewer}))

    answer = await client.call("echo", {"text": "x"})
    after = await client.call("echo", {"text": "y"})

    assert answer.text == "x"
    assert [one.get("method") for one in answer.messages] == ["notifications/tools/list_changed", None]
    assert [one.get("method") for one in after.messages] == [None]


# Whose session it is


async def test_a_stranger_is_not_let_in(scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw) -> None:
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_identify": "off"})
    client = await raw_client(proxy.url, headers={"Authorization": "Bearer mine"})
    await client.handshake()
    mini.forget()
    await client.call("echo", {"text": "x"})

    stranger = await raw_client(proxy.url, headers={"Authorization": "Bearer other"})
    await stranger.call("echo", {"text": "stolen"}, session=client.session)

    # He may be the client, with a token that was renewed: he has a session of his own, if the server gives him one.
    opened = server.requests(rpc="initialize")
    assert [request.headers["authorization"] for request in opened] == ["Bearer mine", "Bearer mine", "Bearer other"]
    assert (await client.call("echo", {"text": "mine"})).text == "mine"
    mine, stolen, again = [request.session for request in server.requests(rpc="tools/call") if request.status == 200]
    assert mine == again != stolen


async def test_the_handshake_uses_the_credentials_of_the_refused_request(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    old = {"Authorization": "Bearer old"}
    await client.initialize(headers=old)
    await client.notify("notifications/initialized", headers=old)
    mini.forget()

    await client.call("echo", {"text": "x"}, headers={"Authorization": "Bearer new"})

    opened = server.requests(rpc="initialize")
    assert [request.headers["authorization"] for request in opened] == ["Bearer old", "Bearer new"]
    assert server.requests(rpc="notifications/initialized")[1].headers["authorization"] == "Bearer new"
    assert not proxy.logged("Bearer")
