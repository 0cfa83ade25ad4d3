# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""The server, or the proxy, is killed at each step of a recovery: nothing is done twice, and the next call works."""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest

from harness.exchange import Answer, Request
from harness.mini_mcp import MiniMcp, Rule
from harness.process import Process
from harness.proxy import ADDON
from harness.raw import RawClient

pytestmark = pytest.mark.real

FARM = Path(__file__).resolve().parents[1] / "endurance" / "farm.py"
STEPS = ("tools/call", "initialize", "notifications/initialized", "logging/setLevel", "tools/call sent again")
"""What the server is asked while a session is brought back."""


class Dying(MiniMcp):
    """Has something done when it is asked for a step, and does not answer that."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self.step = step
        self.armed = False
        self.died = asyncio.Event()
        self.die = self.died.set

    def __call__(self, request: Request) -> Answer:
        again = " sent again" if request.rpc == "tools/call" and request.session in self.sessions else ""
        if self.armed and f"{request.rpc}{again}" == self.step:
            self.armed = False
            self.die()
            return Answer(raw=b"", cut=True)
        return super().__call__(request)


async def opened(client: RawClient) -> RawClient:
    """The same with a session of which a server keeps something."""
    await client.handshake()
    await client.request("logging/setLevel", {"level": "debug"})
    return client


@pytest.mark.parametrize("step", STEPS)
async def test_the_server_is_killed_at_each_step(step, scripted, mitmdump, raw_client) -> None:
    mini = Dying(step)
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await opened(await raw_client(proxy.url, timeout=30))
    mini.forget()
    mini.armed = True

    async def restart() -> None:
        await mini.died.wait()
        await server.stop()
        mini.forget()
        await asyncio.sleep(0.2)
        await server.start()

    restarted = asyncio.create_task(restart())
    answer = await client.call("echo", {"text": "first"})
    await restarted
    # What was under way when the server died may have been done; of all else the client is told that it was not.
    assert answer.status == (502 if step == STEPS[0] else 404)
    assert not mini.executed["first"]
    assert (await client.call("echo", {"text": "second"})).text == "second"
    assert len(mini.sessions) == 1


@pytest.mark.parametrize("step", STEPS)
async def test_the_proxy_is_killed_at_each_step(step, scripted, mitmdump, client_of) -> None:
    mini = Dying(step)
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url)
    await client.open()
    await client.do("level debug")
    mini.forget()
    mini.armed = True

    async def restart() -> None:
        await mini.died.wait()
        await proxy.kill()
        await proxy.start()

    restarted = asyncio.create_task(restart())
    assert (await client.do("call first")).startswith("0 ")  # the connection broke
    await restarted
    assert mini.executed["first"] <= 1
    assert (await client.do("call second")).startswith("200 ")
    assert mini.executed["second"] == 1

    await client.process.kill()
    # What the server gave is in the ledger before a call is sent again, but not while the handshake goes on.
    unknown = 1 if step in STEPS[2:4] else 0
    async with asyncio.timeout(10):
        while len(mini.sessions) > unknown:  # noqa: ASYNC110  # the next DELETE may be of another session
            await asyncio.sleep(0.02)


HEAD = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n"
STREAM = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BROKEN = {
    "no answer": "",
    "half a head": HEAD[:30],
    "half a body": HEAD + '{"jsonrpc":"2.0","id":1,',
    "less than announced": HEAD + '{"jsonrpc":"2.0","id":1,"result":{}}',
    "more than announced": HEAD + '{"jsonrpc":"2.0","id":1,"result":{}}' * 5,
    "half an event": STREAM + '1e\r\nevent: message\ndata: {"jsonrpc"',
    "an event that nothing follows": STREAM + "a\r\ndata: {}\n\n\r\n",
    "no HTTP": "\x00\x01\x02 220 smtp ready\r\n\r\n",
    "lengths that differ": "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\nhello",
    "a chunk of no length": STREAM + "zz\r\ndata: {}\r\n",
}
"""What a server sends before it hangs up, having done what it was asked for."""


async def test_a_server_that_breaks_off_anywhere(scripted, mitmdump, raw_client) -> None:
    mini = Dying("")
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await opened(await raw_client(proxy.url, timeout=30))
    for name, sent in BROKEN.items():
        mini.rules = [Rule({"tool": "echo"}, {"raw": sent, "cut": True}, times=1)]
        before = len(server.seen)
        try:
            answer = await client.call("echo", {"text": name}, id=1)
        except httpx.HTTPError:
            answer = None  # the client is told that it broke, too
        assert answer is None or answer.status in (200, 502), name
        assert len(server.seen) == before + 1, f"{name}: it may have been done, and is not sent again"
        assert (await client.call("echo", {"text": "after"})).text == "after", name
    assert len(server.requests(rpc="initialize")) == 1


async def test_a_server_that_never_answers_or_drips(scripted, mitmdump, raw_client) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for byte in b'{"jsonrpc":"2.0","id":1,"result":{}}':
            yield bytes([byte])
            await asyncio.sleep(1)

    mini = Dying("")
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await opened(await raw_client(proxy.url, timeout=30))
    json = {"content-type": "application/json"}
    for answer in (lambda _: Answer(hang=True, raw=b""), lambda _: Answer(200, json, drip())):
        mini.rules = [Rule({"tool": "echo"}, answer, times=1)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.call("echo", {"text": "waits"})
        # Who hangs up is no fault of the session.
        assert (await client.call("echo", {"text": "after"})).text == "after"
    assert len(server.requests(rpc="initialize")) == 1
    assert len(mini.sessions) == 1


async def test_a_hundred_megabytes_pass(scripted, mitmdump, raw_client) -> None:
    size = 100 * 1024 * 1024
    mini = Dying("")
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await opened(await raw_client(proxy.url, timeout=30))

    async def many() -> AsyncIterator[bytes]:
        for _ in range(1600):
            yield b"data: " + b"x" * 65_528 + b"\n\n"

    mini.rules = [Rule({"tool": "echo"}, lambda _: Answer(200, {"content-type": "text/event-stream"}, many()), times=1)]
    before = psutil.Process(proxy.pid).memory_info().rss
    passed = 0
    call = client.message("tools/call", {"name": "echo", "arguments": {"text": "much"}})
    async with client.stream("POST", call) as stream:
        async for piece in stream.response.aiter_raw():
            passed += len(piece)
    assert passed == 1600 * 65_536 >= size
    grown = psutil.Process(proxy.pid).memory_info().rss - before
    assert grown < 40 * 1024 * 1024
    assert (await client.call("echo", {"text": "after"})).text == "after"


CLIENTS = int(os.environ.get("MCP_CLIENTS", "60"))


@pytest.mark.slow_turns("mitmproxy's own objects of so many connections are looked at for garbage")
async def test_many_clients_die_at_once(scripted, mitmdump, started) -> None:
    """`MCP_CLIENTS=1000` has a thousand of them."""
    mini = MiniMcp(names="{:08d}-one-of-many-sessions".format)
    server = await scripted(mini)
    # Who dies within its handshake is not known for a client: of those evidence decides.
    proxy = await mitmdump(server.port, options={"mcp_end_after_idle": 3})
    farm = Process([sys.executable, FARM], stdin=True, on_line=lambda line: '"what": "failed"' in line)
    await started.enter_async_context(farm)
    await farm.write(f"spawn local 127.0.0.1 {proxy.port} {CLIENTS} 1 600")
    alive: set[str] = set()
    async with asyncio.timeout(120):
        while len({mini.sessions[one].params["clientInfo"]["name"].partition("-")[0] for one in alive}) < CLIENTS:
            await asyncio.sleep(0.1)
            alive = mini.sessions.keys() & mini.ready
    for child in psutil.Process(farm.pid).children():
        child.kill()
    died, count = time.monotonic(), len(mini.sessions)
    async with asyncio.timeout(30 + CLIENTS / 5):
        while True:
            opened = {line.split()[3] for line in proxy.logged(r"session \d{8} opened")}
            if opened.isdisjoint(one[:8] for one in mini.sessions):
                break
            await asyncio.sleep(0.05)
    # If mitmproxy has not seen the answer to `initialize` when its client dies, nobody knows the session's id.
    assert len(mini.sessions) <= CLIENTS / 6
    print(f"{CLIENTS} clients that die at once: {count} sessions were ended within {time.monotonic() - died:.1f} s")
    assert max(Counter(mini.ended).values()) == 1


async def test_options_change_in_the_middle_of_recoveries(scripted, mitmdump, client_of, tmp_path) -> None:
    """And the script is loaded anew, again and again: at worst a client is told what its server said."""
    mini = Dying("")
    server = await scripted(mini)
    copy = tmp_path / "main.py"
    copy.write_text(ADDON.read_text().replace("__file__", repr(str(ADDON))))
    changing = tmp_path / "changing.py"
    changing.write_text(CHANGING)
    proxy = await mitmdump(server.port, script=[copy, changing])
    clients = {f"client-{number}": await client_of(proxy.url, name=f"client-{number}") for number in range(4)}
    for client in clients.values():
        await client.open()

    interrupted: list[str] = []

    async def use(name, client) -> None:
        for number in range(12):
            for session in [
                one for one, opened in mini.sessions.items() if opened.params["clientInfo"]["name"] == name
            ]:
                mini.forget(session)
            said = await client.do(f"call {name}/{number}")
            if said.startswith("404 "):  # loading the script anew has interrupted this recovery
                interrupted.append(said)
                said = await client.do(f"call {name}/{number}")
            assert said.startswith("200 "), said

    async def load_anew() -> None:
        for _ in range(4):
            start = len(proxy.log)
            copy.touch()
            os.utime(copy, (time.time() + 5 + start, time.time() + 5 + start))
            await proxy.wait_log("Loading script", start=start)

    await asyncio.gather(*(use(*one) for one in clients.items()), load_anew())
    assert set(mini.executed.values()) == {1}
    assert len(interrupted) <= 4 * len(clients)
    for client in clients.values():
        await client.process.kill()
    async with asyncio.timeout(10):
        while mini.sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


CHANGING = """
import asyncio, itertools
from mitmproxy import ctx

class Changing:
    def running(self):
        self.task = asyncio.create_task(self.change())

    async def change(self):
        for one in itertools.cycle(({"mcp_level": "must"}, {"mcp_recover_timeout": 20}, {"mcp_level": "practice"},
                                    {"mcp_recover_timeout": 30}, {"mcp_end_timeout": 5}, {"mcp_silence": "MCP103"})):
            ctx.options.update(**one)
            await asyncio.sleep(0.02)

    def done(self):
        self.task.cancel()

addons = [Changing()]
"""
