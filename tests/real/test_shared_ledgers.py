# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""A ledger file of another machine, or that several proxies share: nobody else's client is taken for gone."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from harness.mini_mcp import MiniMcp
from harness.session_client import SessionClient
from mcp_sessions.processes.place import Place
from mcp_sessions.store.proxies import SILENCE

pytestmark = pytest.mark.real

HERE = Place.here()


@pytest.fixture
def client_of(started):
    async def start(url, **more):
        return await started.enter_async_context(SessionClient(url, **more))

    return start


def deletes(server):
    return [seen.session for seen in server.requests("DELETE")]


async def until(true, within=10.0):
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110  # a file tells nobody when it changes
            await asyncio.sleep(0.02)


def rows(path, column="owners"):
    with sqlite3.connect(path) as connection:
        return dict(connection.execute(f"SELECT client_id, {column} FROM sessions"))


def carried_elsewhere(path, place):
    """The file, as it is on a machine where the processes that are named in it say nothing, some minutes later."""
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE sessions SET owners = replace(owners, ?, ?)", (str(HERE), str(place)))
        connection.execute("UPDATE proxies SET place = ?, seen = seen - ?", (str(place), SILENCE + 1))


async def test_a_ledger_of_another_machine_of_the_same_name_ends_nothing_at_the_start(
    scripted, mitmdump, client_of, tmp_path
):
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, confdir=tmp_path, options={"mcp_end_after_idle": 4})
    used, silent = await client_of(proxy.url), await client_of(proxy.url)
    session, other = await used.open(), await silent.open()
    ledger = tmp_path / "mcp-sessions.sqlite"
    await until(lambda: ledger.exists() and all(str(HERE) in owners for owners in rows(ledger).values()))
    await until(lambda: len(rows(ledger)) == 2)
    await proxy.kill()
    carried_elsewhere(ledger, HERE._replace(machine="a clone, of the same name"))
    await proxy.start()
    await proxy.wait_log("2 sessions known from an earlier run")
    assert (await used.do("call x")).startswith("200")
    assert not deletes(server)
    # Known by evidence only: who is silent for long is ended, who is seen again is not.
    await server.wait_for(lambda seen: seen.method == "DELETE", within=20)
    await proxy.wait_log("closed .*no connection and no request for 4 s")
    assert deletes(server) == [other]
    assert (await used.do("call y")).startswith("200")
    assert session not in deletes(server)


BLIND = {"mcp_identify": "off", "mcp_end_after_stream": 1, "mcp_end_after_idle": 3}


async def test_what_has_moved_to_another_proxy_is_ended_by_that_one(scripted, mitmdump, client_of, tmp_path):
    server = await scripted(MiniMcp())
    one = await mitmdump(server.port, confdir=tmp_path, options=BLIND)
    two = await mitmdump(server.port, confdir=tmp_path, options=BLIND)
    client = await client_of(one.url)
    session = await client.open()
    await client.do("stream")
    await client.do("hang-up")  # which the first takes for a sign, and notes after the second has taken over
    await client.do(f"url {two.url}")
    for _ in range(14):  # longer than every grace time, and never silent for as long
        assert (await client.do("call x")).startswith("200")
        await asyncio.sleep(0.5)
    assert not deletes(server)
    await one.wait_log("session .* left to another proxy")
    assert len(server.requests(rpc="initialize")) == 1
    # It may come back, and whoever has it last ends it, once.
    await client.do(f"url {one.url}")
    assert (await client.do("call y")).startswith("200")
    await server.wait_for(lambda seen: seen.method == "DELETE", within=20)
    await asyncio.sleep(4)
    assert deletes(server) == [session]


async def test_who_listens_at_one_proxy_and_calls_through_another_is_alive(scripted, mitmdump, client_of, tmp_path):
    server = await scripted(MiniMcp())
    options = BLIND | {"mcp_end_after_idle": 14}  # longer than a proxy takes to look after its own
    one = await mitmdump(server.port, confdir=tmp_path, options=options)
    two = await mitmdump(server.port, confdir=tmp_path, options=options)
    client = await client_of(one.url)
    await client.open()
    await client.do("stream")
    await client.do(f"url {two.url}")
    assert (await client.do("call x")).startswith("200")
    await two.wait_log("session .* left to another proxy", 30)
    assert not deletes(server)
    await one.stop()  # it knows that its client may live


async def test_a_proxy_that_ends_leaves_what_has_moved(scripted, mitmdump, client_of, tmp_path):
    mini = MiniMcp()
    server = await scripted(mini)
    one = await mitmdump(server.port, confdir=tmp_path, options={"mcp_identify": "off"})
    two = await mitmdump(server.port, confdir=tmp_path, options={"mcp_identify": "off"})
    client = await client_of(one.url)
    session = await client.open()
    mini.forget(session)
    assert (await client.do("call x")).startswith("200")
    await until(lambda: "session-2" in rows(tmp_path / "mcp-sessions.sqlite", "server_id").values())
    await client.do(f"url {two.url}")
    assert (await client.do("call y")).startswith("200")
    await one.stop()
    assert not deletes(server)
    assert (await client.do("call z")).startswith("200")
    assert len(server.requests(rpc="initialize")) == 2
    await two.stop()
    assert deletes(server) == ["session-2", session]  # with the id that a recovery has replaced
