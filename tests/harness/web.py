"""A real mitmweb, and a real browser that looks at it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from harness.ports import free_port
from harness.proxy import Mitmdump

FLAGS = [
    "--no-sandbox",  # the tests may run as root in a container
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """Where the system's Chromium is, if there is one (Debian: apt-get install chromium)."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Mitmweb(Mitmdump):
    """A mitmweb process with the addon. Its web page is at `web`, its password is `PASSWORD`."""

    PASSWORD = "sesame-for-tests"

    def __init__(self, upstream: str | int | None = None, **more: Any) -> None:
        self.web_port = free_port()
        options = {
            "web_port": self.web_port,
            "web_open_browser": False,
            "web_password": self.PASSWORD,
            **more.pop("options", {}),
        }
        super().__init__(upstream, tool="mitmweb", options=options, **more)

    async def start(self, within: float = 20.0) -> Any:
        """Start it, and wait until its page is there, too."""
        await super().start(within)
        await self.wait_log("Web server listening", within)
        return self

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium without a network of its own."""
    path = chromium()
    assert path is not None, "no chromium: ask chromium() first"
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        try:
            yield started
        finally:
            await started.close()


def problems_of(page: Page) -> list[str]:
    """What the page complains about from now on: errors of scripts, refused resources, requests to elsewhere."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on(
        "console",
        lambda message: (
            found.append(message.text) if message.type in ("error", "warning") and "403" not in message.text else None
        ),
    )
    page.on(
        "request",
        lambda request: found.append(request.url) if not request.url.startswith("http://127.0.0.1:") else None,
    )
    return found
