"""Many clients, each a process of its own: `python farm.py`, told on stdin `spawn KIND HOST PORT COUNT SEED LIFE`.

Each opens sessions, calls, listens, moves to other connections, renews its token, leaves sessions behind or deletes
them, and at the end of its life is killed, or exits; none says goodbye. What happens is said as JSON lines, with the
time of the monotonic clock, which is one for all processes of a host. Made by fork: the standard library alone.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import select
import signal
import sys
import time
from typing import Any, NoReturn

PATIENCE = 40.0
"""Seconds within which an answer must come."""
PAUSE = 0.4
"""Seconds between two doings, at most."""


class Client:
    """One client's life."""

    def __init__(self, kind: str, host: str, port: int, seed: int) -> None:
        self._kind = kind
        self._at = (host, port)
        self._farm = os.getppid()
        self._random = random.Random(seed)
        self._token = f"token-{os.getpid()}-0"
        self._renewed = 0
        self._opened = 0
        self._calls = 0
        self._session: str | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._streams: list[http.client.HTTPConnection] = []

    def live(self, seconds: float) -> NoReturn:
        """Do this and that for so long."""
        until = time.monotonic() + seconds * self._random.uniform(0.5, 1.5)
        doings = [self._call] * 12 + [self._listen, self._move, self._renew, self._abandon, self._delete]
        while time.monotonic() < until and os.getppid() == self._farm:
            try:
                if self._session is None:
                    self._open()
                else:
                    self._random.choice(doings)()
            except (OSError, http.client.HTTPException):
                self._move()
            time.sleep(self._random.uniform(0, PAUSE))
        self._say("bye")
        if self._random.random() < 0.5:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)

    def _open(self) -> None:
        self._opened += 1
        name = f"{os.getpid()}-{self._opened}"
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": name, "version": "1"}}
        status, session, _ = self._post({"id": 0, "method": "initialize", "params": params})
        if status == 200 and session:
            self._session = session
            self._say("open", name=name)
            self._post({"method": "notifications/initialized"})

    def _call(self) -> None:
        self._calls += 1
        text, began = f"{os.getpid()}/{self._calls}", time.monotonic()
        arguments = {"name": "echo", "arguments": {"text": text}}
        try:
            status, _, body = self._post({"id": self._calls, "method": "tools/call", "params": arguments})
        except (OSError, http.client.HTTPException) as e:
            self._say("failed", began=began, why=type(e).__name__)
            raise
        if status != 200 or text not in body:
            self._say("failed", began=began, why=f"{status} {body[:200]}")

    def _listen(self) -> None:
        connection = http.client.HTTPConnection(*self._at, timeout=PATIENCE)
        connection.request("GET", "/mcp", headers=self._headers("text/event-stream"))
        connection.getresponse()
        self._streams.append(connection)
        if len(self._streams) > 2:
            self._streams.pop(0).close()

    def _move(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _renew(self) -> None:
        self._renewed += 1
        self._token = f"token-{os.getpid()}-{self._renewed}"

    def _abandon(self) -> None:
        self._close_streams()
        self._session = None

    def _delete(self) -> None:
        self._say("delete", name=f"{os.getpid()}-{self._opened}")
        self._close_streams()
        session, headers = self._session, self._headers("application/json")
        self._session = None
        assert session is not None
        connection = self._connected()
        connection.request("DELETE", "/mcp", headers=headers)
        connection.getresponse().read()

    def _close_streams(self) -> None:
        for stream in self._streams:
            stream.close()
        self._streams.clear()

    def _post(self, message: dict[str, Any]) -> tuple[int, str | None, str]:
        connection = self._connected()
        headers = self._headers("application/json, text/event-stream") | {"Content-Type": "application/json"}
        connection.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", **message}), headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Mcp-Session-Id"), answer.read().decode()

    def _connected(self) -> http.client.HTTPConnection:
        # As any client does: what has been closed meanwhile is not written to.
        kept = self._connection
        if kept is None or (kept.sock is not None and select.select([kept.sock], [], [], 0)[0]):
            self._move()
            kept = self._connection = http.client.HTTPConnection(*self._at, timeout=PATIENCE)
        return kept

    def _headers(self, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "Authorization": f"Bearer {self._token}"}
        if self._session:
            headers |= {"Mcp-Session-Id": self._session, "MCP-Protocol-Version": "2025-11-25"}
        return headers

    def _say(self, what: str, **more: Any) -> None:
        line = {"what": what, "pid": os.getpid(), "kind": self._kind, "at": time.monotonic(), **more}
        os.write(1, json.dumps(line).encode() + b"\n")  # in one piece: many write to this pipe


def main() -> None:
    """Spawn clients as told; when stdin ends, this ends, and its clients with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    os.write(1, b"READY\n")
    for line in sys.stdin:
        _, kind, host, port, count, seed, life = line.split()
        for number in range(int(count)):
            if not os.fork():
                os.close(0)
                Client(kind, host, int(port), int(seed) + number).live(float(life))


if __name__ == "__main__":
    main()
