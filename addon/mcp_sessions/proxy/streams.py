"""Reading along with an event stream that passes to the client untouched, and keeping a bounded copy of it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from mitmproxy import http

from ..core.quiet import SIGN
from ..wire.coding import CodingError, TooLargeError, Undo, decoded
from ..wire.headers import header_map, open_ended
from ..wire.sse import BOM, Decoder, Event
from . import clock
from .metadata import ARRIVALS, TRUNCATED

logger = logging.getLogger(__name__)

DECODED_LIMIT = 1 << 30
"""Bytes that a compressed stream may grow to before it is no longer read along."""

CHUNK_LIMIT = 8 * 1024 * 1024
"""Bytes that one chunk of a compressed stream may grow to before the stream is no longer read along."""

SLICE = 4 * 1024
"""Bytes that are made events in one go."""

EVENTS_AT_ONCE = 500
"""Events of a stream that are looked at before others have their turn; the bytes have passed by then."""

BYTES_AT_ONCE = 32 * 1024
"""The same for bytes: of a stream of empty lines there are no events."""

BACKLOG_LIMIT = 16 * 1024 * 1024
"""Bytes of a stream that may wait to be looked at; beyond, it passes unread."""

ARRIVALS_LIMIT = 10_000
"""Events of one stream whose time is kept."""

CONTENT_LIMIT = 64 * 1024 * 1024
"""Bytes that a compressed answer may grow to when it is read; a larger one passes unread."""


UNPACKED_AT_ONCE = 1024 * 1024
"""Bytes of it up to which nobody has to wait for a thread: that takes some milliseconds at most."""


def undone(response: http.Response) -> bytes:
    """An answer's body with its content coding undone.

    Raises:
        CodingError: when that can't be done.
    """
    # By its headers as they are now: another addon may have decoded it.
    data = response.data
    coding = header_map(data.headers.fields).get("content-encoding", "")
    return decoded(data.content or b"", coding, CONTENT_LIMIT)


def content(response: http.Response) -> bytes | Coroutine[Any, Any, bytes | None] | None:
    """The same, to be awaited where it takes long; None, and a warning, where it can't be done."""
    data = response.data
    body = data.content or b""
    coding = header_map(data.headers.fields).get("content-encoding", "")
    if len(body) > UNPACKED_AT_ONCE and coding:
        return _content_later(body, coding)
    try:
        return decoded(body, coding, UNPACKED_AT_ONCE)
    except TooLargeError:
        return _content_later(body, coding)
    except CodingError as e:
        _say_unread(e)
        return None


async def unpacked(response: http.Response) -> bytes | None:
    """The same, for whoever may wait."""
    found = content(response)
    return await found if isinstance(found, Coroutine) else found


async def _content_later(body: bytes, coding: str) -> bytes | None:
    try:
        return await asyncio.to_thread(decoded, body, coding, CONTENT_LIMIT)
    except CodingError as e:
        _say_unread(e)
        return None


def _say_unread(error: CodingError) -> None:
    logger.warning(f"mcp: an answer passes unread: {error}")


