"""What the user's choice of a ledger means: a file of this host, or a server that proxies share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.client import Client
from ..core.core import Core
from .fleet import Fleet
from .keeping import Keeping
from .redis import Address, RedisStore
from .sqlite import SqliteStore


def keep(
    core: Core,
    where: Address | Path,
    clock: Callable[[], float],
    on_taken: Callable[[list[Client]], None],
    wake: Callable[[], None],
) -> Keeping:
    """Begin to keep a core's sessions there; the rest as for `Keeping`."""
    if isinstance(where, Path):
        return Keeping(core, SqliteStore(where), clock, on_taken, wake)
    store = RedisStore(where, clock=clock)
    return Keeping(core, store, clock, on_taken, wake, Fleet(core, store, clock, on_taken, wake))
