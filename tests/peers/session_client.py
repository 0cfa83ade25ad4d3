# mypy: ignore-errors
"""An MCP client on the standard library alone: it keeps its session in a file, and does as its standard input says.

Each answer is one line on stdout. Without a command it does nothing at all, and holds a connection only while `stream`
was asked for.
"""

import argparse
import http.client
import json
import os
import socket
import struct
import sys
from pathlib import Path
from urllib.parse import urlsplit

VERSION = "2025-11-25"


class Client:
    def __init__(self, url: str, name: str, token: str | None) -> None:
        self.at = urlsplit(url)
        self.name = name
        self.token = token
        self.session = None
        self.stream = None
        self.number = 0

    def headers(self, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": "session-client"}
        if self.session:
            headers |= {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": VERSION}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def post(self, method: str, params: dict | None = None, *, notification: bool = False):
        """A POST over a connection of its own, closed after the answer."""
        self.number += 1
        message = {"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {})
        if not notification:
            message["id"] = self.number
        connection = http.client.HTTPConnection(self.at.hostname, self.at.port, timeout=20)
        headers = self.headers("application/json, text/event-stream") | {"Content-Type": "application/json"}
        connection.request("POST", self.at.path, json.dumps(message), headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers.get("Mcp-Session-Id"), body.decode()

    def initialize(self) -> str:
        self.session = None
        status, session, _ = self.post(
            "initialize",
            {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": self.name, "version": "1"}},
        )
        assert status == 200, status
        self.session = session
        return session

    def initialized(self):
        return self.post("notifications/initialized", notification=True)

    def open(self) -> str:
        session = self.initialize()
        self.initialized()
        return session

    def listen(self) -> int:
        connection = http.client.HTTPConnection(self.at.hostname, self.at.port, timeout=60)
        connection.request("GET", self.at.path, headers=self.headers("text/event-stream"))
        self.stream = connection
        self.answer = connection.getresponse()
        return self.answer.status

    def delete(self, part: str) -> None:
        """DELETE, and no wait for the answer: `half` of the request, or the `whole` of it."""
        lines = [f"DELETE {self.at.path} HTTP/1.1", f"Host: {self.at.netloc}"]
        lines += [f"{name}: {value}" for name, value in self.headers("application/json").items()]
        data = ("\r\n".join(lines) + "\r\n\r\n").encode()
        self.plug = socket.create_connection((self.at.hostname, self.at.port))
        self.plug.sendall(data[: len(data) // 2] if part == "half" else data)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--file", type=Path, help="where the session id is kept between two runs")
    parser.add_argument("--name", default="session-client")
    parser.add_argument("--token")
    parser.add_argument("--session", help="the session to go on with")
    options = parser.parse_args()
    client = Client(options.url, options.name, options.token)
    if options.file and options.file.exists():
        client.session = options.file.read_text()
    if options.session:
        client.session = options.session
        print(f"= {os.getpid()}", flush=True)
    print("READY", flush=True)
    for line in sys.stdin:
        command, *rest = line.split()
        match command:
            case "open":
                said = client.open()
                if options.file:
                    options.file.write_text(said)
            case "initialize":
                said = client.initialize()
            case "initialized":
                said = client.initialized()[0]
            case "many":
                said = " ".join(client.open() for _ in range(int(rest[0])))
            case "use":
                client.session = rest[0]
                said = "used"
            case "call":
                try:
                    answer = client.post("tools/call", {"name": "echo", "arguments": {"text": rest[0]}})
                except (OSError, http.client.HTTPException) as e:
                    answer = (0, None, type(e).__name__)
                said = "{} {} {}".format(*answer)
            case "level":
                said = client.post("logging/setLevel", {"level": rest[0]})[0]
            case "stream":
                said = client.listen()
            case "drain":
                said = len(client.answer.read())
            case "delete":
                client.delete(rest[0])
                said = "sent"
            case "url":
                client.at = urlsplit(rest[0])
                said = "set"
            case "fork":
                # The child holds every connection of this process, and lives on until its stdin, a pipe, is closed.
                child = os.fork()
                if not child:
                    sys.stdin.read()
                    os._exit(0)
                said = child
            case "daemon":
                # As a service that puts itself into the background: a child of a child goes on.
                if os.fork():
                    os._exit(0)
                os.setsid()
                if os.fork():
                    os._exit(0)
                said = os.getpid()
            case "exec":
                # A child that is a program of its own, and is told what to go on with.
                if os.fork():
                    os._exit(0)
                again = [sys.executable, __file__, *sys.argv[1:], "--session", client.session]
                os.execv(sys.executable, again)
            case "listen-on":
                # As a client does that signs in by a browser.
                client.door = socket.create_server(("127.0.0.1", 0))
                said = client.door.getsockname()[1]
            case "hang-up":
                # Aborted, as a process that dies aborts.
                if client.stream.sock:
                    client.stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.stream.close()
                client.stream = None
                said = "closed"
            case "exit":
                os._exit(0)
        print(f"= {said}", flush=True)


if __name__ == "__main__":
    main()
