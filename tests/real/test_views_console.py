"""The console, driven as a user drives it: in a terminal, by its keys."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from conftest import StartClient, StartServer
from harness.ports import free_port
from harness.proxy import ADDON
from harness.terminal import Terminal

pytestmark = pytest.mark.real

ESCAPE, TAB, ENTER = "\x1b", "\t", "\r"


def console(port: int, upstream: int, confdir: Path, columns: int = 140, options: Sequence[str] = ()) -> Terminal:
    binary = shutil.which("mitmproxy", path=str(Path(sys.executable).parent))
    assert binary is not None
    command = [binary, "--set", f"confdir={confdir}", "--listen-host", "127.0.0.1", "--listen-port", str(port)]
    command += [word for option in options for word in ("--set", option)]
    return Terminal([*command, "--mode", f"reverse:http://127.0.0.1:{upstream}", "-s", str(ADDON)], columns=columns)


async def run(terminal: Terminal, line: str) -> None:
    """Type a command, after whatever was on the screen before is closed."""
    terminal.press(":")
    await terminal.wait_text(r"(?m)^: ?$")
    terminal.press(line)
    await terminal.wait_text(": " + line.replace("\t", ".*") if "\t" in line else line)
    terminal.press(ENTER)


async def test_commands_completion_and_a_stream_in_the_console(
    tmp_path: Path, sdk_server: StartServer, sdk_client: StartClient
) -> None:
    server = await sdk_server(1)
    port = free_port()
    async with console(port, server.port, tmp_path) as terminal:
        await terminal.wait_text("Flows")
        client = await sdk_client(1, f"http://127.0.0.1:{port}/mcp", name="terminal")
        await client.call("progress", steps=3, interval=0.01)
        await client.call("echo", text="in the console")
        label = (await client.session_id() or "")[:8]

        await run(terminal, "mcp.sessions")
        await terminal.wait_text("session +client +server")
        await terminal.wait_text(rf"{label} #\d+ +open \ds")
        assert (await client.session_id() or "") not in terminal.text
        terminal.press("q")
        await terminal.wait_text("Flows")

        # The name of the session is completed.
        terminal.press(":")
        terminal.press("mcp.session ")
        await terminal.wait_text("mcp.session session")
        terminal.press(label[:2] + TAB)
        await terminal.wait_text(rf"mcp\.session {label}")
        terminal.press(ENTER)
        await terminal.wait_text(r"endpoint +http://127\.0\.0\.1")
        await terminal.wait_text("terminal")
        terminal.press("q")
        await terminal.wait_text("Flows")

        # What was said in it, and what was said of one thing.
        await run(terminal, f"mcp.messages {label} progress")
        await terminal.wait_text(r"→ #\d+ +tools/call progress · [\d,]+ B")
        await terminal.wait_text(r"← +notifications/progress")
        await terminal.wait_text(r"← #\d+ +response to tools/call progress · \d+ ms · [\d,]+ B")
        terminal.press("q")
        await terminal.wait_text("Flows")

        # A wrong name is one line.
        await run(terminal, "mcp.session nobody")
        await terminal.wait_text("no session is named 'nobody'")

        # The flow list tells calls apart; only those of a session; help.
        await terminal.wait_text("tools/call echo · session")
        await run(terminal, f"mcp.flows {label}")
        await terminal.wait_text(r"mcp: \d+ flows of session")
        await run(terminal, "set view_filter=")
        await run(terminal, "mcp.help")
        await terminal.wait_text(r"mcp\.messages session f")
        terminal.press("q")
        await terminal.wait_text("Flows")

        # The flows of a session as a specification; then the stream as a conversation.
        await run(terminal, f"flow.mark @mcp:{label} :fire:")
        await run(terminal, "view.filter.set '~marked & ~bq steps'")
        await terminal.wait_text(r"\[1/1\]")
        terminal.press(ENTER)
        await terminal.wait_text("client → server · request tools/call progress")
        terminal.press(TAB)
        await terminal.wait_text(r"event stream · 4 events · ended")
        await terminal.wait_text(r"\(\+\d\.\d{3} s\) · server → client · notification notifications/progress")
        await terminal.wait_text("response to tools/call progress")


async def test_a_session_is_initialized_anew_by_command(
    tmp_path: Path, sdk_server: StartServer, sdk_client: StartClient
) -> None:
    server = await sdk_server(1)
    port = free_port()
    async with console(port, server.port, tmp_path) as terminal:
        await terminal.wait_text("Flows")
        client = await sdk_client(1, f"http://127.0.0.1:{port}/mcp")
        await client.call("echo", text="before")
        known = await client.session_id() or ""
        await run(terminal, f"mcp.reinit {known[:8]}")
        await server.wait_for(lambda seen: seen.rpc == "notifications/initialized", count=2)
        assert (await client.call("echo", text="after")).text == "after"
        assert await client.session_id() == known
        calls = server.requests(tool="echo")
        assert calls[0].session == known
        assert calls[1].session not in (None, known)


@pytest.mark.parametrize("columns", [80, 130])
async def test_tables_stand_side_by_side_and_the_footer_goes_on(
    tmp_path: Path, sdk_server: StartServer, sdk_client: StartClient, columns: int
) -> None:
    server = await sdk_server(1)
    port = free_port()
    async with console(port, server.port, tmp_path, columns) as terminal:
        await terminal.wait_text("Flows")
        client = await sdk_client(1, f"http://127.0.0.1:{port}/mcp")
        await client.call("echo", text="before")
        label = (await client.session_id() or "")[:8]
        await server.restart()
        await client.call("echo", text="after")
        # Not "lost", which mitmproxy would show for five seconds.
        await terminal.wait_text(rf"mcp: session {label} recovered")
        assert f"session {label} lost" not in terminal.text
        await run(terminal, "mcp.sessions")
        await terminal.wait_text(rf"{label} #\d+ open \ds.* +\S+\[\d+\] +127\.0\.0\.1:\d+")
        terminal.press("q")
        await terminal.wait_text("Flows")
        await run(terminal, "mcp.explain MCP1\t")
        await terminal.wait_text(r"MCP101 ")
