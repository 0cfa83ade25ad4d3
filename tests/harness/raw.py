"""A raw MCP client on httpx: every header and byte is the test's to choose."""

import itertools
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import EllipsisType
from typing import Any, Self

import httpx


class _OnlyHttp2(ssl.SSLContext):
    """httpx offers HTTP/1.1 first, always, and mitmproxy takes the first offer unless the server's side is settled."""

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        super().set_alpn_protocols(["h2"])


@dataclass
class RawAnswer:
    """A complete answer, or what came of it before it broke."""

    status: int
    headers: httpx.Headers
    body: bytes
    began: float
    head_at: float
    first_byte_at: float | None
    ended_at: float
    http: str
    broken: str | None = None
    events: list["Event"] = field(default_factory=list)

    @property
    def session(self) -> str | None:
        value: str | None = self.headers.get("mcp-session-id")
        return value

    @property
    def messages(self) -> list[Any]:
        """JSON-RPC messages, from JSON or from events."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            return [event.json for event in self.events if event.json is not None]
        try:
            return [json.loads(self.body)]
        except ValueError:
            return []

    @property
    def reply(self) -> Any:
        """The message with a result or an error."""
        return next(
            (one for one in self.messages if isinstance(one, dict) and ("result" in one or "error" in one)), None
        )

    @property
    def result(self) -> Any:
        return (self.reply or {}).get("result")

    @property
    def error(self) -> Any:
        return (self.reply or {}).get("error")

    @property
    def text(self) -> str | None:
        """The first text of a tool's result."""
        content = (self.result or {}).get("content") or [{}]
        value: str | None = content[0].get("text")
        return value


@dataclass
class Event:
    """One SSE event and when it came."""

    at: float
    name: str
    data: str
    id: str | None

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.data)
        except ValueError:
            return None


