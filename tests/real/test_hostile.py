# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Peers that mean harm, or are mad: a table of what they do. Each row goes through a mitmdump of its own.

Of each the same must hold: what can be delivered is delivered, nothing is executed twice, the memory of mitmdump does
not grow with it, no turn of its event loop takes long (the fixture `mitmdump` sees to that), the log does not grow with
it, and another client's session, which is used before and after, is neither touched nor noticed to be.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import psutil
import pytest

from harness.exchange import Answer, error, event, json_answer, sse
from harness.mini_mcp import MiniMcp, Rule
from harness.proxy import Mitmdump
from harness.raw import RawClient
from harness.scripted import ScriptedServer

pytestmark = pytest.mark.real

GROWTH = 48 * 1024 * 1024
"""Bytes by which mitmdump may have grown afterwards."""

LINES = 60
"""Lines of the addon's that may have been logged."""


@dataclass
class Scene:
    mini: MiniMcp
    server: ScriptedServer
    proxy: Mitmdump
    client: RawClient
    """Whose session everything is about."""
    elsewhere: ScriptedServer
    """A server that has no business here."""

    def on(self, answer, times=None, **when):
        """Have the server answer such requests in this way."""
        self.mini.rules.append(Rule(when, answer, times))

    async def says(self, text):
        answer = await self.client.call("echo", {"text": text})
        return answer.text if answer.status == 200 else answer.status

    def calls(self, name):
        """How often this tool was called, successfully or not."""
        return sum(b'"name": "%b"' % name.encode() in seen.body for seen in self.server.requests("POST"))


def done(request):
    return {"jsonrpc": "2.0", "id": request.id, "result": {"content": [{"type": "text", "text": "done"}]}}


# What servers do


async def bytes_one_by_one(scene):
    """Not so many that mitmproxy alone would take too long, which passes ten thousand in 0.1 s, in one turn."""

    async def drip(request):
        for byte in event({**done(request), "_meta": "x" * 1500}):
            yield bytes([byte])

    scene.on(lambda request: sse(drip(request)), tool="drip")
    answer = await scene.client.call("drip", {})
    assert answer.body.endswith(b'"}\r\n\r\n')
    assert b'"text": "done"' in answer.body


async def an_event_of_a_hundred_thousand_lines(scene):
    lines = b"data:\n" * 100_000 + b"id: x\n" * 50_000 + b"\n"
    scene.on(lambda request: sse([lines, b"retry: 0\n\n" * 20_000, event(done(request))]), tool="lines")
    answer = await scene.client.call("lines", {})
    assert len(answer.body) > 1_000_000
    assert answer.events[-1].data.endswith("}")


async def tools_without_end(scene):
    page = [{"name": f"tool-{n}", "description": "d" * 900, "inputSchema": {"type": "object"}} for n in range(1000)]
    tools = {"tools": page, "nextCursor": "again"}
    scene.on(lambda request: json_answer({"jsonrpc": "2.0", "id": request.id, "result": tools}), rpc="tools/list")
    await scene.client.request("tools/list", {})
    scene.mini.forget(scene.client.session)
    assert await scene.says("after") == "after"
    assert len(scene.server.requests(rpc="tools/list")) <= 21


async def another_session_id_on_every_answer(scene):
    for number in range(30):
        other = f"other-{number}"
        scene.on(lambda request, id=other: json_answer(done(request), session=id), 1, tool="renamed")
        assert (await scene.client.call("renamed", {})).text == "done"
    scene.mini.forget(scene.client.session)
    assert await scene.says("after") == "after"
    assert len(scene.server.requests(rpc="initialize")) == 3
    assert not scene.proxy.logged("first seen")


async def session_ids_of_every_kind(scene):
    odd = [
        '"quoted"',
        "a b",
        "<script>",
        "a,b;c=d",
        "%0d%0ax: y",
        "../../etc",
        "x" * 1000,
        "{id}",
        "'--",
    ]
    for prefix in odd:
        scene.mini.prefix = prefix
        scene.client.session = None
        await scene.client.handshake()
        assert scene.client.session in scene.mini.sessions
        scene.mini.forget(scene.client.session)
        assert await scene.says(prefix) == prefix, "brought back as any other"
    assert not scene.proxy.logged("script>|x{1000}|\\.\\./etc")


async def a_handshake_that_is_sent_elsewhere(scene):
    """What is sent in a client's place, with its credentials, goes nowhere but to its server."""
    location = f"http://127.0.0.1:{scene.elsewhere.port}/mcp"
    for status in (301, 302, 303, 307, 308):
        scene.mini.forget(scene.client.session)
        scene.on(
            lambda _, s=status: Answer(s, {"location": location, "refresh": f"0; url={location}"}), 1, rpc="initialize"
        )
        assert await scene.says("lost") == 404
        await asyncio.sleep(0.3)  # the pause after a failure
    assert not scene.elsewhere.seen.items


