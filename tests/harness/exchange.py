"""Requests to and answers of a scripted server, and the JSON-RPC and SSE shapes they mostly carry."""

import json as jsonlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    peer: tuple[str, int] = ("", 0)
    connection: int = 0
    http: str = "1.1"
    at: float = field(default_factory=time.time)
    status: int | None = None
    ended: str | None = None
    """None while it is being answered; then "finished", "cut", or "gone" if the client hung up."""

    @property
    def json(self) -> Any:
        try:
            return jsonlib.loads(self.body)
        except ValueError:
            return None

    @property
    def session(self) -> str | None:
        return self.headers.get("mcp-session-id")

    @property
    def rpc(self) -> str | None:
        message = self.json
        method = message.get("method") if isinstance(message, dict) else None
        return method if isinstance(method, str) else None

    @property
    def id(self) -> Any:
        message = self.json
        return message.get("id") if isinstance(message, dict) else None

    @property
    def params(self) -> dict[str, Any]:
        message = self.json
        params = message.get("params") if isinstance(message, dict) else None
        return params if isinstance(params, dict) else {}


Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass
class Answer:
    """What to answer.

    `body` as bytes is sent with Content-Length, as an iterator piece by piece as it yields. `delay` comes before the
    head, `hang` after what was sent: the answer never ends. `cut` closes the connection before the answer is
    complete. `raw` replaces head and body by exactly these bytes, HTTP/1.1 only (`raw=b""` with `cut`: no answer at
    all).
    """

    status: int = 200
    headers: Headers = ()
    body: bytes | AsyncIterator[bytes] = b""
    delay: float = 0.0
    hang: bool = False
    cut: bool = False
    raw: bytes | None = None

    def header_list(self) -> list[tuple[str, str]]:
        return list(self.headers.items()) if isinstance(self.headers, Mapping) else list(self.headers)


Handler = Callable[[Request], Answer | Awaitable[Answer]]


def json_answer(message: Any, status: int = 200, *, session: str | None = None, **more: Any) -> Answer:
    """One JSON body."""
    headers = {"content-type": "application/json", **({"mcp-session-id": session} if session else {})}
    return Answer(status, headers, jsonlib.dumps(message).encode(), **more)


def result(request: Request, value: Any, *, session: str | None = None, **more: Any) -> Answer:
    """The JSON-RPC result to this request, as JSON."""
    return json_answer({"jsonrpc": "2.0", "id": request.id, "result": value}, session=session, **more)


def error(
    request: Request | None, code: int, message: str, status: int = 200, *, id: Any = None, **more: Any
) -> Answer:
    """A JSON-RPC error; its id is the request's, or `id` without a request."""
    given = request.id if request is not None else id
    return json_answer({"jsonrpc": "2.0", "id": given, "error": {"code": code, "message": message}}, status, **more)


def event(message: Any, *, id: str | None = None, name: str | None = "message") -> bytes:
    """One SSE event with a JSON message."""
    lines = [f"event: {name}"] if name else []
    if id is not None:
        lines.append(f"id: {id}")
    lines.append(f"data: {message if isinstance(message, str) else jsonlib.dumps(message)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def sse(events: AsyncIterator[bytes] | Iterable[bytes], *, session: str | None = None, **more: Any) -> Answer:
    """An event stream; chunks go out one by one."""
    headers = {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
        **({"mcp-session-id": session} if session else {}),
    }
    return Answer(200, headers, events if isinstance(events, AsyncIterator) else _each(events), **more)


async def _each(events: Iterable[bytes]) -> AsyncIterator[bytes]:
    for one in events:
        yield one
