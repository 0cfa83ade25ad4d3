"""The fleet from outside: which proxies share a ledger, what each has, who acts for what, and what nobody sees to."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.session import shorten
from ..store.proxies import Proxy
from ..store.redis import Address, RedisStore
from ..store.redis.backend import AT_ONCE
from ..store.redis.coding import Shared
from ..store.redis.members import Member, members_of
from ..store.store import Problem
from ..wire.text import counted, printable

PATIENCE = 10.0
"""Seconds that living proxies have for what another one has left, until that counts as owed."""

SHOWN = 20
"""Sessions that are listed of each kind."""


@dataclass(slots=True)
class Seen:
    """What there was at one look."""

    living: dict[Proxy, Member] = field(default_factory=dict)
    dead: dict[Proxy, Member] = field(default_factory=dict)
    sessions: dict[str, Counter[str]] = field(default_factory=dict)
    """By the proxy that has them, and by how their server's side stands."""
    acting: list[str] = field(default_factory=list)
    """Who acts for which session, in words."""
    owed: list[str] = field(default_factory=list)
    """Sessions that no proxy has that lives."""


async def look(store: RedisStore) -> Seen:
    """Look once, and change nothing.

    Raises:
        Problem: the server can't be asked.
    """
    seen, now, prefix, ask = Seen(), time.time(), store.address.prefix, store.connection
    told = (
        await ask.command("HGETALL", f"{prefix}:proxies"),
        await ask.command("ZRANGE", f"{prefix}:seen", 0, -1, "WITHSCORES"),
    )
    members = members_of(*told, now, store.silence)
    for one in members:
        (seen.dead if one.dead else seen.living)[one.proxy] = one
    living = {proxy.id for proxy in seen.living}
    async for some in _sessions(store):
        for owner, row in some:
            word = "left" if row.client == "left" else row.server
            seen.sessions.setdefault(owner, Counter())[word] += 1
            if owner not in living:
                seen.owed.append(f"{shorten(row.client_id)} {printable(row.host, 60)}: {word}")
    names = {one.proxy.id: _name(one) for one in members}
    async for key in ask.client.scan_iter(f"{prefix}:l:*", count=1000):
        holder = (await ask.command("GET", key) or b"").decode().partition(" ")[0]
        seen.acting.append(f"{key.decode().rpartition(':')[2][:8]} by {names.get(holder, holder[:8])}")
    return seen


async def _sessions(store: RedisStore) -> Any:
    """The sessions that are not over, some at a time, each with the id of the proxy that has it."""
    names = []
    async for key in store.connection.client.scan_iter(f"{store.address.prefix}:s:*", count=1000):
        names.append(key)
        if len(names) == AT_ONCE:
            yield await _read(store, names)
            names = []
    yield await _read(store, names)


async def _read(store: RedisStore, names: Sequence[bytes]) -> list[tuple[str, Shared]]:
    free, ask = f"{store.address.prefix}:free", store.connection
    stored = await ask.commands([("HGETALL", name) for name in names])
    are_free = await ask.commands([("SISMEMBER", free, name.rpartition(b":")[2]) for name in names])
    found = []
    for one, is_free in zip(stored, are_free, strict=True):
        row = store.read([one, []])
        if isinstance(row, Shared):
            found.append(("" if is_free else one.get(b"proxy", b"").decode(), row))
    return found


def described(seen: Seen) -> list[str]:
    """What was seen, line by line."""
    number = len(seen.living)
    lines = [f"{number} {'proxy' if number == 1 else 'proxies'}, {counted(_count(seen), 'session')}"]
    for proxy, one in (seen.living | seen.dead).items():
        has = ", ".join(f"{number} {word}" for word, number in sorted(seen.sessions.get(proxy.id, {}).items()))
        state = "dead" if proxy in seen.dead else "lives"
        lines.append(f"  {_name(one)}  {state}, heard of {one.silent:.0f} s ago; has {has or 'no session'}")
    for title, entries in (("under way", seen.acting), ("owed, and nobody sees to it", seen.owed)):
        lines += [f"{title}: {len(entries)}", *(f"  {entry}" for entry in entries[:SHOWN])]
        if len(entries) > SHOWN:
            lines.append(f"  and {len(entries) - SHOWN} more")
    return lines


def _count(seen: Seen) -> int:
    return sum(counter.total() for counter in seen.sessions.values())


def _name(one: Member) -> str:
    return printable(f"{one.name} {one.proxy.id[:6]}", 80)


async def shown(address: Address, check: bool) -> tuple[bool, list[str]]:
    """Whether something is owed that nobody sees to, and what was seen, line by line.

    With `check`, proxies that live have a while to see to it.

    Raises:
        ValueError: the ledger can't be asked.
    """
    store = RedisStore(address)
    try:
        store.secret = await store.connection.command("GET", f"{address.prefix}:key") or b"none"
        seen, until = await look(store), time.monotonic() + PATIENCE
        while check and seen.owed and seen.living and time.monotonic() < until:
            await asyncio.sleep(0.5)
            seen = await look(store)
    except Problem as e:
        raise ValueError(str(e).partition(";")[0]) from None
    finally:
        await store.close()
    return bool(seen.owed), described(seen)
