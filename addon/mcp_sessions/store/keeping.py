"""Keeping the ledger and its file in step: what changed goes to the disk, what an earlier run left comes back."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from ..core.client import Client
from ..core.core import Core
from ..core.decisions import End
from ..core.session import Endpoint, Session
from ..core.states import State
from ..processes.place import Place
from ..wire.text import counted
from . import Database, Row, Writer, row_of, session_of
from .rows import Key
from .writer import Batch

logger = logging.getLogger(__name__)

SOON = 0.02
"""Seconds after a session has changed that this is on its way to the disk; what else changes until then goes along."""

LATER = 5.0
"""Seconds between two notes of when sessions were used."""

ROWS_AT_ONCE = 200
"""Rows made or read in one go, before others have their turn."""

ASK_AGAIN = 60.0
"""Seconds until an id that the file does not know is looked for again."""

ASKED_LIMIT = 1000

CLOSING = 3.0
"""Seconds that the last writes may take."""

FILE = "mcp-sessions.sqlite"


class Remembering:
    """The ledger's file, seen from the event loop."""

    def __init__(self, core: Core, path: Path, on_taken: Callable[[list[Client], list[End]], None]) -> None:
        """`on_taken` gets the clients of sessions from an earlier run that may live, and what is to be ended."""
        self.core = core
        self._on_taken = on_taken
        self._place = Place.here()
        self._noted: dict[Session, None] = {}
        self._asked: dict[Key, float] = {}
        """Ids that were looked for in vain lately: a client may go on using an id that is dead."""
        self._soon: asyncio.TimerHandle | None = None
        self._used = time.monotonic()
        self.writer: Writer | None = Writer(Database(path, secrets.token_hex(8)), self._take, self._problem)
        core.telling.followers.append(self._changed)

    async def loaded(self) -> None:
        """Wait until what an earlier run left is known."""
        if self.writer is not None:
            await self.writer.loaded.wait()

    @property
    def is_loaded(self) -> bool:
        """Whether what an earlier run left is known."""
        return self.writer is None or self.writer.loaded.is_set()

    async def recall(self, endpoint: Endpoint, session_id: str) -> None:
        """Look for a session that the ledger does not know: another proxy may have written it down."""
        key, now = (*endpoint, session_id), time.monotonic()
        if self.writer is None or now - self._asked.get(key, -ASK_AGAIN) < ASK_AGAIN:
            return
        if len(self._asked) >= ASKED_LIMIT:
            del self._asked[next(iter(self._asked))]
        self._asked[key] = now
        await self.writer.ask(key)

    def tick(self) -> None:
        """A second has passed: now and then, note when sessions were used."""
        touched = self.core.ledger.touched
        if self.writer is None:
            touched.clear()
        elif time.monotonic() - self._used >= LATER:
            self._used = time.monotonic()
            self._noted.update(touched)
            touched.clear()
            self._flush()

    def _unfollow(self) -> None:
        followers = self.core.telling.followers
        if self._changed in followers:
            followers.remove(self._changed)

    def close(self) -> None:
        """Write the rest, and leave the sessions to whoever comes next. Blocks shortly."""
        self._unfollow()
        if self._soon is not None:
            self._soon.cancel()
        if self.writer is not None:
            self._noted.update(self.core.ledger.touched)
            while self._noted:
                self._write_some()
            self.writer.close(CLOSING)
            self.writer = None

    def _changed(self, session: Session) -> None:
        self._noted[session] = None
        if self._soon is None and self.writer is not None:
            self._soon = asyncio.get_running_loop().call_later(SOON, self._flush)

    def _flush(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
        self._soon = None
        self._write_some()
        if self._noted and self.writer is not None:
            self._soon = asyncio.get_running_loop().call_later(0, self._flush)

    def _write_some(self) -> None:
        rows, over = [], []
        for session in list(self._noted)[:ROWS_AT_ONCE]:
            del self._noted[session]
            if session.state is State.CLOSED and not self.core.endings.may_return(session):
                over.append((*session.endpoint, session.client_id))
            else:
                rows.append(row_of(session, self._place))
        if self.writer is not None and (rows or over):
            self.writer.write(Batch(rows, over))

    def _take(self, rows: list[Row]) -> None:
        at = time.time()
        ledger, sessions, gone = self.core.ledger, [], []
        for row in rows:
            try:
                session, left = session_of(row, ledger, self._place, at)
            except (ValueError, TypeError, KeyError, AttributeError) as e:
                logger.warning(f"mcp: a row of the ledger on disk can't be read: {type(e).__name__}")
                continue
            if ledger.find(session.endpoint, session.client_id) is not None:
                continue  # its client was faster
            ledger.endpoint(session.endpoint, at)
            ledger.open(session)
            sessions.append(session)
            gone += left
        if not sessions:
            return
        ends = self.core.taken_over(sessions, gone, at)
        living = {owner: None for session in sessions for owner in session.owners if owner.is_process}
        stuck = sum(1 for session in sessions if session.state is State.STUCK)
        logger.info(
            f"mcp: {counted(len(sessions), 'session')} known from an earlier run"
            + (f"; {stuck} of them could not be ended, see mcp.sessions" if stuck else "")
        )
        self._on_taken([client for client in living if not client.gone], ends)

    def _problem(self, line: str, final: bool) -> None:
        logger.warning(f"mcp: {line}" + ("; sessions are not remembered on disk in this run" if final else ""))
        if final:
            self.writer = None
            self._unfollow()
            self._noted.clear()
