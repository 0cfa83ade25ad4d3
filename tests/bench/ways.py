"""Ways between a client and a server: nothing, a mitmdump, or one of the proxies that others make.

Each is started before one server and spoken to as its own clients speak to it: over HTTP, or over stdio.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.client import INITIALIZE, INITIALIZED, Line, request
from harness.environments import PEERS, REPOSITORY, interpreter
from harness.ports import free_port, listening
from harness.process import Process
from harness.proxy import ADDON, Mitmdump

MCP_PROXY, FASTMCP_3, FASTMCP_4 = "mcp-proxy==0.13.0", "fastmcp==3.4.4", "fastmcp==4.1.1"
MCP_REMOTE, SUPERGATEWAY = "mcp-remote@0.15.1", "supergateway@4.0.0"

PATIENCE = 10.0
"""Seconds within which a call must be answered by whatever there is."""
START = 60.0
"""Seconds within which a way must be ready."""

_SESSION = re.compile(rb"\r\nmcp-session-id: *(\S+)", re.I)
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")


@dataclass(frozen=True)
class Came:
    """What a client was given for a call: a result, an error in words, or nothing."""

    seconds: float
    kind: str
    """`result`, `error`, `HTTP 404`, `closed` or `nothing`."""
    words: str = ""


class Speaker(Protocol):
    """A client's end of a way, in a session."""

    async def call(self) -> Came:
        """One small call."""


class OverHttp:
    """One session over one kept connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session = b""
        self._number = 0
        self._line: Line | None = None

    async def open(self) -> None:
        """Shake hands."""
        answer = await self._ask(INITIALIZE)
        found = _SESSION.search(answer)
        self._session = found[1] if found else b""
        await self._ask(INITIALIZED)

    async def call(self) -> Came:
        """One small call."""
        self._number += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._ask(_called(self._number))
        except TimeoutError:
            self._line = None
            return Came(time.monotonic() - began, "nothing")
        except OSError as e:
            self._line = None
            return Came(time.monotonic() - began, "closed", type(e).__name__)
        took = time.monotonic() - began
        status = _STATUS.match(answer)
        messages = [_read(found) for found in re.findall(rb"\{.*\}", answer)]
        message = next((m for m in messages if m.get("id") == self._number), messages[-1] if messages else {})
        came = _judged(message, took)
        if status is None or status[1] != b"200":
            return Came(took, f"HTTP {status[1].decode() if status else '?'}", came.words)
        return came

    async def _ask(self, body: bytes) -> bytes:
        if self._line is None or self._line.transport.is_closing():  # servers close what is quiet for some seconds
            loop = asyncio.get_running_loop()
            _, self._line = await loop.create_connection(Line, "127.0.0.1", self._port)
        return await self._line.ask(request(self._port, body, self._session))


class OverStdio:
    """One session over a process's stdin and stdout."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._number = 0

    async def open(self) -> None:
        """Shake hands."""
        await self._process.write(INITIALIZE.decode())
        await self._process.wait_line(r'"id": ?0\b', START)
        await self._process.write(INITIALIZED.decode())

    async def call(self) -> Came:
        """One small call."""
        self._number += 1
        start, began = len(self._process.lines.items), time.monotonic()
        try:
            await self._process.write(_called(self._number).decode())
            found = await self._process.wait_line(rf'.*"id": ?{self._number}\b.*', PATIENCE, start=start)
        except OSError as e:
            return Came(time.monotonic() - began, "closed", type(e).__name__)
        except Exception:  # it waited in vain
            return Came(time.monotonic() - began, "nothing" if self._process.running else "closed")
        return _judged(_read(found[0].encode()), time.monotonic() - began)


def _called(number: int) -> bytes:
    arguments = {"name": "echo", "arguments": {"text": "hello"}}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": arguments}).encode()


def _read(found: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        value = json.loads(found)
        if isinstance(value, dict):
            return value
    return {}


def _judged(message: dict[str, Any], took: float) -> Came:
    result = message.get("result")
    if isinstance(result, dict):
        words = " ".join(str(part.get("text", "")) for part in result.get("content", []))
        return Came(took, "error" if result.get("isError") else "result", words)
    error = message.get("error")
    return Came(took, "error", str(error.get("message", "")) if isinstance(error, dict) else "")


type Start = Callable[[AsyncExitStack, int], Awaitable[Speaker]]


@dataclass(frozen=True)
class Way:
    """One way, and how to start it before the server at a port."""

    name: str
    start: Start


async def _direct(_: AsyncExitStack, port: int) -> Speaker:
    return await _over_http(port)


def _mitmdump(script: Path, **options: str) -> Start:
    async def start(stack: AsyncExitStack, port: int) -> Speaker:
        proxy = await stack.enter_async_context(Mitmdump(port, script=script, options=options))
        return await _over_http(proxy.port)

    return start


def _fastmcp(package: str) -> Start:
    async def start(stack: AsyncExitStack, port: int) -> Speaker:
        python = await asyncio.to_thread(interpreter, package)
        own = free_port()
        script = PEERS / "fastmcp_proxy.py"
        await stack.enter_async_context(Process([python, script, f"http://127.0.0.1:{port}/mcp", str(own)]))
        await listening(own, START)
        return await _over_http(own)

    return start


def _stdio(command: Callable[[str], list[str | Path]]) -> Start:
    async def start(stack: AsyncExitStack, port: int) -> Speaker:
        line = await asyncio.to_thread(command, f"http://127.0.0.1:{port}/mcp")
        process = await stack.enter_async_context(Process(line, stdin=True))
        speaker = OverStdio(process)
        await speaker.open()
        return speaker

    return start


def _mcp_proxy(url: str) -> list[str | Path]:
    return [interpreter(MCP_PROXY).parent / "mcp-proxy", "--transport", "streamablehttp", url]


def _mcp_remote(url: str) -> list[str | Path]:
    return [node_program(MCP_REMOTE), url, "--allow-http", "--transport", "http-only", "--silent"]


def _supergateway(url: str) -> list[str | Path]:
    return [node_program(SUPERGATEWAY), "--streamableHttp", url, "--logLevel", "none"]


STREAMS = "mitmdump that streams SSE"
DIRECT, ADDED, CHECKED = "direct", "addon", "addon with schema"
WAYS = (
    Way(DIRECT, _direct),
    Way(STREAMS, _mitmdump(PEERS / "stream_sse.py")),
    Way(ADDED, _mitmdump(ADDON, mcp_silence="MCP111,MCP207")),
    Way(CHECKED, _mitmdump(ADDON)),
    Way("mcp-proxy 0.13", _stdio(_mcp_proxy)),
    Way("fastmcp proxy 3.4", _fastmcp(FASTMCP_3)),
    Way("fastmcp proxy 4.1", _fastmcp(FASTMCP_4)),
    Way("mcp-remote 0.15", _stdio(_mcp_remote)),
    Way("supergateway 4.0", _stdio(_supergateway)),
)


async def _over_http(port: int) -> Speaker:
    speaker = OverHttp(port)
    await speaker.open()
    return speaker


def node_program(package: str) -> Path:
    """The program of a package of npm's, in a folder of its own that is made once."""
    name = package.partition("@")[0]
    home = REPOSITORY / ".peers" / package
    program = home / "node_modules" / ".bin" / name
    if not program.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(f"npm is needed for {package}")
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), package],
            check=True,
            stdout=sys.stderr,
        )
    return program
