"""The processes that a test needs: the proxy, and a server that is started for it. Each ends with the test.

Nothing of mitmproxy is imported here: pytest is to start as fast with the plugin as without.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

START = 30.0
"""Seconds that a process has to listen."""
END = 15.0
"""Seconds that it has to end by itself once it is asked to."""
KEPT = 400
"""Lines of a process that are kept."""
LINE = 1024
"""Characters of a line that are read at once."""
SHOWN = 20
"""Lines that are shown of a process that failed."""
POLL = 0.02
"""Seconds between two looks whether a port is open."""

LISTENING = re.compile(r" listening at .+:(\d+)\.")
READY = re.compile(r"mcp: mitmproxy-mcp-sessions ")
"""What the addon says once it runs."""
ADDRESS = re.compile(r"https?://[^\s\"'<>\[\](),;]+")
PORT, PYTHON = "{port}", "{python}"
"""What a command may have in it: a port that is free, and the interpreter that runs the tests."""


class NotStartedError(Exception):
    """A process did not come up; says what it said last."""


class Child:
    """A process whose output is read all the time; leaving its context ends it and all that it has started."""

    def __init__(self, command: Sequence[str], cwd: Path | None = None) -> None:
        self.name = Path(command[0]).name
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._changed = threading.Condition()
        self._over = False
        """All that it said was read."""
        try:
            self.process = subprocess.Popen(  # noqa: S603 - what the user wants run
                command,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        except OSError as e:
            raise NotStartedError(f"{shlex.join(command)}: {e.strerror or e}") from None
        self._reader = threading.Thread(target=self._read, name=f"mcp-{self.name}", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def wait_line(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """The match of the first line that contains the pattern.

        Raises:
            NotStartedError: when it ends before, or takes longer than `START`.
        """
        until = time.monotonic() + START
        with self._changed:
            while True:
                for line in self._lines:
                    if found := pattern.search(line):
                        return found
                left = until - time.monotonic()
                if self._over or left <= 0:
                    raise NotStartedError(self.report("said nothing of where it listens"))
                self._changed.wait(left)

    def wait_port(self, port: int) -> None:
        """Wait until something listens there.

        Raises:
            NotStartedError: when it ends before, or takes longer than `START`.
        """
        until = time.monotonic() + START
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            if self.process.poll() is not None or time.monotonic() > until:
                raise NotStartedError(self.report(f"does not listen on port {port}"))
            time.sleep(POLL)

    def interrupt(self) -> int | None:
        """End it as a user would, by Ctrl-C; its exit status, None if it had to be killed."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(END)
        except subprocess.TimeoutExpired:
            self.end()
            return None
        self._reader.join(END)
        return self.process.returncode

    def end(self) -> None:
        """End it, and whatever it has started, at once if need be."""
        for name in ("SIGTERM", "SIGKILL"):
            with contextlib.suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(self.process.pid, getattr(signal, name))
                else:
                    self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END)
                break
        self._reader.join(1.0)

    @property
    def lines(self) -> list[str]:
        """What it said last."""
        with self._changed:
            return list(self._lines)

    def report(self, what: str) -> str:
        """What is wrong with it, and what it said last."""
        status = self.process.poll()
        how = what if status is None else f"has ended with status {status}"
        return "\n".join([f"{self.name} {how}; it said last:", *(f"  {line}" for line in self.lines[-SHOWN:])])

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output, contextlib.suppress(ValueError):
            while line := output.readline(LINE):
                with self._changed:
                    self._lines.append(line.rstrip())
                    self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()


class Server(Child):
    """A server that is started for a test, by a command in which `{port}` stands for a free port.

    Without one, the first address that it prints is taken for its own.
    """

    def __init__(self, command: str | Sequence[str], cwd: Path, path: str) -> None:
        words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
        port = _free_port()
        self._port = port if any(PORT in word for word in words) else None
        self._path = path
        super().__init__([word.replace(PORT, str(port)).replace(PYTHON, sys.executable) for word in words], cwd)

    def wait_url(self) -> str:
        """Its address, as soon as it listens there.

        Raises:
            NotStartedError: when it does not.
        """
        if self._port is None:
            said = self.wait_line(ADDRESS)[0].rstrip("./")
            at = urlsplit(said)
            self.wait_port(at.port or 80)
            return said if at.path else said + self._path
        self.wait_port(self._port)
        return f"http://127.0.0.1:{self._port}{self._path}"


class Proxy(Child):
    """`mcp-mitmdump` before a server; its log, its flows and its certificates lie in a folder of the test's own."""

    def __init__(self, upstream: str, folder: Path, options: Mapping[str, str], *, record: bool) -> None:
        self.log, self.flows = folder / "mcp.jsonl", folder / "flows.mitm"
        at = urlsplit(upstream)
        self._path = (at.path or "/") + (f"?{at.query}" if at.query else "")
        chosen = {
            "confdir": str(folder),
            "flow_detail": "0",
            "mcp_log": str(self.log),
            "mcp_ledger": "off",
            "mcp_status": "off",
            # What a test leaves behind is named, and taken from the server all the same.
            "mcp_end_at_exit": "all",
            **options,
        }
        command = [tool("mcp-mitmdump"), "--mode", f"reverse:{at.scheme}://{at.netloc}"]
        command += ["--listen-host", "127.0.0.1", "--listen-port", "0"]
        command += [word for name, value in chosen.items() for word in ("--set", f"{name}={value}")]
        command += ["-w", str(self.flows)] if record else []
        super().__init__(command)

    def wait_url(self) -> str:
        """Where clients find the server, as soon as it listens.

        Raises:
            NotStartedError: when it does not.
        """
        port = self.wait_line(LISTENING)[1]
        self.wait_line(READY)  # a moment later: only now a recording stands in for the server
        return f"http://127.0.0.1:{port}{self._path}"


def exported(flows: Path, target: Path, redact: Sequence[str]) -> str:
    """Write flows without their secrets to a file, in the place of what was there; what went wrong, if anything."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{os.getpid()}-{target.name}")
    command = [tool("mcp-sessions"), "export", str(flows), str(fresh)]
    command += [word for secret in redact for word in ("--redact", secret)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
        if done.returncode:
            return done.stderr.strip()[-1000:]
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return ""


def tool(name: str) -> str:
    """Where a command of this package is: beside the interpreter that runs the tests, or on the path."""
    beside = shutil.which(name, path=sysconfig.get_path("scripts"))
    return beside or shutil.which(name) or name


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
