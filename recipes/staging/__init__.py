"""The stage that recipes play on: real peers on loopback, a limit of time, and a verdict at the end."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[1]
# The real peers that the tests run against do for a demonstration, too.
sys.path.insert(0, str(RECIPES.parent / "tests"))

from harness.environments import interpreter  # noqa: E402
from harness.exchange import Answer, Request  # noqa: E402
from harness.mini_mcp import MiniMcp, lost_everything_style  # noqa: E402
from harness.process import Process  # noqa: E402
from harness.proxy import ADDON, Mitmdump  # noqa: E402
from harness.raw import RawClient  # noqa: E402
from harness.scripted import ScriptedServer  # noqa: E402
from harness.sdk import PACKAGES, Major, Result, SdkClient, SdkServer, Seen  # noqa: E402
from harness.waiting import GaveUpError  # noqa: E402

__all__ = [
    "ADDON",
    "PATIENCE",
    "RECIPES",
    "Answer",
    "GaveUpError",
    "Impossible",
    "MiniMcp",
    "Mitmdump",
    "Process",
    "RawClient",
    "Request",
    "Result",
    "ScriptedServer",
    "SdkClient",
    "SdkServer",
    "Seen",
    "Stage",
    "deleted",
    "logged",
    "lost_everything_style",
    "perform",
    "short",
    "tool",
]

LIMIT = 60.0
"""Seconds that a recipe may take, once everything is installed; most take less than ten."""
PATIENCE = 10.0
"""Seconds within which a server must see what it is to see; it takes less than one."""
STAMP = re.compile(r"^\[[\d:.]+\](\[[^]]*\])? ")


class Impossible(Exception):
    """It can't be shown on this machine; the text says why."""


class Stage:
    """What is printed, and what did not come out as it should."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def title(self, text: str) -> None:
        """A heading."""
        print(f"\n== {text}", flush=True)

    def say(self, text: str) -> None:
        """A line below it; of several lines, each."""
        for line in text.splitlines() or [""]:
            print(f"   {line}", flush=True)

    def expect(self, true: object, otherwise: str) -> None:
        """Note a failure unless something is true."""
        if not true:
            self.failures.append(otherwise)


type Story = Callable[[Stage], Awaitable[str]]


def perform(story: Story, *, sdk: Major | None = 1) -> None:
    """Play a story to its end and exit: 0 if it showed what it says, 1 if not.

    The story returns the sentence that says what was shown.
    """
    try:
        sys.exit(asyncio.run(_perform(story, sdk)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; all processes were ended")


async def _perform(story: Story, sdk: Major | None) -> int:
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    with contextlib.suppress(NotImplementedError):  # Windows knows Ctrl-C only, which ends the processes as well
        loop.add_signal_handler(signal.SIGTERM, this.cancel)
    if sdk is not None:
        print("Setting up (the first run installs the MCP SDK into .peers)", flush=True)
        await asyncio.to_thread(interpreter, PACKAGES[sdk])
    stage = Stage()
    shown = ""
    began = time.monotonic()
    try:
        async with asyncio.timeout(LIMIT):
            shown = await story(stage)
    except Impossible as why:
        print(f"not possible here: {why}", flush=True)
        return 0
    except TimeoutError:
        stage.failures.append(f"not over after {LIMIT:.0f} s")
    except AssertionError as gave_up:  # it says what did not come, and what the process said last
        stage.failures.append(str(gave_up))
    stage.title(f"Result, after {time.monotonic() - began:.1f} s")
    for failure in stage.failures:
        stage.say(f"FAILED: {failure}")
    if not stage.failures:
        stage.say(shown)
    return 1 if stage.failures else 0


def short(session: str | None) -> str:
    """A session id as it may be shown."""
    return f"{session[:8]}..." if session else "-"


def logged(proxy: Mitmdump, pattern: str) -> list[str]:
    """Lines of the proxy's log that contain the pattern, without the time."""
    return [STAMP.sub("", line) for line in proxy.logged(pattern)]


async def deleted(server: SdkServer, count: int = 1) -> bool:
    """Whether so many sessions were ended at the server within `PATIENCE`."""
    try:
        async with asyncio.timeout(PATIENCE):
            await server.wait_for(lambda seen: seen.method == "DELETE", PATIENCE, count=count)
    except (GaveUpError, TimeoutError):
        return False
    return True


async def tool(*arguments: str | Path, within: float = 30.0) -> tuple[int, str]:
    """Run `python -m mcp_sessions ...` to its end: its exit status, and what it printed."""
    name = f"mcp_sessions {arguments[0]}"
    async with Process([sys.executable, "-m", "mcp_sessions", *arguments], name=name) as process:
        status = await process.wait(within)
        return status, "\n".join([*process.lines, *process.errors])
