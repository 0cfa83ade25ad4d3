"""The page in mitmweb, and mitmweb's own flow view, in a real browser against real traffic."""

from __future__ import annotations

import asyncio
import re
import zipfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Literal

import httpx
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from conftest import StartClient, StartServer
from harness.proxy import ADDON
from harness.session_client import SessionClient
from harness.web import Mitmweb, browser, chromium, problems_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(chromium() is None, reason="no chromium on this machine: apt-get install chromium"),
]

HOSTILE = "<img src=x onerror=alert(1)><b>evil</b>"


LONGEST_PAUSE = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    let longest = 0, last = performance.now(), going = true;
    const tick = () => {
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
        if (going) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    const list = document.getElementById('list'), find = document.getElementById('find');
    for (let n = 0; n <= 20; n++) { list.scrollTop = n * 20000; await frame(); }
    for (const text of ['agent7', 'agent77', '']) {
        find.value = text;
        find.dispatchEvent(new Event('input'));
        await frame();
        await frame();
    }
    going = false;
    return longest;
}"""
"""Scrolls through the list and searches in it; milliseconds of the longest time without a frame."""


@pytest_asyncio.fixture
async def page() -> AsyncIterator[Page]:
    async with browser() as started:
        yield await started.new_page(viewport={"width": 1280, "height": 800})


async def log_in(page: Page, proxy: Mitmweb) -> None:
    await page.goto(f"{proxy.web}/mcp")
    await page.fill("input[name=token]", proxy.PASSWORD)
    await page.click("input[type=submit]")
    await expect(page.locator("h1")).to_have_text("MCP sessions")


async def test_a_session_appears_is_recovered_and_is_ended(
    page: Page, sdk_server: StartServer, sdk_client: StartClient
) -> None:
    server = await sdk_server(1)
    async with Mitmweb(server.port) as proxy:
        await log_in(page, proxy)
        problems = problems_of(page)
        await page.reload()
        await expect(page.locator("#link")).to_have_text("live")
        await expect(page.locator("#nothing")).to_be_visible()

        client = await sdk_client(1, proxy.url, name=HOSTILE)
        row = page.locator(".row[data-session]")
        await expect(row).to_have_count(1)
        await expect(row.locator(".chip")).to_have_text("open")
        await expect(page.locator(".row.client")).to_contain_text(HOSTILE)
        assert await page.locator("b", has_text="evil").count() == 0

        await client.call("echo", text="before")
        await server.restart()
        assert (await client.call("echo", text="after")).text == "after"
        await expect(row.locator(".about")).to_contain_text("recovered ×1")

        await row.click()
        details = page.locator("#details")
        await expect(details).to_contain_text("recovered")
        await expect(details.get_by_role("link", name="tools/call echo · session")).not_to_have_count(0)

        await client.kill()
        await expect(row.locator(".chip")).to_have_text("closed")
        await expect(row.locator(".about")).to_contain_text("by the proxy")
        await expect(details).to_contain_text("process gone")
        await expect(page.locator("#totals")).to_contain_text("ended 1")

        await page.click("#tab-rules")
        rule = page.locator("#rule-MCP308")
        await rule.locator("summary").click()
        assert (await rule.get_by_role("link", name="clause").get_attribute("href") or "").startswith(
            "https://modelcontextprotocol.io/specification/"
        )
        assert problems == []


async def test_the_page_leads_to_the_flow_and_the_flow_reads_like_mcp(
    page: Page, sdk_server: StartServer, sdk_client: StartClient
) -> None:
    server = await sdk_server(1)
    async with Mitmweb(server.port) as proxy:
        client = await sdk_client(1, proxy.url)
        await client.call("echo", text="hello")
        await log_in(page, proxy)
        await page.locator(".row[data-session]").click()
        await page.locator("#details").get_by_role("link", name="tools/call echo").first.click()
        await page.wait_for_url("**/#/flows/**")
        await expect(page.locator("body")).to_contain_text("client → server · request tools/call echo")
        await page.get_by_text("Response", exact=True).first.click()
        await expect(page.locator("body")).to_contain_text("response to tools/call echo")


async def test_a_stream_is_seen_in_the_flow_view_while_it_is_open(
    page: Page, sdk_server: StartServer, sdk_client: StartClient
) -> None:
    server = await sdk_server(1)
    async with Mitmweb(server.port) as proxy:
        client = await sdk_client(1, proxy.url)
        await log_in(page, proxy)
        call = await client.begin("call", tool="progress", args={"steps": 40, "interval": 0.25})
        await page.locator(".row[data-session]").click()
        to_flow = page.locator("#details").get_by_role("link", name="tools/call progress").first
        await to_flow.click()
        await page.wait_for_url("**/#/flows/**")
        await page.get_by_text("Response", exact=True).first.click()
        await expect(page.locator("body")).to_contain_text("still open")
        await expect(page.locator("body")).to_contain_text("notification notifications/progress")
        await client.result(call)
        await expect(page.locator("body")).to_contain_text("41 events · ended")


async def test_nobody_gets_in_without_the_password(sdk_server: StartServer) -> None:
    async with Mitmweb(1) as proxy, httpx.AsyncClient(base_url=proxy.web, trust_env=False) as web:
        for path in (
            "/mcp",
            "/mcp/page.js",
            "/mcp/changes.json",
            "/mcp/sessions/1.json",
            "/mcp/sessions/1/messages.json",
            "/mcp/sessions/1/export.zip",
        ):
            # The last two: what a page finds whose own name resolves to this host.
            for host in (None, "evil.example", "localhost.evil.example:8081"):
                refused = await web.get(path, headers={"Host": host} if host else {})
                assert refused.status_code == 403, (path, host)
                assert "MCP sessions" not in refused.text
        assert (await web.get("/mcp/changes.json", params={"token": "wrong"})).status_code == 403
        allowed = await web.get("/mcp", headers={"Authorization": f"Bearer {proxy.PASSWORD}"})
        assert allowed.status_code == 200
        policy = allowed.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert (await web.get("/mcp/changes.json?since=x")).status_code == 400
        assert (await web.get("/mcp/sessions/77.json")).status_code == 404
        assert (await web.post("/mcp", data={"token": "wrong"})).status_code == 403
        # With the password, but not from the page: another site could have sent it.
        for deed in ("end", "keep", "unkeep", "reinit"):
            forged = await web.post(f"/mcp/sessions/1/{deed}", headers={"Authorization": f"Bearer {proxy.PASSWORD}"})
            assert forged.status_code == 403, deed


async def test_ten_thousand_sessions_do_not_stall_the_page(page: Page, tmp_path: Path) -> None:
    script = tmp_path / "many.py"
    script.write_text(
        "import time\n"
        "from mcp_sessions.core.client import Client, ClientKey\n"
        "from mcp_sessions.core.session import Endpoint, Session\n"
        "from mitmproxy import ctx\n"
        "def running():\n"
        "    addon = next(a for a in ctx.master.addons.lookup.values() if type(a).__name__ == 'McpSessions')\n"
        "    now = time.time()\n"
        "    ledger = addon.core.ledger\n"
        "    for c in range(100):\n"
        "        key = ClientKey(pid=c + 1, started=now)\n"
        "        client = ledger.clients[key] = Client(key, f'agent{c}', '127.0.0.1', now, now, pid=c + 1)\n"
        "        for s in range(100):\n"
        "            name = f'{c * 100 + s:08d}-0000-0000-0000-000000000000'\n"
        "            session = Session(Endpoint('http', 'h', 80, '/mcp'), name, name, now - s, now, '2025-11-25')\n"
        "            ledger.open(session, now); ledger.own(session, client, now)\n"
        "            session.note(now - s, 'opened'); addon.reporting.journal.touch(session)\n"
    )
    async with Mitmweb(1, script=[ADDON, script]) as proxy:
        await log_in(page, proxy)
        await expect(page.locator("#totals")).to_contain_text("open 10,000")
        await expect(page.locator("#rows")).to_have_css("height", "404000px")
        assert await page.locator(".row").count() < 60
        await page.focus("#list")
        # Longest pause of the page while it scrolls through everything and searches.
        longest = await page.evaluate(LONGEST_PAUSE)
        assert longest < 500, f"{longest:.0f} ms"
        await page.keyboard.press("End")
        await expect(page.locator(".row.picked .label")).to_have_text("00000000")
        await page.keyboard.press("Home")
        await page.keyboard.press("Enter")
        await expect(page.locator("#details h2")).to_contain_text("Session 00009999")
        await page.keyboard.press("Escape")
        await expect(page.locator("#details")).to_be_hidden()


async def axe(page: Page) -> list[str]:
    """What axe-core has to say about the page as it is: the rules that it finds broken, and where."""
    found = (await Axe().run(page)).response["violations"]
    return [f"{one['id']}: {[node['html'][:150] for node in one['nodes'][:3]]}" for one in found]


async def overlapping(page: Page, selector: str) -> list[str]:
    """The neighbours of this kind that cover one another."""
    elements = await page.locator(selector).all()
    boxes = [(await element.inner_text(), await element.bounding_box()) for element in elements]
    known = sorted(((box["x"], box["x"] + box["width"], text) for text, box in boxes if box), key=lambda one: one[0])
    return [f"{a[2]} / {b[2]}" for a, b in pairwise(known) if b[0] < a[1]]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_is_seen_and_can_be_reached(
    sdk_server: StartServer, width: int, scheme: Literal["light", "dark"]
) -> None:
    server = await sdk_server(1)
    async with Mitmweb(server.port) as proxy, browser() as started, AsyncExitStack() as stack:
        page = await started.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        await log_in(page, proxy)
        problems = problems_of(page)
        await page.reload()
        stays = await stack.enter_async_context(SessionClient(proxy.url, name="stays"))
        await stays.open()
        async with SessionClient(proxy.url, name="goes") as goes:
            await goes.open()
            await goes.do("call hello")
        rows = page.locator(".row[data-session]")
        await expect(rows).to_have_count(2)
        broken = rows.filter(has_text="MCP308")
        await expect(broken.locator(".about")).to_contain_text("⚠ MCP308")
        await expect(broken.locator(".about")).to_contain_text("by the proxy")
        await expect(broken.locator(".about")).to_be_visible()
        if width == 1280:
            await expect(broken.locator(".where")).to_have_text(f"127.0.0.1:{server.port}/mcp")
        assert await overlapping(page, "#axis span") == []
        for text in (await page.locator("#axis span").all_inner_texts())[:-1]:
            assert re.fullmatch(r"(\d+ (d|h|min|s) ?)+ ago", text), text

        # The arrow keys, before anything was clicked.
        await page.evaluate("document.activeElement.blur()")
        await page.keyboard.press("ArrowDown")
        await expect(page.locator(".row.picked")).to_have_count(1)

        # Filter, order, and the counters.
        await page.select_option("#show", "violations")
        await expect(rows).to_have_count(1)
        await page.locator("#totals button", has_text="clients").click()
        await expect(rows).to_have_count(2)
        await page.select_option("#order", "violations")
        await expect(page.locator(".row.client")).to_have_count(0)
        await expect(rows.first).to_contain_text("MCP308")
        assert await axe(page) == []

        # A session by its address, what was said in it, and what contains a word.
        await broken.click()
        await page.get_by_role("tab", name="Messages").click()
        lines = page.locator(".messages tbody tr")
        await expect(lines.filter(has_text="response to tools/call echo")).to_have_count(1)
        await page.get_by_label("Find in messages").fill("response initialize")
        await expect(lines).to_have_count(1)
        await expect(lines).to_contain_text("response to initialize")
        assert await axe(page) == []
        await page.reload()
        await expect(page.locator("#details h2")).to_contain_text("Session ")
        await expect(lines.filter(has_text="response to tools/call echo")).to_have_count(1)

        await page.keyboard.press("Escape")
        await expect(page.locator("#details")).to_be_hidden()

        # The violations: by client, with a search of their own; a rule by its address.
        await page.locator("#totals button", has_text="violations").click()
        await page.fill("#find", "MCP308")
        await expect(page.locator("#rules > details")).to_have_count(1)
        await expect(page.locator("#rule-MCP308")).to_be_visible()
        await page.fill("#find", "")
        await page.evaluate("location.hash = 'rule-MCP308'")
        await expect(page.locator("#rule-MCP308 h2")).to_have_count(1)
        await expect(page.locator("#rule-MCP308 li")).to_be_visible()
        assert await axe(page) == []
        assert problems == []


async def test_a_session_is_kept_ended_and_exported_from_the_page(
    page: Page, sdk_server: StartServer, sdk_client: StartClient
) -> None:
    server = await sdk_server(1)
    async with Mitmweb(server.port) as proxy:
        client = await sdk_client(1, proxy.url)
        await client.call("echo", text="said in it", token="s3cret-" + "0123456789abcdef")
        await log_in(page, proxy)
        problems = problems_of(page)
        await page.locator(".row[data-session]").click()
        details = page.locator("#details")
        await details.get_by_role("button", name="Keep", exact=True).click()
        await expect(details).to_contain_text("not ended by the proxy")
        await details.get_by_role("button", name="Keep no longer").click()
        await expect(details.get_by_role("button", name="Keep", exact=True)).to_be_visible()
        await details.get_by_role("button", name="Reinit").click()
        await server.wait_for(lambda seen: seen.rpc == "notifications/initialized", count=2)

        async with page.expect_download() as downloading:
            await details.get_by_role("link", name="Export").click()
        exported = await (await downloading.value).path()
        with zipfile.ZipFile(exported) as archive:
            text = b"".join(archive.read(name) for name in archive.namelist())
        assert b"tools/call" in text
        assert (await client.session_id() or "-").encode() not in text

        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
        await details.get_by_role("button", name="End", exact=True).click()
        await expect(page.locator(".row[data-session] .chip")).to_have_text("closed")
        await expect(details.get_by_role("button", name="End", exact=True)).to_have_count(0)
        assert problems == []
