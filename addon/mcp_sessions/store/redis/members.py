"""The proxies of a fleet, as each describes itself to the others and to people."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...wire.text import printable
from ..proxies import Proxy


class Member(NamedTuple):
    """A proxy of the fleet."""

    proxy: Proxy
    host: str
    """What its host is called; empty if a version wrote it that did not say so."""
    silent: float
    """Seconds since it was heard of."""
    dead: bool
    sessions: int = 0
    """How many it holds."""

    @property
    def name(self) -> str:
        """What people are told: `host[4711]`."""
        return f"{self.host or self.proxy.place[:6]}[{self.proxy.pid}]"


def members_of(proxies: Any, seen: Any, now: float, silence: float) -> list[Member]:
    """All proxies, those last that were heard of last: as the keys `proxies` and `seen` tell of them.

    It may take milliseconds, and be called in any thread.
    """
    times = dict(pairs(seen))
    members = []
    for name, text in pairs(proxies):
        try:
            said = json.loads(text)
            proxy = Proxy(name.decode(), *said[:3])
            silent = max(0.0, now - float(times.get(name, 0.0)))
            host = printable(str(said[3]), 40) if len(said) > 3 else ""
            members.append(Member(proxy, host, silent, proxy.is_dead(silent, silence)))
        except (TypeError, ValueError):
            continue  # of a version that is not known here
    return sorted(members, key=lambda member: -member.silent)


def described(proxy: Proxy) -> str:
    """What a proxy says of itself in `proxies`."""
    return json.dumps([*proxy[1:], platform.node().partition(".")[0]])


def pairs(flat: Any) -> Iterator[tuple[Any, Any]]:
    """The entries of a table, as a command tells them or a script."""
    if isinstance(flat, dict):
        return iter(flat.items())
    if flat and isinstance(flat[0], list):
        return iter(flat)
    return iter(list(zip(flat[::2], flat[1::2], strict=True)))
