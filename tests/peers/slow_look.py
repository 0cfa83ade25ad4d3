"""A script for mitmproxy by which the addon takes long to find out who is behind a connection, as on a busy machine."""

import time
from typing import Any

from mitmproxy import ctx

SECONDS = 0.3


def running() -> None:
    """Slow down every look."""
    addon = next(one for one in ctx.master.addons.lookup.values() if type(one).__name__ == "McpSessions")
    identifier = addon.identifying._identifier
    find = identifier._find

    def slowly(*args: Any) -> Any:
        time.sleep(SECONDS)
        return find(*args)

    identifier._find = slowly
