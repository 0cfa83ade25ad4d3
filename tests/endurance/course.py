"""The course: clients of three kinds, a proxy that is killed, a server that loses everything; and the reckoning."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import sqlite3
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from harness.bridge import Bridge
from harness.exchange import Answer, Request
from harness.mini_mcp import MiniMcp
from harness.namespaces import another_host
from harness.process import Process
from harness.proxy import ADDON, Mitmdump, Setting
from harness.scripted import ScriptedServer
from mcp_sessions.core.session import shorten

HERE = Path(__file__).resolve().parent
GRACE = 4
"""Seconds until a session whose client is only seen through somebody else is ended (`mcp_end_after_...`)."""
LATE = 15
"""Seconds after its client's end, or the proxy's last start, when a session is ended too late. What was late before the
proxy was killed is not told from what was not."""
LOOK = 3
"""Seconds within which a busy proxy has looked which process is behind a connection."""
GROWTH = 1.2
"""How much more memory the last quarter may take at its highest than the first half did."""
TROUBLE = re.compile(r"mcp: error|has crashed|Traceback|Addon error|could not be ended")
"""What the proxy must not log."""


@dataclass(frozen=True)
class Course:
    """How much of it."""

    seconds: float = 12
    clients: int = 12
    """Clients of each kind that live at a time."""
    life: float = 4
    """Seconds that a client lives, about."""
    losses: int = 2
    """How often the server loses all sessions and every connection."""
    kills: int = 1
    """How often the proxy is killed and started anew."""
    seed: int = 1
    drained: float = 40
    """Seconds within which everything must be ended once the last client is gone."""


class Server(MiniMcp):
    """Remembers who did what, so that it can be told afterwards whether anything was done twice or wrongly."""

    def __init__(self) -> None:
        super().__init__(names=lambda _: uuid4().hex)
        self.opened: dict[str, str] = {}
        """By session, the name that its client gave itself."""
        self.deletes: list[tuple[float, str]] = []
        """When, and which session."""
        self.unknown = 0
        """DELETEs for sessions that were given, and are there no more."""
        self.never_given = 0

    def default(self, request: Request) -> Answer:
        """As any server; what matters is noted."""
        if request.method == "DELETE" and request.session is not None:
            if request.session in self.sessions:
                self.deletes.append((time.monotonic(), request.session))
            elif request.session in self.opened:
                self.unknown += 1
            else:
                self.never_given += 1
        return super().default(request)

    def _initialize(self, request: Request) -> Answer:
        answer = super()._initialize(request)
        session = next(reversed(self.sessions))
        self.opened[session] = str(request.params["clientInfo"]["name"])
        return answer


@dataclass
class Reckoning:
    """What came of it; `faults` is what should not have been."""

    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str) -> None:
        """Something that must hold."""
        if not holds:
            self.faults.append(what)


class Run:
    """One course being run."""

    def __init__(self, course: Course, **options: Setting) -> None:
        """`options` of the proxy, beside those that make its patience short."""
        self.course = course
        self._options = {"mcp_end_after_stream": GRACE, "mcp_end_after_idle": GRACE, **options}
        self.said: list[dict[str, Any]] = []
        self.breaks: list[tuple[float, float]] = []
        """From when to when a call had to begin that was under way then, and could not be saved: while the proxy was
        down, but not while the server was, for such calls are kept waiting."""
        self.started = [0.0]
        """When the proxy was started."""
        self.killed: list[float] = []
        """When it was killed."""
        self.left: dict[str, Any] = {}
        """What the proxy says of itself at its end."""
        self.log: list[str] = []
        """What it has logged, before it was killed, too."""
        self.memory: list[int] = []

    async def run(self) -> Reckoning:
        """Run it to the end."""
        server = Server()
        async with AsyncExitStack() as stack:
            scripted = await stack.enter_async_context(ScriptedServer(server))
            with another_host() as (far, proxy_address):
                proxy = Mitmdump(
                    scripted.port,
                    options=self._options,
                    script=[ADDON, HERE / "leftovers.py"],
                    args=["--listen-host", "0.0.0.0"] if far else [],  # a link to nowhere else
                )
                await stack.enter_async_context(proxy)
                bridge = await stack.enter_async_context(Bridge(proxy.port))
                near = await stack.enter_async_context(self._farm([]))
                kinds = [("local", near, "127.0.0.1", proxy.port), ("bridged", near, "127.0.0.1", bridge.port)]
                if far:
                    beyond = await stack.enter_async_context(self._farm(far))
                    kinds.append(("remote", beyond, proxy_address, proxy.port))
                process = psutil.Process(proxy.pid)
                files = process.num_fds()
                trouble = asyncio.create_task(self._trouble(server, scripted, proxy))
                await self._populate(kinds, proxy)
                await trouble
                began = time.monotonic()
                drained = await self._drained(server, proxy)
                took = round(time.monotonic() - began, 1)
                await asyncio.sleep(1)  # the ledger is written a moment later
                process = psutil.Process(proxy.pid)
                files_after, established = process.num_fds(), _established(process)
                rows = _rows(proxy.confdir / "mcp-sessions.sqlite")
                await proxy.stop()
                self.log += proxy.log
                logged = [line for line in self.log if TROUBLE.search(line)]
                reckoning = self._reckon(server)
                reckoning.expect(
                    drained, f"{len(server.sessions)} sessions are left at the server after {self.course.drained} s"
                )
                reckoning.expect(not rows, f"{rows} sessions are left in the ledger's file")
                reckoning.expect(files_after <= files + 8, f"{files_after} files are open, {files} at the beginning")
                reckoning.expect(not established, f"{established} connections are left")
                reckoning.expect(not logged, f"logged: {logged[:3]}")
                reckoning.figures |= {
                    "seconds until all was ended": took,
                    "files before and after": (files, files_after),
                    "rows": rows,
                }
                return reckoning

    def _farm(self, within: list[str]) -> Process:
        return Process([*within, sys.executable, HERE / "farm.py"], stdin=True, on_line=self._heard, name="farm.py")

    def _heard(self, line: str) -> bool:
        if not line.startswith("{"):
            return False
        with suppress(ValueError):
            self.said.append(json.loads(line))
        return True

    async def _populate(self, kinds: list[tuple[str, Process, str, int]], proxy: Mitmdump) -> None:
        """Keep so many of each alive, as long as the course takes, and wait for the last to die."""
        course, chance = self.course, random.Random(self.course.seed)
        spawned: Counter[str] = Counter()
        until = time.monotonic() + course.seconds
        while time.monotonic() < until:
            gone = Counter(one["kind"] for one in self.said if one["what"] == "bye")
            for kind, farm, host, port in kinds:
                lacking = course.clients - (spawned[kind] - gone[kind])
                if lacking > 0:
                    spawned[kind] += lacking
                    seed = chance.randrange(1 << 30)
                    await farm.write(f"spawn {kind} {host} {port} {lacking} {seed} {course.life}")
            if proxy.process.running:  # it may be about to be started again
                with suppress(psutil.Error):
                    self.memory.append(psutil.Process(proxy.pid).memory_info().rss)
            await asyncio.sleep(0.5)
        async with asyncio.timeout(60 + course.life * 2):
            while sum(one["what"] == "bye" for one in self.said) < spawned.total():  # noqa: ASYNC110  # pipes
                await asyncio.sleep(0.1)
        self.spawned = spawned

    async def _trouble(self, server: Server, scripted: ScriptedServer, proxy: Mitmdump) -> None:
        course = self.course
        doings = ["loss"] * course.losses + ["kill"] * course.kills
        random.Random(course.seed).shuffle(doings)
        for doing in doings:
            await asyncio.sleep(course.seconds / (len(doings) + 1))
            began = time.monotonic()
            if doing == "loss":
                await scripted.stop()
                server.forget()
                self.breaks.append((began, time.monotonic()))
                await asyncio.sleep(0.3)
                await scripted.start()
            else:
                self.killed.append(began)
                await proxy.kill()
                self.log += proxy.log
                await proxy.start()
                self.started.append(time.monotonic())
                self.breaks.append((began, time.monotonic()))

    async def _drained(self, server: Server, proxy: Mitmdump) -> bool:
        """Wait until the server holds no session, and the proxy holds nothing; what it holds last is kept."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.course.drained):
                while server.sessions or await self._held(proxy):  # noqa: ASYNC110  # two processes
                    await asyncio.sleep(0.2)
        if server.sessions:
            await self._held(proxy)
        return not server.sessions

    async def _held(self, proxy: Mitmdump) -> bool:
        known = len(proxy.log)
        proxy.process.signal(signal.SIGUSR1)
        self.left = json.loads((await proxy.wait_log(r"^LEFT (.*)", start=known))[1])
        return any(self.left.values())

    def _reckon(self, server: Server) -> Reckoning:
        found = Reckoning()
        failed = [one for one in self.said if one["what"] == "failed"]
        lost = [one for one in failed if not self._excused(one["began"], one["at"])]
        found.expect(not lost, f"{len(lost)} calls were lost: {lost[:3]}")
        twice = [text for text, times in server.executed.items() if times > 1]
        found.expect(not twice, f"{len(twice)} calls were executed twice: {twice[:3]}")
        found.expect(not server.never_given, f"{server.never_given} DELETEs for ids that were never given")
        gone = {one["pid"]: one["at"] for one in self.said if one["what"] == "bye"}
        own = {one["name"] for one in self.said if one["what"] == "delete"}
        kinds = {one["pid"]: one["kind"] for one in self.said}
        known = {one["name"] for one in self.said if one["what"] == "open" and not self._unseen(one["at"])}
        early = [
            name
            for at, session in server.deletes
            if (name := server.opened[session]) in known - own
            and kinds.get(pid := _process(name)) == "local"
            and at < gone.get(pid, float("inf"))
        ]
        found.expect(not early, f"{len(early)} sessions of living processes were ended: {early[:3]}")
        after = {session: at - self._due(gone, server.opened[session], at) for at, session in server.deletes}
        late = {shorten(session): round(seconds, 1) for session, seconds in after.items() if seconds > LATE}
        found.expect(not late, f"{len(late)} sessions were ended late: {list(late.items())[:3]}")
        left = {name: count for name, count in self.left.items() if count}
        found.expect(not left, f"left in the proxy: {left}")
        quarter = max(1, len(self.memory) // 4)
        memory = [max(self.memory[: quarter * 2]) >> 20, max(self.memory[-quarter:]) >> 20]
        found.expect(memory[1] <= memory[0] * GROWTH, f"memory has grown from {memory[0]} to {memory[1]} MB")
        found.figures = {
            "clients": dict(self.spawned),
            "sessions opened at the server": len(server.opened),
            "calls": server.executed.total(),
            "calls cut by what was down": dict(Counter(one["why"].split()[0] for one in failed if one not in lost)),
            "deleted": len(server.deletes),
            "deleted by their clients": len(own),
            "deleted once more": server.unknown,
            "latest end of a session, seconds after its client's": round(max(after.values(), default=0.0), 1),
            "MB of memory, first half and last quarter": memory,
        }
        return found

    def _unseen(self, at: float) -> bool:
        """Whether the proxy was killed so soon after that time that it may not have looked whose connection that was.

        Its successor knows of such a session by an address alone, and goes by evidence.
        """
        return any(killed - LOOK < at < killed for killed in self.killed)

    def _due(self, gone: dict[int, float], name: str, at: float) -> float:
        """Since when, at that time, the session of a client of that name was to be ended."""
        return max([gone.get(_process(name), at), *(one for one in self.started if one < at)])

    def _excused(self, began: float, at: float) -> bool:
        return any(began <= up and at >= down for down, up in self.breaks)


def _process(name: str) -> int:
    """The client that gave itself this name; 0 if it was given by the proxy, which had not seen the session open."""
    pid = name.partition("-")[0]
    return int(pid) if pid.isdecimal() else 0


def _rows(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        return int(ledger.execute("SELECT count(*) FROM sessions").fetchone()[0])


def _established(process: psutil.Process) -> int:
    return sum(one.status == psutil.CONN_ESTABLISHED for one in process.net_connections("tcp"))
