"""The status line."""

from __future__ import annotations

import io

import pyte
from mitmproxy.test import taddons

from mcp_sessions.addon import McpSessions
from mcp_sessions.views.status import Screen, counts, fitting

from .flows import ANSWER, CALL, open_session, pass_through, post


async def test_it_counts() -> None:
    addon = McpSessions()
    with taddons.context(addon):
        await open_session(addon, "7f3a9c1e5b2d4680aa")
        await pass_through(addon, post(CALL, "7f3a9c1e5b2d4680aa"), ANSWER)
        line = counts(addon.core.ledger, addon.reporting.journal)
        assert line == "mcp: clients 1 · open 1 · violations 1 · recovered 0 · ended 0 · streams 0"
        addon.done()


def test_what_does_not_fit_is_left_out_whole() -> None:
    line = "mcp: clients 120 · open 1500 · violations 31415 · recovered 1234 · ended 98765 · streams 800"
    assert fitting(line, 80) == line.removesuffix(" · streams 800")
    assert fitting(line, 60) == "mcp: clients 120 · open 1500 · violations 31415"
    assert fitting("mcp: clients 120", 10) == "mcp: clien"


def test_lines_scroll_above_it_and_it_leaves_no_trace() -> None:
    terminal = pyte.Screen(30, 6)
    terminal.set_mode(pyte.modes.LNM)  # as a terminal driver does
    stream = pyte.Stream(terminal)
    out = io.StringIO()
    screen = Screen(out, lambda: (30, 6))

    def flush() -> list[str]:
        stream.feed(out.getvalue())
        out.seek(0)
        out.truncate()
        return [line.rstrip() for line in terminal.display]

    for number in range(4):
        out.write(f"before {number}\n")
    screen.show("status one")
    for number in range(8):
        out.write(f"line {number}\n")
    screen.show("a status that is wider than the terminal is")
    shown = flush()
    assert shown[5].startswith(" a status that is wider than")
    assert shown[:5] == ["line 4", "line 5", "line 6", "line 7", ""]
    screen.close()
    assert flush()[5] == ""
    for number in range(4):
        out.write(f"after {number}\n")
    left = "\n".join(flush())
    assert "after 3" in left
    assert "status" not in left


def test_a_terminal_that_is_gone_is_no_trouble() -> None:
    out = io.StringIO()
    screen = Screen(out, lambda: (30, 6))
    out.close()
    screen.show("text")
    screen.close()
