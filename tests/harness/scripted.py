"""A server in this process that answers whatever a Python function says, byte by byte."""

import asyncio
import contextlib
import inspect
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Self

from harness.certificate import Certificate
from harness.exchange import Answer, Handler, Request
from harness.scripted_h2 import serve_h2
from harness.waiting import Growing


class ScriptedServer:
    """`async with ScriptedServer(handler) as server`; everything asked is in `server.seen`."""

    def __init__(self, handler: Handler, *, tls: bool = False, http2: bool = False, port: int = 0) -> None:
        """HTTP/2 is offered by ALPN with `tls`, and expected with prior knowledge without."""
        self.handler = handler
        self.seen: Growing[Request] = Growing()
        self.changes: Growing[Request] = Growing()
        self.port = port
        self.http2 = http2
        self.connections = 0
        self.open_connections = 0
        self._certificate = Certificate() if tls else None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        if self._certificate is not None:
            self._certificate.remove()

    async def start(self) -> Self:
        """Listen, on the same port as before if it did."""
        context: ssl.SSLContext | None = None
        if self._certificate is not None:
            context = self._certificate.server_context(["h2", "http/1.1"] if self.http2 else ["http/1.1"])
        self._server = await asyncio.start_server(
            self._accepted, "127.0.0.1", self.port, ssl=context, limit=64 * 1024 * 1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        self.drop_connections()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop_connections(self) -> None:
        """Drop every open connection, as a crash would, and go on listening."""
        for writer in list(self._writers):
            writer.transport.abort()

    @property
    def base(self) -> str:
        return f"http{'s' if self._certificate else ''}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.base}/mcp"

    @property
    def ca(self) -> Path:
        """The self-signed certificate, for clients that are to trust it."""
        assert self._certificate is not None
        return self._certificate.path

    def requests(
        self, method: str | None = None, rpc: str | None = None, *, session: str | None = None
    ) -> list[Request]:
        """Requests so far, narrowed down."""
        return [
            seen
            for seen in self.seen
            if (method is None or seen.method == method)
            and (rpc is None or seen.rpc == rpc)
            and (session is None or seen.session == session)
        ]

    async def wait_for(
        self, wanted: Callable[[Request], bool], within: float = 10.0, *, start: int = 0, count: int = 1
    ) -> Request:
        """The `count`-th request that is wanted; sees past ones too."""
        return await self.seen.wait(wanted, within, start=start, count=count, what="request")

    async def wait_ended(self, wanted: Callable[[Request], bool], within: float = 10.0) -> Request:
        """A request that is wanted and no longer being answered."""
        return await self.changes.wait(
            lambda seen: seen.ended is not None and wanted(seen), within, what="end of a request"
        )

    async def answer(self, request: Request) -> Answer:
        """Ask the handler; what it raises becomes a 500 that says so."""
        self.seen.add(request)
        try:
            answer = self.handler(request)
            if inspect.isawaitable(answer):
                answer = await answer
        except Exception as failure:
            answer = Answer(500, {"content-type": "text/plain"}, f"handler: {failure!r}".encode())
        await asyncio.sleep(answer.delay)
        request.status = answer.status
        return answer

    def ended(self, request: Request, how: str) -> None:
        """Note how the exchange ended."""
        request.ended = how
        self.changes.add(request)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        self.open_connections += 1
        number = self.connections
        tls = writer.get_extra_info("ssl_object")
        try:
            if self.http2 and (tls is None or tls.selected_alpn_protocol() == "h2"):
                await serve_h2(self, reader, writer, number)
            else:
                await self._serve_h1(reader, writer, number)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _serve_h1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            request = await _read_request(reader, writer, number)
            if request is None:
                return
            exchange = asyncio.create_task(self._exchange_h1(request, writer))
            # Nobody pipelines here: whatever can be read during an answer is the end of the connection.
            hangup = asyncio.create_task(reader.read(1))
            try:
                await asyncio.wait([exchange, hangup], return_when=asyncio.FIRST_COMPLETED)
                if not exchange.done() and not hangup.result():
                    exchange.cancel()
                    await asyncio.gather(exchange, return_exceptions=True)
                    self.ended(request, "gone")
                    return
                how = await exchange
                self.ended(request, how)
                if how != "finished":
                    return
                if not hangup.done():
                    hangup.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await hangup
                elif early := hangup.result():
                    # The next request came before this answer's end was noted.
                    _put_back(reader, early)
                else:
                    return
            except BaseException:
                exchange.cancel()
                hangup.cancel()
                if request.ended is None:
                    self.ended(request, "gone")
                raise

    async def _exchange_h1(self, request: Request, writer: asyncio.StreamWriter) -> str:
        answer = await self.answer(request)
        if answer.raw is not None:
            writer.write(answer.raw)
            await writer.drain()
        else:
            await _write_answer(request, answer, writer)
        if answer.hang:
            await asyncio.get_running_loop().create_future()
        if answer.cut:
            writer.close()
            return "cut"
        return "finished"


async def _write_answer(request: Request, answer: Answer, writer: asyncio.StreamWriter) -> None:
    headers = answer.header_list()
    named = {name.lower() for name, _ in headers}
    body = answer.body
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    framed = bool({"content-length", "transfer-encoding"} & named)
    chunked = not isinstance(body, bytes) and not framed
    if isinstance(body, bytes) and not framed and answer.status not in (204, 304):
        # A cut answer promises more than it sends, or the client would take it for complete.
        headers.append(("Content-Length", str(len(body) + (1 if answer.cut or answer.hang else 0))))
    if chunked:
        headers.append(("Transfer-Encoding", "chunked"))
    head = f"HTTP/1.1 {answer.status} {phrase}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    writer.write(head.encode("latin-1") + b"\r\n")
    if isinstance(body, bytes):
        writer.write(b"" if request.method == "HEAD" else body)
        await writer.drain()
        return
    await writer.drain()
    async with contextlib.aclosing(_closable(body)) as pieces:
        async for piece in pieces:
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await writer.drain()
    if chunked and not answer.cut and not answer.hang:
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _closable(body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    async for piece in body:
        yield piece


def _put_back(reader: asyncio.StreamReader, data: bytes) -> None:
    # StreamReader has no way to unread; its buffer is a bytearray in every CPython so far.
    buffer: bytearray = reader._buffer  # type: ignore[attr-defined]
    buffer[:0] = data


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *rest = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, version = first.split(" ", 2)
    headers: dict[str, str] = {}
    for line in rest:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = bytearray()
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        while (await reader.readuntil(b"\r\n")) != b"\r\n":
            pass
        content = bytes(body)
    else:
        content = await reader.readexactly(int(headers.get("content-length", "0")))
    peer = writer.get_extra_info("peername")
    return Request(method, path, headers, content, (peer[0], peer[1]), number, version.removeprefix("HTTP/"))
