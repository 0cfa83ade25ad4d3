"""Redis as a `Store`: rows that proxies of several hosts share, written and read in the order of asking."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from itertools import batched
from typing import Any

from ...core.states import ServerSide
from ..proxies import Proxy
from ..rows import Key, Row
from ..store import FORGET_AFTER, Problem, Wanted
from . import scripts
from .coding import Aside, Over, Shared, hashed, mark_of, packed, packed_view, unpacked
from .connection import WRITING, Call, Connection
from .members import described, pairs
from .url import Address

SILENCE = 12.0
"""Seconds after which a proxy of another host that was not heard of counts as dead."""

OVER_FOR = 3600.0
"""Seconds for which it is remembered that a session is over, so that nobody writes it down again."""

AT_ONCE = 200
"""Rows that are written or read in one go."""

NOT_THE_LAST = "the last changes of sessions are not shared"


class RedisStore:
    """One proxy's way to a ledger that proxies of several hosts share."""

    silence = SILENCE
    shared = True

    def __init__(
        self,
        address: Address,
        proxy: Proxy | None = None,
        clock: Callable[[], float] = time.time,
        secret: bytes = b"",
    ) -> None:
        """`clock` gives seconds since the epoch; the hosts' clocks are to agree within a few seconds.

        `secret` is what session ids and credentials are hashed with; by default one that is kept in Redis.
        """
        self.address = address
        self.proxy = proxy or Proxy.here()
        self.clock = clock
        self.connection = Connection(address)
        """For what may overtake what is written."""
        self.secret = secret
        self.aside: Callable[[Key], Aside] = lambda _: Aside()
        """What this proxy knows of a session beside its row."""
        self.behind: Callable[[list[Key]], None] = lambda _: None
        """Told of sessions of which more is stored than this proxy knows."""
        self._ordered = Connection(address, WRITING)
        self._turn = asyncio.Lock()
        self._left = False

    # What every store does

    @property
    def credentials_key(self) -> bytes:
        """Derived from the key of all proxies."""
        return hashlib.blake2b(self.secret, person=b"credentials").digest()

    async def open(self) -> str:
        """See whether the server can be used, and enter this proxy."""
        return await self._do(self._open())

    async def _open(self) -> str:
        notice = await self._ordered.check()
        if not self.secret:
            name = f"{self.address.prefix}:key"
            await self._ordered.command("SET", name, secrets.token_bytes(32), "NX")
            self.secret = await self._ordered.command("GET", name)
        elif notice == "":
            # After a loss of all data this one goes on being the key of all.
            await self._ordered.command("SET", f"{self.address.prefix}:key", self.secret, "NX")
        await self.heard()
        return notice

    async def take_over(self, wanted: Wanted | None = None) -> list[Row]:
        """The rows of proxies that are no more."""
        return await self._do(self._take_over(wanted))

    async def _take_over(self, wanted: Wanted | None) -> list[Row]:
        now = self.clock()
        for other, seen in (await self.heard()).items():
            if other.id != self.proxy.id and await asyncio.to_thread(other.is_dead, now - seen, self.silence):
                await self._run(scripts.BURY, other.id)
        oldest = now - FORGET_AFTER
        free = sorted(await self._ordered.command("SMEMBERS", f"{self.address.prefix}:free"))
        taken: list[Row] = []
        for some in batched(free, AT_ONCE):
            names = [name.decode() for name in some]
            found = await self._ordered.run_all([self._call(scripts.READ, name, now, self.silence) for name in names])
            rows = {name: self.read(one) for name, one in zip(names, found, strict=True)}
            kept = {name: row for name, row in rows.items() if isinstance(row, Shared) and row.last_used >= oldest}
            await self._drop([name for name in names if name not in kept], rows)
            if wanted is not None:
                kept = await asyncio.to_thread(_wanted, kept, wanted)
            calls = [self._call(scripts.TAKE, name, now, self.silence) for name in kept]
            got = [self.read(one) for one in (await self._ordered.run_all(calls) if calls else []) if one]
            taken += [row for row in got if isinstance(row, Shared)]
        return taken

    async def _drop(self, names: list[str], rows: Mapping[str, object]) -> None:
        """Forget what is too old, or makes no sense."""
        if names:
            prefix = self.address.prefix
            await self._ordered.command("SREM", f"{prefix}:free", *names)
            old = [f"{prefix}:s:{name}" for name in names if not isinstance(rows[name], Over)]
            if old:
                await self._ordered.command("DEL", *old)

    async def claim(self, key: Key) -> Row | None:
        """The row of this session, whoever has it."""
        return await self._do(self._claim(key))

    async def _claim(self, key: Key) -> Row | None:
        found = await self._run(scripts.CLAIM, self.name(key), self.clock(), self.silence)
        row = self.read(found) if found else None
        return row if isinstance(row, Shared) else None

    async def others(self, keys: Iterable[Key]) -> set[Key]:  # noqa: ARG002  # a Store has them
        """None: before a session is ended more is asked for than whose it is."""
        return set()

    async def absent(self, keys: Iterable[Key]) -> set[Key]:  # noqa: ARG002  # a Store has them
        """None: that a session is over is told to all."""
        return set()

    async def write(self, rows: Iterable[Row]) -> None:
        """Remember these rows, those excepted of which more is stored."""
        await self._do(self._write(list(rows)))

    async def _write(self, rows: list[Row]) -> None:
        behind: list[Key] = []
        # What a handshake has made is entered when that is complete; until then the others know the session as it was.
        rows = [row for row in rows if row.server != ServerSide.RECOVERING]
        for some in batched(rows, AT_ONCE):
            answers = await self._ordered.run_all([self.writing(scripts.WRITE, row) for row in some])
            behind += [row[:5] for row, answer in zip(some, answers, strict=True) if not answer]
            await asyncio.sleep(0)
        if behind:
            self.behind(behind)

    async def update(self, rows: Iterable[Row]) -> None:
        """Remember these rows, those excepted of which more is stored."""
        await self.write(rows)

    async def drop(self, keys: Iterable[Key]) -> None:
        """Forget those of these rows that are this proxy's alone."""
        calls = [self._call(scripts.DROP, self.name(key)) for key in keys]
        if calls:
            await self._do(self._ordered.run_all(calls))

    async def forget(self, keys: Iterable[Key]) -> None:
        """These sessions are over."""
        calls = [self._forgetting(key) for key in keys]
        if calls:
            await self._do(self._ordered.run_all(calls))

    def leave(self, rows: Iterable[Row], keys: Iterable[Key], within: float) -> None:
        """Write the last, and let go of all."""
        self._left = True
        import redis

        try:
            with self._ordered.blocking(within) as client:
                deadline = time.monotonic() + within
                for script, told in self._last(client, list(rows), list(keys)):
                    if time.monotonic() > deadline:
                        raise Problem(f"{self.address} does not keep up; {NOT_THE_LAST}", final=True)
                    client.eval(script, 0, *told)
        except (redis.RedisError, OSError) as e:
            line = str(self._ordered.problem(e)).partition(";")[0]
            raise Problem(f"{line}; {NOT_THE_LAST}", final=True) from None

    def _last(self, client: Any, rows: list[Row], keys: list[Key]) -> Iterator[Call]:
        if not self.secret:  # it ends before it has quite begun
            name = f"{self.address.prefix}:key"
            client.set(name, secrets.token_bytes(32), nx=True)
            self.secret = client.get(name)
            yield self._call(scripts.HEARTBEAT, described(self.proxy), self.clock())
        for row in rows:
            yield self.writing(scripts.WRITE, row)
        for key in keys:
            yield self._forgetting(key)
        yield self._call(scripts.BURY, self.proxy.id)

    # What a shared one does beside

    async def heard(self) -> Mapping[Proxy, float]:
        """Tell the others that this proxy lives; all that are known, with when they were heard of."""
        proxies_said, seen = await self._run(scripts.HEARTBEAT, described(self.proxy), self.clock())
        times = {name.decode(): time for name, time in pairs(seen)}
        proxies: dict[Proxy, float] = {}
        for name, text in pairs(proxies_said):
            try:
                proxies[Proxy(name.decode(), *json.loads(text)[:3])] = float(times[name.decode()])
            except (KeyError, TypeError, ValueError):
                continue  # of a version that is not known here: others look after it
        return proxies

    def name(self, key: Key) -> str:
        """What a session is called in keys."""
        return hashed(self.secret, key)

    def writing(self, script: str, row: Row, *before: str | float) -> Call:
        """The call of a script that writes a row down."""
        key = row[:5]
        aside = self.aside(key)
        life = int(FORGET_AFTER * 1000)
        mark, server_id = mark_of(row), json.dumps(row.server_id)
        about = (self.clock(), life, row.generation, row.opened, mark, server_id, packed(row), packed_view(row, aside))
        return self._call(script, *before, self.name(key), *about, aside.sealed, int(row.opened_by == "unknown"))

    def read(self, found: Any) -> Shared | Over | None:
        """A session as a script has read it; None if nothing is known of it."""
        return unpacked(dict(pairs(found[0])), {one.decode() for one in found[1]}, self.proxy.id)

    # What overtakes what is written

    async def look(self, key: Key) -> Shared | Over | None:
        """What is known of a session."""
        return self.read(await self._at_once(scripts.READ, key, self.clock(), self.silence))

    async def look_at_all(self, keys: list[Key]) -> list[Shared | Over | None]:
        """The same of several."""
        asked = [self._call(scripts.READ, self.name(key), self.clock(), self.silence) for key in keys]
        return [self.read(found) for found in (await self.connection.run_all(asked) if asked else [])]

    async def lease(self, key: Key, token: str, seconds: float) -> tuple[bool, str, Shared | Over | None]:
        """Try to be the one that acts for a session: whether that is so, why another has failed, what is known."""
        told = (token, int(seconds * 1000), self.clock(), self.silence)
        granted, failed, found = await self._at_once(scripts.LEASE, key, *told)
        return granted == 1, failed.decode("utf-8", "replace") if failed else "", self.read(found)

    async def renew(self, key: Key, token: str, seconds: float) -> bool:
        """Go on being that one, if nobody else is by now."""
        return bool(await self._at_once(scripts.RENEW, key, token, int(seconds * 1000)))

    async def release(self, key: Key, token: str, problem: str, seconds: float) -> None:
        """Be that one no more; if there was a problem, nobody need try for so many seconds."""
        text = problem[:200].encode("utf-8", "replace")
        await self._at_once(scripts.RELEASE, key, token, text, int(seconds * 1000))

    async def commit(self, row: Row, token: str) -> tuple[bool, Shared | Over | None]:
        """Enter what a handshake came to, and release the lease; what is known instead, if another was faster."""
        script, told = self.writing(scripts.COMMIT, row, token, self.silence)
        entered, *found = await self.connection.run(script, *told)
        return entered == 1, self.read(found[0]) if found else None

    async def speak_up(self, key: Key, question: str) -> None:
        """Have all who have seen a session say what they know."""
        await self._at_once(scripts.SPEAK, key, question)

    async def answer(self, name: str, question: str, row: Row | None) -> None:
        """Say what this proxy knows of a session, by its name in keys."""
        view = packed_view(row, self.aside(row[:5])) if row is not None else ""
        script, told = self._call(scripts.ANSWER, name, question, view)
        await self.connection.run(script, *told)

    async def answered(self, question: str) -> set[str]:
        """Who has answered."""
        found = await self.connection.command("SMEMBERS", f"{self.address.prefix}:a:{question}")
        return {name.decode() for name in found}

    async def _at_once(self, script: str, key: Key, *told: str | bytes | float) -> Any:
        script, all_told = self._call(script, self.name(key), *told)
        return await self.connection.run(script, *all_told)

    async def close(self) -> None:
        """Close all connections; after `leave`."""
        await self.connection.close()
        await self._ordered.close()

    # How it is asked

    def _call(self, script: str, *told: str | bytes | float) -> Call:
        return script, (self.address.prefix, self.proxy.id, *told)

    def _forgetting(self, key: Key) -> Call:
        return self._call(scripts.FORGET, self.name(key), self.clock(), int(OVER_FOR * 1000), int(self.aside(key).left))

    async def _run(self, script: str, *told: str | bytes | float) -> Any:
        name, all_told = self._call(script, *told)
        return await self._ordered.run(name, *all_told)

    async def _do[T](self, call: Coroutine[Any, Any, T]) -> T:
        """One after the other, in the order of asking, and to its end also where nobody waits for it any more."""

        async def do() -> T:
            async with self._turn:
                if self._left:
                    call.close()
                    raise Problem(f"{self.address}: left", final=True)
                return await call

        return await asyncio.shield(asyncio.ensure_future(do()))


def _wanted(rows: dict[str, Shared], wanted: Wanted) -> dict[str, Shared]:
    return {name: row for name, row in rows.items() if wanted(row)}
