"""Small tables, and tables that are full."""

from __future__ import annotations

from collections.abc import Callable

from .client import Client
from .session import Session

ASKED = 64
"""Entries of a full table that are asked in turn whether they can be spared, before the oldest goes all the same."""


def vouch(session: Session, client: Client) -> None:
    """Note that it is settled of this client that no process is known behind it."""
    if client not in session.vouched:
        session.vouched = (*session.vouched, client)


# Most have one connection, or none: a tuple is a fifth of a set.


def with_one(connections: tuple[str, ...], connection_id: str) -> tuple[str, ...]:
    """These connections and that one."""
    return connections if connection_id in connections else (*connections, connection_id)


def without(connections: tuple[str, ...], connection_id: str) -> tuple[str, ...]:
    """These connections less that one."""
    return tuple(one for one in connections if one != connection_id) if connection_id in connections else connections


def make_room[K, V](table: dict[K, V], limit: int, spare: Callable[[V], bool] | None = None) -> V | None:
    """Make room in a full table: the oldest entry that can be spared goes, else the oldest; it, if one had to go."""
    if len(table) < limit:
        return None
    for _ in range(ASKED if spare is not None else 0):
        key = next(iter(table))
        value = table.pop(key)
        if spare is not None and spare(value):
            return value
        table[key] = value  # asked again when all others were
    return table.pop(next(iter(table)))
