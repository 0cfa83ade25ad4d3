"""The SQLite file: opened, brought up to date, shared by proxies, each row belonging to one. It blocks: for a thread.

Each proxy process enters itself, with pid and start time. A row belongs to the proxy that wrote it last. The rows of a
proxy that has left, or is gone without having left, are taken over by whoever asks first, in one transaction: all of
them by one that starts, for it may be the other's successor, and by one that runs only those that are to be ended. A
proxy of another host or container can't be looked up: it counts as gone when it has not been heard of for a while.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, get_type_hints

from ..proxies import Proxy
from ..rows import KEY, Key, Row
from ..store import FORGET_AFTER, Wanted
from .migrations import MIGRATIONS, statements

APPLICATION = 0x6D637073
"""What says in the file's header whose it is: `mcps`."""

BUSY = 5.0
"""Seconds to wait for another process that writes."""

_COLUMNS = ", ".join(Row._fields)
_TYPES = get_type_hints(Row)


def _value(column: str) -> str:
    """The place of a value in a statement: text may come as bytes, which nothing else turns into text."""
    return "CAST(? AS TEXT)" if _TYPES[column] in (str, str | None) else "?"


_SOMEBODYS = "proxy <> ? AND proxy IN (SELECT id FROM proxies)"
"""Another proxy has it, which is still entered."""

_UPSERT = (
    f"INSERT INTO sessions ({_COLUMNS}, proxy) VALUES ({', '.join(map(_value, Row._fields))}, ?) "  # noqa: S608  # constants
    f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in (*Row._fields[len(KEY) :], "proxy"))
)
_UPDATE = f"{_UPSERT} WHERE NOT ({_SOMEBODYS})"  # constants
_BY_KEY = " AND ".join(f"{column} = {_value(column)}" for column in KEY)
_DELETE = f"DELETE FROM sessions WHERE {_BY_KEY}"  # noqa: S608  # constants
_DROP = f"{_DELETE} AND proxy = ?"
_EXISTS = f"SELECT 1 FROM sessions WHERE {_BY_KEY}"  # noqa: S608  # constants
_OTHERS = f"{_EXISTS} AND {_SOMEBODYS}"
_NEW_KEY = "INSERT INTO secret SELECT ? WHERE NOT EXISTS (SELECT * FROM secret)"
_CLAIM = f"UPDATE sessions SET proxy = ? WHERE {_BY_KEY}"  # noqa: S608  # constants


PASSING = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL}
)
"""Errors that may pass: somebody else writes, the disk is full, or away."""


def passes(error: sqlite3.Error) -> bool:
    """Whether what went wrong may go right after a while."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in PASSING  # the rest says more precisely what it was


class Unusable(Exception):
    """The file can't be used; the text says why, and what was done about it."""


