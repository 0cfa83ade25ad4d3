# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""What has held from the beginning, each once: whatever else is mended, it holds still."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass, field

import pytest

from harness.exchange import Answer, error, event, sse
from harness.mini_mcp import MiniMcp, Rule
from harness.session_client import SessionClient

pytestmark = pytest.mark.real


@dataclass
class Slowly:
    """A handler that answers handshakes, while it is told so, only when it is let."""

    mini: MiniMcp
    waits: bool = True
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request):
        if request.rpc == "initialize" and self.waits:
            await self.let_go.wait()
        return self.mini(request)


async def test_forty_clients_with_one_id_for_their_requests(scripted, mitmdump, raw_client):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    clients = [await raw_client(proxy.url) for _ in range(40)]
    await asyncio.gather(*(client.handshake() for client in clients))
    mini.forget()

    async def call(number):
        params = {"name": "echo", "arguments": {"text": f"of {number}"}}
        return (await clients[number].request("tools/call", params, id=1)).text

    assert await asyncio.gather(*map(call, range(40))) == [f"of {number}" for number in range(40)]
    assert mini.executed == Counter(f"of {number}" for number in range(40))
    assert len(server.requests(rpc="initialize")) == 80


async def test_streams_of_one_http2_connection_that_are_reset_during_a_recovery(scripted, mitmdump, raw_client):
    mini = MiniMcp()
    server = await scripted(mini, tls=True)
    options = {"ssl_insecure": "true"}
    proxy = await mitmdump(mode=f"reverse:https://127.0.0.1:{server.port}", options=options)
    client = await raw_client(f"https://127.0.0.1:{proxy.port}/mcp", verify=False, http2=True)
    await client.handshake()
    mini.forget()
    server.handler = handler = Slowly(mini)
    calls = [asyncio.create_task(client.call("echo", {"text": str(number)})) for number in range(12)]
    await server.wait_for(lambda seen: seen.rpc == "initialize", count=2)
    await server.wait_for(lambda seen: seen.rpc == "tools/call", count=12)
    (connection,) = client.http._transport._pool.connections
    streams = sorted(connection._connection._h2_state.streams)[-12:]
    for stream in streams[::2]:
        await client.reset(stream)
    handler.let_go.set()
    done, pending = await asyncio.wait(calls, timeout=1.5)
    for one in pending:
        one.cancel()
    texts = [one.result().text for one in done if not one.exception()]
    assert len(texts) == 6
    assert mini.executed == Counter(texts), "nobody else's is executed, and none twice"


HANDSHAKES = {
    "hangs": lambda _: Answer(hang=True, raw=b""),
    "hangs after its head": lambda _: Answer(200, {"content-type": "application/json"}, b"{", hang=True),
    "streams for ever": lambda _: sse(_for_ever(b": nothing\n\n")),
    "streams events for ever": lambda _: sse(_for_ever(event({"jsonrpc": "2.0", "method": "notifications/message"}))),
}


async def _for_ever(piece):
    while True:
        yield piece
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("handshake", HANDSHAKES.values(), ids=HANDSHAKES)
async def test_a_handshake_that_never_ends(handshake, scripted, mitmdump, raw_client):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_recover_timeout": 1})
    client, other = await raw_client(proxy.url), await raw_client(proxy.url)
    for one in (client, other):
        await one.handshake()
    mini.forget(client.session)
    mini.rules.append(Rule({"rpc": "initialize"}, handshake, 1))
    waiting = asyncio.create_task(client.call("echo", {"text": "x"}))
    await server.wait_for(lambda seen: seen.rpc == "initialize", count=3)
    assert (await other.call("echo", {"text": "nobody else waits"})).text == "nobody else waits"
    assert (await waiting).status == 404
    assert (await client.call("echo", {"text": "next"})).text == "next"


async def test_a_server_that_always_says_404(scripted, mitmdump, raw_client):
    server = await scripted(lambda request: error(request, -32001, "Session not found", 404, id=None))
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    client.session = "of-an-earlier-run"
    for _ in range(10):
        assert (await client.call("echo", {"text": "x"})).status == 404
    assert len(server.seen) < 25
    assert not server.requests("DELETE")


