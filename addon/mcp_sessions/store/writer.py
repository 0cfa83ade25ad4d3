"""The thread that the ledger's file is read and written in."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from ..processes.place import Place
from .database import Database, Unusable
from .rows import Key, Row, to_be_ended

BATCHES_LIMIT = 1000
"""Batches that may wait for a disk that does not keep up; then nothing more is remembered."""

ROUND = 10.0
"""Seconds between two looks for proxies that are no more."""


class Batch(NamedTuple):
    """What changed lately."""

    rows: list[Row]
    over: list[Key]


class Question(NamedTuple):
    """Whether a session is known to the file, whichever proxy has it."""

    key: Key
    answered: asyncio.Event


class Writer:
    """Owns the thread. All methods are for the event loop and do not block, except `close`."""

    def __init__(
        self, database: Database, on_rows: Callable[[list[Row]], None], on_problem: Callable[[str, bool], None]
    ) -> None:
        """Both are called in the event loop: `on_rows` with rows that were taken over, first soon after the start.

        `on_problem` gets a line for the user, and whether this is the end: nothing is remembered from then on.
        """
        self._database = database
        self._place = Place.here()
        self._on_rows = on_rows
        self._on_problem = on_problem
        self._batches: queue.Queue[Batch | Question | None] = queue.Queue(BATCHES_LIMIT)
        self._loop = asyncio.get_running_loop()
        self._failed = False
        self.loaded = asyncio.Event()
        """Set when the rows of earlier runs have been handed over, or there will be none."""
        self._thread = threading.Thread(target=self._run, name="mcp-ledger", daemon=True)
        self._thread.start()

    def write(self, batch: Batch) -> None:
        """Have this written."""
        if self._failed:
            return
        try:
            self._batches.put_nowait(batch)
        except queue.Full:
            self._failed = True
            self._on_problem(f"{self._database.path}: the disk does not keep up", True)

    async def ask(self, key: Key) -> None:
        """Have this session's row handed over, if there is one."""
        question = Question(key, asyncio.Event())
        with suppress(queue.Full):
            self._batches.put_nowait(question)
            if self._failed:  # looked at last: from then on nobody reads the queue
                self._answer_all()
                return
            await question.answered.wait()

    def close(self, within: float) -> None:
        """Write what waits, and let go of the sessions. Blocks, at most `within` seconds."""
        try:
            self._batches.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(within)

    # In the thread

    def _run(self) -> None:
        database = self._database
        try:
            database.open()
            if database.notice:
                self._tell(database.notice, False)
            self._hand_over(database.take_over())
            self._write_all()
            database.leave()
        except Unusable as e:
            self._give_up(str(e))
        except sqlite3.OperationalError as e:
            database.close()
            self._give_up(f"{database.path} can't be used any more ({e})")
        except sqlite3.DatabaseError as e:
            self._give_up(f"{database.path} is damaged ({e}) and was renamed to {database.set_aside().name}")
        except Exception as e:
            database.close()
            self._give_up(f"{database.path}: {type(e).__name__}")
        finally:
            self._failed = True
            self._answer_all()

    def _write_all(self) -> None:
        next_round = time.monotonic() + ROUND
        while True:
            try:
                batch = self._batches.get(timeout=max(0.0, next_round - time.monotonic()))
            except queue.Empty:
                next_round = time.monotonic() + ROUND
                rows = self._database.take_over(self._to_be_ended)
                if rows:
                    self._hand_over(rows)
                continue
            if batch is None:
                return
            if isinstance(batch, Question):
                row = self._database.claim(batch.key)
                self._hand_over([row] if row else [], batch.answered)
            else:
                self._database.write(batch.rows, batch.over)

    def _to_be_ended(self, row: Row) -> bool:
        return to_be_ended(row, self._place)

    def _hand_over(self, rows: list[Row], then: asyncio.Event | None = None) -> None:
        def hand_over() -> None:
            try:
                self._on_rows(rows)
            finally:
                (then or self.loaded).set()

        self._in_loop(hand_over)

    def _answer_all(self) -> None:
        """Nobody is to wait for an answer that won't come."""
        with suppress(queue.Empty):
            while True:
                batch = self._batches.get_nowait()
                if isinstance(batch, Question):
                    self._in_loop(batch.answered.set)

    def _give_up(self, why: str) -> None:
        self._failed = True
        self._tell(why, True)
        self._in_loop(self.loaded.set)

    def _tell(self, line: str, final: bool) -> None:
        self._in_loop(lambda: self._on_problem(line, final))

    def _in_loop(self, call: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(call)
