"""A call that the server has executed is never executed again, however oddly it is answered; and its answer arrives."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from conftest import StartProxy, StartRaw, StartScripted
from harness.exchange import Answer, Request, event
from harness.mini_mcp import MiniMcp, Rule

pytestmark = pytest.mark.real

NO_USER = {"code": -32001, "message": "User 5 not found"}

type Shape = Callable[[Request], Answer]


def answer(message: Any, status: int = 404, coding: Callable[[bytes], bytes] = bytes, **headers: str) -> Answer:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "application/json", **shown}, coding(body))


def own(request: Request, **more: Any) -> dict[str, Any]:
    """An error under the request's own id."""
    return {"jsonrpc": "2.0", "id": request.id, "error": {**NO_USER, **more}}


def as_text(request: Request) -> bytes:
    return json.dumps(own(request)).encode()


LARGE = "x" * 4_500_000

SHAPES: dict[str, Shape] = {
    "error": lambda r: answer(own(r)),
    "400": lambda r: answer(own(r), 400),
    "speaks of a session": lambda r: answer(own(r, message="Browser session expired")),
    "says the same words": lambda r: answer(own(r, message="Session not found")),
    "result": lambda r: answer({"jsonrpc": "2.0", "id": r.id, "result": {"content": [], "isError": True}}),
    "id as text": lambda r: answer({**own(r), "id": str(r.id)}),
    "id as float": lambda r: answer({**own(r), "id": float(r.id)}),
    "event stream": lambda r: answer(event(own(r)), content_type="text/event-stream"),
    "event stream with a notification before": lambda r: answer(
        event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}) + event(own(r)),
        content_type="text/event-stream; charset=utf-8",
    ),
    "array": lambda r: answer([own(r)]),
    "plain text": lambda r: answer(own(r), content_type="text/plain"),
    "byte order mark": lambda r: answer(b"\xef\xbb\xbf" + as_text(r)),
    "not a number": lambda r: answer(own(r, data=float("nan"))),
    "half an emoji": lambda r: answer(own(r, data="\ud83d")),
    "not utf-8": lambda r: answer(as_text(r).replace(b"User", b"Us\xe9r")),
    "twice": lambda r: answer(as_text(r) + b"\n" + as_text(r)),
    "utf-16": lambda r: answer(json.dumps(own(r)).encode("utf-16")),
    "large": lambda r: answer(own(r, data=LARGE)),
    "large, id last": lambda r: answer({"jsonrpc": "2.0", "error": {**NO_USER, "data": LARGE}, "id": r.id}),
    "large, not JSON, id last": lambda r: answer(
        b'{"jsonrpc": "2.0", "error": {"code": -1, "message": "no", "data": NaN, "text": "%s"}, "id": %d}'
        % (LARGE.encode(), r.id)
    ),
    "gzip": lambda r: answer(own(r), coding=lambda b: gzip.compress(b, mtime=0), content_encoding="gzip"),
    "deflate": lambda r: answer(own(r), coding=zlib.compress, content_encoding="deflate"),
    "zstd": lambda r: answer(own(r), coding=zstandard.compress, content_encoding="zstd"),
    "coding that nobody knows": lambda r: answer(own(r), coding=lambda b: b[::-1], content_encoding="reversed"),
    "coding that is a lie": lambda r: answer(own(r), content_encoding="gzip"),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
async def test_an_odd_answer(shape: Shape, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw) -> None:
    mini = MiniMcp()
    executed: list[Any] = []

    def book(request: Request) -> Answer:
        if request.session not in mini.sessions:
            return mini.lost(request)
        executed.append(request.id)
        return shape(request)

    mini.rules.append(Rule({"tool": "book"}, book))
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    client = await raw_client(proxy.url)
    await client.handshake()
    assert (await client.call("echo", {"text": "x"})).text == "x"
    calls = [client.message("tools/call", {"name": "book", "arguments": {}}, id=id) for id in (101, 102)]

    expected = shape(Request("POST", "/mcp", {}, json.dumps(calls[0]).encode()))
    given = await client.post(calls[0])
    assert executed == [101]
    assert (given.status, given.body) == (expected.status, expected.body)

    # Also where the session is lost indeed, and the request is sent again: then that is its answer.
    mini.forget()
    expected = shape(Request("POST", "/mcp", {}, json.dumps(calls[1]).encode()))
    given = await client.post(calls[1])
    assert executed == [101, 102]
    assert (given.status, given.body) == (expected.status, expected.body)
    assert (await client.call("echo", {"text": "y"})).text == "y"
