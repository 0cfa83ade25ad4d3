# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Several proxies seen as one: what each of them shows of the others, in the real tools."""

from __future__ import annotations

import asyncio
import re
import secrets

import httpx
import pytest
from playwright.async_api import expect

from harness.environments import PEERS
from harness.mini_mcp import MiniMcp
from harness.proxy import ADDON
from harness.redis_server import running
from harness.web import Mitmweb, browser, chromium, problems_of
from real.fleets import client_of, fleet
from real.test_views_console import console, run
from real.test_views_page import axe, log_in

__all__ = ["client_of", "fleet"]

pytestmark = pytest.mark.real


def ledger() -> str:
    return running().url(prefix=f"t{secrets.token_hex(5)}")


async def test_commands_list_the_fleet(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp(prefix="session-of-some-length"))
    shared = {"mcp_ledger": ledger()}
    one = await mitmdump(server.port, options=shared, script=[ADDON, PEERS / "run_commands.py"])
    two = await mitmdump(server.port, options=shared)
    here, there = await client_of(one.url), await client_of(two.url, name="over-there")
    await here.open()
    await there.open()
    await here.do(f"url {two.url}")
    assert (await here.do("call moves")).startswith("200")
    async with httpx.AsyncClient(trust_env=False) as http:

        async def shows(command, *patterns, within=20):
            """Ask until all of it is shown: the ledger is written a moment after something has changed."""
            async with asyncio.timeout(within):
                while True:
                    start = len(one.log)
                    answer = await http.post(f"{one.base}/commands", content=command)
                    assert answer.status_code == 200, answer.text
                    await one.wait_log(r"mcp: (session|proxy) ", start=start)
                    said = "\n".join(one.log[start:])
                    if all(re.search(pattern, said, re.MULTILINE) for pattern in patterns):
                        return
                    await asyncio.sleep(0.3)

        await shows(
            "mcp.sessions",
            rf"session- open .*\[{there.pid}\] +127.0.0.1:{server.port}/mcp +\S+\[{two.pid}\]$",
            rf"session- #1 open .*\[{here.pid}\] .* \S+\[{two.pid}\]$",  # who has used it last
        )
        await shows("mcp.fleet", rf"\[{two.pid}\] +heard of \ds ago +2 sessions", rf"\[{one.pid}\] +here +0 sessions")
        # A proxy that is no more is not listed as living: its sessions are taken over.
        await two.kill()
        await shows("mcp.fleet", rf"\[{one.pid}\] +here +2 sessions")


async def test_a_table_of_the_console_is_drawn_again_with_the_others(scripted, mitmdump, client_of, tmp_path):
    server = await scripted(MiniMcp(prefix="session-of-some-length"))
    url = ledger()
    two = await mitmdump(server.port, options={"mcp_ledger": url})
    there = await client_of(two.url)
    await there.open()
    async with console(0, server.port, tmp_path, columns=80, options=[f"mcp_ledger={url}"]) as terminal:
        await terminal.wait_text("Flows")
        await run(terminal, "mcp.sessions")
        await terminal.wait_text("held by")
        await terminal.wait_text(rf"session- open \ds .*\[{two.pid}\]")
        terminal.press("q")
        await terminal.wait_text("Flows")


@pytest.mark.skipif(chromium() is None, reason="no chromium on this machine: apt-get install chromium")
async def test_the_page_shows_the_fleet(scripted, mitmdump, client_of):
    server = await scripted(MiniMcp(prefix="session-of-some-length"))
    shared = {"mcp_ledger": ledger()}
    two = await mitmdump(server.port, options=shared)
    there = await client_of(two.url)
    await there.open()
    async with Mitmweb(server.port, options=shared) as one, browser() as started:
        here = await client_of(one.url)
        await here.open()
        page = await started.new_page(viewport={"width": 1280, "height": 800})
        await log_in(page, one)
        problems = problems_of(page)
        await page.reload()
        rows = page.locator(".row[data-session]")
        await expect(rows).to_have_count(2)
        held = rows.filter(has_text=f"[{two.pid}]")
        await expect(held.locator(".about")).to_contain_text("held by ")
        await expect(page.locator("#fleet li")).to_have_count(2)
        await expect(page.locator("#fleet")).to_contain_text("(here) 1")
        await expect(page.locator(".row.client", has_text="seen by other proxies only")).to_have_count(1)
        await held.click()
        details = page.locator("#details")
        await expect(details).to_contain_text(f"[{two.pid}]")
        await expect(details.get_by_role("button", name="End", exact=True)).to_have_count(0)
        await page.keyboard.press("Escape")
        await page.locator("#fleet button", has_text="(here)").click()
        await expect(rows).to_have_count(1)
        await rows.click()
        await expect(details).to_contain_text("this proxy")
        await page.fill("#find", "")
        # What moves to another proxy is held there.
        await here.do(f"url {two.url}")
        assert (await here.do("call moves")).startswith("200")
        await expect(details).to_contain_text("this proxy")
        await expect(rows.filter(has_text="held by")).to_have_count(2)
        for width in (1280, 390):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await axe(page) == []
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert problems == []
