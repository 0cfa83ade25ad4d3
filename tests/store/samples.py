"""Sessions as tests of the store want them, and the place that their processes are in."""

from __future__ import annotations

from typing import Any

from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.core.states import STANDINGS, ClientSide, ServerSide
from mcp_sessions.processes.place import Place
from mcp_sessions.store.rows import Row, row_of

PLACE = Place.here()
ENDPOINT = Endpoint("https", "example.com", 443, "/mcp")
NOW = 2e9


def a_client(pid: int | None = None, started: float = 1.0, host: str = "127.0.0.1") -> Client:
    key = ClientKey(pid=pid, started=started) if pid is not None else ClientKey(host=host)
    return Client(key, "agent" if pid is not None else host, host, 0, 0, pid=pid, started=started if pid else None)


def a_session(
    name: str = "an-id",
    client: ClientSide = ClientSide.USING,
    server: ServerSide = ServerSide.ALIVE,
    *,
    kept: bool = False,
    owners: tuple[Client, ...] | None = None,
    **more: Any,
) -> Session:
    standing = STANDINGS[client, server, kept]
    values: dict[str, Any] = {"server_id": name, "opened": NOW - 60, "last_used": NOW, "revision": "2025-11-25"}
    session = Session(ENDPOINT, name, standing=standing, **{**values, **more})
    for owner in (a_client(),) if owners is None else owners:
        session.owners[owner] = NOW - 5
        if owner.is_process:
            session.opener = session.confirmer = owner
        if not owner.is_process:
            session.vouched = (*session.vouched, owner)
    return session


def a_row(name: str = "an-id", *sides: Any, **more: Any) -> Row:
    return row_of(a_session(name, *sides, **more), PLACE)
