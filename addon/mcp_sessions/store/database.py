"""The SQLite file: its schema, its migrations, and who of several proxies each row belongs to. It blocks: for a thread.

Each proxy process enters itself, with pid and start time. A row belongs to the proxy that wrote it last. The rows of a
proxy that has left, or is gone without having left, are taken over by whoever asks first, in one transaction: all of
them by one that starts, for it may be the other's successor, and by one that runs only those that are to be ended. A
proxy of another host or container can't be looked up: it counts as gone when it has not been heard of for a while.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..processes.place import Place, this_process
from .rows import KEY, Key, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

APPLICATION = 0x6D637073
"""What says in the file's header whose it is: `mcps`."""

BUSY = 5.0
"""Seconds to wait for another process that writes."""

SILENCE = 120.0
"""Seconds after which a proxy that can't be looked up counts as gone."""

FORGET_AFTER = 14 * 86400.0
"""Seconds after its last use that a row is forgotten: no server keeps a session for so long."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE proxies (
        id TEXT PRIMARY KEY, place TEXT NOT NULL, pid INTEGER NOT NULL, started REAL NOT NULL, seen REAL NOT NULL
    ) STRICT;
    CREATE TABLE sessions (
        scheme TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL, path TEXT NOT NULL, client_id TEXT NOT NULL,
        server_id TEXT NOT NULL, state TEXT NOT NULL, opened REAL NOT NULL, last_used REAL NOT NULL,
        stream_aborted_at REAL, revision TEXT NOT NULL, initialize TEXT, answer TEXT, generation INTEGER NOT NULL,
        recoveries INTEGER NOT NULL, requests INTEGER NOT NULL, answered INTEGER NOT NULL, replaced TEXT NOT NULL,
        held TEXT NOT NULL, owners TEXT NOT NULL, flags INTEGER NOT NULL, evidence TEXT NOT NULL,
        opened_by TEXT NOT NULL, proxy TEXT NOT NULL,
        PRIMARY KEY (scheme, host, port, path, client_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_of_proxy ON sessions (proxy);
    """,
)
"""What brings a file from version n to n + 1. Released ones are never changed: append."""

_COLUMNS = ", ".join(Row._fields)
_UPSERT = (
    f"INSERT INTO sessions ({_COLUMNS}, proxy) VALUES ({', '.join('?' * (len(Row._fields) + 1))}) "  # noqa: S608  # constants
    f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in (*Row._fields[5:], "proxy"))
)
_BY_KEY = " AND ".join(f"{column} = ?" for column in KEY)
_DELETE = f"DELETE FROM sessions WHERE {_BY_KEY}"  # noqa: S608  # constants
_CLAIM = f"UPDATE sessions SET proxy = ? WHERE {_BY_KEY}"  # noqa: S608  # constants


class Unusable(Exception):
    """The file can't be used; the text says why, and what was done about it."""


class Database:
    """One proxy's connection to the file."""

    def __init__(self, path: Path, name: str, migrations: Sequence[str] = MIGRATIONS) -> None:
        """`name` tells this proxy from every other one that ever used the file."""
        self.path = path
        self.name = name
        self.notice = ""
        """What the user should know about how it was opened, in one line."""
        self._migrations = migrations
        self._place = str(Place.here())
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, make it, or bring it up to date, and enter this proxy.

        A damaged file is set aside and a new one begun.

        Raises:
            Unusable: nothing can be remembered in this file.
        """
        try:
            self._open()
        except sqlite3.OperationalError as e:
            self.close()
            raise Unusable(f"{self.path} can't be used ({e})") from None
        except sqlite3.DatabaseError as e:
            self.close()
            aside = self.set_aside()
            self.notice = f"{self.path} is damaged ({e}) and was renamed to {aside.name}; a new one is begun"
            try:
                self._open()
            except (sqlite3.Error, OSError) as e:
                self.close()
                raise Unusable(f"{self.path} was damaged and renamed to {aside.name}, and a new one fails: {e}") from e
        except OSError as e:
            raise Unusable(f"{self.path} can't be used ({e.strerror or e})") from None

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
        self._refuse_foreign(connection)  # before anything is changed
        connection.execute("PRAGMA journal_mode = WAL")
        # A crash of this process loses nothing; one of the whole host may cost the latest writes, never the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        with self._transaction() as transaction:
            version = transaction.execute("PRAGMA user_version").fetchone()[0]
            for step in self._migrations[version:]:
                for statement in filter(str.strip, step.split(";")):
                    transaction.execute(statement)
            transaction.execute(f"PRAGMA application_id = {APPLICATION}")
            transaction.execute(f"PRAGMA user_version = {len(self._migrations)}")
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        process = this_process()
        connection.execute(
            "INSERT OR REPLACE INTO proxies VALUES (?, ?, ?, ?, ?)",
            (self.name, self._place, process.pid, process.started, time.time()),
        )

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

    def take_over(self, wanted: Callable[[Row], bool] | None = None) -> list[Row]:
        """The rows of proxies that are no more; they are this one's from now on. Each is given to one proxy only.

        With `wanted`, only those for which it is true.
        """
        now = time.time()
        with self._transaction() as transaction:
            transaction.execute("UPDATE proxies SET seen = ? WHERE id = ?", (now, self.name))
            dead = [
                (name,)
                for name, place, pid, started, seen in transaction.execute("SELECT * FROM proxies").fetchall()
                if name != self.name and _is_dead(place, pid, started, now - seen)
            ]
            transaction.executemany("DELETE FROM proxies WHERE id = ?", dead)
            transaction.execute("DELETE FROM sessions WHERE last_used < ?", (now - FORGET_AFTER,))
            orphans = "proxy NOT IN (SELECT id FROM proxies)"
            found = transaction.execute(f"SELECT {_COLUMNS} FROM sessions WHERE {orphans}").fetchall()  # noqa: S608
            rows = [row for row in map(Row._make, found) if wanted is None or wanted(row)]
            transaction.executemany(_CLAIM, [(self.name, *row[: len(KEY)]) for row in rows])
        return rows

    def claim(self, key: Key) -> Row | None:
        """The row of this session, whoever has it: its client talks to this proxy now."""
        with self._transaction() as transaction:
            found = transaction.execute(f"SELECT {_COLUMNS} FROM sessions WHERE {_BY_KEY}", key).fetchone()  # noqa: S608
            if found is None:
                return None
            transaction.execute(_CLAIM, (self.name, *key))
        return Row._make(found)

    def write(self, rows: Iterable[Row], over: Iterable[Key]) -> None:
        """Remember these rows, and forget the sessions that are over, by their keys."""
        with self._transaction() as transaction:
            transaction.executemany(_UPSERT, [(*row, self.name) for row in rows])
            transaction.executemany(_DELETE, list(over))

    def leave(self) -> None:
        """Let go of all sessions, for this proxy ends: they are free to be taken over."""
        with self._transaction() as transaction:
            transaction.execute("DELETE FROM proxies WHERE id = ?", (self.name,))
        self.close()

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
            except BaseException:
                with suppress(sqlite3.Error):
                    cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")


def _is_dead(place: str, pid: int, started: float, silent: float) -> bool:
    gone = Place.here().gone(place, pid, started)
    return silent > SILENCE if gone is None else gone
