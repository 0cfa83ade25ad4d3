# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Scripts and daemons: a process that did not shake hands itself is no client, and a child may go on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time

import pytest

from harness.mini_mcp import MiniMcp
from harness.process import Process
from harness.session_client import SessionClient

pytestmark = pytest.mark.real

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None, reason="no curl on this machine")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "curl", "version": "8"}}


@pytest.fixture
def client_of(started):
    async def start(url, **more):
        return await started.enter_async_context(SessionClient(url, **more))

    return start


def deletes(server):
    return server.requests("DELETE")


async def deleted(server, session, within=15.0):
    return await server.wait_for(lambda seen: seen.method == "DELETE" and seen.session == session, within)


def post(url, method, params=None, *, session=None, id=1):
    """The command of a process that sends one message and ends; it prints the answer's head and body."""
    message = {"jsonrpc": "2.0", "method": method, "params": params or {}} | ({"id": id} if id is not None else {})
    headers = ["content-type: application/json", "accept: application/json, text/event-stream"]
    headers += [f"mcp-session-id: {session}"] if session else []
    command = [CURL or "", "-s", "-S", "-i", "--max-time", "20", "-d", json.dumps(message)]
    return [*command, *(part for header in headers for part in ("-H", header)), url]


async def run(command):
    """What a process says that ends by itself."""
    async with Process(command) as process:
        assert await process.wait() == 0, process.report()
        return "\n".join(process.lines)


def session_in(answer):
    return next(line.split(": ")[1] for line in answer.splitlines() if line.lower().startswith("mcp-session-id"))


async def opened_by_couriers(url):
    session = session_in(await run(post(url, "initialize", INITIALIZE)))
    await run(post(url, "notifications/initialized", session=session, id=None))
    return session


@needs_curl
async def test_each_call_is_a_process_of_its_own(scripted, mitmdump):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    session = await opened_by_couriers(proxy.url)
    for n in range(3):
        answer = await run(post(proxy.url, "tools/call", {"name": "echo", "arguments": {"text": n}}, session=session))
        assert " 200 " in answer.splitlines()[0]
    await proxy.wait_log("client gone .*curl", count=2)
    await asyncio.sleep(0.5)  # much longer than an ending takes
    assert not deletes(server)
    assert len(server.requests(rpc="initialize")) == 1
    assert not proxy.logged("process gone")


@needs_curl
async def test_what_couriers_opened_is_ended_by_evidence(scripted, mitmdump):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options={"mcp_end_after_idle": 2})
    session = await opened_by_couriers(proxy.url)
    used = time.time()
    assert (await deleted(server, session)).at - used >= 1.5
    await proxy.wait_log("closed .*no connection and no request for 2 s")


async def test_a_client_that_another_has_opened_the_session_for(scripted, mitmdump, client_of):
    """One shakes hands and ends, the next ones use what it has opened: recovered once, and not ended by each."""
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    first = await client_of(proxy.url)
    session = await first.open()
    await first.process.kill()
    await deleted(server, session)
    for _ in range(3):
        courier = await client_of(proxy.url)
        await courier.do(f"use {session}")
        for _ in range(3):  # somewhat longer than it takes to look who is there: of that nobody is told
            assert (await courier.do("call x")).startswith("200")
            await asyncio.sleep(0.1)
        await courier.process.kill()
    await proxy.wait_log("client gone", count=4)
    await asyncio.sleep(0.5)  # much longer than an ending takes
    assert len(deletes(server)) == 1
    assert len(server.requests(rpc="initialize")) == 2


@needs_curl
async def test_the_shell_that_started_all_couriers_is_the_client(scripted, mitmdump, started):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    shell = await started.enter_async_context(Process(["sh", "-s"], stdin=True, name="sh"))

    async def do(command):
        start = len(shell.lines)
        await shell.write(f"{' '.join(map(quoted, command))}; echo; echo DONE")
        await shell.wait_line("^DONE", start=start)
        return "\n".join(shell.lines.items[start:])

    session = session_in(await do(post(proxy.url, "initialize", INITIALIZE)))
    await do(post(proxy.url, "notifications/initialized", session=session, id=None))
    for _ in range(2):
        await do(post(proxy.url, "tools/call", {"name": "echo"}, session=session))
    await asyncio.sleep(0.5)  # much longer than an ending takes
    assert not deletes(server)
    ended = time.time()
    await shell.write("exit")
    assert (await deleted(server, session)).at - ended < 2
    await proxy.wait_log(r"closed .*process gone: .*sh\[")


def quoted(text):
    return "'" + str(text).replace("'", "'\\''") + "'"


@needs_fork
@pytest.mark.parametrize("how", ["daemon", "exec"])
async def test_a_child_goes_on(how, scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url, within=["setsid"])  # a job of its own, as a shell makes each
    session = await client.open()
    child = int(await client.do(how))
    await client.process.exited()
    await asyncio.sleep(1)  # it takes its time
    assert not deletes(server)
    assert (await client.do("call still-here")).startswith("200")
    await proxy.wait_log("client gone")
    await asyncio.sleep(4)  # longer than the grace
    assert not deletes(server)
    assert (await client.do("call still-here")).startswith("200")
    killed = time.time()
    os.kill(child, signal.SIGKILL)
    assert (await deleted(server, session)).at - killed < 2


@needs_fork
async def test_a_child_that_does_not_go_on(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url)
    session = await client.open()
    left = time.time()
    child = int(await client.do("daemon"))
    assert 1 <= (await deleted(server, session)).at - left < 8
    os.kill(child, signal.SIGKILL)


@needs_fork
async def test_a_child_that_ends_the_handshake_that_its_parent_began(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url)
    session = await client.do("initialize")
    child = int(await client.do("daemon"))
    await proxy.wait_log("client gone")
    assert (await client.do("initialized")).startswith("202")
    await asyncio.sleep(4)  # longer than the grace
    assert not deletes(server)
    os.kill(child, signal.SIGKILL)
    await deleted(server, session, 5)


async def test_who_ends_before_the_handshake_is_over_proves_nothing(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options={"mcp_end_after_idle": 2})
    client = await client_of(proxy.url)
    session = await client.do("initialize")
    killed = time.time()
    await client.process.kill()
    assert (await deleted(server, session)).at - killed >= 1.5


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_shook_hands_itself_is_ended_at_once(stream, scripted, mitmdump, client_of):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port)
    client = await client_of(proxy.url)
    session = await client.open()
    if stream:
        await client.do("stream")
    killed = time.time()
    await client.process.kill()
    assert (await deleted(server, session)).at - killed < 0.5
    if not stream:
        await proxy.wait_log("MCP314 session-never-used")
