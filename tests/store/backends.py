"""The backends that the contract is tested with: how each is made, and how a proxy that uses it comes to be dead."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from harness.redis_server import running
from mcp_sessions.store import Proxy, SqliteStore, Store
from mcp_sessions.store.proxies import SILENCE
from mcp_sessions.store.redis import Address, RedisStore

from .samples import NOW


class Backend(Protocol):
    """One shared ledger. Its proxies go by `now`."""

    now: float
    silence: float
    """Seconds after which a proxy that can't be looked up counts as dead."""

    def proxy(self, *, dead: bool = False, elsewhere: bool = False) -> Store:
        """Another proxy. `dead`: its process is no more; `elsewhere`: on a host where nobody can look."""

    def everything(self) -> bytes:
        """All that is stored, as it is stored."""


class Sqlite:
    silence = SILENCE

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self._folder = folder
        self._numbers = itertools.count()

    def proxy(self, *, dead: bool = False, elsewhere: bool = False) -> Store:
        return SqliteStore(self._folder / "ledger", a_proxy(dead=dead, elsewhere=elsewhere), lambda: self.now)

    def everything(self) -> bytes:
        return b"".join(path.read_bytes() for path in self._folder.iterdir())


class Redis:
    """A part of a real server's keys."""

    silence = RedisStore.silence

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.server = running()
        self.prefix = f"test-{secrets.token_hex(6)}"

    def proxy(self, *, dead: bool = False, elsewhere: bool = False) -> RedisStore:
        address = Address.parse(f"unix://{self.server.socket}?prefix={self.prefix}")
        return RedisStore(address, a_proxy(dead=dead, elsewhere=elsewhere), lambda: self.now)

    def everything(self) -> bytes:
        return self.server.everything(self.prefix)


def a_proxy(*, dead: bool = False, elsewhere: bool = False) -> Proxy:
    here = Proxy.here()
    if dead:
        here = here._replace(started=here.started - 1)
    return here._replace(place="elsewhere|boot|ns") if elsewhere else here


BACKENDS: dict[str, Callable[[Path], Backend]] = {"sqlite": Sqlite, "redis": Redis}
