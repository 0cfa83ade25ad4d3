"""A status line for mitmdump: how many clients, sessions, recoveries, endings and violations there are, live.

On a terminal it stands in the last row, below a region that everything else scrolls in, so that nobody else's lines
have to be known or redrawn. Elsewhere it is a plain line of the log, now and then.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
from collections.abc import Callable
from typing import TextIO

from mitmproxy import ctx
from mitmproxy.tools.dump import DumpMaster

from ..core.ledger import Ledger
from .journal import Journal
from .shown import Shown, View
from .table import totals

logger = logging.getLogger(__name__)

PERIOD = 0.5
"""Seconds between two looks at whether there is something new."""

PLAIN_PERIOD = 10.0
"""The same for plain lines."""


def counts(ledger: Ledger, journal: Journal) -> str:
    """The line itself."""
    counted = totals(ledger)
    clients = sum(not client.gone for client in ledger.clients.values())
    violations = sum(broken.times for broken in journal.rules.values())
    return (
        f"mcp: clients {clients} · open {counted['open']} · violations {violations} · "
        f"recovered {counted['recovered']} · ended {counted['ended']} · streams {counted['streams']}"
    )


def fitting(text: str, columns: int) -> str:
    """As many of its parts as fit: a figure that is cut would be another figure."""
    while len(text) > columns and " · " in text:
        text = text.rpartition(" · ")[0]
    return text[:columns]


class Screen:
    """The last row of a terminal."""

    def __init__(self, out: TextIO, size: Callable[[], tuple[int, int]] | None = None) -> None:
        self._out = out
        self._size = size or (lambda: tuple(shutil.get_terminal_size()))  # type: ignore[return-value]
        self._rows = 0

    def show(self, text: str) -> None:
        """Put the text there; makes room at first, and again when the terminal has another size."""
        columns, rows = self._size()
        if rows < 3:
            return
        if rows != self._rows:
            # A line feed in the last row scrolls, so that what stands there is not written over.
            self._write(f"\n\x1b7\x1b[1;{rows - 1}r\x1b8\x1b[1A")
            self._rows = rows
        shown = fitting(text, columns - 2)
        self._write(f"\x1b7\x1b[{rows};1H\x1b[2K\x1b[7m {shown:<{columns - 1}}\x1b[0m\x1b8")

    def close(self) -> None:
        """Give the row back."""
        if self._rows:
            self._write(f"\x1b7\x1b[{self._rows};1H\x1b[2K\x1b[r\x1b8")
            self._rows = 0

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):
            self._rows = 0  # the terminal is gone; that is no trouble of the traffic's


class Status(View):
    """Follows the ledger with a line: on a screen, or in the log."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._screen: Screen | None = None
        self._said = ""
        self._seen = -1
        self._timer: asyncio.TimerHandle | None = None

    def running(self) -> None:
        """Show it from now on, if it is wanted where mitmproxy runs."""
        terminal = sys.stdout.isatty() and isinstance(ctx.master, DumpMaster)
        if self.shown.status == "off" or (self.shown.status == "auto" and not terminal):
            return
        self._screen = Screen(sys.stdout) if terminal else None
        self._tick()

    def done(self) -> None:
        """Show it no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._screen is not None:
            self._screen.close()
            self._screen = None

    def _tick(self) -> None:
        period = PERIOD if self._screen is not None else PLAIN_PERIOD
        self._timer = asyncio.get_running_loop().call_later(period, self._tick)
        text, journal = self._said, self.shown.journal
        if journal.version != self._seen:
            self._seen = journal.version
            text = counts(self.shown.ledger(), journal)
        if self._screen is not None:
            self._screen.show(text)  # each time: the terminal may have been resized or cleared
        elif text != self._said:
            logger.info(text)
        self._said = text