class StreamReader:
    """What `flow.response.stream` is set to: returns each chunk as it came, and looks at it on the way."""

    def __init__(
        self,
        flow: http.HTTPFlow,
        on_event: Callable[[Event, float], None],
        limit: int,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """`on_change` is called when there is something new to `show`."""
        assert flow.response
        self._response = flow.response
        self._metadata = flow.metadata
        self._on_event = on_event
        self._kept: list[bytes] = []
        self._room = limit
        self.read_at = 0.0
        """When the latest bytes came, seconds since the epoch."""
        self._dropped = 0
        self._on_change = on_change
        self._ended = False
        self._arrivals: list[float] = []
        flow.metadata[ARRIVALS] = self._arrivals
        self._decoder: Decoder | None = Decoder()
        self._backlog: deque[tuple[memoryview, float]] = deque()
        """What has passed and was not looked at yet, and when it came."""
        self._waiting = 0
        self._turn: asyncio.Handle | None = None
        self._through = asyncio.Event()
        self._through.set()
        self.prefix = b""
        """Events of the proxy's own, which go out before the first of the server's."""
        self._undo: Undo | None = None
        self.unread = False
        """Part of the stream could not be read."""
        self.outlet: object = None
        """The shell's way to the client, where there is one."""
        self._open_ended = open_ended(header_map(flow.response.headers.fields))
        self._said_at = clock.now()
        self._spoke_first = False
        """The client has heard of the proxy before it has of the server."""
        coding = flow.response.headers.get("content-encoding", "")
        try:
            self._undo = Undo(coding, DECODED_LIMIT) if coding else None
        except CodingError as e:
            self._stop_reading(str(e))

    def __call__(self, chunk: bytes) -> bytes:
        """Look at a chunk; the same bytes come back, whatever happens here, after any of the proxy's own."""
        if chunk:
            self._keep(chunk)
            if self._spoke_first:
                self._spoke_first, chunk = False, chunk.removeprefix(BOM)  # which means nothing but at the beginning
            if self._decoder is not None:
                self._guarded(lambda: self._read(chunk))
            if self._on_change is not None:
                self._on_change()
        else:
            self.finish()
        prefix, self.prefix = self.prefix, b""
        return prefix + chunk if prefix else chunk

    @property
    def quiet_since(self) -> float:
        """When its client was given something last; never, if nothing may be put in where it stands."""
        between = self._decoder is not None and self._decoder.between and not self._backlog
        if not between or not self._open_ended or self._ended or self.outlet is None:
            return float("inf")
        return max(self.read_at, self._said_at)

    def sign(self) -> bytes:
        """A sign of life for its client, if one may be put in here: between two events."""
        if self.quiet_since == float("inf"):
            return b""
        self._spoke_first = self._spoke_first or not self.read_at
        self._said_at = clock.now()
        return SIGN

    def finish(self) -> None:
        """The stream has ended or broken off: what was kept becomes the body that is recorded."""
        if not self._ended:
            self._ended = True
            self.outlet = None
            self.show()

    def show(self) -> None:
        """Let the flow's body be what was kept until now. mitmproxy sends the client what passes, never this."""
        self._kept = [b"".join(self._kept)]
        self._response.data.content = self._kept[0]
        if self._dropped:
            self._metadata[TRUNCATED] = self._dropped

    @property
    def behind(self) -> bool:
        """Whether something that has passed was not looked at yet."""
        return bool(self._backlog)

    async def caught_up(self) -> None:
        """Wait until all that has passed was looked at."""
        await self._through.wait()

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except CodingError as e:
            self._stop_reading(str(e))
        except Exception:
            logger.exception("mcp: could not read along with a stream; it passes unread")
            self.unread = True
            self._drop()

    def _read(self, chunk: bytes) -> None:
        data = self._undo.feed(chunk, CHUNK_LIMIT) if self._undo else chunk
        self.read_at = clock.now()
        self._backlog.append((memoryview(data), self.read_at))
        self._waiting += len(data)
        if self._turn is None:
            self._look()
        elif self._waiting > BACKLOG_LIMIT:
            self._stop_reading("it comes faster than it can be looked at")

    def _look(self) -> None:
        """Look at some of what has passed; the rest is for another turn of the event loop."""
        self._turn = None
        events = looked_at = 0
        while self._backlog and self._decoder is not None:
            if events >= EVENTS_AT_ONCE or looked_at >= BYTES_AT_ONCE:
                self._through.clear()
                self._turn = asyncio.get_running_loop().call_soon(self._guarded, self._look)
                return
            data, at = self._backlog.popleft()
            if len(data) > SLICE:
                self._backlog.appendleft((data[SLICE:], at))
                data = data[:SLICE]
            self._waiting -= len(data)
            looked_at += len(data)
            for event in self._decoder.feed(bytes(data)):
                events += 1
                if len(self._arrivals) < ARRIVALS_LIMIT:
                    self._arrivals.append(at)
                self._on_event(event, at)
        self._drop_waiting()

    def _drop(self) -> None:
        self._decoder = None
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        self._backlog.clear()
        self._waiting = 0
        self._through.set()

    def _keep(self, chunk: bytes) -> None:
        kept = chunk[: self._room] if self._room > 0 else b""
        if kept:
            self._kept.append(kept)
            self._room -= len(kept)
        self._dropped += len(chunk) - len(kept)

    def _stop_reading(self, why: str) -> None:
        self.unread = True
        logger.warning(f"mcp: a stream passes unread: {why}")
        self._drop()
