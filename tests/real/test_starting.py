"""How it starts: what is set wrongly ends the start with a word, and nothing runs without the addon."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest

from conftest import StartProxy
from harness.process import Process
from harness.proxy import ADDON
from harness.terminal import Terminal
from harness.web import Mitmweb

pytestmark = pytest.mark.real

BESIDE = Path(sys.executable).parent
"""Where the tools are: beside the interpreter that runs the tests."""

PLAIN = ("mitmdump", "-s", str(ADDON))
WRAPPED = ("mcp-mitmdump",)


async def started(tool: tuple[str, ...], confdir: Path, *settings: str) -> tuple[int, list[str]]:
    """Start a tool with these settings, which it is to end for: its exit status, and what it has said."""
    binary, *first = tool
    options = [word for setting in (f"confdir={confdir}", *settings) for word in ("--set", setting)]
    command = [str(BESIDE / binary), *first, "--listen-host", "127.0.0.1", "--listen-port", "0", *options]
    async with Process(command, name=binary) as process:
        return await process.wait(30), [*process.lines, *process.errors]


def complaints(said: list[str]) -> list[str]:
    """What the addon says, less the time in front."""
    return [line[line.index("mcp: ") :] for line in said if "mcp: " in line]


WRONG = {
    "no number": (
        ["mcp_fail_on=must", "mcp_recover_timeout=30s"],
        "mcp: mcp_recover_timeout takes a whole number, not '30s'",
    ),
    "twice": (["mcp_end=log", "mcp_end=on"], "mcp: mcp_end is set 2 times: set it once"),
    "no value": (["mcp_end"], "mcp: mcp_end takes a value: mcp_end=VALUE"),
    "misspelt": (["mcp_ends=log"], "mcp: there is no option mcp_ends: did you mean mcp_end?"),
    "another prefix": (["mpc_end=log"], "mcp: there is no option mpc_end: did you mean mcp_end?"),
    "hyphens": (["mcp-end-timeout=3"], "mcp: there is no option mcp-end-timeout: did you mean mcp_end_timeout?"),
    "like none": (
        ["mcp_xyzzy=3"],
        "mcp: there is no option mcp_xyzzy; mcp-mitmdump --options lists those that there are",
    ),
    "no such choice": (["mcp_end=lgo"], "mcp: mcp_end takes on, log or off, not 'lgo': did you mean log?"),
    "no address": (["mcp_metrics=9464"], "mcp: mcp_metrics: '9464' is not HOST:PORT, such as 127.0.0.1:9464"),
    "out of range": (["mcp_recover_timeout=0"], "mcp: mcp_recover_timeout should be greater than or equal to 1, not 0"),
}


@pytest.mark.parametrize("tool", [PLAIN, WRAPPED], ids=["plain", "wrapped"])
@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_set_wrongly_ends_the_start_in_one_line(
    wrong: str, tool: tuple[str, ...], tmp_path: Path
) -> None:
    settings, complaint = WRONG[wrong]
    status, said = await started(tool, tmp_path, *settings)
    assert status == 1, said
    assert complaints(said) == [complaint]
    assert not any("Traceback" in line for line in said)


IN_A_FILE = {
    "misspelt": ("mcp_ends: log", "mcp: there is no option mcp_ends: did you mean mcp_end?"),
    "no number": ("mcp_end_timeout: soon", "mcp: mcp_end_timeout takes a whole number, not 'soon'"),
    "no text": ("mcp_end: true", "mcp: mcp_end takes on, log or off, not True"),
    "no list": ("mcp_recover_dialects: {400: true}", "mcp: mcp_recover_dialects takes a list, not {400: True}"),
}


@pytest.mark.parametrize("wrong", IN_A_FILE)
async def test_config_yaml_is_read_as_strictly(wrong: str, tmp_path: Path) -> None:
    text, complaint = IN_A_FILE[wrong]
    (tmp_path / "config.yaml").write_text(f"{text}\n")
    status, said = await started(WRAPPED, tmp_path)
    assert status == 1, said
    assert complaints(said) == [complaint]
    assert not any("Traceback" in line for line in said)


async def test_what_config_yaml_writes_as_numbers_is_taken(tmp_path: Path, mitmdump: StartProxy) -> None:
    (tmp_path / "config.yaml").write_text(
        "mcp_recover_dialects: [400, 410]\nmcp_body_limit: 1048576\nmcp_end_timeout: 3\nmcp_end: off\n"
    )
    proxy = await mitmdump(9, confdir=tmp_path)
    assert await proxy.wait_log(r"mcp: .*ending off")


@pytest.mark.parametrize("tool", ["mcp-mitmproxy", "mcp-mitmweb"])
async def test_the_other_tools_end_as_well(tool: str, tmp_path: Path) -> None:
    command = [BESIDE / tool, "--set", f"confdir={tmp_path}", "--listen-port", "0", "--set", "mcp_ends=log"]
    if tool == "mcp-mitmweb":
        command += ["--set", "web_open_browser=false", "--set", "web_port=0"]
    async with Terminal([str(word) for word in command], columns=120) as terminal:
        assert await terminal.wait_end() == 1
        await terminal.wait_text("there is no option mcp_ends: did you mean mcp_end")


async def test_options_of_another_addon_are_none_of_ours(tmp_path: Path, mitmdump: StartProxy) -> None:
    other = tmp_path / "other.py"
    other.write_text(
        "class Other:\n"
        "    def load(self, loader):\n"
        "        loader.add_option('mcp_others', str, '', 'Of another addon.')\n"
        "addons = [Other()]\n"
    )
    proxy = await mitmdump(9, script=[ADDON, other], options={"mcp_others": "x"})
    assert await proxy.wait_log("mcp: .*recovery on")


NOT_LOADED = """
import sys
from pathlib import Path
from mcp_sessions import launch
launch.SCRIPT = Path({script!r})
sys.argv = ["mcp-mitmdump", "--listen-host", "127.0.0.1", "--listen-port", "0", "--set", "confdir=" + {confdir!r}]
sys.exit(launch.mitmdump())
"""


async def test_the_wrappers_do_not_run_without_the_addon(tmp_path: Path) -> None:
    empty = tmp_path / "empty.py"
    empty.write_text("")
    program = NOT_LOADED.format(script=str(empty), confdir=str(tmp_path))
    async with Process([sys.executable, "-c", program]) as process:
        assert await process.wait(20) == 1
        assert complaints([*process.lines, *process.errors]) == [
            "mcp: the addon does not run, so mitmproxy ends: nothing would be watched"
        ]


async def test_one_line_says_what_runs_and_where_to_look(tmp_path: Path, mitmdump: StartProxy) -> None:
    proxy = await mitmdump(9, options={"mcp_recover": "read-only", "mcp_end": "log", "mcp_level": "must"})
    line = (await proxy.wait_log(r"mcp: mitmproxy-mcp-sessions [0-9.]+: .*")).group()
    assert "recovery read-only, ending log, " in line
    assert f"ledger {proxy.confdir}/mcp-sessions.sqlite, " in line
    assert "page" not in line
    assert len(proxy.logged("mcp:")) == 1
    async with Mitmweb(9, options={"web_password": "", "mcp_ledger": "off"}) as web:
        found = await web.wait_log(r"mcp: .*, ledger off, .*, page (http://127.0.0.1:\d+/mcp\?token=\w+)$")
        async with httpx.AsyncClient() as browser:
            given = await browser.get(found[1])
        assert given.status_code == 200
        assert "MCP sessions" in given.text
