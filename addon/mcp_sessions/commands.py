"""The commands: what a user can ask of the ledger from mitmproxy's command line."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from mitmproxy import command
from mitmproxy.log import ALERT

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
