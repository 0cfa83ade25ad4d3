# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""What outlives a crash, a script that is loaded anew, and the end of the proxy; and what is done by hand."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat

import httpx
import pytest

from harness.environments import PEERS
from harness.mini_mcp import MiniMcp
from harness.proxy import ADDON
from harness.session_client import SessionClient

pytestmark = pytest.mark.real


@pytest.fixture
def client_of(started):
    async def start(url, **more):
        return await started.enter_async_context(SessionClient(url, **more))

    return start


def deletes(server):
    return [seen.session for seen in server.requests("DELETE")]


def stored(path):
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT client_id, server_id, server, generation FROM sessions").fetchall()


async def until_stored(path, count):
    await until(lambda: path.exists() and len(stored(path)) == count)


async def until(true):
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # a file tells nobody when it changes
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
async def test_a_session_is_written_down_before_its_client_knows_it(stream, scripted, mitmdump, raw_client, tmp_path):
    mini = MiniMcp(stream=stream)
    server = await scripted(mini)
    proxy = await mitmdump(server.port, confdir=tmp_path)
    client = await raw_client(proxy.url)
    for _ in range(20):
        await client.initialize()
        assert client.session in {client_id for client_id, *_ in stored(tmp_path / "mcp-sessions.sqlite")}
    await client.notify("notifications/initialized")
    mini.forget()
    assert (await client.call("echo", {"text": "again"})).text == "again"
    assert list(mini.sessions)[-1] in {server_id for _, server_id, *_ in stored(tmp_path / "mcp-sessions.sqlite")}


async def test_a_killed_proxy_with_a_hundred_sessions(scripted, mitmdump, client_of, tmp_path):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, confdir=tmp_path)
    dying, living = await client_of(proxy.url, name="dying", token="tok-dying"), await client_of(proxy.url)
    dead = (await dying.do("many 50")).split()
    live = (await living.do("many 50")).split()
    # One of them lives on under another id.
    mini.forget(live[7])
    await living.do(f"use {live[7]}")
    assert (await living.do("call before")).startswith("200")
    ledger = tmp_path / "mcp-sessions.sqlite"
    await until_stored(ledger, 100)
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
    await until(lambda: any(generation for *_, generation in stored(ledger)))

    await proxy.kill()
    await dying.process.kill()
    await proxy.start()

    await server.wait_for(lambda seen: seen.method == "DELETE", count=50, within=20)
    assert sorted(deletes(server)) == sorted(dead)
    await proxy.wait_log("session .* closed", count=50)
    initialized = len(server.requests(rpc="initialize"))
    for session in (live[0], live[7], live[49]):
        await living.do(f"use {session}")
        assert (await living.do("call after")).startswith("200")
    assert len(server.requests(rpc="initialize")) == initialized
    # And what is lost now is brought back in the words of its client.
    mini.forget(live[3])
    await living.do(f"use {live[3]}")
    assert (await living.do("call after")).startswith("200")
    again, first = server.requests(rpc="initialize")[-1], server.requests(rpc="initialize")[53]
    assert again.params == first.params
    assert sorted(deletes(server)) == sorted(dead)
    content = b"".join(path.read_bytes() for path in tmp_path.glob("mcp-sessions.sqlite*"))
    assert b"tok-dying" not in content
    assert b"authorization" not in content.lower()
    await living.process.kill()
    await server.wait_for(lambda seen: seen.method == "DELETE", count=100, within=20)


async def test_two_proxies_share_the_file(scripted, mitmdump, client_of, tmp_path):
    mini = MiniMcp()
    server = await scripted(mini)
    one = await mitmdump(server.port, confdir=tmp_path)
    two = await mitmdump(server.port, confdir=tmp_path)
    client, gone = await client_of(one.url), await client_of(one.url)
    session, other = await client.open(), await gone.open()
    mini.forget(session)
    assert (await client.do("call x")).startswith("200")
    ledger = tmp_path / "mcp-sessions.sqlite"
    await until_stored(ledger, 2)
    await until(lambda: any(generation for *_, generation in stored(ledger)))
    await one.kill()
    await gone.process.kill()
    # The client goes to the other proxy, which finds out what it means by its id.
    await client.do(f"url {two.url}")
    assert (await client.do("call y")).startswith("200")
    assert len(server.requests(rpc="initialize")) == 3
    await server.wait_for(lambda seen: seen.method == "DELETE" and seen.session == other, 20)
    await client.process.kill()
    await server.wait_for(lambda seen: seen.method == "DELETE" and seen.session != other)
    await one.start()
    await one.stop()
    assert len([seen for seen in server.requests("DELETE") if seen.session == other]) == 1


