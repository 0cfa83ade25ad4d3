"""The wrapper commands: mitmproxy's tools with the addon loaded, all arguments passed through.

They exit as the tool does, and with status 3 if a violation was seen that `mcp_fail_on` asks about.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mitmproxy.tools import main

from .views import summary as outcome

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


def _run(tool: Callable[[Sequence[str]], Any]) -> int | None:
    # The addon comes first, so that its options can be set by what follows.
    status: int | None = tool(["-s", str(SCRIPT), *sys.argv[1:]])
    if not status and outcome.FAILED:
        print(f"mcp: exit status {outcome.VIOLATED}: {outcome.FAILED[-1]}", file=sys.stderr)
        return outcome.VIOLATED
    return status
