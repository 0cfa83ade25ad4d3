"""A program in a terminal: what it draws can be read, and keys can be pressed."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from typing import Self

import pyte

from harness.waiting import GaveUpError


class Terminal:
    """A child process in a pseudo terminal whose screen is kept."""

    def __init__(
        self, command: Sequence[str], *, columns: int = 140, rows: int = 40, env: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.columns, self.rows = columns, rows
        self._env = {
            **os.environ,
            "TERM": "xterm-256color",
            "PYTHONIOENCODING": "utf-8",
            "LC_ALL": "C.UTF-8",
            **(env or {}),
        }
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._changed = asyncio.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._master = -1

    async def __aenter__(self) -> Self:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, 0, 0))
        # asyncio's own would want a pipe for its output; starting a process takes a few milliseconds.
        self._child = subprocess.Popen(  # noqa: ASYNC220
            self.command, stdin=slave, stdout=slave, stderr=slave, env=self._env, start_new_session=True
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        assert self._child is not None
        self._child.kill()
        await asyncio.to_thread(self._child.wait)
        os.close(self._master)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            data = os.read(self._master, 65536)
            self._stream.feed(data)
        self._changed.set()

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def press(self, keys: str) -> None:
        """Press keys: text, or control characters such as a tabulator."""
        os.write(self._master, keys.encode())

    def interrupt(self) -> None:
        """Ctrl-C, as a user gives it."""
        assert self._child is not None
        self._child.send_signal(2)

    async def wait_end(self, within: float = 15.0) -> int:
        """Wait until the program has ended by itself; what it returns."""
        assert self._child is not None
        async with asyncio.timeout(within):
            return await asyncio.to_thread(self._child.wait)

    async def wait_text(self, pattern: str, within: float = 15.0) -> re.Match[str]:
        """Wait until the screen shows the pattern."""
        compiled = re.compile(pattern)
        try:
            async with asyncio.timeout(within):
                while True:
                    self._changed.clear()
                    if found := compiled.search(self.text):
                        return found
                    await self._changed.wait()
        except TimeoutError:
            raise GaveUpError(f"{pattern!r} did not appear within {within} s on\n{self.text}") from None