async def a_challenge_of_a_megabyte(scene):
    scene.mini.forget(scene.client.session)
    headers = [("www-authenticate", f'Bearer realm="{"r" * 8000}"')] * 100 + [
        (f"x-{n}", "v" * 100) for n in range(1000)
    ]
    scene.on(lambda _: Answer(401, headers), 1, rpc="initialize")
    assert await scene.says("lost") == 404
    assert await scene.says("found again") in (404, "found again")


# What clients do


async def a_batch_of_thousands(scene):
    batch = [
        {"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": "many", "arguments": {}}}
        for n in range(3000)
    ]
    executed = []

    def all_of_them(request):
        if not isinstance(request.json, list):
            return scene.mini.default(request)
        if request.session not in scene.mini.sessions:
            return scene.mini.lost(request)
        executed.append(len(request.json))
        return json_answer([{"jsonrpc": "2.0", "id": one["id"], "result": {}} for one in request.json])

    scene.server.handler = all_of_them
    scene.mini.lost = lambda _: error(None, -32600, "Session not found", 404)
    scene.mini.forget(scene.client.session)
    answer = await scene.client.post(batch)
    assert len(json.loads(answer.body)) == 3000
    assert executed == [3000]


async def credentials_of_every_size(scene):
    digest = 'Digest username="' * 1500
    for number in range(150):
        cookies = f"{number}=; " * 2000 + ",;" * 4000
        headers = {"cookie": cookies, "authorization": f"{digest}{number}", "x-api-key": str(number) * 3000}
        await scene.client.call("echo", {"text": "x"}, headers=headers)
    assert await scene.says("after") == "after"


async def all_hang_up_while_they_wait(scene):
    scene.mini.forget(scene.client.session)
    scene.on({"delay": 0.6}, 1, rpc="initialize")
    async with httpx.AsyncClient(headers=dict(scene.client.http.headers), limits=httpx.Limits()) as http:

        async def call(number):
            params = {"name": "buy", "arguments": {"text": str(number)}}
            headers = {
                "mcp-session-id": scene.client.session,
                "mcp-protocol-version": scene.client.version,
                "accept": "application/json, text/event-stream",
            }
            await http.post(
                scene.client.url,
                json={"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params},
                headers=headers,
                timeout=0.3,
            )

        waiting = [asyncio.create_task(call(number)) for number in range(40)]
        await asyncio.gather(*waiting, return_exceptions=True)
    assert await scene.says("after") == "after"
    bought = [seen for seen in scene.server.requests(rpc="tools/call") if seen.params["name"] == "buy"]
    assert not [seen for seen in bought if seen.status == 200], "nobody wants it any more"


async def a_hundred_streams_that_end_at_once(scene):
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(headers=dict(scene.client.http.headers), timeout=30, limits=httpx.Limits())
        )
        headers = {
            "mcp-session-id": scene.client.session,
            "mcp-protocol-version": scene.client.version,
            "accept": "text/event-stream",
        }

        async def listen():
            answer = await stack.enter_async_context(http.stream("GET", scene.client.url, headers=headers))
            assert answer.status_code == 200

        await asyncio.gather(*(listen() for _ in range(100)))
    assert await scene.says("after") == "after"
    assert not scene.server.requests("DELETE")


ROWS = (
    bytes_one_by_one,
    an_event_of_a_hundred_thousand_lines,
    tools_without_end,
    another_session_id_on_every_answer,
    session_ids_of_every_kind,
    a_handshake_that_is_sent_elsewhere,
    a_challenge_of_a_megabyte,
    a_batch_of_thousands,
    credentials_of_every_size,
    all_hang_up_while_they_wait,
    a_hundred_streams_that_end_at_once,
)


def test_there_are_more_than_ten():
    assert len(ROWS) > 10


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
async def test_it_is_withstood(row, scripted, mitmdump, raw_client):
    mini = MiniMcp()
    server, elsewhere = await scripted(mini), await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    client, bystander = await raw_client(proxy.url), await raw_client(proxy.url)
    for one, token in ((client, "mad"), (bystander, "sane")):
        one.http.headers["authorization"] = f"Bearer {token}"
        await one.handshake()
    theirs = bystander.session
    assert (await bystander.call("echo", {"text": "before"})).text == "before"
    process = psutil.Process(proxy.pid)
    before, lines = process.memory_info().rss, len(proxy.logged("mcp: "))

    await row(Scene(mini, server, proxy, client, elsewhere))

    assert process.memory_info().rss - before < GROWTH
    assert len(proxy.logged("mcp: ")) - lines < LINES
    assert theirs in mini.sessions
    assert (await bystander.call("echo", {"text": "after"})).text == "after"
    asked = [seen for seen in server.seen if seen.headers.get("authorization") == "Bearer sane"]
    assert {seen.session for seen in asked} == {None, theirs}
    assert [seen.rpc for seen in asked] == ["initialize", "notifications/initialized", "tools/call", "tools/call"]
    assert not [seen for seen in server.requests("DELETE") if seen.session == theirs]
