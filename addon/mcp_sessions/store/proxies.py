"""Proxies that share a ledger: how one is told from another, and when it counts as dead."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from ..processes.place import Place, this_process

SILENCE = 120.0
"""Seconds after which a proxy that can't be looked up counts as dead."""


class Proxy(NamedTuple):
    """One proxy, as the others may look it up."""

    id: str
    """Tells this run from every other one."""
    place: str
    """Where its pid means something."""
    pid: int
    started: float
    """When its process started, seconds since the epoch."""

    @classmethod
    def here(cls) -> Proxy:
        """The proxy that this process is; another one each time, as one process may have one after the other."""
        process = this_process()
        return cls(secrets.token_hex(8), str(Place.here()), process.pid, process.started)

    def is_dead(self, silent: float, silence: float = SILENCE) -> bool:
        """Whether it is no more, or must be taken for that: it has not been heard of for so many seconds."""
        gone = Place.here().gone(self.place, self.pid, self.started)
        return silent > silence if gone is None else gone
