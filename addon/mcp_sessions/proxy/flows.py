"""A flow of mitmproxy's as the core is told of it, and what belongs to an exchange on that side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from mitmproxy import connection as mconnection
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode

from ..core.client import Connection
from ..core.exchange import Exchange
from ..core.session import Endpoint
from ..wire import headers as h
from ..wire.headers import HeaderMap, coded
from ..wire.jsonrpc import UNREAD, Body, parse
from . import clock
from .metadata import PROCESS
from .streams import StreamReader

NO_BODY = Body()

CACHED_PATH = 1024
"""Bytes of a path and query up to which it is kept what they mean."""


@dataclass(slots=True)
class Live:
    """One exchange under way."""

    x: Exchange
    flow: http.HTTPFlow
    reader: StreamReader | None = None
    refused: http.Response | None = None
    """The server's original answer, once the request has been sent again."""
    settled: bool = False
    """Nothing more is to be decided: what answer there is now is given to the client."""
    unreached: bool = False
    """It was answered because the server can't be reached."""

    def note_process(self, flow: http.HTTPFlow) -> None:
        """Note on a flow what can't be seen from it when it is read from a file again."""
        client = self.x.connection.client or self.x.client
        if client.pid is not None and client.started is not None:
            flow.metadata[PROCESS] = [client.name, client.pid, client.started, client.parent or 0]


class Route(NamedTuple):
    """How a session's server is reached: as whom, and in which of the proxy's modes."""

    peer: tuple[str, int]
    local: tuple[str, int]
    mode: ProxyMode

    def client(self) -> mconnection.Client:
        """A connection like the one that the session was used over last."""
        return mconnection.Client(
            peername=self.peer, sockname=self.local, timestamp_start=clock.now(), proxy_mode=self.mode
        )


def note_route(live: Live) -> None:
    """Note on the session of an exchange how its server is reached."""
    session, connection = live.x.session or live.x.opened, live.x.connection
    if session is not None and (session.route is None or session.route[0] != connection.peer):  # type: ignore[index]  # only set here
        session.route = Route(connection.peer, connection.local, live.flow.client_conn.proxy_mode)


def exchange_of(
    flow_id: str,
    verb: str,
    endpoint: Endpoint,
    url: str,
    headers: HeaderMap,
    content: bytes | None,
    connection: Connection,
) -> Exchange:
    """A request that is MCP, as an exchange that has just begun."""
    body = NO_BODY
    if verb == "POST":
        body = UNREAD if content is None or coded(headers) else parse(content)
    return Exchange(flow_id, clock.now(), verb, endpoint, url, headers, body, connection)


def target_of(request: http.Request) -> tuple[Endpoint, str]:
    """Where a request goes: the endpoint, and the whole URL, with each byte of its path one character."""
    data = request.data
    if len(data.path) > CACHED_PATH:
        return _target(data.scheme, data.host, data.port, data.path)
    return _known_target(data.scheme, data.host, data.port, data.path)


def _target(scheme: bytes, host: str, port: int, path: bytes) -> tuple[Endpoint, str]:
    text = path.decode("latin-1")
    endpoint = Endpoint(scheme.decode("utf-8", "surrogateescape"), host, port, text.partition("?")[0])
    return endpoint, endpoint.origin + text


_known_target = lru_cache(maxsize=1024)(_target)


def dialled(client: mconnection.Client) -> str:
    """The address that a client has dialled in the place of a server's: by a reverse proxy it knows no other."""
    return str(client.sockname[0]) if isinstance(client.proxy_mode, ReverseMode) and client.sockname else ""


def address(found: Any) -> tuple[str, int]:
    """An address of mitmproxy's, less what IPv6 adds to it."""
    return (str(found[0]), int(found[1]))


def set_session_id(headers: http.Headers, session_id: str | None) -> None:
    """Put this id in; None leaves what is there, the empty text takes it out."""
    if session_id:
        headers[h.SESSION_ID] = session_id.encode("latin-1", "replace")
    elif session_id is not None:
        headers.pop(h.SESSION_ID, None)
