"""Small tables that cost little, and tables that are full."""

from __future__ import annotations

from collections.abc import Callable, Collection

from .client import Client
from .session import Session

FEW = 8
"""Connections that are kept in a tuple: most have one or none, and it is a fifth of a table."""

ASKED = 64
"""Entries of a full table that are asked in turn whether they can be spared, before the oldest goes all the same."""


def with_one(connections: Collection[str], connection_id: str) -> Collection[str]:
    """The same and one more."""
    if isinstance(connections, dict):
        connections[connection_id] = None
        return connections
    if connection_id in connections:
        return connections
    return (*connections, connection_id) if len(connections) < FEW else dict.fromkeys((*connections, connection_id))


def without(connections: Collection[str], connection_id: str) -> Collection[str]:
    """The same less this one."""
    if isinstance(connections, dict):
        connections.pop(connection_id, None)
        return connections
    return tuple(one for one in connections if one != connection_id) if connection_id in connections else connections


def make_room[K, V](
    table: dict[K, V], limit: int, spare: Callable[[V], bool] | None = None, *, force: bool = True
) -> V | None:
    """Make room in a full table: the oldest entry that can be spared goes, else (`force`) the oldest; what went."""
    if len(table) < limit:
        return None
    for _ in range(ASKED if spare is not None else 0):
        key = next(iter(table))
        value = table.pop(key)
        if spare is not None and spare(value):
            return value
        table[key] = value  # asked again when all others were
    return table.pop(next(iter(table))) if force else None


def vouch(session: Session, client: Client) -> None:
    """Note that it is settled of this client that no process is known behind it."""
    if client not in session.vouched:
        session.vouched = (*session.vouched, client)
