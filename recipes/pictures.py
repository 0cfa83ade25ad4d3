"""Makes the README's pictures from real traffic: `uv run recipes/pictures.py` writes docs/page.png and terminal.svg.

Needs Chromium (Debian: apt-get install chromium).
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from playwright.async_api import expect  # noqa: E402

from harness.ports import free_port  # noqa: E402
from harness.proxy import ADDON  # noqa: E402
from harness.raw import RawClient  # noqa: E402
from harness.sdk import SdkClient, SdkServer  # noqa: E402
from harness.terminal import Terminal  # noqa: E402
from harness.web import Mitmweb, browser, chromium  # noqa: E402

COLUMNS, ROWS = 110, 34
COLOURS = {
    "default": "#d7dce5", "black": "#5d6778", "red": "#ff7b72", "green": "#7ee787", "brown": "#e3b341",
    "yellow": "#e3b341", "blue": "#79b8ff", "magenta": "#d2a8ff", "cyan": "#76e3ea", "white": "#ffffff",
}  # fmt: skip


async def page(to: Path) -> None:
    """The page in mitmweb, with sessions in every condition."""
    async with (
        SdkServer(1) as server,
        Mitmweb(server.port) as proxy,
        browser() as started,
        SdkClient(1) as editor,
        SdkClient(1) as agent,
        SdkClient(1) as batch,
    ):
        await editor.connect(proxy.url, name="editor")
        await agent.connect(proxy.url, name="agent")
        await agent.connect(proxy.url, name="agent", as_="second")
        await batch.connect(proxy.url, name="nightly-batch")
        for client in (editor, agent, batch):
            await client.call("echo", text="hello")
        await agent.call("echo", text="hello", as_="second")
        look = await started.new_page(viewport={"width": 1280, "height": 620}, color_scheme="dark")
        await look.goto(f"{proxy.web}/mcp?token={proxy.PASSWORD}")
        await look.select_option("#span", "0")
        await asyncio.sleep(4)  # a time line needs time
        await server.restart()
        await agent.call("echo", text="after the restart")
        await asyncio.sleep(3)
        await editor.call("echo", text="after the restart")
        await agent.close(as_="second")
        await asyncio.sleep(3)
        await batch.kill()
        async with RawClient(proxy.url) as rough:
            await rough.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers={"accept": "*/*"})
        await expect(look.locator(".row .chip.closed")).to_have_count(2, timeout=20_000)
        await look.locator(".row[data-session]", has_text="recovered").first.click()
        await expect(look.locator("#details")).to_contain_text("History")
        await asyncio.sleep(1.5)
        await look.screenshot(path=to)


async def terminal(to: Path) -> None:
    """The console with a stream as a conversation."""
    binary = shutil.which("mitmproxy", path=str(Path(sys.executable).parent)) or "mitmproxy"
    port = free_port()
    confdir = await asyncio.to_thread(tempfile.mkdtemp, prefix="mitm-")
    command = [binary, "--set", f"confdir={confdir}", "--listen-host", "127.0.0.1", "--listen-port", str(port)]
    async with SdkServer(1) as server, SdkClient(1) as client:
        command += ["--mode", f"reverse:http://127.0.0.1:{server.port}", "-s", str(ADDON)]
        async with Terminal(command, columns=COLUMNS, rows=ROWS) as console:
            await console.wait_text("Flows")
            await client.connect(f"http://127.0.0.1:{port}/mcp", name="editor")
            await client.call("echo", text="hello")
            await server.restart()
            await client.call("progress", steps=3, interval=0.2)
            console.press(":view.filter.set '~bq steps & !~meta mcp_own'\r")
            await console.wait_text(r"\[1/1\]")
            console.press("\r")
            await console.wait_text("client → server")
            console.press("\t")
            await console.wait_text("4 events · ended")
            await asyncio.to_thread(to.write_text, svg(console), "utf-8")
    await asyncio.to_thread(shutil.rmtree, confdir, ignore_errors=True)


def svg(console: Terminal) -> str:
    """The screen as a picture whose text is text."""
    width, height = 8.4, 18
    line: list[str] = []
    for number in range(ROWS):
        row = console.screen.buffer[number]
        runs: list[tuple[str, int, str]] = []
        for column in range(COLUMNS):
            cell = row[column]
            colour = COLOURS.get(cell.fg, f"#{cell.fg}" if len(cell.fg) == 6 else COLOURS["default"])
            style = f'fill="{colour}"' + (' font-weight="bold"' if cell.bold else "")
            if runs and runs[-1][0] == style:
                runs[-1] = (style, runs[-1][1], runs[-1][2] + cell.data)
            else:
                runs.append((style, column, cell.data))
        for style, column, text in runs:
            if text.strip():
                place = f'x="{12 + column * width:.1f}" y="{40 + number * height}" textLength="{len(text) * width:.1f}"'
                line.append(f'<text {place} {style} xml:space="preserve">{escape(text)}</text>')
    wide, high = 24 + COLUMNS * width, 40 + ROWS * height
    dots = "".join(
        f'<circle cx="{18 + n * 18}" cy="14" r="5.5" fill="{c}"/>'
        for n, c in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high:.0f}" font-size="14" '
        "font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\">\n"
        f'<rect width="100%" height="100%" rx="8" fill="#14181f"/>{dots}\n' + "\n".join(line) + "\n</svg>\n"
    )


async def main() -> None:
    """Both pictures."""
    if chromium() is None:
        raise SystemExit("no chromium on this machine: apt-get install chromium")
    docs = ROOT / "docs"
    await terminal(docs / "terminal.svg")
    await page(docs / "page.png")


if __name__ == "__main__":
    asyncio.run(main())
