# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""The wall clock is set ahead or back while the proxy runs: nobody is idle for that, and nothing stops."""

from __future__ import annotations

import asyncio
import sqlite3

import httpx
import pytest

from harness.environments import PEERS
from harness.mini_mcp import MiniMcp
from harness.proxy import ADDON
from harness.session_client import SessionClient

pytestmark = pytest.mark.real

SCRIPTS = [PEERS / "shifted_clock.py", ADDON]


@pytest.fixture
def client_of(started):
    async def start(url, **more):
        return await started.enter_async_context(SessionClient(url, **more))

    return start


def stored(path):
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT client_id FROM sessions").fetchall()


async def shift(proxy, seconds):
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{proxy.base}/shift/{seconds}")).status_code == 204


@pytest.mark.parametrize("seconds", [3600, -3600, 20 * 86400])
async def test_a_jump_ends_nothing_and_stops_nothing(seconds, scripted, mitmdump, client_of, tmp_path):
    mini = MiniMcp()
    server = await scripted(mini)
    options = {"mcp_identify": "off", "mcp_end_after_stream": 1, "mcp_end_after_idle": 4}
    proxy = await mitmdump(server.port, script=SCRIPTS, confdir=tmp_path, options=options)
    client, silent = await client_of(proxy.url, name="client"), await client_of(proxy.url, name="silent")
    session, left = await client.open(), await silent.open()
    await shift(proxy, seconds)
    await asyncio.sleep(1.5)
    assert not mini.ended
    mini.forget(session)  # and what is lost is brought back, as soon as before
    assert (await asyncio.wait_for(client.do("call x"), 10)).startswith("200")
    await server.wait_for(lambda seen: seen.method == "DELETE", within=15)
    assert mini.ended == [left]
    await proxy.wait_log("closed .*no connection and no request for 4 s")


@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_a_ledger_that_was_written_by_a_clock_that_was_wrong(seconds, scripted, mitmdump, client_of, tmp_path):
    """The next run has the right time: what was used in its future, or long ago, is as old as it is seen to be."""
    mini = MiniMcp()
    server = await scripted(mini)
    options = {"mcp_identify": "off", "mcp_end_after_stream": 1, "mcp_end_after_idle": 4}
    script = tmp_path / "at.py"
    script.write_text(f"import time\nreal = time.time\ntime.time = lambda: real() + {seconds}\n")
    wrong = await mitmdump(server.port, script=[script, ADDON], confdir=tmp_path, options=options)
    client = await client_of(wrong.url)
    session = await client.open()
    ledger = tmp_path / "mcp-sessions.sqlite"
    async with asyncio.timeout(10):
        while not (ledger.exists() and stored(ledger)):  # noqa: ASYNC110  # a file tells nobody when it changes
            await asyncio.sleep(0.02)
    await wrong.kill()
    right = await mitmdump(server.port, confdir=tmp_path, options=options)
    await right.wait_log("1 session known from an earlier run")
    await asyncio.sleep(1.5)
    assert not mini.ended
    await server.wait_for(lambda seen: seen.method == "DELETE", within=15)
    assert mini.ended == [session]