async def test_a_client_that_shakes_hands_itself_while_its_session_is_brought_back(scripted, mitmdump, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url)
    first = await client.open()
    other = await client_of(proxy.url)
    await other.do(f"use {first}")
    mini.forget()
    server.handler = handler = Slowly(mini)
    waiting = asyncio.create_task(other.do("call patient"))
    await server.wait_for(lambda seen: seen.rpc == "initialize", count=2)
    handler.waits = False
    second = await client.open()
    assert second != first
    assert (await client.do("call own")).startswith("200")
    handler.let_go.set()
    assert (await waiting).startswith("200")
    assert mini.executed == Counter(["own", "patient"])
    for one in (client, other):
        await one.process.kill()
    await server.wait_for(lambda seen: seen.method == "DELETE" and seen.session == second)
    assert second not in mini.sessions


async def test_a_client_that_is_stopped_lives(scripted, mitmdump, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_end_after_idle": 1, "mcp_end_after_stream": 1})
    client = await client_of(proxy.url)
    session = await client.open()
    await client.do("stream")
    os.kill(client.pid, signal.SIGSTOP)
    mini.forget(session)  # which ends its stream: no connection is left that could speak for it
    await asyncio.sleep(3)
    assert not server.requests("DELETE")
    os.kill(client.pid, signal.SIGCONT)
    assert (await client.do("call x")).startswith("200")
    os.kill(client.pid, signal.SIGSTOP)
    await client.process.kill()
    await server.wait_for(lambda seen: seen.method == "DELETE")


def _no_namespaces():
    unshare = shutil.which("unshare")
    if unshare is None:
        return "there is no unshare"
    tried = subprocess.run([unshare, "-p", "-f", "--mount-proc", "true"], capture_output=True, check=False)
    return "no pid namespace can be made here" if tried.returncode else ""


async def test_a_client_in_a_pid_namespace_of_its_own(scripted, mitmdump, started):
    """Its pid means something else there; here it is a process like any other."""
    if why := _no_namespaces():
        pytest.skip(why)
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options={"mcp_end_after_idle": 1})
    within = ("unshare", "-p", "-f", "--kill-child", "--mount-proc")
    client = await started.enter_async_context(SessionClient(proxy.url, within=within))
    session = await client.open()
    await asyncio.sleep(2)
    assert not server.requests("DELETE")
    assert (await client.do("call x")).startswith("200")
    await client.tell("exit")
    deleted = await server.wait_for(lambda seen: seen.method == "DELETE")
    assert deleted.session == session
    await proxy.wait_log("closed .*process gone")


CONTROL = "\x1b[31m\x07\r\x7f\x9b\u202e\u2028\ud83d"


async def test_control_bytes_everywhere(scripted, mitmdump, raw_client, tmp_path):
    mini = MiniMcp(version="2025-11-25" + CONTROL[:5])
    server = await scripted(mini)
    log = tmp_path / "log"
    proxy = await mitmdump(server.port, options={"mcp_log": log})
    client = await raw_client(proxy.url, name=f"name{CONTROL}")
    await client.handshake()
    await client.call(f"echo{CONTROL}", {"text": CONTROL})
    await client.request(f"method{CONTROL}", {"uri": f"x:{CONTROL}"})
    await client.notify(f"notifications/{CONTROL}", {"reason": CONTROL})
    await client.post(b'{"jsonrpc": "2.0", "id": "\x1b[31m\x9b", "method": 5}')
    mini.rules.append(Rule({"tool": "bad"}, lambda r: error(r, -32000, f"no{CONTROL}", 404, id=CONTROL)))
    await client.call("bad", {})
    mini.rules.append(
        Rule({"tool": "event"}, lambda r: sse([event({"jsonrpc": CONTROL, "method": CONTROL, "id": r.id})]))
    )
    await client.call("event", {})
    mini.forget()
    assert (await client.call("echo", {"text": CONTROL})).text == CONTROL
    await proxy.stop()
    harmful = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\ud800-\udfff]")
    assert not [line for line in proxy.log if harmful.search(line)]
    assert not [line for line in log.read_text().split("\n") if harmful.search(line)]
