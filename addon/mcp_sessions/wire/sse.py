"""Server-sent events: an incremental decoder whose chunk borders need not be event borders.

Follows https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation, with two limits of
its own: a line or an event that grows beyond `limit` bytes is dropped up to its end and reported as `oversized`, so a
line that never ends costs no memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

EVENT_LIMIT = 4 * 1024 * 1024
"""Bytes of one event that are kept for reading; what passes to the client is not limited."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One dispatched event, or a block of fields without data (`data` is None), such as `retry:` alone.

    `id` is the field of this very event, None when it had none; `retry` is in milliseconds.
    """

    data: bytes | None
    id: str | None = None
    type: str = "message"
    retry: int | None = None
    oversized: bool = False


class Decoder:
    """Turns the bytes of one stream into events. Feed it what arrives; `finish()` tells whether an event was cut."""

    __slots__ = (
        "_after_cr", "_data", "_dropping", "_held", "_id", "_limit", "_oversized", "_pieces", "_retry", "_size",
        "_start", "_type",
    )  # fmt: skip

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []  # of a line that is not complete yet; joined once, so small chunks stay cheap
        self._held = 0
        self._start = True
        self._after_cr = False
        self._dropping = False
        self._reset()

    def _reset(self) -> None:
        self._data: list[bytes] | None = None
        self._id: str | None = None
        self._type = ""
        self._retry: int | None = None
        self._oversized = False
        self._size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events completed by this chunk, in order. Never raises."""
        events: list[Event] = []
        if not chunk:
            return events
        position = 1 if self._after_cr and chunk.startswith(b"\n") else 0
        self._after_cr = chunk.endswith(b"\r")
        for end in _LINE_END.finditer(chunk, position):
            line = chunk[position : end.start()]
            if self._pieces:
                line = b"".join((*self._pieces, line))
                self._pieces.clear()
                self._held = 0
            self._line(line, events)
            position = end.end()
        if position < len(chunk) and not self._dropping:
            self._pieces.append(chunk[position:])
            self._held += len(chunk) - position
            if self._held > self._limit:
                self._dropping = self._oversized = True
                self._pieces.clear()
                self._held = 0
        return events

    def finish(self) -> bool:
        """Tell that the stream has ended; whether it ended within an event (which is then lost, as in a browser)."""
        return bool(self._pieces or self._dropping or self._data is not None)

    @property
    def between(self) -> bool:
        """Whether what was fed ends between two events, at the beginning of a line."""
        within = self._pieces or self._dropping or self._after_cr or self._oversized
        fields = self._data is not None or self._id is not None or self._retry is not None or self._type
        return not within and not fields

    def _line(self, line: bytes, events: list[Event]) -> None:
        if self._dropping:
            self._dropping = False
            return
        if self._start:
            line = line.removeprefix(BOM)
            self._start = False
        if not line:
            if self._data is not None or self._id is not None or self._retry is not None or self._oversized:
                data = None if self._data is None or self._oversized else b"\n".join(self._data)
                events.append(Event(data, self._id, self._type or "message", self._retry, self._oversized))
            self._reset()
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._limit:
                self._oversized = True
                self._data = []
            elif self._data is None:
                self._data = [value]
            else:
                self._data.append(value)
        elif name == b"id":
            if b"\0" not in value:
                self._id = value[:1024].decode("utf-8", "replace")
        elif name == b"event":
            self._type = value[:256].decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 12:
            self._retry = int(value)


def encode(data: bytes) -> bytes:
    """One message event with this data."""
    lines = b"".join(b"data: " + line + b"\r\n" for line in data.split(b"\n"))
    return b"event: message\r\n" + lines + b"\r\n"
