# mypy: ignore-errors
"""What a peer server is asked and answers, as one JSON line per event."""

import asyncio
import json
import sys
import threading
import time


class Journal:
    """Writes each event at once, to a file or (as `LOG ...`) to stdout, so that a reader never waits for it."""

    def __init__(self, target: str | None) -> None:
        self._to_stdout = target == "-"
        self._file = open(target, "a", encoding="utf-8") if target and target != "-" else None  # noqa: SIM115
        self._count = 0
        self._lock = threading.Lock()

    def number(self) -> int:
        self._count += 1
        return self._count - 1

    def write(self, event: dict) -> None:
        line = json.dumps(event)
        with self._lock:
            if self._to_stdout:
                sys.stdout.write(f"LOG {line}\n")
                sys.stdout.flush()
            elif self._file is not None:
                self._file.write(line + "\n")
                self._file.flush()


class Recorder:
    """ASGI middleware: records requests and answers, and never holds an answer back."""

    def __init__(self, app, journal: Journal, *, refuse_get: bool = False, forget=None) -> None:
        self._app = app
        self._journal = journal
        self._refuse_get = refuse_get
        self._forget = forget

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == "/control/forget":
            await self._control(receive, send)
            return
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        at = time.time()
        # Taken before the body is read: requests are numbered in the order of their arrival.
        number = self._journal.number()
        body, complete, messages = await self._body(receive)
        try:
            parsed = json.loads(body) if body else None
        except ValueError:
            parsed = None
        peer = scope.get("client")
        self._journal.write(
            {
                "n": number,
                "at": at,
                "method": scope["method"],
                "path": scope["path"],
                "query": scope["query_string"].decode("latin-1"),
                "http": scope.get("http_version"),
                "session": headers.get("mcp-session-id"),
                "headers": headers,
                "body": parsed,
                "size": len(body),
                "complete": complete,
                "peer": f"{peer[0]}:{peer[1]}" if peer else None,
            }
        )
        finished = False

        async def replayed_receive():
            if messages:
                return messages.pop(0)
            return await receive()

        async def recorded_send(message) -> None:
            nonlocal finished
            if message["type"] == "http.response.start":
                answered = {
                    name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]
                }
                self._journal.write(
                    {
                        "of": number,
                        "at": time.time(),
                        "answer": message["status"],
                        "session": answered.get("mcp-session-id"),
                        "type": answered.get("content-type"),
                    }
                )
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                finished = True
            await send(message)

        try:
            if self._refuse_get and scope["method"] == "GET":
                await _plain(recorded_send, 405, b"Method Not Allowed")
            else:
                await self._app(scope, replayed_receive, recorded_send)
        finally:
            self._journal.write({"of": number, "at": time.time(), "end": "finished" if finished else "broken"})

    async def _body(self, receive) -> tuple[bytes, bool, list]:
        body = bytearray()
        messages = []
        while True:
            message = await receive()
            messages.append(message)
            if message["type"] != "http.request":
                return bytes(body), False, messages
            body += message.get("body", b"")
            if not message.get("more_body"):
                return bytes(body), True, messages

    async def _control(self, receive, send) -> None:
        body, _, _ = await self._body(receive)
        forgotten = await self._forget(json.loads(body or b"{}").get("session"))
        await _plain(send, 200, json.dumps(forgotten).encode())


async def _plain(send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def forget_sessions(manager, session: str | None) -> list[str]:
    """Lose one session or all, as a restart would, while the process goes on."""
    # The SDKs offer no public way to lose a session; both major versions keep this table.
    table = manager._server_instances
    lost = [one for one in list(table) if session in (None, one)]
    for one in lost:
        transport = table.pop(one)
        await transport.terminate()
    await asyncio.sleep(0)
    return lost
