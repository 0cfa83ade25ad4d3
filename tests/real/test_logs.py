"""The log and `mcp_log`: every line says whose it is and what has happened, in words that need no source to be read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from conftest import StartProxy, StartRaw, StartScripted, StartSession
from harness.environments import PEERS
from harness.exchange import Answer, Request, event, sse
from harness.mini_mcp import MiniMcp, Rule
from harness.proxy import ADDON, Mitmdump
from harness.terminal import Terminal

pytestmark = pytest.mark.real

COMMANDS = PEERS / "run_commands.py"
STAMPED = re.compile(r"\[\d\d:\d\d:\d\d\.\d{3}\] (.*)")
MITMPROXYS = re.compile(
    r"\[replay\] |Loading script |reverse proxy to |Web server listening|Using a plaintext password|mcp: "
)
ID = "a-session-id-of-some-length"


async def command(proxy: Mitmdump, text: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as http:
        return (await http.post(f"{proxy.base}/commands", content=text)).text


async def test_every_line_begins_with_mcp(
    scripted: StartScripted, mitmdump: StartProxy, client_of: StartSession, tmp_path: Path
) -> None:
    mini = MiniMcp(prefix="short")  # which is a violation
    server = await scripted(mini)
    log = tmp_path / "mcp.jsonl"
    options = {"mcp_log": log, "mcp_status": "on"}
    proxy = await mitmdump(server.port, script=[ADDON, COMMANDS], options=options)
    client = await client_of(proxy.url)
    session = await client.open()
    mini.sessions.clear()
    assert (await client.do("call x")).startswith("200")
    await command(proxy, f"mcp.keep {session}")
    await command(proxy, "mcp.sessions")
    await command(proxy, "mcp.explain MCP302")
    await command(proxy, "mcp.export all /nowhere")
    await command(proxy, f"mcp.keep {session} false")
    await client.process.kill()
    await proxy.wait_log("closed|ended")
    await proxy.stop()
    # Lines that tell of a connection have no space before its address.
    stamped = [match[1] for match in map(STAMPED.match, proxy.log) if match]
    assert [line for line in proxy.log if not line.startswith(("[", "mcp: ", "mcp:"))] == []
    assert [line for line in stamped if not MITMPROXYS.match(line)] == []
    assert any(line.startswith("mcp: MCP302 session-id-weak ") for line in stamped)
    # A recovery says how long it took, and what was sent again where.
    assert proxy.logged(r"mcp: session \S+ recovered .* in \d+\.\d\d s$")
    assert proxy.logged(rf"mcp: sent again .* tools/call echo at http://127\.0\.0\.1:{server.port}/mcp$")
    for line in log.read_text().splitlines():
        record = json.loads(line)
        assert datetime.fromisoformat(record["time"]).timestamp() == pytest.approx(record["at"], abs=0.001)
        assert record["time"].endswith("Z")


async def test_the_summary_says_by_whom(
    scripted: StartScripted, mitmdump: StartProxy, client_of: StartSession, raw_client: StartRaw
) -> None:
    server = await scripted(MiniMcp(prefix="short"))
    proxy = await mitmdump(server.port, options={"mcp_end": "off"})
    first, second = await client_of(proxy.url), await client_of(proxy.url)
    for client in (first, first, second):
        await client.open()
    for client in (first, second):
        await client.process.kill()
    await proxy.wait_log("MCP314", count=3)
    await proxy.stop()
    start = next(n for n, line in enumerate(proxy.log) if line.startswith("mcp: by  "))
    rows = [re.split(r"  +", line.removeprefix("mcp: ")) for line in proxy.log[start + 1 :]]
    named = {row[0]: row[1:] for row in rows}
    names = sorted(
        (name for name in named if str(first.pid) in name or str(second.pid) in name), key=lambda n: named[n]
    )
    assert [named[name] for name in names] == [["1", "MCP314"], ["2", "MCP314"]]
    assert f"http://127.0.0.1:{server.port}/mcp" in named


DYING = {
    "before its answer": (Answer(raw=b"", cut=True), "got no answer: its server hung up after"),
    "within its answer": (
        Answer(body=b"{", headers={"content-length": "99"}, cut=True),
        "broken off by its server after",
    ),
    "within its stream": (sse([event({"jsonrpc": "2.0", "method": "x"})], cut=True), "broken off by its server after"),
}


@pytest.mark.parametrize("how", DYING)
async def test_a_server_that_dies_within_a_call_is_named(
    how: str, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw, tmp_path: Path
) -> None:
    answer, words = DYING[how]

    def dies(_: Request) -> Answer:
        return answer

    server = await scripted(MiniMcp(rules=[Rule({"tool": "fatal"}, dies)], prefix=ID))
    log = tmp_path / "mcp.jsonl"
    proxy = await mitmdump(server.port, script=[ADDON, COMMANDS], options={"mcp_log": log})
    client = await raw_client(proxy.url)
    await client.handshake()
    with contextlib.suppress(httpx.HTTPError):
        await client.call("fatal")
    line = (await proxy.wait_log(rf"mcp: {words} \d+\.\d\d s .*")).group()
    assert f"session={(client.session or '')[:8]} tools/call fatal at http://127.0.0.1:{server.port}/mcp" in line
    await command(proxy, "mcp.session #1")
    assert await proxy.wait_log(rf"tools/call fatal: {words} \d")
    await proxy.stop()
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record["detail"] for record in records if record.get("lost")] == ["tools/call fatal"]


async def test_records_go_to_standard_output(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    server = await scripted(MiniMcp(prefix="short"))
    proxy = await mitmdump(server.port, options={"mcp_log": "-"})
    await (await raw_client(proxy.url)).handshake()
    await proxy.process.wait_line('"kind":"violation"')
    records = [json.loads(line) for line in proxy.log if line.startswith("{")]
    assert {record["kind"] for record in records} >= {"violation", "change"}


async def test_a_console_does_not_share_its_screen(tmp_path: Path) -> None:
    tool = str(Path(sys.executable).with_name("mcp-mitmproxy"))
    command = [tool, "--set", f"confdir={tmp_path}", "--set", "mcp_log=-", "--listen-port", "0"]
    async with Terminal(command, columns=120) as terminal:
        assert await terminal.wait_end() == 1
        await terminal.wait_text("mcp_log: mitmproxy draws on standard output: name a file")


@pytest.mark.skipif(os.name == "nt", reason="signals and open files are Unix")
async def test_a_file_that_was_renamed_is_opened_anew(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw, tmp_path: Path
) -> None:
    server = await scripted(MiniMcp(prefix=ID))
    log, rotated = tmp_path / "mcp.jsonl", tmp_path / "mcp.jsonl.1"
    proxy = await mitmdump(server.port, options={"mcp_log": log})
    await (await raw_client(proxy.url)).handshake()
    await proxy.wait_log("opened")
    log.rename(rotated)
    await (await raw_client(proxy.url)).handshake()
    await proxy.wait_log("opened", count=2)
    # What a rotation asks for: nothing ends, and the file is there at once.
    log.unlink()
    proxy.process.signal(signal.SIGHUP)
    await proxy.wait_log(f"mcp: mcp_log: {log} opened anew", count=2)
    assert log.exists()
    await (await raw_client(proxy.url)).handshake()
    await proxy.wait_log("opened ", count=3)
    assert proxy.process.running
    await proxy.stop()
    opened = [
        [record["what"] for record in map(json.loads, file.read_text().splitlines()) if record["kind"] == "change"]
        for file in (rotated, log)
    ]
    assert opened == [["opened"], ["opened"]]
    assert log.stat().st_mode & 0o077 == 0
