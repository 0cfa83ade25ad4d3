"""Bridges on the proxy's host: what stands between clients and the proxy, and is none itself."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Self

from harness.environments import PEERS
from harness.ports import free_port
from harness.process import Process

VIA = "Via: 1.1 bridge"

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


class Bridge:
    """A process that connects whoever connects to it to a port of this host: plainly, or with a header put in."""

    def __init__(self, to: int, *, header: str = "") -> None:
        self.port = 0
        self._to = to
        self._header = header
        self.process = self._process()

    def _process(self) -> Process:
        options = ["--port", str(self.port)] + (["--header", self._header] if self._header else [])
        return Process([sys.executable, PEERS / "bridge.py", str(self._to), *options], name="bridge.py")

    async def __aenter__(self) -> Self:
        await self.process.start()
        self.port = int((await self.process.wait_line(r"^READY (\d+)", 20))[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.kill()

    async def restart(self) -> None:
        """End it, and have another process listen on its port."""
        await self.process.kill()
        self.process = self._process()
        await self.__aenter__()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"


class Nginx:
    """Debian's nginx with two workers that share their connections to the proxy among all clients."""

    def __init__(self, to: int) -> None:
        assert NGINX
        self.port = port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="nginx-"))
        self._configuration = self._folder / "nginx.conf"
        self._configuration.write_text(
            f"""
            daemon off; worker_processes 2; pid {self._folder}/pid; error_log {self._folder}/error.log notice;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {self._folder}/b; proxy_temp_path {self._folder}/p;
                fastcgi_temp_path {self._folder}/f; uwsgi_temp_path {self._folder}/u; scgi_temp_path {self._folder}/s;
                upstream proxy {{ server 127.0.0.1:{to}; keepalive 4; }}
                server {{
                    listen 127.0.0.1:{port};
                    location / {{
                        proxy_pass http://proxy;
                        proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
                    }}
                }}
            }}
            """
        )
        self.process = self._process()

    def _process(self, *more: str) -> Process:
        return Process([NGINX or "", "-c", self._configuration, "-p", self._folder, *more], name="nginx")

    async def __aenter__(self) -> Self:
        await self.process.start()
        await self._until("start worker process ", 2)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.terminate()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def reload(self) -> None:
        """Have its workers replaced, which end as soon as they have nothing to do; wait for that."""
        ended = self._said("exited with code 0")
        async with self._process("-s", "reload") as told:
            await told.wait()
        await self._until("exited with code 0", ended + 2)

    def _said(self, text: str) -> int:
        log = self._folder / "error.log"
        return log.read_text().count(text) if log.exists() else 0

    async def _until(self, text: str, times: int) -> None:
        async with asyncio.timeout(20):
            while self._said(text) < times:  # noqa: ASYNC110  # a file has no event
                await asyncio.sleep(0.02)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"
