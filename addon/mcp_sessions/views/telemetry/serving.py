"""A web server of two pages for whoever collects figures: bounded in everything, on the loop that it reports on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from ...proxy.failing import described
from .address import ListenAt

HEAD_LIMIT = 8 * 1024
"""Bytes of a request that are read; of what comes after it nothing is."""

PATIENCE = 5.0
"""Seconds within which a request must have come, and its answer been taken."""

AT_ONCE = 16
"""Connections that are open at the same time; more are closed unheard."""

PLAIN = "text/plain; charset=utf-8"

type Page = Callable[[str], tuple[bytes, str]]
"""Makes a page for whoever has sent this `Accept`: what is written, and its type."""


class Serving:
    """Answers GET, a request on each connection."""

    def __init__(self, at: ListenAt, pages: dict[str, Page], failed: Callable[[str], None]) -> None:
        """`failed` is told, once, of an error in making a page.

        Raises:
            OSError: when nobody can listen there.
        """
        self._pages = pages
        self._failed: Callable[[str], None] | None = failed
        self._open: set[asyncio.StreamWriter] = set()
        family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
        self._socket = socket.create_server((at.host, at.port), family=family, backlog=AT_ONCE)
        self._socket.setblocking(False)
        self._server: asyncio.Server | None = None
        self.at = ListenAt(at.host, self._socket.getsockname()[1])
        """Where it listens."""

    async def serve(self) -> None:
        """Begin to answer."""
        self._server = await asyncio.start_server(self._taken, sock=self._socket, limit=HEAD_LIMIT)

    def close(self) -> None:
        """Listen no more, and drop whoever is there."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for writer in self._open:
            writer.transport.abort()

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= AT_ONCE:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            # A client that is gone, or late, or says too much, is told nothing.
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(PATIENCE):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head.decode("latin-1")))
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    def _answer(self, head: str) -> bytes:
        first, *lines = head.split("\r\n")
        verb, _, rest = first.partition(" ")
        page = self._pages.get(rest.partition(" ")[0].partition("?")[0])
        if verb not in ("GET", "HEAD"):
            return _written("405 Method Not Allowed", b"GET only\n", more="Allow: GET, HEAD\r\n")
        if page is None:
            return _written("404 Not Found", f"only {' and '.join(self._pages)}\n".encode())
        accept = next((line.partition(":")[2].strip() for line in lines if line.lower().startswith("accept:")), "")
        try:
            body, content_type = page(accept)
        except Exception as e:
            if self._failed is not None:
                self._failed(described(e))
                self._failed = None
            return _written("500 Internal Server Error", b"see the log\n")
        return _written("200 OK", body, content_type, without=verb == "HEAD")


def _written(status: str, body: bytes, content_type: str = PLAIN, more: str = "", *, without: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if without else body)