class RawStream:
    """An answer that is still coming."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.body = bytearray()
        self.first_byte_at: float | None = None
        self._buffer = bytearray()
        self._events = self._read()

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def session(self) -> str | None:
        value: str | None = self.response.headers.get("mcp-session-id")
        return value

    async def event(self) -> Event:
        """The next event; StopAsyncIteration at the end. Put it in `asyncio.timeout` where it might not come."""
        return await anext(self._events)

    def events(self) -> AsyncIterator[Event]:
        return self._events

    async def _read(self) -> AsyncIterator[Event]:
        async for piece in self.response.aiter_raw():
            if self.first_byte_at is None:
                self.first_byte_at = time.time()
            self.body += piece
            searched = max(0, len(self._buffer) - 1)  # a line may go on for megabytes
            self._buffer += piece.replace(b"\r\n", b"\n")
            while (end := self._buffer.find(b"\n\n", searched)) >= 0:
                block, searched = bytes(self._buffer[:end]), 0
                del self._buffer[: end + 2]
                found = _event(block)
                if found is not None:
                    yield found


class RawClient:
    """One client and the session it is in; `...` as `session` means its own, None means no header."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "raw",
        version: str = "2025-11-25",
        headers: Mapping[str, str] | None = None,
        verify: bool | Path | ssl.SSLContext = True,
        http2: bool = False,
        proxy: str | None = None,
        timeout: float = 15.0,
    ) -> None:
        self.url = url
        self.name = name
        self.version = version
        self.session: str | None = None
        self.numbers = itertools.count(1)
        if isinstance(verify, Path):
            verify = ssl.create_default_context(cafile=str(verify))
        elif verify is False and http2:
            verify = _OnlyHttp2(ssl.PROTOCOL_TLS_CLIENT)
            verify.check_hostname = False
            verify.verify_mode = ssl.CERT_NONE
        self.http = httpx.AsyncClient(
            headers=dict(headers or {}),
            verify=verify,
            http2=http2,
            proxy=proxy,
            timeout=timeout,
            trust_env=False,
            limits=httpx.Limits(max_connections=None),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def reset(self, stream_id: int) -> None:
        """Give up one HTTP/2 stream, as clients do; httpx says nothing when a call is cancelled."""
        (connection,) = self.http._transport._pool.connections  # type: ignore[attr-defined]
        state = connection._connection._h2_state
        state.reset_stream(stream_id, 8)
        await connection._connection._network_stream.write(state.data_to_send())

    async def handshake(self, capabilities: Mapping[str, Any] | None = None) -> RawAnswer:
        """initialize and notifications/initialized."""
        answer = await self.initialize(capabilities)
        await self.notify("notifications/initialized")
        return answer

    async def initialize(self, capabilities: Mapping[str, Any] | None = None, **more: Any) -> RawAnswer:
        """initialize alone; the session id of its answer becomes this client's."""
        params = {
            "protocolVersion": self.version,
            "capabilities": dict(capabilities or {}),
            "clientInfo": {"name": self.name, "version": "1"},
        }
        answer = await self.request("initialize", params, session=None, protocol_header=False, **more)
        if answer.status < 300 and answer.session is not None:
            self.session = answer.session
        return answer

    async def call(self, tool: str, given: Mapping[str, Any] | None = None, **more: Any) -> RawAnswer:
        """tools/call; `progress_token` asks for progress."""
        params: dict[str, Any] = {"name": tool, "arguments": dict(given or {})}
        token = more.pop("progress_token", None)
        if token is not None:
            params["_meta"] = {"progressToken": token}
        return await self.request("tools/call", params, **more)

    async def request(
        self, method: str, params: Mapping[str, Any] | None = None, *, id: Any = ..., **more: Any
    ) -> RawAnswer:
        """A JSON-RPC request and its complete answer."""
        return await self.post(self.message(method, params, id=id), **more)

    async def notify(self, method: str, params: Mapping[str, Any] | None = None, **more: Any) -> RawAnswer:
        """A JSON-RPC notification."""
        return await self.post(self.message(method, params, id=None), **more)

    def message(self, method: str, params: Mapping[str, Any] | None = None, *, id: Any = ...) -> dict[str, Any]:
        """A request with the next id, with the one given, or (None) a notification."""
        made: dict[str, Any] = {"jsonrpc": "2.0"}
        if id is not None:
            made["id"] = next(self.numbers) if id is ... else id
        made["method"] = method
        if params is not None:
            made["params"] = dict(params)
        return made

    async def post(self, body: Any, **more: Any) -> RawAnswer:
        """POST bytes as they are, or anything else as JSON."""
        return await self.send("POST", body, **more)

    async def delete(self, **more: Any) -> RawAnswer:
        return await self.send("DELETE", **more)

    async def send(self, method: str, body: Any = None, **more: Any) -> RawAnswer:
        """Any request; its answer is read to the end."""
        began = time.time()
        async with self.stream(method, body, **more) as stream:
            head_at = time.time()
            events: list[Event] = []
            broken = None
            try:
                async for event in stream.events():
                    events.append(event)  # noqa: PERF401  # what came before a break is kept
            except httpx.TransportError as failure:
                broken = repr(failure)
            return RawAnswer(
                status=stream.status,
                headers=stream.response.headers,
                body=bytes(stream.body),
                began=began,
                head_at=head_at,
                first_byte_at=stream.first_byte_at,
                ended_at=time.time(),
                http=stream.response.http_version,
                broken=broken,
                events=events,
            )

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        body: Any = None,
        *,
        session: str | EllipsisType | None = ...,
        headers: Mapping[str, str | None] | None = None,
        protocol_header: bool = True,
        path: str | None = None,
    ) -> AsyncIterator[RawStream]:
        """Any request; its answer as it comes. A header of None is left out."""
        given: dict[str, str | None] = {
            "accept": "text/event-stream" if method == "GET" else "application/json, text/event-stream",
            "content-type": "application/json" if method == "POST" else None,
            "mcp-session-id": self.session if session is ... else session,
            "mcp-protocol-version": self.version if protocol_header else None,
            # Bodies are read raw.
            "accept-encoding": "identity",
        }
        given |= {name.lower(): value for name, value in (headers or {}).items()}
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        async with self.http.stream(
            method,
            self.url if path is None else httpx.URL(self.url).join(path),
            content=content,
            headers={name: value for name, value in given.items() if value is not None},
        ) as response:
            yield RawStream(response)

    def get(self, *, last_event_id: str | None = None, **more: Any) -> Any:
        """The standalone stream: `async with client.get() as stream: await stream.event()`."""
        headers = {"last-event-id": last_event_id, **more.pop("headers", {})}
        return self.stream("GET", headers=headers, **more)


def _event(block: bytes) -> Event | None:
    name, id, data = "message", None, []
    for line in block.decode("utf-8", "replace").split("\n"):
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "data":
            data.append(value)
        elif key == "event":
            name = value
        elif key == "id":
            id = value
    if not data and id is None:
        return None
    return Event(time.time(), name, "\n".join(data), id)
