"""What `mcp.help` tells: the commands, the keys that are bound to them, the markers, and what to filter by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..proxy.marks import MEANINGS
from ..proxy.metadata import OWN, RULES, SESSION
from .table import Table

FILTERS = {
    f'~meta "{SESSION}: LABEL"': "flows of a session",
    f"~meta {RULES}": "flows that break a rule",
    f"!~meta {OWN}": "without the requests of the proxy's own, and without what was refused",
}
"""Filter expressions of mitmproxy's, and what they leave."""

OFFERED = "none; recipes/keys.yaml offers F2 to F6"


def help_table(commands: dict[str, Any], bindings: Iterable[Any]) -> Table:
    """Two columns: what to type, press or look for, and what it means.

    Args:
        commands: mitmproxy's commands by name.
        bindings: its key bindings; empty where there are no keys.
    """
    rows = [["what", "meaning"]]
    for name, command in sorted(commands.items()):
        if name.startswith("mcp."):
            says = " ".join((command.help or "").split())
            rows.append([command.signature_help().partition(" -> ")[0], says])
    bound = [[f"key {one.key}", one.help or one.command] for one in bindings if "mcp" in one.command]
    rows += bound or [["keys", OFFERED]]
    rows += [[f"mark {mark}", meaning] for mark, meaning in MEANINGS.items()]
    return rows + [[f"filter {expression}", meaning] for expression, meaning in FILTERS.items()]
