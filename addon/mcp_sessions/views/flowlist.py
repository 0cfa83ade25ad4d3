"""The flow lists: mitmproxy's show `POST /mcp` for every call; here they say what the addon noted on each flow.

mitmweb has a column for comments, which is switched on where the user chose no columns himself. The console has none:
there an MCP flow gets a line of its own below.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from mitmproxy import ctx, flow

from ..proxy.metadata import COMMENT
from .shown import Shown, View

logger = logging.getLogger(__name__)

COLUMN = "comment"
"""What mitmweb calls its column of comments."""


class FlowLists(View):
    """Both of them."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._leave: Callable[[], None] | None = None

    def running(self) -> None:
        """Show what was noted, where there is a list."""
        if "web_columns" in ctx.options.keys():  # noqa: SIM118 (these are options, no mapping)
            self._leave = _web()
        elif hasattr(ctx.master, "overlay"):
            self._leave = _console()

    def done(self) -> None:
        """Leave the lists as they were found."""
        if self._leave is not None:
            self._leave()
            self._leave = None


def _web() -> Callable[[], None] | None:
    if ctx.options.has_changed("web_columns"):
        return None  # the user's own choice
    before = list(ctx.options.web_columns)
    after = [*before[:3], COLUMN, *before[3:]]  # after what it is and where it went
    ctx.options.update(web_columns=after)

    def leave() -> None:
        if ctx.options.web_columns == after:
            ctx.options.update(web_columns=before)

    return leave


def _console() -> Callable[[], None] | None:
    import urwid
    from mitmproxy.tools.console import common

    before = common.format_flow
    if [*inspect.signature(before).parameters][:2] != ["f", "render_mode"]:
        logger.info("mcp: this version of mitmproxy draws its flow list in another way: it shows no methods of MCP")
        return None

    def drawn(f: flow.Flow, *, render_mode: common.RenderMode, **how: Any) -> urwid.Widget:
        row = before(f, render_mode=render_mode, **how)
        if render_mode is common.RenderMode.DETAILVIEW or COMMENT not in f.metadata:
            return row
        # As text, never as markup: urwid takes a string for what it is.
        note = urwid.Text(("highlight", f.comment), wrap="ellipsis")
        return urwid.Pile([row, urwid.Padding(note, left=7)])

    common.format_flow = drawn

    def leave() -> None:
        if common.format_flow is drawn:
            common.format_flow = before

    return leave
