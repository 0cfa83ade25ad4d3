"""A client that costs next to nothing: one session over several kept connections, HTTP/1.1 written by hand."""

import asyncio
import itertools
import re
import time
from typing import Self

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
_SESSION = re.compile(rb"\r\nmcp-session-id: *(\S+)", re.I)
_SENT = re.compile(rb'"data":([\d.]+)')
INITIALIZE = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"bench","version":"1"}}}'
)
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
_CALL = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%s","arguments":%s}}'
PATIENCE = 30.0
"""Seconds within which any answer must have come."""


def request(port: int, body: bytes, session: bytes = b"") -> bytes:
    """A POST as an SDK's client sends it."""
    head = (
        b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nuser-agent: bench/1\r\n"
        b"accept: application/json, text/event-stream\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    ) % (port, len(body))
    if session:
        head += b"mcp-session-id: %s\r\nmcp-protocol-version: 2025-11-25\r\n" % session
    return head + b"\r\n" + body


class Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._streaming = False
        self._answer: asyncio.Future[bytes] | None = None
        self.delays: list[float] = []
        """Of each event of the last stream: seconds between its sending and its arrival."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed before the answer was complete"))

    async def ask(self, data: bytes, *, stream: bool = False) -> bytes:
        """The whole answer, head and body."""
        self._buffer, self._streaming, self.delays = b"", stream, []
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        if self._streaming:
            now = time.monotonic()
            # An event is sent in one piece, and is so small that it arrives in one.
            self.delays += [now - float(sent) for sent in _SENT.findall(data)]
        self._buffer += data
        assert self._answer is not None
        if not self._answer.done() and self._complete():
            self._answer.set_result(self._buffer)

    def _complete(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        found = _LENGTH.search(self._buffer[:end])
        return len(self._buffer) >= end + 4 + int(found[1]) if found else self._buffer.endswith(b"0\r\n\r\n")


class Client:
    """A session through one port, and the connections it uses."""

    def __init__(self, port: int, lines: int) -> None:
        self.port = port
        self.session = b""
        self._count = lines
        self._lines: list[Line] = []
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            _, line = await loop.create_connection(Line, "127.0.0.1", self.port)
            self._lines.append(line)
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for line in self._lines:
            line.transport.close()

    async def open(self) -> None:
        """Begin a session; an earlier one is left as it is."""
        async with asyncio.timeout(PATIENCE):
            answer = await self._lines[0].ask(request(self.port, INITIALIZE))
            found = _SESSION.search(answer)
            assert found is not None, answer
            self.session = found[1]
            answer = await self._lines[0].ask(request(self.port, INITIALIZED, self.session))
            assert b" 202 " in answer[:20], answer

    async def call(self, line: int = 0, expected: bytes = b" 200 ") -> float:
        """One small call; the seconds it took."""
        data = request(self.port, _CALL % (next(self._numbers), b"null", b"{}"), self.session)
        began = time.monotonic()
        answer = await self._lines[line].ask(data)
        took = time.monotonic() - began
        assert expected in answer[:20], answer
        return took

    async def calls(self, count: int) -> float:
        """Many small calls, shared out among the connections; the seconds they took."""

        async def some(line: int) -> None:
            for _ in range(count // self._count):
                await self.call(line)

        began = time.monotonic()
        async with asyncio.timeout(PATIENCE + count / 20):
            await asyncio.gather(*(some(line) for line in range(self._count)))
        return time.monotonic() - began

    async def events(self, count: int, interval: float) -> list[float]:
        """A call answered by a stream; the delay of each event in seconds."""
        given = b'{"count":%d,"interval":%f}' % (count, interval)
        data = request(self.port, _CALL % (next(self._numbers), b"events", given), self.session)
        line = self._lines[0]
        async with asyncio.timeout(PATIENCE + count * interval):
            await line.ask(data, stream=True)
        assert len(line.delays) == count, f"{len(line.delays)} of {count} events"
        return line.delays
