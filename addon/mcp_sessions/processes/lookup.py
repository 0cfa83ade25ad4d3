"""Which process on this host owns the client's end of a TCP connection.

Several processes may hold one socket, because a child inherits it. The client is the oldest of a line of them: the one
that connected, or what is left of it.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Literal, Protocol

import psutil

from mcp_sessions.processes import sockets
from mcp_sessions.processes.process import Process, is_alive, parent, read
from mcp_sessions.processes.sockets import Endpoint

_LINUX = psutil.LINUX

type Address = tuple[str, int] | tuple[str, int, int, int]
"""What `getpeername` gives for IPv4 or IPv6."""

type Reason = Literal["remote", "hidden", "denied", "gone", "off"]
"""Why the process behind a connection is unknown.

- `remote`: the peer's address is none of this host's
- `hidden`: the client is on this host, but no process that can be seen owns the socket: another user's, or in a
  container
- `denied`: the system refuses the information
- `gone`: there is no such socket any more
- `off`: nobody looked
"""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No process is known to be behind a connection, and why."""

    reason: Reason

    def __str__(self) -> str:
        return f"unknown ({self.reason})"


def find(peer: Address, local: Address, known: Iterable[Process] = ()) -> Process | Unknown:
    """The process that owns the socket whose own address is `peer` and whose remote address is `local`.

    `known` are looked at first, in their order, which spares a look at all processes. Blocks, on Linux for less than a
    millisecond, elsewhere for some tens of them; never raises.
    """
    try:
        client, proxy = _endpoint(peer), _endpoint(local)
    except (ValueError, TypeError, IndexError):
        return Unknown("remote")
    if not _is_of_this_host(client, proxy):
        return Unknown("remote")
    try:
        if _LINUX:
            return _find_on_linux(client, proxy, known)
        return _find_elsewhere(client, proxy, known)
    except (OSError, psutil.Error, RuntimeError, ValueError):
        # The latter two are psutil's and ours for a table that does not look as expected.
        return Unknown("denied")


def holders(pairs: Iterable[tuple[Address, Address]]) -> dict[tuple[Address, Address], Process]:
    """Who seems to hold the client's end of each of these connections (`peer`, `local`), by one look at all processes.

    Only `find` tells for sure, which is to look at this one first. Linux only: elsewhere empty. Never raises.
    """
    found: dict[tuple[Address, Address], Process] = {}
    if _LINUX:
        with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError, IndexError):
            wanted = {target: pair for pair in pairs if (target := _file_of(*pair))}
            for pid in _pids(without=frozenset()):
                if not wanted:
                    break
                for target in wanted.keys() & set(_open_files(pid)):
                    if (process := read(pid)) is not None:
                        found[wanted.pop(target)] = process
    return found


# --- addresses

_ADDRESSES_KEPT = 5.0  # seconds

_addresses: tuple[float, frozenset[IPv4Address | IPv6Address]] = (float("-inf"), frozenset())


def _endpoint(address: Address) -> Endpoint:
    port = address[1]
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError(f"no TCP port: {port!r}")
    return _ip(address[0]), port


