"""Keeping core and store in step: what changed is written, what an earlier run or another proxy left comes back.

Theory of operation
-------------------
A session that has changed is noted, and soon its row is made, with all that has changed by then: there is never more
than one write under way, and never more to be written than there are sessions. One that is over is forgotten instead.
Whoever is given an id waits until it stands in the store, half a second at most: if the proxy is killed a moment later,
somebody knows of it.
A store that fails for a while (a `Problem` that is not final) is asked again, with what has changed meanwhile.

A session that several proxies know is one's alone: that one's through which it was used last, or who holds a connection
of its client's. Whoever only notes a change of it changes nothing then, and asks before it ends it.

Rows come in from three sides: at the start all that nobody has, for this proxy may be the successor of the one that
left them; every few seconds those that nobody has and that are to be ended; and the one that a client asks for by an id
that the ledger does not know. Whatever comes in is given to the core, which has the last word.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import cache
from itertools import batched, islice

from ..core.client import Client
from ..core.core import Core
from ..core.credentials import APART
from ..core.session import Endpoint, Session
from ..core.states import State
from ..processes.place import Place
from ..wire.text import counted
from .due import Due, due
from .fleet import Fleet
from .rows import Key, Row, found, key_of, session_of, to_be_ended
from .store import Problem, Store

logger = logging.getLogger(__name__)

SOON = 0.02
"""Seconds after a session has changed that its row is written; what else changes until then goes along."""

KEPT = 0.5
"""Seconds that somebody waits, at most, until a session is written down."""

LATER = 5.0
"""Seconds between two notes of when sessions were used."""

ONCE_MORE = (0.03, 0.1, 0.2)
"""Seconds after which a shared store is asked again for an id that it does not know."""

ROUND = 10.0
"""Seconds between two looks for sessions that nobody has and that are to be ended."""

RETRY = 5.0
"""Seconds until a store that has a problem is asked again."""

ROWS_AT_ONCE = 200
"""Rows made or read in one go, before others have their turn."""

MANY_ROWS = 5_000
"""Rows that come in together, from which on their sessions are kept out of the collection of garbage."""

NOTED_LIMIT = 200_000
"""Sessions that may wait to be written; beyond, those that have waited longest are not."""

ASK_AGAIN = 60.0
"""Seconds until an id that the store does not know is looked for again."""

ASKED_LIMIT = 1000
"""Such ids that are remembered."""

CLOSING = 3.0
"""Seconds that the last writes may take."""

LAST_ROWS = 2_000
"""Rows made in one go where nobody can wait: a script is loaded anew, and its next instance writes all sessions."""

ERROR = "mcp: error while keeping sessions"


class Keeping:
    """A core's sessions, kept in a store. To be made and used in an event loop, in which it begins at once."""

    def __init__(
        self,
        core: Core,
        store: Store,
        clock: Callable[[], float],
        on_taken: Callable[[list[Client]], None],
        wake: Callable[[], None],
        others: Fleet | None = None,
    ) -> None:
        """`clock` gives seconds since the epoch.

        `on_taken` gets the processes that may live and have sessions from elsewhere: to be watched. `wake` is called
        whenever the core was told something, so that its effects are to be fetched and its timer to be set. `others`
        are the proxies that share the store, if it is shared.
        """
        self._core = core
        self._store = store
        self._clock = clock
        self._on_taken = on_taken
        self._wake = wake
        self.others: Fleet | None = others
        self._place = Place.here()
        self._noted: dict[Session, None] = dict.fromkeys(core.ledger.sessions.values())
        """Those that are to be written: all that there are now, and later whatever changes."""
        self._writing: list[Session] = []
        """Those of the write that is under way."""
        self._asked: dict[Key, float] = {}
        """Ids that were looked for lately: a client may go on using an id that is dead."""
        self._asking: dict[Key, asyncio.Task[bool]] = {}
        self._complained = ""
        self._failing = False
        """The store has had a problem, and not all that waited was written since."""
        self._crowded = False
        self._something = asyncio.Event()
        self._hurry = asyncio.Event()
        """Somebody waits for what is noted to be written."""
        self._wrote = asyncio.Event()
        """Set, once, when the next write is over."""
        self._opened = False
        self._writes = False
        """What is noted is written, sooner or later."""
        self._loaded = asyncio.Event()
        self._ended = False
        core.reporter.followers.append(self._follow)
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="mcp keeping")

    # What the shell asks

    async def loaded(self) -> None:
        """Wait until it is known what an earlier run left, or that this can't be known now."""
        await self._loaded.wait()

    async def recall(self, endpoint: Endpoint, session_id: str) -> None:
        """Look for a session that the ledger does not know: another proxy may have written it down."""
        if self._ended or not self._opened:
            return
        key, now = (*endpoint, session_id), self._loop.time()
        task = self._asking.get(key)
        if task is None:
            if now - self._asked.get(key, -ASK_AGAIN) < ASK_AGAIN:
                return
            task = self._asking[key] = self._loop.create_task(self._attempt(self._claim(key)), name="mcp recall")
            task.add_done_callback(lambda task: self._answered(key, task))
        await asyncio.wait({task})

    async def kept(self, session: Session) -> None:
        """Wait until it is written down how a session stands, `KEPT` seconds at most, or until that fails."""
        with suppress(TimeoutError):
            async with asyncio.timeout(KEPT):
                while self._writes and not self._failing and (session in self._noted or session in self._writing):
                    self._hurry.set()
                    await self._wrote.wait()

    async def elsewhere(self, session: Session) -> bool:
        """Whether another proxy sees to the end of a session, or has seen to it.

        Raises:
            Problem: it can't be known now.
        """
        if self._ended or not self._opened:
            return False
        keys = [self._key(session)]
        return bool(await self._store.others(keys) or (session.stored and await self._store.absent(keys)))

    def _answered(self, key: Key, task: asyncio.Task[bool]) -> None:
        del self._asking[key]
        if not task.cancelled() and task.result():
            self._asked.pop(key, None)  # the latest stands last
            if len(self._asked) >= ASKED_LIMIT:
                del self._asked[next(iter(self._asked))]
            self._asked[key] = self._loop.time()

    async def finish(self) -> None:
        """Have all written that has changed by now, some at a time, as far as that can be done in `CLOSING` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                await self._note_uses()
                while (self._noted or self._writing) and not (self._ended or self._failing):  # noqa: ASYNC110
                    await asyncio.sleep(SOON)  # a store tells nobody

    def close(self) -> None:
        """Write the rest, and leave the sessions to whoever comes next. Blocks shortly; a second time, does nothing."""
        if self.others is not None:
            self.others.close()
        if self._ended:
            return
        self._end()
        rest = list(dict.fromkeys((*self._writing, *self._noted, *self._core.ledger.touched)))
        if len(rest) > LAST_ROWS:
            logger.warning(f"mcp: the last changes of {len(rest) - LAST_ROWS} sessions are not remembered")
        told = self._made(rest[:LAST_ROWS])
        self._noted.clear()
        try:
            self._store.leave([*told.used, *told.changed], told.over, CLOSING)
        except Problem as e:
            logger.warning(f"mcp: {e}")

    # What runs

    async def _run(self) -> None:
        while not await self._attempt(self._begin()):
            self._loaded.set()  # nobody is kept waiting for it
            await asyncio.sleep(RETRY)
        self._writes = True
        self._loaded.set()
        if self._noted:
            self._something.set()
        async with asyncio.TaskGroup() as together:
            together.create_task(self._write_on())
            together.create_task(self._every(LATER, self._note_uses))
            together.create_task(self._every(min(ROUND, self._store.silence / 4), self._look_round))

    async def _attempt(self, call: Coroutine[object, object, None]) -> bool:
        """Await something that asks the store; whether it went well."""
        try:
            await call
        except Problem as e:
            if e.final:
                self._end()
                self._noted.clear()
            self._failing = True
            self._complain(f"mcp: {e}")
        except Exception as e:
            self._complain(f"{ERROR}: {type(e).__name__}")
        else:
            if not self._noted and not self._writing:  # a disk that is full can be read, and may have room for a little
                self._complained = ""
                if self._failing:
                    self._failing = False
                    logger.info("mcp: the ledger can be written again: sessions are remembered")
            return True
        return False

    def _complain(self, line: str) -> None:
        if line != self._complained:
            self._complained = line
            logger.warning(line)

    def _end(self) -> None:
        self._ended, self._writes = True, False
        self._wrote.set()  # nobody waits in vain
        if self._follow in self._core.reporter.followers:
            self._core.reporter.followers.remove(self._follow)
        self._loaded.set()
        for task in (self._task, *self._asking.values()):
            task.cancel()

    async def _begin(self) -> None:
        notice = await self._store.open()
        self._opened = True
        self._core.fingerprints.key = self._store.credentials_key
        if notice:
            logger.warning(f"mcp: {notice}")
        await self._take(await self._store.take_over())

    async def _every(self, seconds: float, call: Callable[[], Coroutine[object, object, None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._attempt(call())

    # From the core to the store

    def _follow(self, session: Session) -> None:
        self._note(session)
        self._something.set()

    def _note(self, session: Session) -> None:
        self._noted[session] = None
        if len(self._noted) > NOTED_LIMIT:
            del self._noted[next(iter(self._noted))]
            if not self._crowded:
                self._crowded = True
                logger.warning(
                    f"mcp: more than {NOTED_LIMIT} sessions wait to be remembered: the oldest changes are lost"
                )

    async def _note_uses(self) -> None:
        for session in self._core.ledger.touched:
            self._follow(session)

    async def _write_on(self) -> None:
        while True:
            await self._something.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(SOON):
                    await self._hurry.wait()
            self._something.clear()
            self._hurry.clear()
            while self._noted:
                written = await self._attempt(self._write_some())
                self._wrote.set()
                self._wrote = asyncio.Event()
                await asyncio.sleep(0 if written else RETRY)

    async def _write_some(self) -> None:
        self._writing = list(islice(self._noted, ROWS_AT_ONCE))
        for session in self._writing:
            del self._noted[session]
        touched = self._core.ledger.touched
        used = [session for session in self._writing if session in touched]
        told = self._made(self._writing)
        try:
            if told.used:
                await self._store.write(told.used)
            if told.changed:
                ended = await self._store.absent(told.known) if told.known else ()
                await self._store.update([row for row in told.changed if row[:5] not in ended])
            if told.over:
                await self._store.forget(told.over)
            if told.evicted:
                await self._store.drop(told.evicted)
        except Exception as e:
            writing, self._writing = self._writing, []
            if isinstance(e, Problem):
                self._noted = dict.fromkeys([*writing, *self._noted])
                touched.update(dict.fromkeys(used))
            raise
        for session in self._writing:
            session.stored = not session.over
        self._writing = []

    def _made(self, sessions: Iterable[Session]) -> Due:
        return due(self._core, self._place, sessions, lambda e: self._complain(f"{ERROR}: {type(e).__name__}"))

    def _key(self, session: Session) -> Key:
        return key_of(session, self._core.fingerprints)

    # From the store to the core

    async def _look_round(self) -> None:
        gone, idle_since = cache(self._place.gone), self._clock() - self._core.ending.policy.end_after_idle
        wanted = None if self._store.shared else lambda row: to_be_ended(row, gone, idle_since)
        await self._take(await self._store.take_over(wanted))
        held = {session: None for one in list(self._core.ledger.connections.values()) for session in one.sessions}
        for some in batched(held, ROWS_AT_ONCE):
            for key in await self._store.others([self._key(session) for session in some]):
                await self._store.claim(key)  # what that proxy knows of it stands

    async def _claim(self, key: Key) -> None:
        row = await self._store.claim(key)
        for pause in ONCE_MORE if self._store.shared and APART not in key[4] else ():
            if row is None:  # it may have been opened a moment ago, through another proxy
                await asyncio.sleep(pause)
                row = await self._store.claim(key)
        if row is not None:
            await self._take([row])

    async def _take(self, rows: list[Row]) -> None:
        taken = []
        for some in batched(rows, ROWS_AT_ONCE):
            taken += self._adopt(some)
            if len(rows) > MANY_ROWS:
                # They are here to stay: looking through 60,000 for garbage would hold up the event loop for 0.1 s.
                gc.freeze()
            await asyncio.sleep(0)
        if taken:
            stuck = sum(1 for session in taken if session.state is State.STUCK)
            logger.info(
                f"mcp: {counted(len(taken), 'session')} known from an earlier run"
                + (f"; {stuck} of them could not be ended, see mcp.sessions" if stuck else "")
            )

    def _adopt(self, rows: Iterable[Row]) -> list[Session]:
        now, ledger, gone = self._clock(), self._core.ledger, cache(self._place.gone)
        sessions: list[Session] = []
        left: list[Client] = []
        for row in rows:
            if found(row[:5], ledger, self._core.fingerprints) is not None:
                continue  # its client was faster
            try:
                session, known = session_of(row, ledger, gone, now)
            except ValueError as e:
                logger.warning(f"mcp: a row of the stored ledger can't be read: {type(e).__name__}")
                continue
            if self.others is not None:
                self.others.completed(session, row)
            sessions.append(session)
            left += known
        if not sessions:
            return []
        new = self._core.adopt(sessions, left, now)
        owners = dict.fromkeys(owner for session in new for owner in session.owners)
        self._on_taken([client for client in owners if client.is_process and not client.gone])
        self._wake()
        return new
