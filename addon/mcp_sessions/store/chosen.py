"""What the user's choice of a ledger means: a file of this host, or a server that proxies share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.client import Client
from ..core.core import Core
from .fleet import Fleet
from .keeping import Keeping
from .redis import Address, RedisStore
from .redis.seal import Seal
from .sqlite import SqliteStore

FILE = "mcp-sessions.sqlite"
"""The name of the file that is taken where the user names none."""


def keep(
    core: Core,
    where: Address | Path,
    clock: Callable[[], float],
    on_taken: Callable[[list[Client]], None],
    wake: Callable[[], None],
    key: bytes = b"",
) -> Keeping:
    """Begin to keep a core's sessions there; the rest as for `Keeping`. With a key, a shared one holds credentials."""
    if isinstance(where, Path):
        return Keeping(core, SqliteStore(where), clock, on_taken, wake)
    seal = Seal(key) if key else None
    store = RedisStore(where, clock=clock)
    return Keeping(core, store, clock, on_taken, wake, Fleet(core, store, clock, on_taken, wake, seal))
