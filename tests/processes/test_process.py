"""A process is told apart from any other."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest

from mcp_sessions.processes import Process, is_alive, process

from .conftest import Child, Spawn


@pytest.fixture(params=["proc", "psutil"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both implementations, the one for other systems on Linux too."""
    if request.param == "psutil":
        monkeypatch.setattr(process, "_LINUX", False)
    elif not psutil.LINUX:
        pytest.skip("no /proc")
    return str(request.param)


def test_living(sleeper: Callable[[], Child]) -> None:
    child = sleeper()
    found = process.read(child.pid)
    assert found is not None
    assert found.pid == child.pid
    assert is_alive(found)
    assert process.parent(child.pid) == os.getpid()


def test_zombie_is_gone(sleeper: Callable[[], Child]) -> None:
    child = sleeper()
    found = process.read(child.pid)
    assert found is not None
    child.kill(reap=False)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    assert not is_alive(found)
    assert process.read(child.pid) is None
    child.popen.wait()
    assert not is_alive(found)
    assert process.read(child.pid) is None
    assert process.parent(child.pid) is None


def test_reused_pid_is_gone() -> None:
    own = process.read(os.getpid())
    assert own is not None
    assert is_alive(own)
    assert not is_alive(replace(own, started=own.started - 5))


def test_start_time_does_not_move_with_the_clock(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = process.read(os.getpid())
    assert own is not None
    shifted = psutil.boot_time() + 100
    monkeypatch.setattr("psutil._psplatform.boot_time", lambda: shifted)
    assert is_alive(own)


def test_exec_keeps_identity(spawn: Spawn) -> None:
    child = spawn("import sys, os; print('ready', flush=True); os.read(0, 3); os.execvp('cat', ['cat'])")
    before = process.read(child.pid)
    assert before is not None
    child.say("go")
    child.say("done")
    assert child.line() == "done"
    after = process.read(child.pid)
    assert after is not None
    assert after.name == "cat" != before.name
    assert after == before
    assert hash(after) == hash(before)
    assert is_alive(before)


@pytest.mark.skipif(sys.platform != "linux", reason="a raw Linux system call")
def test_a_process_outlives_its_main_thread(spawn: Spawn, way: str) -> None:
    if way == "psutil":
        pytest.skip("psutil calls it a zombie; other systems have no such state")
    child = spawn(
        "import ctypes, threading, time, os, sys\n"
        "threading.Thread(target=lambda: (sys.stdin.readline(), os._exit(0))).start()\n"
        "print('ready', flush=True)\n"
        "ctypes.CDLL(None).syscall({'x86_64': 60}.get(os.uname().machine, 93), 0)\n"
    )
    found = process.read(child.pid)
    assert found is not None
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        os.sched_yield()
    assert is_alive(found)
    child.say("end")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(found)


@pytest.mark.parametrize("pid", [-1, 0, 2**22 + 1, 2**40, 2**80])
def test_impossible_pids(pid: int) -> None:
    if pid:
        assert not is_alive(Process(pid, 1.0, "x"))


def test_not_to_be_examined_counts_as_alive(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files") if way == "proc" else psutil.AccessDenied(1)

    monkeypatch.setattr(process, "_bytes", refuse)
    monkeypatch.setattr(psutil, "Process", refuse)
    assert is_alive(Process(1, 1.0, "x"))
    with pytest.raises(OSError):
        process.read(1)


def test_text() -> None:
    assert str(Process(7, 1.0, "node")) == "node[7]"
    assert str(Process(7, 1.0, "a\n\x1b[31m" + "x" * 99)) == "a??[31m" + "x" * 33 + "[7]"


@pytest.mark.skipif(sys.platform != "linux", reason="names are cut on Linux only")
def test_hostile_and_long_names(spawn: Spawn, way: str) -> None:
    if way == "psutil":
        pytest.skip("psutil's matter")
    child = spawn(
        "import sys\nopen('/proc/self/comm', 'w').write(') Z 1 (\\n')\nprint('ready', flush=True); sys.stdin.read()"
    )
    found = process.read(child.pid)
    assert found is not None
    assert found.name == ") Z 1 (\n"
    assert str(found) == f") Z 1 (?[{child.pid}]"
    assert is_alive(found)
    assert process.parent(child.pid) == os.getpid()
