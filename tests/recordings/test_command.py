"""`mcp.export` as a command of mitmproxy's, in its own test context."""

import asyncio
import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy import exceptions
from mitmproxy.addons.view import View
from mitmproxy.test import taddons

from mcp_sessions.addon import McpSessions
from mcp_sessions.proxy.metadata import ARRIVALS
from views.flows import ANSWER, CALL, answer, open_session, pass_through, post

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


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """How long each turn of the event loop took: processor time of its thread, in seconds."""
    run, taken = asyncio.Handle._run, list[float]()

    def timed(handle: asyncio.Handle) -> None:
        before = time.thread_time()
        run(handle)
        taken.append(time.thread_time() - before)

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    gc.collect()
    gc.freeze()  # as a proxy does at its start: the tests' own objects are many
    yield taken
    gc.unfreeze()


async def test_an_export_of_many_flows_holds_up_nobody(tmp_path: Path, turns: list[float]) -> None:
    addon, view = McpSessions(), View()
    with taddons.context(addon, view) as context:
        flows = [answer(post(CALL, SESSION), ANSWER) for _ in range(1_000)]
        for flow in flows[:20]:
            flow.metadata[ARRIVALS] = [float(number) for number in range(10_000)]
        gc.freeze()
        view.add([await open_session(addon, SESSION), *flows])
        await asyncio.sleep(0)
        turns.clear()
        context.master.commands.execute(f"mcp.export all {tmp_path / 'out'}")
        await asyncio.gather(*addon.recordings._tasks)
        addon.done()
    assert (tmp_path / "out" / "flows.mitm").stat().st_size > 1_000_000
    assert max(turns) < 0.05


async def test_what_is_not_there_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    addon, view = McpSessions(), View()
    with taddons.context(addon, view) as context:
        view.add([await open_session(addon, SESSION)])
        context.master.commands.execute(f"mcp.export #17 {tmp_path / 'out'}")
        await asyncio.gather(*addon.recordings._tasks)
        addon.done()
    assert "mcp.export: no session and no client '#17' in it" in caplog.text
    assert not (tmp_path / "out").exists()


async def test_wrong_arguments_give_one_line(tmp_path: Path) -> None:
    addon, view = McpSessions(), View()
    with taddons.context(addon, view) as context:
        with pytest.raises(exceptions.CommandError, match="typed in full"):
            context.master.commands.execute(f"mcp.export all {tmp_path} --keep-sec")
        addon.done()
