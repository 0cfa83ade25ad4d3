"""The commands: what a user can ask of the ledger from mitmproxy's command line."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from mitmproxy import command, exceptions
from mitmproxy.log import ALERT

from .rules import catalogue
from .rules.pages import explain
from .views.table import sessions_table

if TYPE_CHECKING:
    from .addon import McpSessions

logger = logging.getLogger(__name__)


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
