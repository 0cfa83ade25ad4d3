"""The event log: every record as one JSON line in a file, written by a thread so that no traffic waits for a disk."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from ..core.records import AnyRecord

logger = logging.getLogger(__name__)

STANDARD_OUTPUT = "-"

ROOM = 10_000
"""Records that may wait to be written; what comes beyond is dropped and counted."""

PATIENCE = 5.0
"""Seconds that closing waits for what is still to be written."""


class EventLog:
    """Appends records to a file, which is created readable by its owner alone, or writes them to standard output.

    A file that was renamed or removed, as a rotation of logs does, is opened anew before the next record.
    """

    def __init__(self, path: str) -> None:
        """Open the file.

        Raises:
            OSError: when it can't be opened for appending.
        """
        self.path = path
        self._target = None if path == STANDARD_OUTPUT else Path(path).expanduser()
        self._file = sys.stdout.buffer if self._target is None else _opened(self._target)
        self._queue: queue.Queue[AnyRecord | bool] = queue.Queue(ROOM)
        """What is to be written; True to look for the file at once, False to end."""
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="mcp-log", daemon=True)
        self._thread.start()

    def put(self, record: AnyRecord) -> None:
        """Have a record written; never waits."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            if not self._dropped:
                logger.warning(f"mcp: mcp_log: {self.path} is written too slowly, records are dropped")
            self._dropped += 1

    def reopen(self) -> None:
        """Have the file opened anew if it is another one by now; never waits."""
        if not self._queue.full():
            self._queue.put_nowait(True)

    def close(self) -> None:
        """Write what is left and close the file."""
        try:
            self._queue.put(False, timeout=PATIENCE)
        except queue.Full:
            self._dropped += self._queue.qsize()
        self._thread.join(PATIENCE)
        if self._dropped:
            logger.warning(f"mcp: mcp_log: {self._dropped} records were dropped")

    def _write(self) -> None:
        while (record := self._queue.get()) is not False:
            try:
                self._follow()
                if record is not True:
                    self._file.write(record.model_dump_json().encode() + b"\n")
                if self._queue.empty():
                    self._file.flush()
            except (OSError, ValueError) as e:  # ValueError: standard output was closed
                if not self._dropped:
                    what = e.strerror if isinstance(e, OSError) else e
                    logger.error(f"mcp: mcp_log: {self.path}: {what}; records are dropped")
                self._dropped += 1
        if self._target is None:
            self._file.flush()
        else:
            self._file.close()

    def _follow(self) -> None:
        """Go on in the file of that name, if the one that is written to is another one by now."""
        if self._target is None:
            return
        ours = os.fstat(self._file.fileno())
        try:
            there = os.stat(self._target)
        except FileNotFoundError:
            pass
        else:
            if os.path.samestat(ours, there):
                return
        opened = _opened(self._target)
        self._file.close()
        self._file = opened
        logger.info(f"mcp: mcp_log: {self.path} opened anew")


def ours(text: str) -> str:
    """A text of several lines as it stands in mitmproxy's log: each begins like all that the addon says."""
    return "\n".join(f"mcp: {line}".rstrip() for line in text.splitlines())


def _opened(target: Path) -> BinaryIO:
    descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "ab")
