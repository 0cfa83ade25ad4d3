"""A real mitmdump with the addon, another script, or none."""

import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from harness import loopwatch
from harness.environments import REPOSITORY
from harness.process import Process

ADDON = REPOSITORY / "addon" / "main.py"
WATCH = Path(loopwatch.__file__)
_LISTENING = re.compile(r" listening at (.+):(\d+)\.")

Setting = str | int | float | bool | Path | Sequence[str]


class Mitmdump:
    """A mitmdump process; its certificates and every file of the addon's live in a directory of its own."""

    def __init__(
        self,
        upstream: str | int | None = None,
        *,
        mode: str | Sequence[str] | None = None,
        script: Path | Sequence[Path] | None = ADDON,
        options: Mapping[str, Setting] | None = None,
        write: Path | None = None,
        read: Path | None = None,
        confdir: Path | None = None,
        port: int = 0,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        tool: str = "mitmdump",
    ) -> None:
        """`upstream` (reverse mode) is a port on this host or a URL; `read` processes a flow file, without serving."""
        if mode is None and upstream is not None:
            mode = (
                f"reverse:http://127.0.0.1:{upstream}" if isinstance(upstream, int) else f"reverse:{_origin(upstream)}"
            )
        self.modes = [mode] if isinstance(mode, str) else list(mode or ())
        self.scripts = [script] if isinstance(script, Path) else list(script or ())
        # Quiet by default: one line a flow costs more than the flow.
        self.options: dict[str, Setting] = {"flow_detail": 0, **(options or {})}
        self.ports: list[int] = []
        self._own_confdir = Path(tempfile.mkdtemp(prefix="mitm-")) if confdir is None else None
        self.confdir = confdir or self._own_confdir or Path()
        self._read = read
        self._write = write
        self._port = port
        self._args = list(args)
        self._env = env
        self.tool = tool
        self.longest_turn = (0.0, "")
        """Of its event loop since it listens: processor time in seconds, and what was run."""
        self.process = self._process()

    async def __aenter__(self) -> Self:
        try:
            return await self.start()
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: object) -> None:
        try:
            if self.process.running:
                await self.stop()
        finally:
            await self.process.kill()
            if self._own_confdir is not None:
                await asyncio.to_thread(shutil.rmtree, self._own_confdir, ignore_errors=True)

    async def start(self, within: float = 20.0) -> Self:
        """Start it, or start it again on the same port."""
        if self.ports:
            self._port = self.ports[0]
            self.process = self._process()
        self.ports = []
        await self.process.start()
        if self._read is None:
            for number in range(1, max(1, len(self.modes)) + 1):
                match = await self.process.wait_line(_LISTENING.pattern, within, count=number)
                self.ports.append(int(match[2]))
        return self

    async def stop(self, within: float = 15.0) -> int:
        """End it as a user would, by SIGINT; the addon gets its chance to finish."""
        return await self.process.interrupt(within)

    async def kill(self) -> None:
        """End it without a chance to finish."""
        await self.process.kill()

    async def finished(self, within: float = 30.0) -> int:
        """Wait until it ends by itself (`read`)."""
        return await self.process.wait(within)

    async def wait_log(self, pattern: str, within: float = 10.0, *, start: int = 0, count: int = 1) -> re.Match[str]:
        """The match of the `count`-th log line (from index `start` on) that contains the pattern."""
        return await self.process.wait_line(pattern, within, start=start, count=count)

    def logged(self, pattern: str) -> list[str]:
        """Log lines so far that contain the pattern."""
        compiled = re.compile(pattern)
        return [line for line in self.process.lines if compiled.search(line)]

    @property
    def log(self) -> list[str]:
        """All log lines so far (stdout)."""
        return list(self.process.lines)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def base(self) -> str:
        """Where it listens, without a path; also the value for HTTP_PROXY in regular mode."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The MCP endpoint as seen through a reverse proxy."""
        return f"{self.base}/mcp"

    @property
    def ca(self) -> Path:
        """The certificate authority that clients must trust when it intercepts TLS."""
        return self.confdir / "mitmproxy-ca-cert.pem"

    def _process(self) -> Process:
        return Process(self._command(), env=self._env, name=self.tool, on_line=self._of_watch)

    def _of_watch(self, line: str) -> bool:
        mark, _, rest = line.partition(" ")
        if mark != loopwatch.MARK:
            return False
        seconds, _, what = rest.partition(" ")
        self.longest_turn = max(self.longest_turn, (float(seconds), what))
        return True

    def _command(self) -> list[str]:
        binary = shutil.which(self.tool, path=str(Path(sys.executable).parent))
        if binary is None:
            raise RuntimeError(f"no {self.tool} beside the interpreter that runs the tests")
        command = [binary, "--set", f"confdir={self.confdir}", "--listen-host", "127.0.0.1"]
        if self._read is None:
            command += ["--listen-port", str(self._port)]
        else:
            command += ["-n", "-r", str(self._read)]
        for mode in self.modes:
            command += ["--mode", mode]
        for script in [WATCH, *self.scripts] if self._read is None else self.scripts:
            command += ["-s", str(script)]
        for key, value in self.options.items():
            for item in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
                command += ["--set", f"{key}={str(item).lower() if isinstance(item, bool) else item}"]
        if self._write is not None:
            command += ["-w", str(self._write)]
        return [*command, *self._args]


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
