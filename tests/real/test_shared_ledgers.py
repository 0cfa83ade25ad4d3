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


def rows(path):
    with sqlite3.connect(path) as connection:
        return dict(connection.execute("SELECT client_id, owners FROM sessions"))


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
