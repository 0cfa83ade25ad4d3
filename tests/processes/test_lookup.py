"""Which process owns the client's end of a connection."""

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from mcp_sessions.processes import Process, Unknown, find, lookup, process, sockets

from .conftest import Child, Connect, Connection, Spawn

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


@pytest.fixture(params=["sock_diag", "proc", "psutil", "denied"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All ways to look a socket up: Linux's fast and slow one, psutil's, and psutil's without the whole table."""
    way = str(request.param)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "refused") if way == "proc" else psutil.AccessDenied()

    if way == "proc":
        monkeypatch.setattr(sockets, "ask", refuse)
    elif way == "sock_diag":
        monkeypatch.setattr(sockets, "scan", lambda *_: None)
    else:
        monkeypatch.setattr(process, "_LINUX", False)
        monkeypatch.setattr(lookup, "_LINUX", False)
    if way == "denied":
        monkeypatch.setattr(psutil, "net_connections", refuse)
    return way


FAMILIES = [
    ("127.0.0.1", "127.0.0.1"),
    ("::1", "::1"),
    ("::", "::1"),
    ("::", "127.0.0.1"),  # our end is IPv4-mapped
    ("127.0.0.1", "::ffff:127.0.0.1"),  # the client's is
    ("::", "::ffff:127.0.0.1"),  # both are
]


@pytest.mark.parametrize(("listen", "to"), FAMILIES)
def test_finds_the_client(connect: Connect, way: str, listen: str, to: str) -> None:
    connection = connect(listen, to)
    found = find(connection.peer, connection.local)
    assert isinstance(found, Process)
    assert found.pid == connection.child.pid
    assert find(connection.peer, connection.local, [found]) == found


def test_our_own_end_is_not_the_client(connect: Connect, way: str) -> None:
    connection = connect()
    found = find(connection.local, connection.peer)
    assert isinstance(found, Process)
    assert found.pid == os.getpid()
    connection.child.kill()
    assert find(connection.peer, connection.local) == Unknown("gone")


def test_we_may_be_the_client_ourselves(way: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0] as accepted,
    ):
        found = find(accepted.getpeername(), accepted.getsockname())
    assert isinstance(found, Process)
    assert found.pid == os.getpid()


def test_gone(connect: Connect, way: str) -> None:
    connection = connect()
    peer, local = connection.peer, connection.local
    connection.child.kill()
    assert find(peer, local) == Unknown("gone")
    connection.socket.close()
    assert find(peer, local) == Unknown("gone")


def test_remote(way: str) -> None:
    for peer in [("203.0.113.7", 4000), ("2001:db8::7%eth0", 4000), ("", 4000), ("no address", 1), ("127.0.0.1", 0)]:
        assert find(peer, ("127.0.0.1", 8080)) == Unknown("remote")


def test_known_only_needs_them(connect: Connect, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    connection = connect()
    known = process.read(connection.child.pid)
    own = process.read(os.getpid())
    assert known is not None
    assert own is not None

    def never(*_: object, **__: object) -> None:
        raise AssertionError("looked at the whole system")

    monkeypatch.setattr(lookup, "_pids", never)
    monkeypatch.setattr(psutil, "net_connections", never)
    monkeypatch.setattr(psutil, "pids", never)
    assert find(connection.peer, connection.local, [own, known]) == known


def test_known_that_is_gone_or_reused(connect: Connect, sleeper: Callable[[], Child], way: str) -> None:
    connection, gone = connect(), sleeper()
    dead = process.read(gone.pid)
    assert dead is not None
    gone.kill()
    reused = Process(connection.child.pid, 1.0, "before")
    found = find(connection.peer, connection.local, [dead, reused])
    assert isinstance(found, Process)
    assert found.pid == connection.child.pid
    assert found != reused


FORKS = """
import os, socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
child = os.fork()
if child == 0:
    sys.stdin.read()
    os._exit(0)
print("ready", flush=True)
print(child, flush=True)
os.read(int(sys.argv[3]) if len(sys.argv) > 3 else os.pipe()[0], 1)
"""


@linux
def test_forked_child_is_not_the_client(connect: Connect, way: str) -> None:
    connection = connect(code=FORKS)
    child = int(connection.child.line())
    found = find(connection.peer, connection.local)
    assert isinstance(found, Process)
    assert found.pid == connection.child.pid
    # Nor when only the child is known, from a connection of its own.
    known = process.read(child)
    assert known is not None
    assert find(connection.peer, connection.local, [known]) == found
    # Once the parent is gone, what is left of it is the client.
    connection.child.kill()
    heir = find(connection.peer, connection.local)
    assert isinstance(heir, Process)
    assert heir.pid == child


@linux
def test_exec_with_the_socket_inherited(connect: Connect, way: str) -> None:
    connection = connect(
        code="import os, socket, sys\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.set_inheritable(True)\n"
        "print('ready', flush=True); os.read(0, 3); os.execvp('cat', ['cat'])"
    )
    before = find(connection.peer, connection.local)
    connection.child.say("go")
    connection.child.say("done")
    assert connection.child.line() == "done"
    after = find(connection.peer, connection.local)
    assert isinstance(before, Process)
    assert isinstance(after, Process)
    assert after == before
    assert after.name == "cat"


@linux
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to become another user")
def test_other_users_client_is_hidden(connect: Connect) -> None:
    connection = connect()
    os.seteuid(65534)
    try:
        found = find(connection.peer, connection.local)
    finally:
        os.seteuid(0)
    assert found == Unknown("hidden")


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A network namespace whose 198.18.77.2 reaches our 198.18.77.1."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need root on Linux")
    if shutil.which("ip") is None:
        pytest.skip("no `ip`")
    name = f"mcp{os.getpid()}"

    def ip(*args: str) -> None:
        subprocess.run(["ip", *args], check=True, capture_output=True)

    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces: {error.stderr!r}")
    try:
        ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        ip("addr", "add", "198.18.77.1/30", "dev", f"{name}a")
        ip("link", "set", f"{name}a", "up")
        ip("-n", name, "addr", "add", "198.18.77.2/30", "dev", f"{name}b")
        ip("-n", name, "link", "set", f"{name}b", "up")
        monkeypatch.setattr(lookup, "_addresses", (float("-inf"), frozenset()))
        yield name
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("netns", "del", name)


