"""A script for mitmproxy: on SIGUSR1 says what the addon beside it holds, on stdout, as `LEFT {...}`."""

import asyncio
import json
import signal
import sys
from collections import Counter

from mitmproxy import ctx
from mitmproxy.addonmanager import traverse

from mcp_sessions.addon import McpSessions


def _addon() -> McpSessions:
    return next(one for one in traverse(ctx.master.addons.chain) if isinstance(one, McpSessions))


def _tasks() -> Counter[str]:
    return Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())


class Leftovers:
    """Counts tasks, exchanges, readers, waiting calls, connections and sessions."""

    def running(self) -> None:
        """The tasks of a proxy that does nothing are those some time after its start, and those of the ledger's file.

        With thousands of rows it takes longer to be read.
        """
        loop = asyncio.get_running_loop()
        self._before = _tasks()
        loop.call_later(1, lambda: setattr(self, "_before", self._before | _tasks()))
        loop.add_signal_handler(signal.SIGUSR1, self._say)

    def _say(self) -> None:
        addon = _addon()
        ledger, effects = addon.core.ledger, addon.effects
        left = {
            "exchanges": len(addon.exchanges.live),
            "waiting calls": len(effects._waiting),
            "sessions that are not over": sum(not one.over for one in ledger.sessions.values()),
            "connections": len(ledger.connections),
            "clients without a session": sum(
                not one.sessions and (one.gone or one.pid is None) for one in ledger.clients.values()
            ),
            "to be ended": addon.core.ending.left,
            **{
                f"task {name}": count
                for name, count in (_tasks() - self._before).items()
                if not name.startswith("Keeping.")
            },
        }
        sys.stdout.write(f"LEFT {json.dumps(left)}\n")
        sys.stdout.flush()


addons = [Leftovers()]
