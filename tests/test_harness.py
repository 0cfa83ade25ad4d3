"""The harness itself: peers and proxies work together without the addon."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from harness.environments import PEERS, REPOSITORY
from harness.exchange import Answer, Request, error, event, sse
from harness.mini_mcp import MiniMcp, Rule, lost_everything_style
from harness.process import Process
from harness.proxy import Mitmdump
from harness.raw import RawClient
from harness.scripted import ScriptedServer
from harness.sdk import SdkClient, SdkServer

STREAMING = PEERS / "stream_sse.py"


@pytest.mark.real
@pytest.mark.parametrize("major", [1, 2])
@pytest.mark.parametrize("json_response", [False, True])
async def test_sdk_direct(major: Literal[1, 2], json_response: bool) -> None:
    async with SdkServer(major, json_response=json_response) as server, SdkClient(major) as client:
        connected = await client.connect(server.url, name="tester", elicit="blue", sample="hm")
        assert connected.raw["era"] == "session"
        session = await client.session_id()
        assert session
        assert (await client.call("add", a=2, b=3)).text == "5"
        if not json_response:
            # JSON answers carry no requests to the client and no progress.
            assert (await client.call("ask", question="?")).text == "blue"
            assert (await client.call("sample", prompt="?")).text == "hm"
            slow = await client.call("progress", steps=4, interval=0.05)
            assert [done for _, done in slow.progress] == [1, 2, 3, 4]
            assert all(later - earlier > 0.03 for (earlier, _), (later, _) in pairwise(slow.progress))
        await server.wait_opened()
        await client.do("subscribe", uri="test://one")
        await client.do("set_level", level="error")
        who = json.loads((await client.call("whoami")).text or "")
        assert who == {
            "client": "tester",
            "pid": server.pid,
            "session": session,
            "level": "error",
            "subscriptions": ["test://one"],
        }
        assert (await client.call("touch", uri="test://one")).text == "1 told"
        updated = await client.do("wait_notification", method="notifications/resources/updated")
        assert updated.result[2]["uri"] == "test://one"
        await client.call("add_tool", name="late")
        await client.do("wait_notification", method="notifications/tools/list_changed")
        assert "late" in (await client.do("list_tools")).result
        assert (await client.do("read")).ok
        many = await client.calls("echo", 30, text="no {i}")
        assert [one.text for one in many] == [f"no {number}" for number in range(30)]
        assert (await client.close()).ok
        ended = await server.wait_state(lambda seen: seen.method == "DELETE" and seen.end is not None)
        assert (ended.session, ended.status) == (session, 200)
        assert len(server.requests(tool="echo")) == 30


@pytest.mark.real
async def test_restart_loses_sessions_and_exit_sends_no_delete() -> None:
    async with SdkServer(1) as server, SdkClient(1) as client:
        await client.connect(server.url, as_="a")
        await client.connect(server.url, as_="b", name="other")
        assert await client.session_id("a") != await client.session_id("b")
        port = server.port
        await server.restart()
        assert server.port == port
        failed = await client.call("echo", as_="a", text="x")
        assert not failed.ok
        seen = await server.wait_state(lambda seen: seen.run == 2 and seen.status == 404)
        assert seen.tool == "echo"
        assert seen.session == await client.session_id("a")
        assert await client.exit() == 0
        assert not server.requests("DELETE")


@pytest.mark.real
async def test_forgotten_session_and_abandoned_call() -> None:
    async with SdkServer(2) as server, SdkClient(2) as client:
        await client.connect(server.url)
        number = await client.begin("call", tool="slow", args={"seconds": 30})
        await server.wait_for(lambda seen: seen.tool == "slow")
        await client.do("abandon", of=number)
        assert (await client.result(number)).error == "abandoned"
        assert await server.forget() == [await client.session_id()]
        assert not (await client.call("echo", text="x")).ok


@pytest.mark.real
async def test_stateless_era() -> None:
    async with SdkServer(2) as server, SdkClient(2) as client:
        connected = await client.connect(server.url, mode="auto", elicit="blue")
        assert connected.raw["era"] == "stateless"
        assert (await client.call("ask", question="?")).text == "blue"
        assert (await client.do("subscribe", uri="test://one")).ok
        await client.call("touch", uri="test://one")
        await client.do("wait_notification", method="notifications/resources/updated")
        assert (await client.close()).ok
        assert not server.requests("DELETE")


@pytest.mark.real
async def test_sdk_through_bare_proxy() -> None:
    async with (
        SdkServer(1) as server,
        Mitmdump(server.url, script=STREAMING) as proxy,
        SdkClient(1) as client,
    ):
        await client.connect(proxy.url, elicit="green")
        slow = await client.call("progress", steps=4, interval=0.1)
        assert all(later - earlier > 0.05 for (earlier, _), (later, _) in pairwise(slow.progress))
        assert (await client.call("ask", question="?")).text == "green"
        await client.close()
        await server.wait_for(lambda seen: seen.method == "DELETE")
        assert await proxy.stop() == 0


@pytest.mark.real
async def test_regular_mode_and_flow_file(tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    async with (
        SdkServer(1) as server,
        Mitmdump(script=STREAMING, write=flows) as proxy,
        SdkClient(1, env={"HTTP_PROXY": proxy.base}) as client,
    ):
        await client.connect(server.url)
        assert (await client.call("echo", text="hi")).text == "hi"
        await client.close()
        await proxy.stop()
    async with Mitmdump(script=None, read=flows, options={"flow_detail": 1}) as reading:
        assert await reading.finished() == 0
        assert reading.logged("POST http")


async def test_scripted_server_and_raw_client() -> None:
    mini = MiniMcp()
    async with ScriptedServer(mini) as server, RawClient(server.url) as client:
        await client.handshake()
        assert client.session == "session-1"
        assert mini.ready == {"session-1"}
        assert (await client.call("echo", {"text": "hi"})).text == "hi"
        answer = await client.call("progress", {"steps": 3, "interval": 0.03}, progress_token="t")
        assert answer.text == "done"
        assert len(answer.events) == 4
        assert all(later.at - earlier.at > 0.02 for earlier, later in pairwise(answer.events[:3]))
        async with client.get() as stream, asyncio.timeout(5):
            assert mini.push("session-1", {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}) == 1
            assert (await stream.event()).json["method"] == "notifications/tools/list_changed"
        assert (await server.wait_ended(lambda seen: seen.method == "GET")).ended == "gone"
        mini.forget()
        assert (await client.call("echo")).status == 404
        mini.lost = lost_everything_style
        assert (await client.call("echo")).status == 400
        await client.initialize()
        assert (await client.delete()).status == 200
        assert mini.ended == ["session-2"]


@pytest.mark.parametrize("http2", [False, True])
async def test_scripted_server_over_tls(http2: bool) -> None:
    async def handler(request: Request) -> Answer:
        if request.rpc == "big":
            return Answer(200, {"content-type": "text/plain"}, b"x" * 10_000_000)
        if request.rpc == "cut":
            return Answer(200, {"content-type": "application/json"}, b'{"half', cut=True)
        if request.rpc == "sse":
            return sse([event({"n": number}) for number in range(5)])
        return error(request, -32000, "no", 400)

    async with (
        ScriptedServer(handler, tls=True, http2=http2) as server,
        RawClient(server.url, verify=server.ca, http2=http2) as client,
    ):
        big = await client.request("big")
        assert len(big.body) == 10_000_000
        assert big.http == ("HTTP/2" if http2 else "HTTP/1.1")
        assert (await client.request("cut")).broken
        assert [one["n"] for one in (await client.request("sse")).messages] == list(range(5))
        assert (await client.request("else")).error["code"] == -32000


async def test_scripted_server_misbehaves() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"data: "
        while True:
            yield b"x" * 65536

    answers = {
        "raw": Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n\xff\xfe"),
        "nothing": Answer(raw=b"", cut=True),
        "endless": sse(endless()),
        "hang": Answer(200, {"content-type": "application/json"}, b"{", hang=True),
    }
    async with ScriptedServer(lambda request: answers[request.rpc or ""]) as server, RawClient(server.url) as client:
        assert (await client.request("raw")).body == b"\xff\xfe"
        with pytest.raises(Exception, match="disconnected"):
            await client.request("nothing")
        async with client.stream("POST", client.message("endless")) as stream:
            got = 0
            async for piece in stream.response.aiter_raw():
                got += len(piece)
                if got > 1_000_000:
                    break
        await server.wait_ended(lambda seen: seen.rpc == "endless")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.request("hang")
        assert (await server.wait_ended(lambda seen: seen.rpc == "hang")).ended == "gone"
        assert (await client.request("unplanned")).status == 500


async def test_rules() -> None:
    mini = MiniMcp(
        rules=[
            Rule({"rpc": "tools/call", "session": "known"}, {"lose": True}, times=1),
            Rule({"rpc": "ping"}, {"json": {"jsonrpc": "2.0", "id": "{id}", "result": {"n": 1}}, "delay": 0.05}),
        ]
    )
    async with ScriptedServer(mini) as server, RawClient(server.url) as client:
        await client.handshake()
        assert (await client.call("echo")).status == 404
        await client.handshake()
        assert (await client.call("echo")).status == 200
        ping = await client.request("ping", id="my id")
        assert ping.reply == {"jsonrpc": "2.0", "id": "my id", "result": {"n": 1}}
        assert ping.head_at - ping.began >= 0.05


@pytest.mark.real
async def test_scripted_server_as_process(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"get": 405, "lost": {"status": 410, "body": "gone"}}))
    async with Process([sys.executable, PEERS / "scripted_server.py", rules]) as process:
        url = (await process.wait_line("^READY (.*)"))[1]
        async with RawClient(url) as client:
            await client.handshake()
            assert (await client.send("GET")).status == 405
            assert (await client.call("echo", session="other")).status == 410


@pytest.mark.real
async def test_http2_over_tls_through_bare_proxy() -> None:
    async with ScriptedServer(MiniMcp(), tls=True, http2=True) as server:
        async with Mitmdump(server.url, script=STREAMING, options={"ssl_insecure": True}) as proxy:
            url = proxy.url.replace("http://", "https://")
            async with RawClient(url, verify=proxy.ca, http2=True) as client:
                await client.handshake()
                answers = await asyncio.gather(*(client.call("echo", {"text": str(n)}) for n in range(10)))
                assert [answer.text for answer in answers] == [str(n) for n in range(10)]
                assert {answer.http for answer in answers} == {"HTTP/2"}
        assert {seen.http for seen in server.seen} == {"2"}
        # The proxy is gone, and with it every exchange.
        assert all(seen.ended for seen in server.seen)


@pytest.mark.real
async def test_a_turn_that_takes_too_long_fails_and_every_turn_is_printed() -> None:
    """Also where the tests run in processes of their own, as they do as a rule."""
    run = ("-m", "pytest", str(PEERS / "turns.py"), "-n", "1", "-p", "no:rerunfailures", "-p", "no:cacheprovider")
    asked = await asyncio.create_subprocess_exec(
        sys.executable, *run, cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = (await asked.communicate())[0].decode()
    assert asked.returncode == 1, said
    assert re.search(r"AssertionError: a turn of the event loop took \d+ ms", said), said
    assert len(re.findall(r"^ +\d+\.\d ms  tests/peers/turns\.py::test_turn\[/(?:slow|quick)\]", said, re.M)) == 2, said
    assert "ERROR tests/peers/turns.py::test_turn[/slow]" in said
    assert "1 error" in said