@pytest.mark.parametrize("which", ["mapped", "all", "none"])
async def test_the_end_of_the_proxy(which, scripted, mitmdump, client_of, tmp_path):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, confdir=tmp_path, options={"mcp_end_at_exit": which})
    client = await client_of(proxy.url)
    plain, lost = (await client.do("many 2")).split()
    mini.forget(lost)
    assert (await client.do("call x")).startswith("200")
    (mapped,) = set(mini.sessions) - {plain}
    assert await proxy.stop() == 0
    assert sorted(mini.ended) == sorted({"mapped": [mapped], "all": [plain, mapped], "none": []}[which])
    # Its client lives, and goes on with the next proxy.
    await proxy.start()
    for session in (plain, lost):
        await client.do(f"use {session}")
        assert (await client.do("call again")).startswith("200")


async def test_a_script_loaded_anew_ends_nothing_and_knows_everything(scripted, mitmdump, client_of, tmp_path):
    mini = MiniMcp()
    server = await scripted(mini)
    script = tmp_path / "main.py"
    script.write_text(ADDON.read_text().replace("Path(__file__).resolve().parent", f"Path({str(ADDON.parent)!r})"))
    proxy = await mitmdump(server.port, script=script, options={"mcp_ledger": "off"})
    client = await client_of(proxy.url)
    session = await client.open()
    await client.do("stream")
    mini.forget(session)
    assert (await client.do("call x")).startswith("200")
    script.write_text(script.read_text() + "\n")
    await proxy.wait_log("Loading script", count=2)
    initialized = len(server.requests(rpc="initialize"))
    assert (await client.do("call y")).startswith("200")
    assert len(server.requests(rpc="initialize")) == initialized
    assert not deletes(server)
    await client.process.kill()
    await server.wait_for(lambda seen: seen.method == "DELETE")


@pytest.mark.parametrize("kind", ["damaged", "unwritable", "foreign"])
async def test_a_file_that_cannot_be_used(kind, scripted, mitmdump, client_of, tmp_path):
    ledger = tmp_path / "ledger.sqlite"
    if kind == "unwritable":
        ledger.mkdir()
    elif kind == "foreign":
        with sqlite3.connect(ledger) as connection:
            connection.execute("CREATE TABLE mine (x)")
    else:
        ledger.write_bytes(b"SQLite format 3\0" + b"nonsense" * 1000)
    before = None if kind == "unwritable" else ledger.read_bytes()
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, options={"mcp_ledger": ledger})
    await proxy.wait_log(f"mcp: {ledger}")
    client = await client_of(proxy.url)
    session = await client.open()
    assert (await client.do("call x")).startswith("200")
    await client.process.kill()
    await server.wait_for(lambda seen: seen.method == "DELETE" and seen.session == session)
    assert len(proxy.logged(f"mcp: {ledger}")) == 1
    if kind == "damaged":
        (aside,) = tmp_path.glob("ledger.sqlite.damaged-*")
        assert aside.read_bytes() == before
    elif kind == "foreign":
        assert ledger.read_bytes() == before
    assert not proxy.process.errors.items


async def test_no_file_if_there_is_to_be_none(scripted, mitmdump, client_of, tmp_path):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, confdir=tmp_path, options={"mcp_ledger": "off"})
    client = await client_of(proxy.url)
    await client.open()
    await proxy.stop()
    assert not list(tmp_path.glob("*.sqlite*"))


async def test_by_hand(scripted, mitmdump, client_of):
    mini = MiniMcp(prefix="a-rather-long-name-of-a-session")
    server = await scripted(mini)
    proxy = await mitmdump(server.port, script=[ADDON, PEERS / "run_commands.py"])
    client, kept = await client_of(proxy.url), await client_of(proxy.url)
    session, other = await client.open(), await kept.open()

    async def command(text):
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{proxy.base}/commands", content=text)
            return answer.status_code, answer.text

    assert await command("mcp.sessions.names") == (200, "#2\n#1")
    status, said = await command("mcp.end a-rather")
    assert (status, said) == (400, "'a-rather' names 2 sessions (#1, #2); take one of these numbers")
    status, said = await command("mcp.keep nothing")
    assert (status, said) == (400, "no session is named 'nothing'; mcp.sessions lists them")
    assert (await command("mcp.end"))[0] == 400
    assert (await command(f"mcp.keep {other}"))[0] == 200
    await kept.process.kill()
    await proxy.wait_log("is kept .*process gone")
    assert (await command(f"mcp.end {session}"))[0] == 200
    await server.wait_for(lambda seen: seen.method == "DELETE")
    assert deletes(server) == [session]
    assert (await command(f"mcp.keep {other} false"))[0] == 200
    await server.wait_for(lambda seen: seen.method == "DELETE" and seen.session == other)


@pytest.mark.skipif(os.name == "nt", reason="modes of files are Unix")
async def test_a_file_that_others_could_read_is_closed_to_them(scripted, mitmdump, tmp_path):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, confdir=tmp_path)
    await proxy.stop()
    ledger = tmp_path / "mcp-sessions.sqlite"
    ledger.chmod(0o644)
    shutil.copy(ledger, tmp_path / "copy")
    await proxy.start()
    await proxy.stop()
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
