"""The SQLite file as a `Store`: one thread that reads and writes it, and what to tell the user when that fails."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ..proxies import SILENCE, Proxy
from ..rows import Key, Row
from ..store import Problem, Wanted
from .file import File, Unusable, passes
from .thread import Thread

NOT_REMEMBERED = "sessions are not remembered on disk in this run"
NOT_NOW = "sessions are not remembered on disk until it can be"
NOT_THE_LAST = "the last changes of sessions are not remembered on disk"


class SqliteStore:
    """A file that proxies of one host share.

    Its problems are final, and after the first nothing more is done, but for those that may pass: that the file is
    locked for long, or the disk full.
    """

    silence = SILENCE
    shared = False

    def __init__(self, path: Path, proxy: Proxy | None = None, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch; all who share the file go by the same."""
        self._file = File(path, proxy or Proxy.here(), clock)
        self._thread = Thread("mcp-ledger")
        self._problem: Problem | None = None

    async def open(self) -> str:
        """Open the file, make it, or bring it up to date. A damaged one is set aside, and a new one begun."""
        return await self._do(self._file.open)

    @property
    def credentials_key(self) -> bytes:
        """Made with the file."""
        return self._file.secret

    async def take_over(self, wanted: Wanted | None = None) -> list[Row]:
        """The rows of proxies that are no more."""
        return await self._do(lambda: self._file.take_over(wanted))

    async def claim(self, key: Key) -> Row | None:
        """The row of this session, whoever has it."""
        return await self._do(lambda: self._file.claim(key))

    async def others(self, keys: Iterable[Key]) -> set[Key]:
        """Those of these sessions that another proxy has."""
        return await self._do(lambda: self._file.others(keys))

    async def absent(self, keys: Iterable[Key]) -> set[Key]:
        """Those of these sessions that are not written down, or not any more."""
        return await self._do(lambda: self._file.absent(keys))

    async def write(self, rows: Iterable[Row]) -> None:
        """Remember these rows, whoever had them."""
        await self._do(lambda: self._file.write(rows))

    async def update(self, rows: Iterable[Row]) -> None:
        """Remember these rows, but for those that another proxy has."""
        await self._do(lambda: self._file.update(rows))

    async def forget(self, keys: Iterable[Key]) -> None:
        """Forget the rows with these keys."""
        await self._do(lambda: self._file.update((), keys))

    async def drop(self, keys: Iterable[Key]) -> None:
        """Forget those of these rows that are this proxy's."""
        await self._do(lambda: self._file.drop(keys))

    def leave(self, rows: Iterable[Row], keys: Iterable[Key], within: float) -> None:
        """Write the last, let go of all, and close the file."""

        def leave() -> None:
            if not self._file.is_open:  # it ends before it has quite begun
                self._file.open()
            self._file.update(rows, keys)
            self._file.leave()

        try:
            self._thread.last(lambda: self._try(leave), within)
        except TimeoutError:
            raise Problem(f"{self._file.path}: the disk does not keep up; {NOT_THE_LAST}", final=True) from None
        except Problem as e:
            if e.final:
                raise
            raise Problem(str(e).replace(NOT_NOW, NOT_THE_LAST), final=True) from None

    async def _do[T](self, call: Callable[[], T]) -> T:
        return await self._thread.do(lambda: self._try(call))

    # In the thread

    def _try[T](self, call: Callable[[], T]) -> T:
        if self._problem is not None:
            raise self._problem
        path = self._file.path
        try:
            return call()
        except Unusable as e:
            problem = self._final(str(e))
        except sqlite3.OperationalError as e:
            if passes(e):
                raise Problem(f"{path} can't be used now ({e}); {NOT_NOW}", final=False) from None
            problem = self._final(f"{path} can't be used any more ({e})")
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError) as e:
            problem = self._final(f"{path}: {type(e).__name__}")  # an error in this program: the file is as it was
        except sqlite3.DatabaseError as e:
            problem = self._final(f"{path} is damaged ({e}) and was renamed to {self._file.set_aside().name}")
        except Exception as e:
            problem = self._final(f"{path}: {type(e).__name__}")
        self._file.close()
        self._problem = problem
        raise problem

    def _final(self, line: str) -> Problem:
        return Problem(f"{line}; {NOT_REMEMBERED}", final=True)