class File:
    """One proxy's connection to the file."""

    def __init__(
        self, path: Path, proxy: Proxy, clock: Callable[[], float], migrations: Sequence[str] = MIGRATIONS
    ) -> None:
        """`proxy` is the one whose connection this is; `clock` gives seconds since the epoch."""
        self.path = path
        self.secret = b""
        """The key of what is written down of credentials; known once it is open."""
        self._proxy = proxy
        self._clock = clock
        self._migrations = migrations
        self._connection: sqlite3.Connection | None = None

    def open(self) -> str:
        """Open the file, make it, or bring it up to date, and enter this proxy.

        A damaged file is set aside and a new one begun: then a line for the user, else nothing.

        Raises:
            Unusable: nothing can be remembered in this file.
            sqlite3.OperationalError: it can't be used now.
        """
        try:
            self._open()
        except sqlite3.OperationalError as e:
            self.close()
            if passes(e):
                raise
            raise Unusable(f"{self.path} can't be used ({e})") from None
        except sqlite3.DatabaseError as e:
            self.close()
            aside, damage = self.set_aside(), str(e)
            try:
                self._open()
            except (sqlite3.Error, OSError) as e:
                self.close()
                raise Unusable(f"{self.path} was damaged and renamed to {aside.name}, and a new one fails: {e}") from e
            return f"{self.path} is damaged ({damage}) and was renamed to {aside.name}; a new one is begun"
        except OSError as e:
            raise Unusable(f"{self.path} can't be used ({e.strerror or e})") from None
        return ""

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Made here, not by SQLite, so that at no time anybody else can read it; its side files get the same mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
        with suppress(OSError):
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(0o600)
        self._connection = connection = sqlite3.connect(
            self.path, timeout=BUSY, isolation_level=None, check_same_thread=False
        )
        connection.text_factory = _text
        self._refuse_foreign(connection)  # before anything is changed
        connection.execute("PRAGMA journal_mode = WAL")
        # A crash of this process loses nothing; one of the whole host may cost the latest writes, never the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        with self._transaction() as transaction:
            version = transaction.execute("PRAGMA user_version").fetchone()[0]
            for step in self._migrations[version:]:
                for statement in statements(step):
                    transaction.execute(statement)
            transaction.execute(_NEW_KEY, (secrets.token_bytes(32),))
            self.secret = transaction.execute("SELECT key FROM secret").fetchone()[0]
            transaction.execute(f"PRAGMA application_id = {APPLICATION}")
            transaction.execute(f"PRAGMA user_version = {len(self._migrations)}")
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem.splitlines()[-1])  # the one before it only names the database
        connection.execute("INSERT OR REPLACE INTO proxies VALUES (?, ?, ?, ?, ?)", (*self._proxy, self._clock()))

    def _refuse_foreign(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and application != APPLICATION:
            self.close()
            raise Unusable(f"{self.path} is not a ledger of this addon: it is left as it is")
        if version > len(self._migrations):
            self.close()
            raise Unusable(f"{self.path} was written by a newer version ({version}): it is left as it is")

    def take_over(self, wanted: Wanted | None = None) -> list[Row]:
        """The rows of proxies that are no more; they are this one's from now on. Each is given to one proxy only."""
        now = self._clock()
        with self._transaction() as transaction:
            # It may have been taken for dead meanwhile: then it is entered anew.
            transaction.execute("INSERT OR REPLACE INTO proxies VALUES (?, ?, ?, ?, ?)", (*self._proxy, now))
            dead = [
                (found[0],)
                for *found, seen in transaction.execute("SELECT * FROM proxies").fetchall()
                if found[0] != self._proxy.id and Proxy(*found).is_dead(abs(now - seen))
            ]
            transaction.executemany("DELETE FROM proxies WHERE id = ?", dead)
            transaction.execute("DELETE FROM sessions WHERE last_used < ?", (now - FORGET_AFTER,))
            orphans = "proxy NOT IN (SELECT id FROM proxies)"
            found = transaction.execute(f"SELECT {_COLUMNS} FROM sessions WHERE {orphans}").fetchall()  # noqa: S608
            rows = [row for row in map(_row, found) if wanted is None or wanted(row)]
            transaction.executemany(_CLAIM, [(self._proxy.id, *map(_bound, row[: len(KEY)])) for row in rows])
        return rows

    def claim(self, key: Key) -> Row | None:
        """The row of this session, whoever has it: its client talks to this proxy now."""
        bound = tuple(map(_bound, key))
        with self._transaction() as transaction:
            found = transaction.execute(f"SELECT {_COLUMNS} FROM sessions WHERE {_BY_KEY}", bound).fetchone()  # noqa: S608
            if found is None:
                return None
            transaction.execute(_CLAIM, (self._proxy.id, *bound))
        return _row(found)

    def others(self, keys: Iterable[Key]) -> set[Key]:
        """Those of these sessions that another proxy has."""
        assert self._connection is not None
        find = self._connection.execute  # no transaction: who only reads waits for nobody
        return {key for key in keys if find(_OTHERS, (*map(_bound, key), self._proxy.id)).fetchone() is not None}

    def absent(self, keys: Iterable[Key]) -> set[Key]:
        """Those of these sessions that have no row."""
        assert self._connection is not None
        find = self._connection.execute
        return {key for key in keys if find(_EXISTS, tuple(map(_bound, key))).fetchone() is None}

    def write(self, rows: Iterable[Row]) -> None:
        """Remember these rows as this proxy's, whoever had them."""
        with self._transaction() as transaction:
            transaction.executemany(_UPSERT, [(*map(_bound, row), self._proxy.id) for row in rows])

    def update(self, rows: Iterable[Row], over: Iterable[Key] = ()) -> None:
        """Remember these rows, but for those that another has; and forget the sessions that are over, by their keys."""
        me = self._proxy.id
        with self._transaction() as transaction:
            transaction.executemany(_UPDATE, [(*map(_bound, row), me, me) for row in rows])
            transaction.executemany(_DELETE, [tuple(map(_bound, key)) for key in over])

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget those of these rows that are this proxy's."""
        with self._transaction() as transaction:
            transaction.executemany(_DROP, [(*map(_bound, key), self._proxy.id) for key in keys])

    def leave(self) -> None:
        """Let go of all sessions, for this proxy ends: they are free to be taken over."""
        with self._transaction() as transaction:
            transaction.execute("DELETE FROM proxies WHERE id = ?", (self._proxy.id,))
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether it is in use."""
        return self._connection is not None

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def set_aside(self) -> Path:
        """Rename a damaged file, and what SQLite keeps beside it; the new path."""
        self.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        return aside

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        assert self._connection is not None
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")  # it may fail, too: on a full disk
            except BaseException:
                with suppress(sqlite3.Error):
                    cursor.execute("ROLLBACK")
                raise


def _row(found: Sequence[Any]) -> Row:
    row = Row._make(found)
    return row._replace(kept=bool(row.kept))


def _bound(value: object) -> object:
    """A value as SQLite takes it: it knows no lone surrogates."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) and not value.isascii() else value


def _text(stored: bytes) -> str:
    try:
        return stored.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # not written by this addon: whoever reads the row judges what is left
        return stored.decode("utf-8", "replace")
