"""The commands: what a user can ask of the ledger from mitmproxy's command line."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mitmproxy import command, exceptions
from mitmproxy.log import ALERT

from . import naming
from .ledger import State
from .naming import SessionName
from .rules import catalogue
from .rules.pages import explain
from .views.table import sessions_table

if TYPE_CHECKING:
    from .addon import McpSessions

logger = logging.getLogger(__name__)

NAMES_LIMIT = 1000

naming.install()


class Commands:
    """Commands under `mcp.`."""

    def __init__(self, addon: McpSessions) -> None:
        self._addon = addon

    @command.command("mcp.sessions")
    def sessions(self) -> None:
        """Print the ledger: every session, whose it is and how it stands."""
        logger.log(ALERT, sessions_table(self._addon.core.ledger, time.time()))

    @command.command("mcp.explain")
    def explain(self, rule: str) -> None:
        """Print what a rule is about: what is wrong, why it hurts, the clause, an example of each kind."""
        entry = catalogue().get(rule.strip().upper())
        if entry is None:
            raise exceptions.CommandError(f"there is no rule {rule[:40]!r}; they are listed in docs/rules.md")
        logger.log(ALERT, explain(entry))

    @command.command(naming.NAMES_COMMAND)
    def names(self) -> Sequence[str]:
        """The labels of the sessions that are not over, the newest first."""
        sessions = reversed(self._addon.core.ledger.sessions.values())
        labels = dict.fromkeys(session.label for session in sessions if session.state is not State.CLOSED)
        return list(labels)[:NAMES_LIMIT]

    @command.command("mcp.end")
    def end(self, session: SessionName) -> None:
        """End a session now: send its DELETE, whoever uses it."""
        try:
            ends = self._addon.core.end_by_hand(session, time.time())
        except ValueError as e:
            raise exceptions.CommandError(f"mcp.end: {e}") from None
        self._addon.end(ends)

    @command.command("mcp.keep")
    def keep(self, session: SessionName, keep: bool = True) -> None:
        """Protect a session from being ended by the proxy; with false, protect it no longer."""
        try:
            self._addon.core.keep(session, keep, time.time())
        except ValueError as e:
            raise exceptions.CommandError(f"mcp.keep: {e}") from None
