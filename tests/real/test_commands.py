"""The executable `mcp-sessions`: every command tells what it is for, and refuses what is wrong without a traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from harness.environments import REPOSITORY
from harness.process import Process
from mcp_sessions import __version__
from mcp_sessions.__main__ import COMMANDS

pytestmark = pytest.mark.real

EXECUTABLE = Path(sys.executable).with_name("mcp-sessions")
RECORDING = REPOSITORY / "tests" / "corpus" / "python1.mitm"


async def ran(*arguments: str | Path, tool: tuple[str | Path, ...] = (EXECUTABLE,)) -> tuple[int, list[str], list[str]]:
    """Its exit status, and what it has said on either side."""
    async with Process([*tool, *arguments], name="mcp-sessions") as process:
        return await process.wait(60), list(process.lines), list(process.errors)


@pytest.mark.parametrize("name", ["", *COMMANDS])
async def test_every_command_tells_what_it_is_for(name: str) -> None:
    words = [name] if name else []
    for option in ("--help", "-h"):
        status, said, _ = await ran(*words, option)
        assert status == 0
        assert said[0].startswith(f"Usage: mcp-sessions {name}".rstrip())
        assert any("--version" in line for line in said)
    assert await ran(*words, "--version") == (0, [f"mcp-sessions {__version__}"], [])


async def test_the_help_lists_all_commands() -> None:
    _, said, _ = await ran("--help")
    for name, row in COMMANDS.items():
        assert any(line.startswith(f"  {name} ") for line in said) is not row.hidden, name


async def test_the_module_prints_the_path_for_mitmproxy_and_has_the_same_commands() -> None:
    module = (sys.executable, "-m", "mcp_sessions")
    script = str(REPOSITORY / "addon" / "mcp_sessions" / "script.py")
    assert await ran(tool=module) == (0, [script], [])
    assert await ran("path") == (0, [script], [])
    assert (await ran("rules", tool=module))[1] == (await ran("rules"))[1]
    status, said, _ = await ran()
    assert status == 0
    assert said[0].startswith("Usage: mcp-sessions")


WRONG: dict[str, list[str | Path]] = {
    "no such command": ["exprot", "x"],
    "no such option": ["rules", "--nothing"],
    "too few arguments": ["export"],
    "too many arguments": ["rules", "x"],
    "no such file": ["export", "/nowhere", "/nowhere/out"],
    "a folder": ["export", "/", "/nowhere/out"],
    "no recording": ["export", __file__, "/nowhere/out"],
    "no log": ["sarif", __file__],
    "no such log": ["sarif", "/nowhere"],
    "nowhere to write": ["export", RECORDING, "/proc/nowhere/out"],
    "exists": ["export", RECORDING, REPOSITORY / "README.md"],
    "no such session": ["report", RECORDING, "--only", "nothing"],
    "no pattern": ["export", RECORDING, "/nowhere/out", "--redact", "/(/"],
    "no path": ["replay", RECORDING, "--to", "http://127.0.0.1:9/mcp", "--ignore", "$["],
    "no address": ["replay", RECORDING, "--to", "nothing"],
    "another scheme": ["replay", RECORDING, "--to", "ftp://127.0.0.1/"],
    "no port of an address": ["replay", RECORDING, "--to", "http://127.0.0.1:port/"],
    "a port out of range": ["replay", RECORDING, "--to", "http://127.0.0.1:99999/"],
    "no header": ["replay", RECORDING, "--to", "http://127.0.0.1:9/", "--header", "nothing"],
    "a header of two lines": ["replay", RECORDING, "--to", "http://127.0.0.1:9/", "--header", "a: b\nc: d"],
    "a name that is none": ["replay", RECORDING, "--to", "http://127.0.0.1:9/", "--header", "a b: c"],
    "a header in Cyrillic": ["replay", RECORDING, "--to", "http://127.0.0.1:9/", "--header", "a: я"],
    "no time": ["replay", RECORDING, "--to", "http://127.0.0.1:9/", "--timeout", "soon"],
    "no number": ["replay", RECORDING, "--to", "http://127.0.0.1:9/", "--timeout", "nan"],
    "less than nothing": ["replay", RECORDING, "--to", "http://127.0.0.1:9/", "--timeout", "-1"],
    "no authorities": ["replay", RECORDING, "--to", "https://127.0.0.1:9/", "--ca", "/nowhere"],
    "no certificates": ["replay", RECORDING, "--to", "https://127.0.0.1:9/", "--ca", __file__],
    "no port": ["serve", RECORDING, "--port", "http"],
    "a port beyond": ["serve", RECORDING, "--port", "70000"],
    "a host of others": ["serve", RECORDING, "--host", "192.0.2.1"],
    "a host that is none": ["serve", RECORDING, "--host", "no host"],
    "no ledger": ["fleet", "nothing"],
    "no page": ["readme", "/nowhere"],
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_wrong_input_is_refused_without_a_traceback(wrong: str) -> None:
    status, said, errors = await ran(*WRONG[wrong])
    assert status == 2, (said, errors)
    assert said == []
    assert errors
    assert not any("Traceback" in line or "internal error" in line for line in errors), errors
    assert errors[-1].startswith("Error: "), errors
    assert all(len(line) < 400 for line in errors)


async def test_whoever_stops_reading_is_no_error() -> None:
    command = f"{EXECUTABLE} rules | head -1; exit ${{PIPESTATUS[0]}}"
    status, said, errors = await ran("-c", command, tool=("bash",))
    assert (status, len(said), errors) == (0, 1, [])


async def test_a_report_is_printed_in_full_and_in_short() -> None:
    status, full, _ = await ran("report", RECORDING)
    assert status == 0
    assert full[0].startswith("# ")
    status, short, _ = await ran("report", RECORDING, "--short")
    assert status == 0
    assert short[0].startswith("# ")
    assert len(short) < 60


async def test_the_schema_is_json() -> None:
    assert json.loads("\n".join((await ran("schema"))[1]))["title"].startswith("A line of mcp_log")
