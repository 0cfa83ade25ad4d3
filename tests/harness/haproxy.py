"""A real HAProxy that spreads requests over several proxies, one after the other."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest

from harness.ports import free_port, listening
from harness.process import Process

BINARY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
MISSING = "no haproxy here: on Debian apt-get install haproxy"

CONFIGURATION = """\
global
  stats socket {folder}/admin level admin
defaults
  mode http
  timeout connect 2s
  timeout client 120s
  timeout server 120s
  # Each request is spread by itself, and no connection to a proxy outlives it.
  option http-server-close
  http-reuse never
  option forwardfor
  # A client that is gone is to be gone for the proxy, too.
  option abortonclose
  option redispatch
  retries 3
  retry-on conn-failure
frontend in
  bind 127.0.0.1:{port}
  default_backend proxies
backend proxies
  balance roundrobin
{servers}
"""


class HaProxy:
    """`async with HaProxy([one.port, two.port]) as balancer: balancer.url`."""

    def __init__(self, ports: Sequence[int]) -> None:
        if BINARY is None:
            pytest.skip(MISSING)
        self.folder = Path(tempfile.mkdtemp(prefix="haproxy-"))
        self.port = free_port()
        servers = "\n".join(f"  server proxy{n} 127.0.0.1:{port} check inter 200ms" for n, port in enumerate(ports, 1))
        text = CONFIGURATION.format(folder=self.folder, port=self.port, servers=servers)
        (self.folder / "cfg").write_text(text)
        self.process = Process([BINARY, "-db", "-f", self.folder / "cfg"], name="haproxy")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def __aenter__(self) -> Self:
        await self.process.start()
        await listening(self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
