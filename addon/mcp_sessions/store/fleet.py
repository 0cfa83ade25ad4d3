"""Several proxies with one ledger: a core's questions carried to the others, and what they have changed to the core.

Theory of operation
-------------------
`Keeping` writes down what changes and finds what is not known, as with any store. Here is what only a shared one needs.
Of every session that this proxy has seen it is told when another one changes something that matters, and reads it then:
so a steady call asks nobody. When that connection breaks, nothing of it is trusted: as soon as there is another, all
sessions are read again. A question that can't be asked is answered at once, with `alone`; what that means is up to the
core.

Whoever may act for a session has a lease, which it renews while it acts, and which ends by itself if it is no more. A
proxy that was stopped for longer finds its lease gone: what it has done meanwhile is not entered (COMMIT), and what it
was about to do it does not do (DELETE).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import batched
from weakref import WeakValueDictionary

from ..core.client import Client
from ..core.core import Core
from ..core.decisions import Conclude, Consult, Counsel, Matter, News
from ..core.session import UNKNOWN_CREDENTIALS, Session
from ..core.states import ClientSide, ServerSide
from ..processes.place import Place
from .redis import RedisStore
from .redis.coding import Aside, Over, Shared
from .redis.overview import Lookout
from .redis.seal import Seal
from .rows import Key, Row, found, held_of, key_of, owners_of, row_of
from .store import Problem

logger = logging.getLogger(__name__)

LEASE = 6.0
"""Seconds after which a proxy that may act for a session, and is silent, may do so no more."""

LONGEST = 180.0
"""Seconds that it may do so at most."""

LOOK_AGAIN = 0.5
"""Seconds until somebody who waits for another proxy looks, if no word comes."""

SPEAK = 1.0
"""Seconds that other proxies have for saying what they know."""

FAILED_FOR = 1.0
"""Seconds for which a handshake that failed has failed for all."""

RECONNECT = 1.0
"""Seconds between two attempts to listen."""

PING = 3.0
"""Seconds without a word after which it is seen whether the connection is there."""

ROWS_AT_ONCE = 200


@dataclass(slots=True, eq=False)
class Lease:
    """That this proxy, and no other, acts for a session."""

    key: Key
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    renewing: asyncio.Task[None] | None = None


class Fleet:
    """What this proxy has to do with the others. To be made and used in an event loop, before the store is opened."""

    def __init__(
        self,
        core: Core,
        store: RedisStore,
        clock: Callable[[], float],
        on_taken: Callable[[list[Client]], None],
        wake: Callable[[], None],
        seal: Seal | None = None,
    ) -> None:
        """As for `Keeping`. With a seal, credentials are stored, for whoever takes a session over."""
        self._seal = seal
        self._core = core
        self._store = store
        self._clock = clock
        self._on_taken = on_taken
        self._wake = wake
        self._place = Place.here()
        self._names: WeakValueDictionary[str, Session] = WeakValueDictionary()
        """The sessions of which others may tell something, by their names in keys."""
        self._leases: dict[Session, Lease] = {}
        self._waiting: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        store.aside, store.behind = self._aside, self._behind
        core.ending.sharing.on = True
        self._listening = self._start(self._listen())
        self.lookout = Lookout(core, store)
        """For people: what is shown of the fleet."""

    def close(self) -> None:
        """Ask and tell no more: before the store is left."""
        self._core.ending.sharing.on = False
        self.lookout.close()
        for task in list(self._tasks):
            task.cancel()

    def _start(self, what: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # What the store asks

    def _aside(self, key: Key) -> Aside:
        session = self._found(key)
        if session is None:
            return Aside()
        name = self._store.name(key)
        self._names[name] = session
        sealed = self._seal.close(name, session.url, session.fields) if self._seal is not None else b""
        left = session.standing.client is ClientSide.LEFT
        written = self._core.fingerprints.written(session.credentials)
        credentials = UNKNOWN_CREDENTIALS if written is None else written
        waits = len(session.streams) + len(session.under_way or ())
        return Aside(waits, len(session.connections), session.left_at, credentials, sealed, left)

    def _found(self, key: Key) -> Session | None:
        return found(key, self._core.ledger, self._core.fingerprints)

    def _key(self, session: Session) -> Key:
        return key_of(session, self._core.fingerprints)

    def _behind(self, keys: list[Key]) -> None:
        """Others know more of these."""
        for key in keys:
            session = self._found(key)
            if session is not None:
                self._start(self._refresh([session]))

    def completed(self, session: Session, row: Row) -> None:
        """A session was made from a row."""
        self._names[self._store.name(self._key(session))] = session
        if isinstance(row, Shared):
            session.left_at = row.aside.left_at
            session.elsewhere = bool(row.holders)
            self._unseal(session, row.aside.sealed)

    def _unseal(self, session: Session, sealed: bytes) -> None:
        """Go on with the credentials that another proxy has stored, until others come."""
        found = (
            self._seal.open(self._store.name(self._key(session)), sealed) if self._seal is not None and sealed else None
        )
        if found is not None and not session.fields:
            session.url, session.fields = found

    # What the core asks

    async def consult(self, consult: Consult) -> Counsel:
        """What the other proxies say; never raises, and takes no longer than it may."""
        if not self._store.secret or self._store.connection.away:
            return Counsel(alone=True)
        try:
            async with asyncio.timeout(consult.patience + 1.0):
                match consult.matter:
                    case Matter.WEIGH:
                        return await self._weigh(consult.session)
                    case Matter.HANDSHAKE:
                        return await self._shake(consult.session, consult.patience)
                    case Matter.COMMIT:
                        return await self._commit(consult.session)
                    case Matter.DELETE:
                        return await self._lease(consult.session)
        except (Problem, TimeoutError):
            return Counsel(alone=True)

    def conclude(self, conclude: Conclude) -> None:
        """What this proxy alone was allowed to do for a session is done."""
        session = conclude.session
        if session.over and self._store.secret:
            self._start(self._quietly(self._bury(session)))
        lease = self._leases.pop(session, None)
        if lease is not None:
            self._end(lease)
            self._start(self._quietly(self._store.release(lease.key, lease.token, conclude.problem, FAILED_FOR)))

    async def _bury(self, session: Session) -> None:
        if not self._core.ending.may_return(session):
            await self._store.forget([self._key(session)])

    async def _weigh(self, session: Session) -> Counsel:
        """What all have seen who live. While one of them is silent, nobody knows."""
        key, question = self._key(session), secrets.token_hex(8)
        await self._store.speak_up(key, question)
        until = self._loop.time() + SPEAK
        while True:
            answered, found = await self._store.answered(question), await self._store.look(key)
            if not isinstance(found, Shared) or answered.issuperset(found.holders):
                return self._counsel(found, granted=True)
            if self._loop.time() > until:
                return Counsel(alone=True)
            await asyncio.sleep(SPEAK / 20)

    async def _shake(self, session: Session, patience: float) -> Counsel:
        """Wait until this proxy may shake hands, or another has."""
        key = self._key(session)
        name, deadline = self._store.name(key), self._loop.time() + patience
        self._names[name] = session
        word = self._waiting.setdefault(name, asyncio.Event())
        try:
            while True:
                word.clear()
                counsel = await self._lease(session)
                left = deadline - self._loop.time()
                if counsel.granted or counsel.problem or counsel.left or left <= 0:
                    return counsel
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(LOOK_AGAIN, left)):
                        await word.wait()
        finally:
            self._waiting.pop(name, None)

    async def _lease(self, session: Session) -> Counsel:
        lease, asked = Lease(self._key(session)), time.monotonic()
        granted, failed, found = await self._store.lease(lease.key, lease.token, LEASE)
        if granted and time.monotonic() - asked > LEASE / 2:  # this process was stopped: it may be another's by now
            await self._store.release(lease.key, lease.token, "", FAILED_FOR)
            granted = False
        if granted:
            self._leases[session] = lease
            lease.renewing = self._start(self._renew(lease))
        return self._counsel(found, granted=granted, problem=failed)

    async def _renew(self, lease: Lease) -> None:
        until = self._loop.time() + LONGEST
        while self._loop.time() < until:
            await asyncio.sleep(LEASE / 3)
            try:
                if not await self._store.renew(lease.key, lease.token, LEASE):
                    return
            except Problem:
                continue  # it may be renewed yet

    def _end(self, lease: Lease) -> None:
        if lease.renewing is not None:
            lease.renewing.cancel()

    async def _commit(self, session: Session) -> Counsel:
        lease = self._leases.get(session) or Lease(self._key(session))
        row = row_of(session, self._place, self._core.fingerprints)._replace(server=ServerSide.ALIVE.value)
        entered, found = await self._store.commit(row, lease.token)
        if self._leases.pop(session, None) is not None:
            self._end(lease)
        return Counsel(granted=True) if entered else self._counsel(found, granted=False)

    def _counsel(self, found: Shared | Over | None, *, granted: bool, problem: str = "") -> Counsel:
        """What was read, as the core takes it in."""
        match found:
            case Over(at, left):
                return Counsel(granted=granted, over=at, left=left, problem=problem)
            case Shared():
                return Counsel(granted=granted, left=_has_left(found), news=self._news(found), problem=problem)
        return Counsel(granted=granted, problem=problem)

    def _news(self, row: Shared) -> News:
        ledger, now, gone = self._core.ledger, self._clock(), cache(self._place.gone)
        owners = owners_of(row, ledger, gone, now)
        for client, is_gone, _ in owners:
            if is_gone:
                ledger.gone(client, now)
        self._on_taken([client for client, is_gone, _ in owners if client.is_process and not is_gone])
        return News(
            row.server_id,
            row.generation,
            row.revision,
            row.parameters.encode() if row.parameters is not None else None,
            row.result.encode() if row.result is not None else None,
            row.opened_by,
            row.last_used,
            row.stream_aborted_at,
            row.aside.left_at,
            row.aside.streams,
            row.aside.connections,
            tuple((client, at) for client, _, at in owners),
            held_of(row),
            bool(row.holders),
        )

    # What the others tell

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except Exception as e:
                logger.debug("mcp: not listening to other proxies: %s", type(e).__name__)
            await asyncio.sleep(RECONNECT)

    async def _listen_once(self) -> None:
        if not self._store.secret:
            return
        async with self._store.connection.client.pubsub() as heard:
            await heard.subscribe(f"{self._store.address.prefix}:news")
            # What was changed while nobody listened is not known: nothing is trusted.
            await self._refresh([session for session in self._core.ledger.sessions.values() if not session.over])
            silent = False
            while True:
                message = await heard.get_message(timeout=PING)
                if message is None:
                    if silent:
                        return  # not even an answer to a ping
                    silent = True
                    await heard.ping()
                    continue
                silent = False
                if message["type"] == "message":
                    self._told(*message["data"].decode().split(" "))

    def _told(self, name: str, by: str, *more: str) -> None:
        """Something about a session has changed; or somebody wants to know what is known of it."""
        session = self._names.get(name)
        if by == self._store.proxy.id:
            return
        if more:
            known = session is not None and not session.over and self._found(self._key(session)) is session
            row = row_of(session, self._place) if session is not None and known else None
            self._start(self._quietly(self._store.answer(name, more[0], row)))
            return
        if session is None:
            return
        if name in self._waiting:
            self._waiting[name].set()
        self._start(self._refresh([session]))

    async def _refresh(self, sessions: list[Session]) -> None:
        """Read what is known of these, and tell the core; what is not known there is written."""
        for some in batched(sessions, ROWS_AT_ONCE):
            held = [session for session in some if self._found(self._key(session)) is session and not session.over]
            try:
                found = await self._store.look_at_all([self._key(session) for session in held])
            except Problem:
                return  # it is read when there is a connection again
            for session, row in zip(held, found, strict=True):
                if row is None:
                    self._core.reporter.changed(session)
                elif self._found(self._key(session)) is session:
                    self._names[self._store.name(self._key(session))] = session
                    self._core.ending.sharing.told(session, self._counsel(row, granted=False), self._clock())
            self._wake()
            await asyncio.sleep(0)

    async def _quietly(self, what: Coroutine[object, object, None]) -> None:
        with suppress(Problem):  # then it ends by itself
            await what


def _has_left(row: Row) -> bool:
    return row.client == ClientSide.LEFT
