"""One child process, its lines, and its certain end."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from harness.waiting import GaveUpError, Growing

# A proxy set for the person at the keyboard would come between the peers; without bytecode every start compiles all.
_UNWANTED = {
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "VIRTUAL_ENV",
}


class Process:
    """A child process; leaving its context ends it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bool = False,
        on_line: Callable[[str], bool] | None = None,
        name: str = "",
    ) -> None:
        """With `on_line`, lines of stdout for which it returns True are its own and are not kept."""
        self.command = [str(part) for part in command]
        self.name = name or Path(self.command[-1]).name
        self.lines: Growing[str] = Growing()
        self.errors: Growing[str] = Growing()
        self._env = {key: value for key, value in os.environ.items() if key.upper() not in _UNWANTED}
        self._env |= {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", **(env or {})}
        self._cwd = cwd
        self._stdin = stdin
        self._on_line = on_line
        self._child: asyncio.subprocess.Process | None = None
        self._pumps: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> Self:
        self._child = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE if self._stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._env,
            cwd=self._cwd,
            limit=256 * 1024 * 1024,
        )
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._pumps = [
            asyncio.create_task(self._pump(self._child.stdout, self.lines, self._on_line)),
            asyncio.create_task(self._pump(self._child.stderr, self.errors, None)),
        ]
        return self

    @property
    def pid(self) -> int:
        assert self._child is not None, "not started"
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        return self._child.returncode if self._child else None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    async def wait_line(self, pattern: str, within: float = 10.0, *, start: int = 0, count: int = 1) -> re.Match[str]:
        """The match of the first line of stdout (from index `start` on) that contains the pattern."""
        compiled = re.compile(pattern)
        try:
            line = await self.lines.wait(
                lambda line: compiled.search(line) is not None, within, start=start, count=count, what=repr(pattern)
            )
        except GaveUpError as failure:
            raise GaveUpError(f"{failure}\n{self.report()}") from None
        match = compiled.search(line)
        assert match is not None
        return match

    async def write(self, line: str) -> None:
        """One line to its stdin."""
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(line.encode() + b"\n")
        await self._child.stdin.drain()

    def signal(self, number: int) -> None:
        """Send a signal to exactly this process."""
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)

    async def wait(self, within: float = 10.0) -> int:
        """Its return code, once it ended and all its output is read."""
        assert self._child is not None
        try:
            async with asyncio.timeout(within):
                code = await self._child.wait()
                await asyncio.gather(*self._pumps)
        except TimeoutError:
            raise GaveUpError(f"did not end within {within} s\n{self.report()}") from None
        return code

    async def exited(self, within: float = 10.0) -> int:
        """Its return code; its output may go on, for a child may hold it."""
        assert self._child is not None
        async with asyncio.timeout(within):
            while (code := self._child.returncode) is None:  # noqa: ASYNC110  # `wait` waits for its pipes, too
                await asyncio.sleep(0.01)
        return code

    async def kill(self) -> int | None:
        """SIGKILL, and wait until it is gone."""
        if self._child is None:
            return None
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
        # A grandchild may hold the pipes open: its output is not waited for long.
        code = await self._child.wait()
        _, late = await asyncio.wait(self._pumps, timeout=5)
        for pump in late:
            pump.cancel()
        # Closes the pipe to its stdin; otherwise the loop complains about it when it ends.
        if self._child.stdin is not None:
            self._child.stdin.close()
        return code

    async def terminate(self, within: float = 10.0) -> int:
        """SIGTERM, and wait until it is gone."""
        self.signal(signal.SIGTERM)
        return await self.wait(within)

    async def interrupt(self, within: float = 10.0) -> int:
        """What Ctrl-C does, where there is such a thing."""
        self.signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGINT)
        return await self.wait(within)

    def report(self) -> str:
        """What it said last, for a failure's message."""
        state = "running" if self.running else f"ended with {self.returncode}"
        out = "\n".join(line[:500] for line in self.lines.items[-40:])
        err = "\n".join(line[:500] for line in self.errors.items[-40:])
        return f"--- {self.name} ({state}): stdout\n{out}\n--- stderr\n{err}\n---"

    async def _pump(
        self, reader: asyncio.StreamReader, lines: Growing[str], on_line: Callable[[str], bool] | None
    ) -> None:
        try:
            while raw := await reader.readline():
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                if on_line is None or not on_line(line):
                    lines.add(line)
        finally:
            lines.end()