def _ip(text: str) -> IPv4Address | IPv6Address:
    ip = ip_address(text.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def _is_of_this_host(client: Endpoint, proxy: Endpoint) -> bool:
    return client[0].is_loopback or client[0] == proxy[0] or client[0] in _host_addresses()


def _host_addresses() -> frozenset[IPv4Address | IPv6Address]:
    global _addresses
    read_at, addresses = _addresses
    now = time.monotonic()
    if now - read_at > _ADDRESSES_KEPT:
        found = set()
        with contextlib.suppress(OSError, psutil.Error):
            for entries in psutil.net_if_addrs().values():
                for entry in entries:
                    # A MAC address is listed like an address, and is none.
                    with contextlib.suppress(ValueError):
                        found.add(_ip(entry.address))
        addresses = frozenset(found)
        _addresses = now, addresses
    return addresses


# --- whoever holds the socket

type _Holds = Callable[[int], bool]

_ANCESTORS_LIMIT = 64


def _settle(pid: int, holds: _Holds) -> Process | None:
    """The process to name when this pid holds the socket; None if it does not hold it any more."""
    owner = pid
    for _ in range(_ANCESTORS_LIMIT):
        above = parent(owner)
        # Inherited from parent to child, so the first that does not hold it ends the line.
        if above is None or not holds(above):
            break
        owner = above
    process = read(owner)
    # The pid may have changed hands since it was seen to hold the socket: once more, between two looks at who it is.
    if process is not None and holds(owner) and is_alive(process):
        return process
    return None


def _first(pids: Iterable[int], holds: _Holds) -> Process | None:
    for pid in pids:
        if holds(pid):
            with contextlib.suppress(OSError):
                process = _settle(pid, holds)
                if process is not None:
                    return process
    return None


# --- Linux


def _find_on_linux(client: Endpoint, proxy: Endpoint, known: Iterable[Process]) -> Process | Unknown:
    row = sockets.lookup(client, proxy)
    if row is None:
        own = sockets.lookup(proxy, client)
        # Our end would know if the other were closed: so there is one, in a network namespace that is not ours.
        return Unknown("hidden" if own is not None and own.state == sockets.ESTABLISHED else "gone")
    target = row.file
    if not target:
        return Unknown("gone")

    def holds(pid: int) -> bool:
        return _has_open(pid, target)

    known_pids = [process.pid for process in known]
    process = _first(known_pids, holds) or _first(_pids(without=frozenset(known_pids)), holds)
    if process is not None:
        return process
    row = sockets.lookup(client, proxy)
    return Unknown("hidden" if row is not None and row.inode else "gone")


def _file_of(peer: Address, local: Address) -> str:
    """What the client's end of a connection is called among the open files of its process; empty if it has no file."""
    client, proxy = _endpoint(peer), _endpoint(local)
    row = sockets.lookup(client, proxy) if _is_of_this_host(client, proxy) else None
    return "" if row is None else row.file


def _pids(without: frozenset[int]) -> Iterator[int]:
    """All pids: the latest first, clients being younger than the system, and ours last, a proxy having many files."""
    own = os.getpid()
    pids = sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)
    yield from (pid for pid in pids if pid != own and pid not in without)
    if own not in without:
        yield own


def _has_open(pid: int, target: str) -> bool:
    return target in _open_files(pid)


def _open_files(pid: int) -> Iterator[str]:
    directory = f"/proc/{pid}/fd/"
    try:
        names = os.listdir(directory)
    except OSError:
        return
    # The latest first, an inherited terminal and log files come before any socket.
    for name in reversed(names):
        with contextlib.suppress(OSError):
            yield os.readlink(directory + name)


# --- elsewhere


def _find_elsewhere(client: Endpoint, proxy: Endpoint, known: Iterable[Process]) -> Process | Unknown:
    def holds(pid: int) -> bool:
        with contextlib.suppress(OSError, psutil.Error):
            return any(_joins(row, client, proxy) for row in psutil.Process(pid).net_connections("tcp"))
        return False

    process = _first((process.pid for process in known), holds)
    if process is not None:
        return process
    try:
        rows = psutil.net_connections("tcp")
    except (psutil.AccessDenied, PermissionError):
        # macOS gives the whole table to root alone, but everyone the sockets of his own processes.
        own = os.getpid()
        process = _first(sorted(psutil.pids(), key=lambda pid: (pid != own, pid), reverse=True), holds)
        if process is not None:
            return process
        return Unknown("denied" if _is_open(psutil.Process().net_connections("tcp"), proxy, client) else "gone")
    matching = [row for row in rows if _joins(row, client, proxy)]
    process = _first(sorted({row.pid for row in matching if row.pid}), holds)
    if process is not None:
        return process
    if any(row.status in _OPEN for row in matching):
        return Unknown("hidden")
    return Unknown("hidden" if not matching and _is_open(rows, proxy, client) else "gone")


class _Row(Protocol):
    """What psutil's rows, of one process or of all, have in common."""

    @property
    def laddr(self) -> Any: ...
    @property
    def raddr(self) -> Any: ...
    @property
    def status(self) -> str: ...


_OPEN = frozenset({psutil.CONN_ESTABLISHED, psutil.CONN_CLOSE_WAIT})


def _joins(row: _Row, local: Endpoint, remote: Endpoint) -> bool:
    # Ports first: they rule out nearly every row without an address being parsed.
    if not row.laddr or not row.raddr or row.laddr[1] != local[1] or row.raddr[1] != remote[1]:
        return False
    try:
        return _ip(row.laddr[0]) == local[0] and _ip(row.raddr[0]) == remote[0]
    except ValueError:
        return False


def _is_open(rows: Iterable[_Row], local: Endpoint, remote: Endpoint) -> bool:
    return any(row.status == psutil.CONN_ESTABLISHED and _joins(row, local, remote) for row in rows)
