"""An MCP server that costs next to nothing: `python null_server.py`, told `forget` on stdin to lose all sessions.

Says on stdout: `READY port`, `FORGOT` when told so, and `DELETE session seconds` (time.monotonic) for each DELETE.
"""

import asyncio
import json
import re
import sys
import threading
import time
import uuid

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
_SESSION = re.compile(rb"\r\nmcp-session-id: *(\S+)", re.I)
_ID = re.compile(rb'"id": *(\d+)')
_RESULT = b'{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"done"}],"isError":false}}'
_INITIALIZED = (
    b'{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"logging":{}},'
    b'"serverInfo":{"name":"null","version":"1"}}}'
)
_LOST = b'{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}'
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

sessions: set[bytes] = set()


class NullServer(asyncio.Protocol):
    """One connection; requests are answered as they arrive, one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            head = self._pending[:end]
            found = _LENGTH.search(head)
            total = end + 4 + (int(found[1]) if found else 0)
            if len(self._pending) < total:
                return
            body, self._pending = self._pending[end + 4 : total], self._pending[total:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        found = _SESSION.search(head)
        session = found[1] if found else b""
        if session and session not in sessions:
            self._say(b"404 Not Found", _LOST)
        elif head.startswith(b"DELETE"):
            print(f"DELETE {session.decode()} {time.monotonic()}", flush=True)
            sessions.discard(session)
            self._say(b"200 OK")
        elif head.startswith(b"GET"):
            self.transport.write(_STREAM_HEAD)
        elif b'"initialize"' in body:
            session = uuid.uuid4().hex.encode()
            sessions.add(session)
            self._say(b"200 OK", _INITIALIZED % _id(body), session)
        elif b'"id"' not in body:
            self._say(b"202 Accepted", session=session)
        elif b'"events"' in body:
            call = json.loads(body)
            self.transport.write(_STREAM_HEAD)
            self._send_event(call["id"], call["params"]["arguments"]["count"], call["params"]["arguments"]["interval"])
        else:
            self._say(b"200 OK", _RESULT % _id(body), session)

    def _say(self, status: bytes, body: bytes = b"", session: bytes = b"") -> None:
        head = b"HTTP/1.1 %s\r\ncontent-length: %d\r\n" % (status, len(body))
        if body:
            head += b"content-type: application/json\r\n"
        if session:
            head += b"mcp-session-id: %s\r\n" % session
        self.transport.write(head + b"\r\n" + body)

    def _send_event(self, number: int, left: int, interval: float) -> None:
        """One event that carries the moment at which it is sent, and later the next one."""
        if self.transport.is_closing():
            return
        if left:
            params = b'{"level":"info","data":%f}' % time.monotonic()
            self._chunk(b'{"jsonrpc":"2.0","method":"notifications/message","params":%s}' % params)
            asyncio.get_running_loop().call_later(interval, self._send_event, number, left - 1, interval)
        else:
            self._chunk(_RESULT % str(number).encode())
            self.transport.write(b"0\r\n\r\n")

    def _chunk(self, message: bytes) -> None:
        event = b"event: message\r\ndata: " + message + b"\r\n\r\n"
        self.transport.write(b"%x\r\n%s\r\n" % (len(event), event))


def _id(body: bytes) -> bytes:
    found = _ID.search(body)
    return found[1] if found else b"null"


async def main() -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def forget() -> None:
        sessions.clear()
        print("FORGOT", flush=True)

    def listen() -> None:
        for line in sys.stdin:
            if line.strip() == "forget":
                loop.call_soon_threadsafe(forget)
        loop.call_soon_threadsafe(ended.set)  # whoever started it is gone

    server = await loop.create_server(NullServer, "127.0.0.1", 0)
    threading.Thread(target=listen, daemon=True).start()
    print(f"READY {server.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
