"""mitmdump's status line, on a terminal and elsewhere; and its commands, where there is no console."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from conftest import StartClient, StartProxy, StartServer
from harness.ports import free_port
from harness.proxy import ADDON
from harness.terminal import Terminal

pytestmark = pytest.mark.real


async def test_on_a_terminal_the_last_row_tells_how_things_stand(
    tmp_path: Path, sdk_server: StartServer, sdk_client: StartClient
) -> None:
    server = await sdk_server(1)
    port = free_port()
    binary = shutil.which("mitmdump", path=str(Path(sys.executable).parent))
    assert binary is not None
    command = [binary, "--set", f"confdir={tmp_path}", "--listen-host", "127.0.0.1", "--listen-port", str(port)]
    command += ["--mode", f"reverse:http://127.0.0.1:{server.port}", "-s", str(ADDON)]
    async with Terminal(command, columns=80, rows=20) as terminal:
        await terminal.wait_text("listening at")
        client = await sdk_client(1, f"http://127.0.0.1:{port}/mcp")
        await terminal.wait_text(r"mcp: clients 1 · open 1 · violations \d+ · recovered 0 · ended 0 · streams 1")
        await client.call("echo", text="before")
        await server.restart()
        await client.call("echo", text="after")
        await terminal.wait_text(r"recovered 1 · ended 0")
        await client.kill()
        await terminal.wait_text(r"mcp: clients 0 · open 0 · violations \d+ · recovered 1 · ended 1 · streams 0")
        assert terminal.screen.display[-1].startswith(" mcp: ")
        assert sum("recovered 1 ·" in line for line in terminal.screen.display) == 1
        terminal.interrupt()
        await terminal.wait_end()
        assert not terminal.screen.display[-1].startswith(" mcp: ")


async def test_elsewhere_there_are_plain_lines(
    sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    server = await sdk_server(1)
    proxy = await mitmdump(server.port)
    await sdk_client(1, proxy.url)
    await proxy.wait_log("opened")
    assert not any("\x1b" in line or "mcp: clients" in line for line in proxy.log)


async def test_commands_answer_in_text_where_there_is_no_console(
    tmp_path: Path, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    script = tmp_path / "ask.py"
    script.write_text(
        "from mitmproxy import ctx, exceptions\n"
        "import logging\n"
        "def client_disconnected(client):\n"
        "    names = ctx.master.commands.execute('mcp.sessions.names')\n"
        "    for line in ('mcp.sessions', f'mcp.session {names[0]}', 'mcp.clients', 'mcp.violations',\n"
        "                 'mcp.session nobody', f'mcp.flows {names[0]}', 'mcp.reinit nobody'):\n"
        "        try:\n"
        "            ctx.master.commands.execute(line)\n"
        "        except exceptions.CommandError as e:\n"
        "            logging.error(f'refused: {e}')\n"
        "    logging.warning('asked everything')\n"
    )
    server = await sdk_server(1)
    proxy = await mitmdump(server.port, script=[ADDON, script])
    client = await sdk_client(1, proxy.url, name="dumped")
    await client.call("echo", text="x")
    known = await client.session_id() or "-"
    await client.close()
    await proxy.wait_log("asked everything")
    assert proxy.logged(r"session +client +server")
    assert proxy.logged(rf"{known[:8]} +#1 +")
    assert proxy.logged(r"says it is")
    assert proxy.logged("dumped")
    assert proxy.logged("refused: no session is named 'nobody'; mcp.sessions lists them")
    assert proxy.logged("refused: mitmdump keeps no flows")
    assert not proxy.logged(known)