def test_other_network_namespace(connect: Connect, namespace: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connect("198.18.77.1", prefix=("ip", "netns", "exec", namespace))
    assert connection.peer[0] == "198.18.77.2"
    assert find(connection.peer, connection.local) == Unknown("remote")
    # As if its address were translated to one of ours, as container networks do.
    monkeypatch.setattr(lookup, "_is_of_this_host", lambda *_: True)
    assert find(connection.peer, connection.local) == Unknown("denied" if way == "denied" else "hidden")
    connection.child.kill()
    connection.socket.recv(1)
    assert find(connection.peer, connection.local) == Unknown("gone")


@linux
def test_socket_bound_to_a_device(connect: Connect) -> None:
    code = (
        "import socket, sys\ns = socket.socket()\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo')\n"
        "s.connect((sys.argv[1], int(sys.argv[2])))\nprint('ready', flush=True); sys.stdin.read()"
    )
    connection = connect(code=code)
    found = find(connection.peer, connection.local)
    assert isinstance(found, Process)
    assert found.pid == connection.child.pid


@linux
def test_a_listener_is_no_connection(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert find(server.getsockname(), ("127.0.0.1", 9)) == Unknown("gone")


def test_addresses_of_the_host_are_kept_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = psutil.net_if_addrs
    monkeypatch.setattr(lookup, "_addresses", (float("-inf"), frozenset()))

    def counted() -> object:
        calls.append(1)
        return real()

    monkeypatch.setattr(psutil, "net_if_addrs", counted)
    for _ in range(10):
        assert find(("203.0.113.7", 1), ("203.0.113.8", 2)) == Unknown("remote")
    assert len(calls) == 1


def test_an_unexpected_table_is_no_exception(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    def malformed(*_: object) -> None:
        raise RuntimeError("malformed line")

    monkeypatch.setattr(sockets, "lookup", malformed)
    monkeypatch.setattr(psutil, "net_connections", malformed)
    assert find(("127.0.0.1", 1), ("127.0.0.1", 2)) == Unknown("denied")


def test_cost(connect: Connect, capsys: pytest.CaptureFixture[str], way: str) -> None:
    connection = connect()
    known = process.read(connection.child.pid)
    assert known is not None
    init = process.read(1)
    assert init is not None
    cases: list[tuple[str, Connection, list[Process]]] = [("known", connection, [known]), ("system", connection, [])]
    with capsys.disabled():
        for label, where, candidates in cases:
            times = []
            for _ in range(10):
                start = time.perf_counter()
                assert find(where.peer, where.local, candidates) == known
                times.append(time.perf_counter() - start)
            middle, worst = statistics.median(times) * 1e3, max(times) * 1e3
            print(f"\nfind, {way}, {label}: median {middle:.3f} ms, worst {worst:.3f} ms", end="")
        print(f"  ({len(psutil.pids())} processes)", end="")


def test_spawned_children_are_distinct(connect: Connect, spawn: Spawn) -> None:
    connections = [connect() for _ in range(3)]
    found = [find(c.peer, c.local) for c in connections]
    assert [f.pid for f in found if isinstance(f, Process)] == [c.child.pid for c in connections]


@linux
def test_who_holds_several_by_one_look(connect: Connect) -> None:
    several = [connect(), connect("::1"), connect()]
    pairs = [(one.peer, one.local) for one in several]
    found = lookup.holders([*pairs, (("127.0.0.1", 1), pairs[0][1]), (("192.0.2.1", 1), pairs[0][1])])
    assert {pair: one.pid for pair, one in found.items()} == dict(
        zip(pairs, [one.child.pid for one in several], strict=True)
    )
    assert lookup.holders([]) == {}
    assert lookup.holders([(("nowhere", 1), pairs[0][1])]) == {}
