"""Whether others have connected to a process."""

import socket
import statistics
import sys
import time

import psutil
import pytest

from mcp_sessions.processes import has_visitors, process, visitors

from .conftest import Child, Connect, Spawn

# Connects to the proxy, and listens for others on a port that it names; what it does then, it is told.
LISTENS = """
import os, socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
door = socket.create_server((sys.argv[3], 0), family=socket.AF_INET6 if ":" in sys.argv[3] else socket.AF_INET,
    dualstack_ipv6=sys.argv[3] == "::")
print("ready", flush=True)
print(door.getsockname()[1], flush=True)
kept = []
for line in sys.stdin:
    match line.strip():
        case "accept":
            kept.append(door.accept()[0])
        case "visit-itself":
            kept.append(socket.create_connection(door.getsockname()[:2]))
            kept.append(door.accept()[0])
        case "fork":
            kept.append(door.accept()[0])
            child = os.fork()
            if not child:
                door.close()
                sys.stdin.read()
                os._exit(0)
            kept.pop().close()
            print(child, flush=True)
        case "close":
            kept.clear()
    print("done", flush=True)
"""


@pytest.fixture(params=["linux", "psutil"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "psutil":
        monkeypatch.setattr(visitors, "_LINUX", False)
    elif sys.platform != "linux":
        pytest.skip("Linux only")
    return str(request.param)


@pytest.fixture
def listener(spawn: Spawn) -> tuple[Child, int]:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        child = spawn(LISTENS, "127.0.0.1", proxy.getsockname()[1], "127.0.0.1")
        return child, int(child.line())


def visited(pid: int) -> bool:
    found = process.read(pid)
    assert found is not None
    return has_visitors(found)


def say(child: Child, text: str) -> None:
    child.say(text)
    assert child.line() == "done"


@pytest.mark.usefixtures("way")
def test_a_client_has_none(connect: Connect) -> None:
    assert not visited(connect().child.pid)


@pytest.mark.usefixtures("way")
def test_a_port_that_is_only_listened_on(listener: tuple[Child, int]) -> None:
    child, port = listener
    assert not visited(child.pid)
    with socket.create_connection(("127.0.0.1", port)):
        assert not visited(child.pid), "nobody was let in yet"
        say(child, "accept")
        assert visited(child.pid)
        say(child, "close")
        assert not visited(child.pid)


@pytest.mark.usefixtures("way")
def test_a_visitor_who_has_left_without_the_process_having_noticed(listener: tuple[Child, int]) -> None:
    child, port = listener
    with socket.create_connection(("127.0.0.1", port)):
        say(child, "accept")
    assert visited(child.pid)


@pytest.mark.usefixtures("way")
def test_who_visits_itself_has_no_visitors(listener: tuple[Child, int]) -> None:
    child, _ = listener
    say(child, "visit-itself")
    assert not visited(child.pid)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("to", ["127.0.0.1", "::1"])
def test_both_families(spawn: Spawn, to: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        child = spawn(LISTENS, "127.0.0.1", proxy.getsockname()[1], "::" if to == "127.0.0.1" else to)
    with socket.create_connection((to, int(child.line()))):
        say(child, "accept")
        assert visited(child.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_a_child_to_which_the_visitor_was_handed_on(listener: tuple[Child, int]) -> None:
    """As by `socat` with `fork`: who has the connection does not listen."""
    child, port = listener
    with socket.create_connection(("127.0.0.1", port)):
        child.say("fork")
        assert visited(int(child.line()))
        assert not visited(child.pid)


def test_who_can_not_be_looked_at() -> None:
    assert not has_visitors(process.Process(2**22 + 1, 1.0, "nobody"))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_what_a_look_costs(listener: tuple[Child, int]) -> None:
    child, port = listener
    with socket.create_connection(("127.0.0.1", port)):
        say(child, "accept")
        taken = []
        for _ in range(50):
            began = time.thread_time()
            assert visited(child.pid)
            taken.append(time.thread_time() - began)
    # The kernel goes through all its sockets, twice; it is done once for a process, and not in the event loop.
    per_socket = 20e-6 * len(psutil.net_connections("tcp"))
    assert statistics.median(taken) < 0.03 + per_socket
