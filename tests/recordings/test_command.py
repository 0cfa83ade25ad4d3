"""`mcp.export` as a command of mitmproxy's, in its own test context."""

import asyncio
from pathlib import Path

import pytest
from mitmproxy import exceptions
from mitmproxy.addons.view import View
from mitmproxy.test import taddons

from mcp_sessions.addon import McpSessions
from views.flows import ANSWER, CALL, open_session, pass_through, post

SESSION = "7f3a9c1e5b2d4680aa"


async def test_a_session_is_exported_without_its_secrets(tmp_path: Path) -> None:
    addon, view = McpSessions(), View()
    with taddons.context(addon, view) as context:
        opened = await open_session(addon, SESSION)
        call = post(CALL, SESSION, authorization="Bearer very-secret-token-0123456789")
        view.add([opened, await pass_through(addon, call, ANSWER)])
        context.master.commands.execute(f"mcp.export all {tmp_path / 'out'}")
        await asyncio.gather(*addon.recordings._tasks)
        addon.done()
    written = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert {file.suffix for file in written} == {".mitm", ".har", ".md"}
    for file in written:
        assert b"very-secret-token" not in file.read_bytes()
        assert SESSION.encode() not in file.read_bytes()


async def test_wrong_arguments_give_one_line(tmp_path: Path) -> None:
    addon, view = McpSessions(), View()
    with taddons.context(addon, view) as context:
        with pytest.raises(exceptions.CommandError, match="typed in full"):
            context.master.commands.execute(f"mcp.export all {tmp_path} --keep-sec")
        addon.done()
