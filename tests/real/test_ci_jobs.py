"""The GitHub Action and the GitLab job: their shell steps, taken from the YAML and run as they stand."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ruamel.yaml import YAML

from harness.environments import REPOSITORY
from harness.ports import free_port
from harness.process import Process

pytestmark = pytest.mark.real

ACTION = REPOSITORY / "recipes" / "github-action" / "action.yml"
JOB = REPOSITORY / "recipes" / "gitlab-ci" / "mcp-check.yml"
SAMPLE = REPOSITORY / "tests" / "sample_project"
CLIENT = (
    f"import os, sys; sys.path.insert(0, {str(SAMPLE)!r}); from test_sample import Client; "
    "client = Client(os.environ['MCP_URL'] + '/mcp'); client.open(); "
    "client.ask('tools/list', {}, accept='text/html'); client.close()"
)


def read(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text("utf-8"))


def of_github(given: dict[str, str]) -> tuple[list[str], str, dict[str, str]]:
    """What the Action installs with and what it runs, with its inputs as they are given or by default."""
    action = read(ACTION)
    inputs = {name: given.get(name, about.get("default")) for name, about in action["inputs"].items()}
    install, check = action["runs"]["steps"]
    env = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) }}", lambda match: inputs[match[1]], value)
        for step in (install, check)
        for name, value in step["env"].items()
    }
    return [install["run"]], check["run"], env


def of_gitlab(given: dict[str, str]) -> tuple[list[str], str, dict[str, str]]:
    """The same of the job."""
    job = read(JOB)[".mcp-check"]
    named = {f"MCP_{name.upper().replace('-', '_')}": value for name, value in given.items()}
    [script] = job["script"]
    return job["before_script"], script, {**job["variables"], **named}


def test_both_run_the_same() -> None:
    given = {"server": "http://127.0.0.1:8000", "run": "pytest"}
    assert of_github(given) == of_gitlab(given)


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
async def test_the_action_fails_for_what_breaks_the_specification(tmp_path: Path) -> None:
    status, said = await checked(of_github, tmp_path, run=f'python -c "{CLIENT}"')
    assert status == 3, said
    assert [line for line in said if "mcp: exit status 3: mcp_fail_on is must" in line], said
    report = tmp_path / "mcp-report"
    assert [case.attrib["name"] for case in ET.parse(report / "mcp.xml").iterfind(".//failure/..")] == [
        "MCP101 post-accept"
    ]
    assert '"ruleId": "MCP101"' in (report / "mcp.sarif").read_text()
    assert {Path(one["value"]).name for one in read(ACTION)["outputs"].values()} <= {
        file.name for file in report.iterdir()
    }


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
async def test_the_job_knows_what_is_known_and_passes_on_what_the_tests_say(tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    known.write_text('{"known": [{"rule": "MCP101", "call": "tools/list", "path": "/mcp"}]}')
    status, said = await checked(of_gitlab, tmp_path, run=f'python -c "{CLIENT}" && exit 7', baseline=str(known))
    assert status == 7, said
    assert ET.parse(tmp_path / "mcp-report" / "mcp.xml").findall(".//failure") == []
    # By itself it is content.
    proxy = (tmp_path / "mcp-report" / "proxy.log").read_text()
    assert "MCP101" in proxy
    assert "exit status" not in proxy
    paths = [*read(JOB)[".mcp-check"]["artifacts"]["paths"]]
    assert paths == ["mcp-report/"]


async def checked(job: Any, folder: Path, **given: str) -> tuple[int, list[str]]:
    """Run a job's script with the sample server; its exit status, and what it said."""
    server, port = free_port(), free_port()
    more = {"server": f"http://127.0.0.1:{server}", "port": str(port), **given}
    _, script, env = job(more)
    beside = str(Path(sys.executable).parent)
    async with Process([sys.executable, SAMPLE / "server.py", str(server)], name="server"):
        env |= {"PATH": f"{beside}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
        # As both run their steps.
        async with Process(["bash", "-eo", "pipefail", "-c", script], cwd=folder, env=env, name="job") as running:
            return await running.wait(60), [*running.lines, *running.errors]
