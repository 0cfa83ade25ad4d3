"""An MCP server on the standard library alone: it adds, and one of its tools is fatal."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

SESSIONS: set[str] = set()
TOOL = {"name": "add", "inputSchema": {"type": "object"}}
INFO = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """A message."""
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        method, params = message["method"], message.get("params", {})
        if method == "initialize":
            session = uuid4().hex
            SESSIONS.add(session)
            self.answer(message, INFO, {"mcp-session-id": session})
        elif self.headers["mcp-session-id"] not in SESSIONS:
            self.send(404)
        elif "id" not in message:
            self.send(202)
        elif params.get("name") == "die":
            self.close_connection = True
        elif method == "tools/call":
            total = params["arguments"]["a"] + params["arguments"]["b"]
            self.answer(message, {"content": [{"type": "text", "text": str(total)}]})
        else:
            self.answer(message, {"tools": [TOOL]})

    def do_GET(self) -> None:
        """No stream of its own."""
        self.send(405)

    def do_DELETE(self) -> None:
        """The end of a session."""
        SESSIONS.discard(self.headers["mcp-session-id"])
        self.send(200)

    def answer(self, message: dict[str, Any], result: object, headers: dict[str, str] | None = None) -> None:
        """A result."""
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
        self.send(200, {"content-type": "application/json", **(headers or {})}, body)

    def send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        """An answer."""
        self.send_response(status)
        for name, value in {**(headers or {}), "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


if "SAMPLE_SERVER_STAYS_DOWN" in os.environ:
    sys.exit("down")
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
