"""Whether others have come in by a port: has a process accepted a TCP connection that it holds.

Whoever passes on what others send has one while it does. A port that is only listened on proves nothing: clients do so
to be told of a sign-in, and editors for their windows. The port may be listened on by another process, which has handed
the connection on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

import psutil

from .process import Process

_LINUX = psutil.LINUX

_SOCKETS_LIMIT = 512
"""Sockets of a process that are looked at: one with more has a visitor among them if it has any."""

_LISTEN = b"0A"


def has_visitors(process: Process) -> bool:
    """Whether a process holds a connection that somebody else has opened to it; False if that can't be seen.

    Blocks for some milliseconds, in which the kernel goes through all its sockets; hardly at all for a process with
    one socket. Never raises.
    """
    try:
        return _any_on_linux(process.pid) if _LINUX else _any_elsewhere(process.pid)
    except (OSError, psutil.Error, RuntimeError, ValueError, IndexError):
        return False


# --- Linux


class _Ends(NamedTuple):
    """Both ends of a connection: address and port, as the kernel prints them."""

    local: bytes
    remote: bytes


def _any_on_linux(pid: int) -> bool:
    inodes = list(_inodes(pid))
    if len(inodes) < 2:
        return False  # the one by which it was found
    connections: set[_Ends] = set()
    ports: set[bytes] = set()
    for table in _tables():
        ports.update(_listened_on(table))
        for inode in inodes:
            if (ends := _ends(table, inode)) is not None:
                connections.add(ends)
    return any(
        ends.local.rpartition(b":")[2] in ports and _Ends(ends.remote, ends.local) not in connections
        for ends in connections
    )


def _inodes(pid: int) -> Iterator[bytes]:
    """The sockets that a process holds."""
    directory, found = f"/proc/{pid}/fd/", 0
    for name in os.listdir(directory):
        with contextlib.suppress(OSError):
            target = os.readlink(directory + name)
            if target.startswith("socket:["):
                yield target[8:-1].encode()
                found += 1
                if found == _SOCKETS_LIMIT:
                    return


def _tables() -> Iterator[bytes]:
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError), open(path, "rb", buffering=0) as file:
            yield file.read()


def _listened_on(table: bytes) -> Iterator[bytes]:
    """The ports that anybody listens on; their rows come first."""
    at = table.find(b"\n") + 1
    while at < len(table):
        end = table.find(b"\n", at)
        fields = table[at:end].split()
        if fields[3] != _LISTEN:
            return
        yield fields[1].rpartition(b":")[2]
        at = end + 1


def _ends(table: bytes, inode: bytes) -> _Ends | None:
    """The ends of the connection of that inode, if it stands in this table."""
    needle, at = b" %b " % inode, -1
    while (at := table.find(needle, at + 1)) >= 0:
        fields = table[table.rfind(b"\n", 0, at) + 1 : table.find(b"\n", at)].split()
        if fields[9] == inode:  # it may have been another number that looks the same
            return None if fields[3] == _LISTEN else _Ends(_plain(fields[1]), _plain(fields[2]))
    return None


def _plain(address: bytes) -> bytes:
    """The same text for an address of IPv4, whichever table it stands in."""
    return address.removeprefix(b"0000000000000000FFFF0000")


# --- elsewhere


def _any_elsewhere(pid: int) -> bool:
    rows = psutil.Process(pid).net_connections("tcp")
    ports = {row.laddr[1] for row in rows if row.status == psutil.CONN_LISTEN and row.laddr}
    connections = [row for row in rows if row.laddr and row.raddr]
    own = {(row.laddr[:2], row.raddr[:2]) for row in connections}
    return any(row.laddr[1] in ports and (row.raddr[:2], row.laddr[:2]) not in own for row in connections)
