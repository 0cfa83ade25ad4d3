"""HTTP/2 for the scripted server."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from harness.exchange import Answer, Request

if TYPE_CHECKING:
    from harness.scripted import ScriptedServer


class _Connection:
    """One HTTP/2 connection: a task per stream, all writing through one state machine."""

    def __init__(
        self, server: "ScriptedServer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._number = number
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self._requests: dict[int, Request] = {}
        self._bodies: dict[int, bytearray] = {}
        self._exchanges: dict[int, asyncio.Task[None]] = {}
        self._window = asyncio.Event()

    async def run(self) -> None:
        self._h2.initiate_connection()
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**24})
        self._h2.increment_flow_control_window(2**24)
        self._flush()
        try:
            while data := await self._reader.read(65536):
                for event in self._h2.receive_data(data):
                    if isinstance(event, h2.events.ConnectionTerminated):
                        return
                    self._on(event)
                self._flush()
        finally:
            for task in self._exchanges.values():
                task.cancel()
            await asyncio.gather(*self._exchanges.values(), return_exceptions=True)

    def _on(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            headers: dict[str, str] = {}
            for raw_name, raw_value in event.headers or ():
                name, value = _text(raw_name), _text(raw_value)
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            peer = self._writer.get_extra_info("peername")
            method, path = headers.pop(":method"), headers.pop(":path")
            self._requests[event.stream_id] = Request(method, path, headers, b"", (peer[0], peer[1]), self._number, "2")
            self._bodies[event.stream_id] = bytearray()
        elif isinstance(event, h2.events.DataReceived):
            self._bodies[event.stream_id] += event.data or b""
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            request = self._requests[event.stream_id]
            request.body = bytes(self._bodies.pop(event.stream_id))
            self._exchanges[event.stream_id] = asyncio.create_task(self._exchange(event.stream_id, request))
        elif isinstance(event, h2.events.StreamReset):
            if task := self._exchanges.get(event.stream_id):
                task.cancel()
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._window.set()

    async def _exchange(self, stream: int, request: Request) -> None:
        how = "gone"
        try:
            answer = await self._server.answer(request)
            await self._send(stream, request, answer)
            if answer.hang:
                await asyncio.get_running_loop().create_future()
            if answer.cut:
                self._h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
                how = "cut"
            else:
                self._h2.end_stream(stream)
                how = "finished"
            self._flush()
        except (h2.exceptions.ProtocolError, ConnectionError):
            # The stream or the connection ended under the answer.
            pass
        finally:
            self._exchanges.pop(stream, None)
            self._server.ended(request, how)

    async def _send(self, stream: int, request: Request, answer: Answer) -> None:
        if answer.raw is not None:
            # Raw bytes have no meaning here: it is a way to cut without any answer.
            return
        headers = [(name.lower(), value) for name, value in answer.header_list()]
        self._h2.send_headers(stream, [(":status", str(answer.status)), *headers])
        self._flush()
        if isinstance(answer.body, bytes):
            await self._data(stream, answer.body)
        else:
            async for piece in answer.body:
                await self._data(stream, piece)

    async def _data(self, stream: int, data: bytes) -> None:
        while data:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if room <= 0:
                self._window.clear()
                await self._window.wait()
                continue
            self._h2.send_data(stream, data[:room])
            data = data[room:]
            self._flush()
            await self._writer.drain()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


async def serve_h2(
    server: "ScriptedServer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
) -> None:
    """Serve one connection until it ends."""
    with contextlib.suppress(h2.exceptions.ProtocolError):
        await _Connection(server, reader, writer, number).run()
