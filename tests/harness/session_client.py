"""A raw client as a process of its own, which tests can kill."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from harness.environments import PEERS
from harness.process import Process


class SessionClient:
    """`async with SessionClient(proxy.url) as client: await client.do("open")`."""

    def __init__(
        self, url: str, *, file: Path | None = None, name: str = "", token: str = "", within: Sequence[str] = ()
    ) -> None:
        """`within` is a command that the client is started by, such as `ip netns exec NAME`."""
        command: list[str | Path] = [*within, sys.executable, PEERS / "session_client.py", url]
        for option, value in (("--file", file), ("--name", name), ("--token", token)):
            if value:
                command += [option, str(value)]
        self.process = Process(command, stdin=True, name="session_client.py")

    async def __aenter__(self) -> Self:
        await self.process.start()
        await self.process.wait_line("^READY", 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.kill()

    async def do(self, command: str, within: float = 30.0) -> str:
        """Carry out a command; what it says."""
        start = len(self.process.lines)
        await self.process.write(command)
        return (await self.process.wait_line("^= (.*)", within, start=start))[1]

    async def open(self) -> str:
        """Open a session; its id."""
        return await self.do("open")

    async def tell(self, command: str) -> None:
        """A command that has no answer."""
        await self.process.write(command)

    @property
    def pid(self) -> int:
        return self.process.pid
