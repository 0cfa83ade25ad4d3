"""The processes of the pytest plugin: where a server is found, what is said of one that fails, and that all end."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest

from mcp_sessions.processes import is_alive
from mcp_sessions.processes.process import read
from mcp_sessions.views.testing import children
from mcp_sessions.views.testing.children import Child, NotStartedError, Server, tool

SERVES = """
import socket, sys
one = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("hello", flush=True)
print(sys.argv[2].replace("PORT", str(one.getsockname()[1])), flush=True)
sys.stdin.close(); one.accept(); one.accept()
"""


def serving(tmp_path: Path, port: str, says: str) -> list[str]:
    script = tmp_path / "serves.py"
    script.write_text(SERVES)
    return ["{python}", str(script), port, says]


@pytest.mark.parametrize(
    ("says", "path"),
    [
        ("Uvicorn running on http://127.0.0.1:PORT (Press CTRL+C to quit)", "/other"),
        ("listening: 'http://127.0.0.1:PORT/x/mcp'.", "/x/mcp"),
    ],
)
def test_the_address_that_a_server_prints_is_its_own(says: str, path: str, tmp_path: Path) -> None:
    with Server(serving(tmp_path, "0", says), tmp_path, "/other") as server:
        found = server.wait_url()
    assert found.startswith("http://127.0.0.1:")
    assert found.partition("127.0.0.1:")[2].partition("/")[2] == path[1:]


def test_a_server_that_takes_a_port_is_there_when_it_listens(tmp_path: Path) -> None:
    words = serving(tmp_path, "{port}", "nothing")
    with Server(" ".join(words), tmp_path, "/mcp") as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/mcp", server.wait_url())


@pytest.mark.parametrize("words", ["{port}", "no port"])
def test_one_that_ends_is_told_of_with_what_it_said_last(words: str, tmp_path: Path) -> None:
    command = ["{python}", "-c", "print('down'); raise SystemExit(7)", words]
    with Server(command, tmp_path, "/mcp") as server, pytest.raises(NotStartedError) as refused:
        server.wait_url()
    assert str(refused.value).splitlines()[1:] == ["  down"]
    with pytest.raises(NotStartedError, match=r"^no-such-command \d+: No such file"):
        Server("no-such-command {port}", tmp_path, "/mcp")


def test_one_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "START", 0.2)
    command = [
        "{python}",
        "-c",
        "import sys; sys.stdout.write('x' * 300_000); sys.stdout.flush(); __import__('time').sleep(60)",
    ]
    nothing = r"python[\d.]* said nothing of where it listens"
    with Server(command, tmp_path, "/mcp") as server, pytest.raises(NotStartedError, match=nothing) as refused:
        server.wait_url()
    assert len(str(refused.value)) < children.SHOWN * (children.LINE + 10), "and what it said is bounded"


@pytest.mark.skipif(os.name == "nt", reason="groups of processes are Unix")
def test_what_it_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "END", 0.3)
    code = (
        "import subprocess, sys, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(60)']);"
        "print('pid', child.pid, flush=True); time.sleep(60)"
    )
    with Child([sys.executable, "-c", code]) as child:
        pid = int(child.wait_line(re.compile(r"^pid (\d+)"))[1])
        grandchild = read(pid)
        assert grandchild is not None
    assert child.process.returncode is not None
    until = time.monotonic() + 5
    while is_alive(grandchild) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_alive(grandchild)


def test_the_commands_are_those_beside_the_interpreter() -> None:
    assert Path(tool("mcp-mitmdump")).parent == Path(sys.executable).parent
    assert tool("no-such-tool") == "no-such-tool"
