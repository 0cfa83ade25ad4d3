"""What a process leaves behind when it ends."""

import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from mcp_sessions.processes import process
from mcp_sessions.processes.identify import Identifier
from mcp_sessions.processes.orphans import left_behind

from .conftest import Child, Spawn

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")

# Does as it is told, and names each child that it has; a job of its own, as a shell makes each.
PARENT = """
import os, signal, subprocess, sys
os.setpgid(0, 0)
print("ready", flush=True)
def forked(*, far):
    read, write = os.pipe()
    child = os.fork()
    if child:
        if far:
            os.waitpid(child, 0)
        return int(os.read(read, 20))
    if far:  # as a service puts itself into the background
        os.setsid()
        if os.fork():
            os._exit(0)
    os.write(write, str(os.getpid()).encode())
    signal.pause()
for line in sys.stdin:
    match line.strip():
        case "fork":
            print(forked(far=False), flush=True)
        case "daemon":
            print(forked(far=True), flush=True)
        case "run":
            print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
        case "end":
            os._exit(0)
"""


@pytest.fixture
def kept() -> Iterator[list[int]]:
    """Processes that are to be ended when the test is over."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def child_of(parent: Child, how: str, kept: list[int]) -> int:
    parent.say(how)
    kept.append(int(parent.line()))
    return kept[-1]


def ended(parent: Child) -> process.Process:
    known = process.read(parent.pid)
    assert known is not None
    parent.say("end")
    parent.until_zombie()
    return known


@pytest.mark.parametrize("how", ["fork", "daemon", "run"])
def test_a_child_lives_on(how: str, spawn: Spawn, kept: list[int]) -> None:
    parent = spawn(PARENT)
    child = child_of(parent, how, kept)
    known = process.read(child)
    if how == "fork":
        assert known is not None
        assert known.above is not None
        assert known.above.pid == parent.pid
    gone = ended(parent)
    assert [one.pid for one in left_behind([gone])[gone]] == [child]


def test_who_has_no_children_leaves_none_whoever_is_beside_it(spawn: Spawn, kept: list[int]) -> None:
    one, other = spawn(PARENT), spawn(PARENT)
    child_of(other, "run", kept)
    child_of(other, "fork", kept)
    gone = ended(one)
    assert left_behind([gone]) == {gone: ()}


def test_who_was_forked_by_the_same_process_is_no_child(spawn: Spawn, kept: list[int]) -> None:
    """As the workers of a server: they are laid out alike, and their parent cares for them."""
    parent = spawn(PARENT)
    first, second = child_of(parent, "fork", kept), child_of(parent, "fork", kept)
    gone = process.read(first)
    assert gone is not None
    assert process.read(second)
    os.kill(kept.pop(0), signal.SIGKILL)
    assert left_behind([gone]) == {gone: ()}


def test_many_at_once(spawn: Spawn, kept: list[int]) -> None:
    parents = [spawn(PARENT) for _ in range(4)]
    children = [child_of(parent, "fork", kept) for parent in parents[:2]]
    gone = [ended(parent) for parent in parents]
    found = left_behind(gone)
    assert [[one.pid for one in found[parent]] for parent in gone] == [[children[0]], [children[1]], [], []]


def test_nobody() -> None:
    assert left_behind([]) == {}


async def test_one_look_for_all_who_ask_at_the_same_time(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def look(gone: tuple[process.Process, ...]) -> dict[process.Process, tuple[process.Process, ...]]:
        looks.append(len(gone))
        return left_behind(gone)

    monkeypatch.setattr("mcp_sessions.processes.identify.left_behind", look)
    gone = [ended(spawn(PARENT)) for _ in range(3)]
    identifier = Identifier()
    assert await asyncio.gather(*map(identifier.left_behind, gone)) == [(), (), ()]
    assert await identifier.left_behind(gone[0]) == ()
    assert looks == [3, 1]
    identifier.close()
    assert await identifier.left_behind(gone[0]) == ()
    assert looks == [3, 1]


def test_what_a_look_costs(spawn: Spawn) -> None:
    gone = ended(spawn(PARENT))
    taken = []
    for _ in range(20):
        began = time.thread_time()
        left_behind([gone])
        taken.append(time.thread_time() - began)
    per_process = 100e-6 * len(psutil.pids())
    assert statistics.median(taken) < 0.002 + per_process
