"""The wrapper commands: mitmproxy's tools with the addon loaded, all arguments passed through.

They exit as the tool does, and with status 3 if a violation was seen that `mcp_fail_on` asks about. None of them goes
on without the addon, whatever kept it from running.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mitmproxy import ctx
from mitmproxy.master import Master
from mitmproxy.options import Options
from mitmproxy.tools import main

from .addon import McpSessions
from .proxy import handed
from .views import summary as outcome

logger = logging.getLogger(__name__)

SCRIPT = Path(__file__).with_name("script.py")
"""What mitmproxy's `-s` takes."""


def mitmdump() -> int | None:
    """`mcp-mitmdump`."""
    return _run(main.mitmdump)


def mitmproxy() -> int | None:
    """`mcp-mitmproxy`."""
    return _run(main.mitmproxy)


def mitmweb() -> int | None:
    """`mcp-mitmweb`."""
    return _run(main.mitmweb)


class Verified:
    """An addon of mitmproxy's, beside ours: sees to it that ours runs."""

    def running(self) -> None:
        """Mitmproxy and all its addons are up. An error in the log now makes it exit, with status 1."""
        addon = ctx.master.addons.get(McpSessions.__name__.lower())
        if not (isinstance(addon, McpSessions) and addon.accounted_for):
            logger.error("mcp: the addon does not run, so mitmproxy ends: nothing would be watched")


def _run(tool: Callable[[Sequence[str]], Any]) -> int | None:
    start: Callable[..., Any] = main.run
    # Each of the tools calls it with the class of its master.
    main.run = lambda make, *more: start(partial(_verified, make), *more)
    try:
        sockets = handed.take(os.environ)
    except ValueError as e:
        print(f"mcp: {e}", file=sys.stderr)
        return 1
    handed.serve(sockets)
    # The addon comes first, so that its options can be set by what follows.
    status: int | None = tool(["-s", str(SCRIPT), *handed.arguments(sockets), *sys.argv[1:]])
    if not status and outcome.FAILED:
        print(f"mcp: exit status {outcome.VIOLATED}: {outcome.FAILED[-1]}", file=sys.stderr)
        return outcome.VIOLATED
    return status


def _verified(make: Callable[[Options], Master], options: Options) -> Master:
    master = make(options)
    master.addons.add(Verified())
    return master
