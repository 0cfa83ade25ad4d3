"""A recording as a server: listens on this host and answers as the recorded server did, event by event, in its time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

from tornado import httpserver, iostream, netutil, web

from ..wire.headers import HeaderMap
from ..wire.text import printable
from .recorded import Recorded
from .stand import Answer, Stand, Step

logger = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds that an event waits, beyond its recorded time, for the client to send what it had sent before it."""

BODY_LIMIT = 64 * 1024 * 1024


class ReplayServer:
    """Listens on loopback. `pauses` keeps the recorded times; without, all is sent as soon as it may be."""

    def __init__(
        self, exchanges: Iterable[Recorded], *, pauses: bool = True, told: Callable[[str], None] = logger.warning
    ) -> None:
        self.stand = Stand(exchanges, lambda: uuid4().hex)
        self.pauses = pauses
        self.told = told
        self.port = 0
        self._server: httpserver.HTTPServer | None = None
        self._closing = asyncio.Event()

    def listen(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Begin to listen; the port.

        Raises:
            OSError: when the port can't be had.
        """
        application = web.Application([(r".*", _Handler, {"serving": self})], log_function=lambda _: None)
        self._server = httpserver.HTTPServer(application, max_body_size=BODY_LIMIT)
        sockets = netutil.bind_sockets(port, host)
        self._server.add_sockets(sockets)
        self.port = int(sockets[0].getsockname()[1])
        return self.port

    async def close(self) -> None:
        """Stop listening and end what is open."""
        self._closing.set()
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()

    async def due(self, answer: Answer, step: Step, gone: asyncio.Event) -> bool:
        """Wait until a step's time has come; False if the client has gone."""
        visit = answer.visit
        if visit is not None and step.after not in visit.began:
            changed = asyncio.Event()
            visit.watchers.add(changed.set)
            try:
                async with asyncio.timeout(step.delay + PATIENCE):
                    while step.after not in visit.began and not gone.is_set():
                        changed.clear()
                        await changed.wait()
            except TimeoutError:
                return not gone.is_set()
            finally:
                visit.watchers.discard(changed.set)
        if self.pauses and visit is not None:
            await self.wait(visit.began[step.after] + step.delay - time.time(), gone)
        return not gone.is_set()

    async def wait(self, seconds: float | None, gone: asyncio.Event) -> None:
        """Wait, for ever if `seconds` is None, unless the client goes or this server is closed."""
        if seconds is not None and seconds <= 0:
            return
        either = [asyncio.ensure_future(event.wait()) for event in (gone, self._closing)]
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for waiting in either:
            waiting.cancel()


class _Handler(web.RequestHandler):
    """One request of a live client."""

    def initialize(self, serving: ReplayServer) -> None:
        self._serving = serving
        self._gone = asyncio.Event()

    def on_connection_close(self) -> None:
        self._gone.set()

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.clear_header("Content-Type")

    def compute_etag(self) -> None:
        return None

    async def get(self) -> None:
        await self._answer()

    async def post(self) -> None:
        await self._answer()

    async def delete(self) -> None:
        await self._answer()

    def write_error(self, status_code: int, **_: Any) -> None:
        """As bare as possible: a client is to see what was recorded, or nothing."""
        self.set_status(status_code)
        self.finish()

    async def _answer(self) -> None:
        serving, request = self._serving, self.request
        headers = HeaderMap(
            (name.encode("latin-1"), value.encode("utf-8", "surrogateescape"))
            for name, value in request.headers.get_all()
        )
        answer = serving.stand.answer(request.method or "", headers, request.body, time.time())
        if answer.note:
            serving.told(f"mcp: replay: {printable(answer.note, 200)}")
        if serving.pauses:
            await serving.wait(answer.delay, self._gone)
        try:
            if answer.status:
                await self._send(answer)
            if answer.stays_open:
                await serving.wait(None, self._gone)
            if answer.broken:
                self.detach().close()
        except iostream.StreamClosedError:
            self._gone.set()

    async def _send(self, answer: Answer) -> None:
        self.set_status(answer.status)
        for name, value in answer.headers:
            self.add_header(name, value)
        if not answer.steps and not answer.stays_open:
            if answer.content:
                self.write(answer.content)
            return
        await self.flush()
        for step in answer.steps:
            if not await self._serving.due(answer, step, self._gone):
                return
            self.write(step.data)
            await self.flush()
