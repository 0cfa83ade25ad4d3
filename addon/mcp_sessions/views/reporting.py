"""Where records go: the log, the journal that the views follow, the event log file, and the summary at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

from mitmproxy import ctx, exceptions
from mitmproxy.log import ALERT

from ..core.records import AnyRecord, Violation, Weight
from ..proxy.failing import described
from ..rules import Level
from ..rules.baseline import Baseline
from . import summary as outcome
from .journal import Journal
from .log import STANDARD_OUTPUT, EventLog, ours
from .summary import Outcome

logger = logging.getLogger(__name__)

LEVELS = {Weight.INFO: logging.INFO, Weight.WARNING: logging.WARNING, Weight.ERROR: logging.ERROR}


class Reporting:
    """Takes every record as it comes about."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.outcome = Outcome()
        self._log: EventLog | None = None
        self._baseline = ""
        """The file of what is known."""
        self._hangups = False
        """Whether SIGHUP is waited for."""

    def tell(self, record: AnyRecord) -> None:
        """Hand a record to all who want it. Never raises: what is said must not change what is done."""
        try:
            self._tell(record)
        except Exception as e:
            logger.error(f"mcp: error in telling of a {record.kind}: {described(e)}")

    def _tell(self, record: AnyRecord) -> None:
        self.journal.told(record)
        logger.log(LEVELS[record.weight], record.line())
        if isinstance(record, Violation):
            self.outcome.add(record)
        if self._log is not None:
            self._log.put(record)

    def open_log(self, path: str) -> None:
        """Write to this file from now on, or to none.

        Raises:
            OptionsError: when it can't be written.
        """
        if self._log is not None and self._log.path == path:
            return
        opened = None
        if path == STANDARD_OUTPUT and hasattr(ctx.master, "overlay"):
            raise exceptions.OptionsError("mcp_log: mitmproxy draws on standard output: name a file")
        if path:
            try:
                opened = EventLog(path)
            except OSError as e:
                raise exceptions.OptionsError(f"mcp_log: {path}: {e.strerror}") from None
        if self._log is not None:
            self._log.close()
        self._log = opened
        self._wait_for_hangups(opened is not None)

    def expect(self, file: str) -> None:
        """Take what stands in this file for known from now on.

        Raises:
            OptionsError: when it is no baseline.
        """
        if file != self._baseline:
            try:
                self.outcome.baseline = Baseline.read(os.path.expanduser(file)) if file else None
            except ValueError as e:
                raise exceptions.OptionsError(f"mcp_baseline: {e}") from None
            self._baseline = file

    def _wait_for_hangups(self, wanted: bool) -> None:
        """Open the file anew on SIGHUP, as a rotation of logs asks for, unless that means the end of a terminal."""
        number = getattr(signal, "SIGHUP", None)
        if number is None or wanted is self._hangups or any(map(os.isatty, (0, 1, 2))):
            return
        loop = asyncio.get_running_loop()
        if wanted:
            loop.add_signal_handler(number, self._reopen)
        else:
            loop.remove_signal_handler(number)
        self._hangups = wanted

    def _reopen(self) -> None:
        if self._log is not None:
            self._log.reopen()

    def sum_up(self, fail_on: Level | None) -> None:
        """Say how it went; a violation of the level `fail_on` or above is what the wrapper commands fail for."""
        summary = self.outcome.summary()
        if summary:
            logger.log(ALERT, ours(summary))
        compared = list(self.outcome.compared())
        if compared:
            logger.log(ALERT, ours("\n".join(compared)))
        if fail_on is not None and self.outcome.fails(fail_on):
            unknown = f" that is not in {self._baseline}" if self._baseline else ""
            outcome.FAILED.append(f"mcp_fail_on is {fail_on.lower()}, and such a violation was seen{unknown}")
