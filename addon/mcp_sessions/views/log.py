"""The event log: every record as one JSON line in a file, written by a thread so that no traffic waits for a disk."""

from __future__ import annotations

import logging
import os
import queue
import threading
from pathlib import Path

from ..core.records import AnyRecord

logger = logging.getLogger(__name__)

ROOM = 10_000
"""Records that may wait to be written; what comes beyond is dropped and counted."""

PATIENCE = 5.0
"""Seconds that closing waits for what is still to be written."""


class EventLog:
    """Appends records to a file, which is created readable by its owner alone."""

    def __init__(self, path: str) -> None:
        """Open the file.

        Raises:
            OSError: when it can't be opened for appending.
        """
        target = Path(path).expanduser()
        descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.path = path
        self._file = os.fdopen(descriptor, "ab")
        self._queue: queue.Queue[AnyRecord | None] = queue.Queue(ROOM)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="mcp-log", daemon=True)
        self._thread.start()

    def put(self, record: AnyRecord) -> None:
        """Have a record written; never waits."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            if not self._dropped:
                logger.warning(f"mcp_log: {self.path} is written too slowly, records are dropped")
            self._dropped += 1

    def close(self) -> None:
        """Write what is left and close the file."""
        try:
            self._queue.put(None, timeout=PATIENCE)
        except queue.Full:
            self._dropped += self._queue.qsize()
        self._thread.join(PATIENCE)
        if self._dropped:
            logger.warning(f"mcp_log: {self._dropped} records were dropped")

    def _write(self) -> None:
        with self._file as file:
            while (record := self._queue.get()) is not None:
                try:
                    file.write(record.model_dump_json().encode() + b"\n")
                    if self._queue.empty():
                        file.flush()
                except OSError as e:
                    if not self._dropped:
                        logger.error(f"mcp_log: {self.path}: {e.strerror}; records are dropped")
                    self._dropped += 1
