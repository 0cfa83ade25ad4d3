"""A table that mitmproxy's console shows, drawn once more when more is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mitmproxy import ctx


def redraw(rows: Sequence[Sequence[str]]) -> None:
    """Put a table in the place of the one that is shown; nothing, if the user has closed that meanwhile."""
    from mitmproxy.tools.console.overlay import DataViewerOverlay  # only the console has what it needs

    master: Any = ctx.master
    stack = master.window.focus_stack()
    if stack.overlay is None or not isinstance(stack.overlay.widget, DataViewerOverlay):
        return
    stack.overlay = None
    viewer: Any = DataViewerOverlay(master, rows)
    master.overlay(viewer, valign="top")
    master.loop.draw_screen()
