"""Opening a recording: nothing is sent, nothing remembered, and what is shown is what was recorded."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import expect

from harness.environments import PEERS, REPOSITORY
from harness.mini_mcp import MiniMcp
from harness.proxy import ADDON, Mitmdump
from harness.web import Mitmweb, browser, chromium
from mcp_sessions.recordings.reading import flows_in

pytestmark = pytest.mark.real

LEDGER_AT_EXIT = REPOSITORY / "recipes" / "ledger_at_exit.py"
COMMANDS = PEERS / "run_commands.py"

LABELS = ("alpha5e5", "bravo5e5", "charlie5")


@pytest_asyncio.fixture
async def server(scripted):
    return await scripted(MiniMcp(prefix="delta5e510f0aa17c0ffee"))


@pytest_asyncio.fixture
async def recording(server, mitmdump, client_of, tmp_path) -> Path:
    """Of three sessions: one brought back, then ended for its dead client; one that its client ended; one left open."""
    mini, file = server.handler, Path(tmp_path) / "recorded.mitm"
    proxy = await mitmdump(server.port, write=file, options={"mcp_end_at_exit": "none"})
    clients = []
    for label in LABELS:
        mini.prefix = f"{label}10f0aa17c0ffee"
        clients.append(await client_of(proxy.url))
        await clients[-1].open()
        await clients[-1].do("call x")
    mini.sessions.pop(next(iter(mini.sessions)))
    assert (await clients[0].do("call y")).startswith("200")
    await clients[0].process.kill()
    await server.wait_for(lambda seen: seen.method == "DELETE")
    await clients[1].do("delete whole")
    await server.wait_for(lambda seen: seen.method == "DELETE", count=2)
    await proxy.wait_log("session bravo5e5 closed|session bravo5e5 ended")
    await proxy.stop()
    return file


@pytest_asyncio.fixture
async def folder(server, mitmdump, client_of, tmp_path) -> Path:
    """A configuration folder whose ledger remembers a session of a client that is dead by now."""
    folder = Path(tmp_path) / "configuration"
    folder.mkdir()
    server.handler.prefix = "delta5e510f0aa17c0ffee"
    proxy = await mitmdump(server.port, confdir=folder)
    client = await client_of(proxy.url)
    await client.open()
    await proxy.stop()
    await client.process.kill()
    assert remembered(folder)
    return folder


def remembered(folder: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / "mcp-sessions.sqlite") as ledger:
        tables = [name for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [row for table in sorted(tables) for row in ledger.execute(f"SELECT * FROM {table} ORDER BY 1")]


def rows(proxy: Mitmdump) -> list[tuple[str, ...]]:
    """What `mcp.sessions` has printed: labels, numbers and states."""
    found = (re.match(r"mcp: (\w+) (#\d+) (\w+) ", line) for line in proxy.log)
    return [match.groups() for match in found if match]


@pytest.mark.slow_turns("mitmproxy reads a file without a pause")
@pytest.mark.parametrize("listening", [True, False], ids=["listening", "reading alone"])
async def test_nothing_is_sent_and_nothing_remembered(listening, server, recording, folder, mitmdump) -> None:
    before, seen = remembered(folder), len(server.seen)
    more = {"args": ["-r", str(recording)]} if listening else {"read": recording}
    proxy = await mitmdump(server.port, confdir=folder, script=[ADDON, LEDGER_AT_EXIT], **more)
    assert await proxy.finished() == 0
    assert len(server.seen) == seen, [(one.method, one.session) for one in server.seen[seen:]]
    assert remembered(folder) == before
    assert rows(proxy) == [("alpha5e5", "#1", "closed"), ("bravo5e5", "#2", "closed"), ("charlie5", "#3", "open")]
    assert proxy.logged("ledger off, for saved flows are read")
    # What was remembered is still owed, and whoever looks at no recording pays it.
    proxy = await mitmdump(server.port, confdir=folder)
    await server.wait_for(lambda seen: seen.method == "DELETE" and (seen.session or "").startswith("delta"))


@pytest.mark.skipif(chromium() is None, reason="no chromium on this machine: apt-get install chromium")
async def test_the_page_and_the_commands_are_about_what_was_recorded(server, recording, folder, tmp_path) -> None:
    seen = len(server.seen)
    args = ["-r", str(recording)]
    async with (
        Mitmweb(server.port, confdir=folder, script=[ADDON, COMMANDS], args=args) as proxy,
        browser() as started,
        httpx.AsyncClient(trust_env=False) as http,
    ):

        async def command(text: str) -> tuple[int, str]:
            answer = await http.post(f"{proxy.base}/commands", content=text)
            return answer.status_code, answer.text

        page = await started.new_page(viewport={"width": 1280, "height": 800})
        await page.goto(f"{proxy.web}/mcp")
        await page.fill("input[name=token]", proxy.PASSWORD)
        await page.click("input[type=submit]")
        found = page.locator(".row[data-session]")
        await expect(found).to_have_count(3)
        first = found.filter(has_text="alpha5e5")
        await expect(first.locator(".chip")).to_have_text("closed")
        await expect(first.locator(".about")).to_contain_text("recovered ×1")
        await expect(first.locator(".about")).to_contain_text("by the proxy")
        await first.click()
        await expect(page.locator("#details").get_by_role("link", name="tools/call echo")).not_to_have_count(0)
        await expect(page.locator("#details").get_by_role("link", name="by the proxy: DELETE")).not_to_have_count(0)

        assert await command("mcp.sessions.names") == (200, "charlie5\nbravo5e5\nalpha5e5")
        for said in ("mcp.end charlie5", "mcp.reinit charlie5", "mcp.keep charlie5"):
            status, text = await command(said)
            assert (status, text) == (400, f"{said.split()[0]}: session charlie5 was read from a file: nothing is done")
        status, text = await command(f"mcp.export #2 {tmp_path / 'second.mitm'}")
        assert status == 200, text
        await proxy.wait_log("mcp.export: .* written to")
        assert {flow.metadata["mcp_session"] for flow in flows_in(tmp_path / "second.mitm")} == {"bravo5e5"}
    assert len(server.seen) == seen
