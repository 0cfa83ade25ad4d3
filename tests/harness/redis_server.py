"""A real redis-server (or valkey-server) for tests: one for all tests of a worker, or one that a test may maltreat."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any, Self

import pytest
import redis

from harness.ports import free_port

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")
MISSING = "no redis-server here: on Debian apt-get install redis-server"


class RedisServer:
    """One server, in a folder of its own; it is ended with the tests."""

    def __init__(self, *options: str, port: int = 0) -> None:
        """`options` as on its command line. With a port, 0 for any, it listens on 127.0.0.1 too."""
        if BINARY is None:
            pytest.skip(MISSING)
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket = self.folder / "s"
        self.port = port or free_port()
        self.options = list(options)
        self._child: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def start(self, *more: str) -> Self:
        """Start it, or start it again; its data is there if it was saved."""
        assert BINARY is not None
        command = [BINARY, "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket)]
        command += ["--dir", str(self.folder), "--save", "", "--loglevel", "warning", *self.options, *more]
        self._child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError, OSError), self.client() as client:
                client.execute_command("CLIENT", "ID")
                return self
            time.sleep(0.02)
        raise AssertionError("redis-server does not start")

    def url(self, **query: str) -> str:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        return f"redis://127.0.0.1:{self.port}/0{'?' if asked else ''}{asked}"

    def client(self, **more: Any) -> redis.Redis:
        """Another one that asks it."""
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5, **more)

    def everything(self, prefix: str) -> bytes:
        """All that is stored under a prefix."""
        with self.client() as client:
            return b"".join(
                name + (client.dump(name) or b"") + _value(client, name) for name in client.scan_iter(f"{prefix}:*")
            )

    def kill(self) -> None:
        """End it without a chance to save."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGCONT)
            self._child.kill()
            self._child.wait()
            self._child = None

    def pause(self) -> None:
        assert self._child
        self._child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._child
        self._child.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _value(client: redis.Redis, name: bytes) -> bytes:
    kind = client.type(name)
    if kind == b"hash":
        table: dict[bytes, bytes] = client.hgetall(name)  # type: ignore[assignment]
        return b"".join(key + value for key, value in table.items())
    return client.get(name) or b"" if kind == b"string" else b""  # type: ignore[return-value]


@cache
def running() -> RedisServer:
    """The server that all tests of this worker share; without one they are skipped, and say why."""
    return RedisServer().start()
