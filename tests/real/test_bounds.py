"""Hostile traffic and large ledgers: no turn of the event loop takes long, which the fixture `mitmdump` sees to."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import brotli
import httpx
import pytest

from conftest import StartProxy, StartScripted
from harness.exchange import Answer, Request, error
from harness.mini_mcp import MiniMcp
from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.processes.place import Place
from mcp_sessions.store import Proxy
from mcp_sessions.store.rows import row_of
from mcp_sessions.store.sqlite.file import File

pytestmark = pytest.mark.real

ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


async def nonsense() -> object:
    for _ in range(32):
        yield b"data:x\n\n" * 8192


async def test_a_stream_of_nonsense(scripted: StartScripted, mitmdump: StartProxy) -> None:
    def answer(_: Request) -> Answer:
        return Answer(200, {"content-type": "text/event-stream"}, nonsense())  # type: ignore[arg-type]

    server = await scripted(answer)
    proxy = await mitmdump(server.port)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with httpx.AsyncClient(timeout=60, headers=ACCEPT) as client:
        got = await client.post(proxy.url, json=call)
        assert len(got.content) == 32 * 8192 * 8
    await proxy.wait_log(f"MCP501 .*and {32 * 8192 - 10} times more", 30)
    assert len(proxy.logged("MCP501")) == 11


async def test_a_flood_of_ids_that_nobody_gave(scripted: StartScripted, mitmdump: StartProxy, tmp_path: Path) -> None:
    server = await scripted(lambda request: error(request, -32001, "Session not found", 404))
    proxy = await mitmdump(server.port, options={"mcp_ledger": tmp_path / "ledger", "mcp_end_at_exit": "all"})
    async with httpx.AsyncClient(timeout=60, headers=ACCEPT) as client:
        for number in range(300):
            call = {"jsonrpc": "2.0", "id": number, "method": "tools/list"}
            await client.post(proxy.url, json=call, headers={"mcp-session-id": f"made-up-{number:06}"})
    await proxy.stop()
    assert not server.requests("DELETE")


async def test_a_flood_of_long_urls_is_passed_on_and_not_kept(
    scripted: StartScripted, mitmdump: StartProxy, tmp_path: Path
) -> None:
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options={"mcp_ledger": tmp_path / "ledger", "mcp_identify": "off"})
    opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
    async with httpx.AsyncClient(timeout=60, headers=ACCEPT) as client:
        for number in range(20):
            answer = await client.post(f"{proxy.base}/{number}{'x' * 20_000}", json=opening)
            assert (answer.status_code, "mcp-session-id" in answer.headers) == (200, True)
        assert not proxy.logged("opened")
        assert (await client.post(proxy.url, json=opening)).status_code == 200
    await proxy.wait_log("opened")
    assert (
        len(proxy.logged("mcp: not looked at: requests with an URL of more than 8000 characters, to http://127.0.0.1"))
        == 1
    )


BOMBS = {
    "gzip": lambda body: gzip.compress(body, 6),
    "br": lambda body: brotli.compress(body, quality=5),
}
EMPTY_BLOCKS = gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 4_000_000
"""Twenty megabytes that say nothing."""


@pytest.mark.parametrize("coding", BOMBS)
async def test_an_answer_that_grows_when_it_is_unpacked(
    scripted: StartScripted, mitmdump: StartProxy, coding: str
) -> None:
    text = json.dumps({"jsonrpc": "2.0", "result": {"content": [{"type": "text", "text": "a" * 60_000_000}]}, "id": 0})
    large = await asyncio.to_thread(BOMBS[coding], text.encode())
    larger = await asyncio.to_thread(BOMBS[coding], text.encode() + bytes(10_000_000))
    bodies = [large, larger, EMPTY_BLOCKS if coding == "gzip" else b"\x0b" + bytes(20_000_000), b"nonsense" * 100_000]
    mini = MiniMcp()

    def answer(request: Request) -> Answer:
        if request.rpc != "tools/call":
            return mini(request)
        return Answer(200, {"content-type": "application/json", "content-encoding": coding}, bodies[request.id])

    server = await scripted(answer)
    proxy = await mitmdump(server.port, options={"mcp_identify": "off"})
    async with httpx.AsyncClient(timeout=60, headers=ACCEPT) as client:
        opened = await client.post(proxy.url, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
        headers = {"mcp-session-id": opened.headers["mcp-session-id"]}
        for number, body in enumerate(bodies):
            call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "x"}}
            async with client.stream("POST", proxy.url, json=call, headers=headers) as got:
                assert b"".join([chunk async for chunk in got.aiter_raw()]) == body
    assert len(proxy.logged("an answer passes unread")) >= 2
    assert not server.requests("DELETE")


async def test_a_handshake_that_grows_when_it_is_unpacked(scripted: StartScripted, mitmdump: StartProxy) -> None:
    text = json.dumps({"jsonrpc": "2.0", "id": "x", "result": {"protocolVersion": "2025-11-25", "x": "a" * 60_000_000}})
    bomb = await asyncio.to_thread(gzip.compress, text.encode(), 6)
    mini = MiniMcp()

    def answer(request: Request) -> Answer:
        if request.rpc == "initialize" and lost:
            return Answer(200, {"content-type": "application/json", "content-encoding": "gzip"}, bomb)
        return mini(request)

    server, lost = await scripted(answer), False
    proxy = await mitmdump(server.port, options={"mcp_identify": "off"})
    async with httpx.AsyncClient(timeout=60, headers=ACCEPT) as client:
        opened = await client.post(proxy.url, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
        headers = {"mcp-session-id": opened.headers["mcp-session-id"]}
        mini.forget()
        lost = True
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        assert (await client.post(proxy.url, json=call, headers=headers)).status_code == 404
    assert len(server.requests(rpc="initialize")) > 1


def filled(path: Path, port: int, count: int) -> None:
    """A ledger that a proxy has left which is no more."""
    here = Proxy.here()
    file = File(path, here._replace(id="before", started=here.started - 1), lambda: 2e9)
    file.open()
    endpoint, gone = Endpoint("http", "127.0.0.1", port, "/mcp"), Client(ClientKey(host="x"), "x", "x", 0, 0)
    place = Place.here()

    def session(number: int) -> Session:
        name = f"session-{number:08}-of-an-earlier-run"
        made = Session(endpoint, name, name, opened=2e9, last_used=2e9, revision="2025-11-25", opened_by="client")
        made.parameters = b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}'
        made.owners[gone] = 2e9
        return made

    file.write([row_of(session(number), place) for number in range(count)])
    file.close()


async def test_sixty_thousand_rows_at_the_start(scripted: StartScripted, mitmdump: StartProxy, tmp_path: Path) -> None:
    server = await scripted(MiniMcp())
    await asyncio.to_thread(filled, tmp_path / "ledger", server.port, 60_000)
    proxy = await mitmdump(server.port, options={"mcp_ledger": tmp_path / "ledger", "mcp_identify": "off"})
    await proxy.wait_log("60000 sessions known from an earlier run", 60)


async def test_five_thousand_sessions_at_the_exit(
    scripted: StartScripted, mitmdump: StartProxy, tmp_path: Path
) -> None:
    server = await scripted(MiniMcp())
    await asyncio.to_thread(filled, tmp_path / "ledger", server.port, 5_000)
    options = {"mcp_ledger": tmp_path / "ledger", "mcp_identify": "off", "mcp_end_at_exit": "all"}
    proxy = await mitmdump(server.port, options=options)
    await proxy.wait_log("5000 sessions known from an earlier run", 60)
    await proxy.stop(30)
    assert server.requests("DELETE")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    mount = shutil.which("mount")
    place = tmp_path / "disk"
    place.mkdir()
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_disk_that_is_full_for_a_while(scripted: StartScripted, mitmdump: StartProxy, small_disk: Path) -> None:
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options={"mcp_ledger": small_disk / "ledger", "mcp_identify": "off"})
    opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"clientInfo": {"name": "n" * 20_000}}}
    async with httpx.AsyncClient(timeout=60, headers=ACCEPT) as client:
        await client.post(proxy.url, json=opening)
        filler = small_disk / "filler"
        await asyncio.to_thread(_fill, filler)
        for _ in range(8):
            assert (await client.post(proxy.url, json=opening)).status_code == 200
        await proxy.wait_log("can't be used now .*sessions are not remembered on disk until it can be")
        await asyncio.to_thread(filler.unlink)
        await proxy.wait_log("the ledger can be written again: sessions are remembered", 20)
    await proxy.kill()
    await proxy.start()
    await proxy.wait_log("9 sessions known from an earlier run")


def _fill(path: Path) -> None:
    with path.open("wb") as file, suppress(OSError):
        while file.write(bytes(4096)):
            file.flush()
