"""Tests of somebody's MCP server: one is as it should be, each of the others fails for what only the proxy sees."""

import json
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

import pytest


class Client:
    """A client of a few lines."""

    def __init__(self, url: str) -> None:
        self.at = urlsplit(url)
        self.session: dict[str, str] = {}
        self.number = 0

    def send(self, verb: str, message: object = None, accept: str = "application/json, text/event-stream") -> Any:
        assert self.at.hostname is not None
        connection = HTTPConnection(self.at.hostname, self.at.port, timeout=20)
        headers = {"accept": accept, "content-type": "application/json", **self.session}
        connection.request(verb, self.at.path, json.dumps(message) if message else None, headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.headers["mcp-session-id"]:
            self.session = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
        connection.close()
        return json.loads(body)["result"] if body.startswith(b'{"') else answer.status

    def ask(self, method: str, params: dict[str, Any], accept: str = "application/json, text/event-stream") -> Any:
        self.number += 1
        return self.send("POST", {"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}, accept)

    def open(self) -> None:
        about = {"name": "sample", "version": "1"}
        self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": about})
        self.send("POST", {"jsonrpc": "2.0", "method": "notifications/initialized"})

    def call(self, tool: str, **arguments: Any) -> str:
        return str(self.ask("tools/call", {"name": tool, "arguments": arguments})["content"][0]["text"])

    def close(self) -> None:
        assert self.send("DELETE") == 200


@pytest.fixture
def client(mcp_proxy: str) -> Client:
    """A client with a session."""
    made = Client(mcp_proxy)
    made.open()
    return made


def test_adds(client: Client) -> None:
    assert client.call("add", a=1, b=2, customer="Ms. Secretive") == "3"
    client.close()


def test_breaks_a_rule(client: Client) -> None:
    client.ask("tools/list", {}, accept="text/html")
    client.close()


def test_leaves_its_session_behind(client: Client) -> None:
    assert client.call("add", a=1, b=2) == "3"


def test_never_gets_an_answer(client: Client) -> None:
    with pytest.raises((RemoteDisconnected, AssertionError, TypeError)):
        client.call("die")
    client.close()
