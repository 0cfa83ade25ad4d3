"""The pytest plugin, used by a project of somebody else's: what it fails tests for, recordings, and what it refuses."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.environments import REPOSITORY
from harness.process import Process
from mcp_sessions.rules.baseline import Place, written
from mcp_sessions.views import logged

pytestmark = pytest.mark.real

PROJECT = REPOSITORY / "tests" / "sample_project"
PLAIN = [
    f"no:{plugin}"
    for plugin in ("cacheprovider", "asyncio", "anyio", "xdist", "rerunfailures", "hypothesispytest", "pytest_cov")
]
DOWN = {"SAMPLE_SERVER_STAYS_DOWN": "1"}


async def ran(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, list[str]]:
    """Run pytest in the project; its exit status, and what it said."""
    plugins = [word for plugin in PLAIN for word in ("-p", plugin)]
    command = [sys.executable, "-m", "pytest", *plugins, *arguments]
    async with Process(command, cwd=PROJECT, env=env, name="pytest") as child:
        return await child.wait(120), [*child.lines, *child.errors]


def outcomes(file: Path) -> dict[str, str]:
    """What was wrong with each test, by its name; empty for nothing."""
    cases = ET.parse(file).getroot().iter("testcase")
    found: dict[str, str] = {}
    for case in cases:
        wrong = "".join(child.text or "" for child in case if child.tag in ("failure", "error"))
        name = case.attrib["name"].removeprefix("test_")
        found[name] = found.get(name, "") + wrong
    return found


FOUND = {
    "adds": r"",
    "breaks_a_rule": r"mcp_proxy: before http://127\.0\.0\.1:\d+/mcp\nviolation: MCP101 tools/list at /mcp: .*",
    "leaves_its_session_behind": r"mcp_proxy: before .*\nleaked session: \w{8} of python\[\d+\] at .*",
    "never_gets_an_answer": r"mcp_proxy: before .*\nlost call: tools/call die: got no answer: its server hung up .*",
}


async def test_a_project_fails_for_what_only_the_proxy_sees(tmp_path: Path) -> None:
    log, recordings, report = tmp_path / "mcp.jsonl", tmp_path / "recordings", tmp_path / "report.xml"
    status, said = await ran(f"--mcp-record={recordings}", f"--mcp-log={log}", f"--junitxml={report}")
    assert status == 1, said
    found = outcomes(report)
    for name, pattern in FOUND.items():
        assert re.fullmatch(pattern, found[name]), found[name]
    assert set(found) == set(FOUND)

    # What was recorded is without its secrets, and answers in the server's place, which can't even be started.
    files = sorted(recordings.iterdir())
    assert len(files) == len(FOUND)
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    assert [file for file in files if b"Secretive" in file.read_bytes()] == []
    known = tmp_path / "known.json"
    violations = list(logged.violations(log.read_bytes().splitlines()))
    gone = violations[0].model_copy(update={"call": "tools/call gone"})
    known.write_text(written([*violations, gone]))
    # What was not recorded can't be answered.
    leaves, other = (next(file for file in files if name in file.name) for name in ("leaves", "rule"))
    leaves.write_bytes(other.read_bytes())
    options = (f"--mcp-replay={recordings}", f"--mcp-baseline={known}", f"--junitxml={report}")
    status, said = await ran(*options, "-k", "adds or rule or leaves", env=DOWN)
    assert status == 1
    found = outcomes(report)
    assert "the recording has no answer to tools/call add with these parameters" in found.pop(
        "leaves_its_session_behind"
    )
    assert found == {"adds": "", "breaks_a_rule": ""}, said
    assert f"stale, if all tests ran: {Place.of(gone)}" in said


async def test_what_can_not_be_done_is_said_in_a_line(tmp_path: Path) -> None:
    status, said = await ran("--mcp-record=a", "--mcp-replay=b")
    assert status == 4
    assert "ERROR: --mcp-record and --mcp-replay exclude each other" in said
    status, said = await ran("--mcp-replay", str(tmp_path))
    assert status == 4
    assert f"ERROR: write --mcp-replay={tmp_path}: otherwise pytest finds no configuration file" in said
    status, said = await ran(f"--mcp-replay={tmp_path}", "-k", "adds")
    assert status == 1
    assert [line for line in said if f"mcp_proxy: no recording {tmp_path}/test-sample-py-test-adds-" in line], said
    status, said = await ran("-k", "adds", env=DOWN)
    assert status == 1
    assert [line for line in said if line.endswith("has ended with status 1; it said last:")], said
    assert "  down" in said
    known = tmp_path / "known.json"
    known.write_text("[]")
    status, said = await ran(f"--mcp-baseline={known}", "-k", "adds")
    assert status == 1
    assert [line for line in said if f"mcp_baseline: {known} is no baseline" in line], said
