"""The fleet as one of its proxies sees it: who there is, who holds what this one knows, and what only others know.

It is read when somebody looks, over a connection of its own, so that nothing that matters waits for it; a few commands
at a time go out together, and what is listed is bounded, however much there is. Nothing is changed by it, and a core is
told nothing of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import batched
from typing import NamedTuple

from ...core.core import Core
from ...core.session import Session
from ..rows import key_of
from ..store import Problem
from .backend import AT_ONCE, RedisStore
from .coding import Shared
from .connection import Connection
from .members import Member, members_of

LISTED = 1_000
"""Sessions of this proxy, the newest, whose holders are asked for; and those of others that are listed."""

MEMBERS = 100
"""Proxies that are listed; those that were heard of last."""

FRESH = 1.0
"""Seconds for which nothing is read anew."""

PATIENCE = 3.0
"""Seconds that all of it may take."""


class Held(NamedTuple):
    """A session that this proxy does not know."""

    name: str
    """Its name in keys, a keyed hash."""
    row: Shared
    holder: str
    """The id of the proxy that holds it; empty if none does."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What there was at one look."""

    me: str
    at: float = float("-inf")
    """When; on a clock that only goes on."""
    members: Mapping[str, Member] = field(default_factory=dict)
    """By their ids."""
    free: int = 0
    """Sessions that nobody holds."""
    mine: Mapping[int, str] = field(default_factory=dict)
    """Those that this proxy knows, by their numbers, with the id of whoever holds them."""
    others: Sequence[Held] = ()
    left_out: int = 0
    """Sessions of other proxies that are not listed."""
    problem: str = ""
    """Why this is not the latest, in one line; empty if it is."""

    def holder(self, session: Session) -> str:
        """Who holds a session that this proxy knows: it is written down a moment after it was opened."""
        return self.named(self.mine.get(session.number, self.me))

    def named(self, holder: str) -> str:
        """What a holder is called: `here` for this proxy."""
        if holder == self.me:
            return "here"
        member = self.members.get(holder)
        return "nobody" if member is None else f"{member.name}, dead" if member.dead else member.name

    @property
    def total(self) -> int:
        """How many sessions the fleet has."""
        return self.free + sum(member.sessions for member in self.members.values())


class Lookout:
    """Looks at the fleet for one proxy, whenever somebody asks."""

    def __init__(self, core: Core, store: RedisStore) -> None:
        self._core = core
        self._store = store
        self._ask = Connection(store.address, PATIENCE)
        self._under_way: asyncio.Task[Overview] | None = None
        self.latest = Overview(store.proxy.id)

    async def look(self) -> Overview:
        """The fleet as it is, or as it was when it could be seen last, with the problem; never raises."""
        if time.monotonic() - self.latest.at < FRESH:
            return self.latest
        if self._under_way is None:
            self._under_way = asyncio.get_running_loop().create_task(self._look(), name="mcp lookout")
        return await asyncio.shield(self._under_way)

    def close(self) -> None:
        """Look no more."""
        if self._under_way is not None:
            self._under_way.cancel()

    async def _look(self) -> Overview:
        try:
            async with asyncio.timeout(PATIENCE):
                self.latest = await self._read()
        except Problem as e:
            self._failed(str(e).partition(";")[0])
        except TimeoutError:
            why = "does not answer" if self._store.secret else "is not shared yet"
            self._failed(f"{self._store.address} {why}")
        finally:
            self._under_way = None
        return self.latest

    def _failed(self, problem: str) -> None:
        self.latest = replace(self.latest, at=time.monotonic(), problem=problem)

    async def _read(self) -> Overview:
        prefix, me = self._store.address.prefix, self._store.proxy.id
        while not self._store.secret:  # noqa: ASYNC110  # it is being opened, and tells nobody when it is
            await asyncio.sleep(0.05)
        found = await self._ask.commands(
            [
                ("HGETALL", f"{prefix}:proxies"),
                ("ZRANGE", f"{prefix}:seen", 0, -1, "WITHSCORES"),
                ("SCARD", f"{prefix}:free"),
            ]
        )
        told = found[0], found[1], self._store.clock(), self._store.silence
        members = (await asyncio.to_thread(members_of, *told))[-MEMBERS:]
        counts = await self._ask.commands([("SCARD", f"{prefix}:of:{one.proxy.id}") for one in members])
        members = [one._replace(sessions=count) for one, count in zip(members, counts, strict=True)]
        mine = await self._mine(prefix)
        others, left_out = await self._others(prefix, members, found[2], set(mine))
        return Overview(
            me,
            time.monotonic(),
            {one.proxy.id: one for one in members},
            found[2],
            {number: holder for number, holder in mine.values() if holder is not None},
            others,
            left_out,
        )

    async def _mine(self, prefix: str) -> dict[str, tuple[int, str | None]]:
        """The newest sessions of this proxy, by their names in keys, with who holds them; None if that is not known."""
        ledger, fingerprints = self._core.ledger, self._core.fingerprints
        known = [session for session in list(ledger.sessions.values())[-LISTED:] if not session.over]
        found: dict[str, tuple[int, str | None]] = {}
        for some in batched(known, AT_ONCE):
            names = [self._store.name(key_of(session, fingerprints)) for session in some]
            asked = [("HGET", f"{prefix}:s:{name}", "proxy") for name in names]
            held = await self._ask.commands(asked)
            for session, name, holder in zip(some, names, held, strict=True):
                found[name] = session.number, holder.decode() if holder else None
        return found

    async def _others(
        self, prefix: str, members: Sequence[Member], free: int, mine: Set[str]
    ) -> tuple[list[Held], int]:
        """Sessions that this proxy does not know, and how many more there are."""
        sets = {one.proxy.id: one.sessions for one in members if one.sessions and one.proxy.id != self._store.proxy.id}
        sets |= {"": free} if free else {}
        alive = {one.proxy.id for one in members if not one.dead}
        room, left_out, names = LISTED // max(1, len(sets)), 0, dict[str, str]()
        keys = [f"{prefix}:of:{holder}" if holder else f"{prefix}:free" for holder in sets]
        scans = await self._ask.commands([("SSCAN", key, 0, "COUNT", room) for key in keys])
        for (holder, count), scan in zip(sets.items(), scans, strict=True):
            some = sorted(name.decode() for name in scan[1])[:room]
            names |= {name: holder for name in some if name not in mine}
            left_out += max(0, count - len(some))
        held = []
        for part in batched(names, AT_ONCE):
            stored = await self._ask.commands([("HGETALL", f"{prefix}:s:{name}") for name in part])
            rows = [self._store.read([one, [name.encode() for name in alive]]) for one in stored]
            held += [Held(n, row, names[n]) for n, row in zip(part, rows, strict=True) if isinstance(row, Shared)]
            await asyncio.sleep(0)
        return held, left_out
