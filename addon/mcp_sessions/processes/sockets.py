"""One TCP socket of this host in the kernel's tables, looked up by its two addresses (Linux only).

The kernel is asked for exactly this socket (`sock_diag`, about 20 µs however many sockets there are). Where that is
not to be had, or finds nothing because the socket is bound to a device, its whole table in `/proc/net` is read (over a
millisecond, growing with the number of sockets).
"""

import errno
import os
import socket
import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

type Endpoint = tuple[IPv4Address | IPv6Address, int]
"""An address without scope, never an IPv4-mapped one, and a port."""

ESTABLISHED = 1
_LISTEN = 10

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI")
_ID = struct.Struct("!HH16s16s12s")
_NO_INTERFACE_NO_COOKIE = bytes(4) + b"\xff" * 8
# struct inet_diag_msg: state at 1; after the id at 4..52: expires, rqueue, wqueue, uid, inode.
_INODE_AT = _HEADER.size + 68


@dataclass(frozen=True, slots=True)
class Row:
    """What the kernel tells about a socket. `inode` is 0 if no file descriptor refers to it (any more, or yet)."""

    inode: int
    state: int

    @property
    def file(self) -> str:
        """What it is called among the open files of a process; empty if it has no file."""
        return f"socket:[{self.inode}]" if self.inode else ""


def lookup(local: Endpoint, remote: Endpoint) -> Row | None:
    """The socket whose own address is `local` and whose peer is `remote`; None if there is none.

    Raises OSError if the tables cannot be read.
    """
    try:
        row = ask(local, remote)
    except OSError:
        row = None
    return row or scan(local, remote)


def ask(local: Endpoint, remote: Endpoint) -> Row | None:
    """The same by `sock_diag`; finds no socket that is bound to a device. Raises OSError if it is not available."""
    v4 = isinstance(local[0], IPv4Address)
    family = socket.AF_INET if v4 else socket.AF_INET6
    ident = _ID.pack(local[1], remote[1], local[0].packed, remote[0].packed, _NO_INTERFACE_NO_COOKIE)
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ident
    message = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "sock_diag is Linux's")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(0.5)
        netlink.sendto(message, (0, 0))
        answer = netlink.recv(4096)
    kind = _HEADER.unpack_from(answer)[1]
    if kind == _NLMSG_ERROR:
        code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if code == errno.ENOENT:
            return None
        raise OSError(code, os.strerror(code))
    if kind != _SOCK_DIAG_BY_FAMILY or len(answer) < _INODE_AT + 4:
        raise OSError(errno.EPROTO, "unexpected sock_diag answer")
    row = Row(struct.unpack_from("=I", answer, _INODE_AT)[0], answer[_HEADER.size + 1])
    # Without a connection the kernel offers whoever listens on that port.
    return None if row.state == _LISTEN else row


def scan(local: Endpoint, remote: Endpoint) -> Row | None:
    """The same by reading the whole table. Raises OSError if it cannot be read."""
    tables = [("/proc/net/tcp6", 16)]
    if isinstance(local[0], IPv4Address):
        tables.insert(0, ("/proc/net/tcp", 4))
    found = None
    for path, size in tables:
        needle = f" {_hex(local, size)} {_hex(remote, size)} ".encode()
        try:
            with open(path, "rb", buffering=0) as file:
                table = file.read()
        except FileNotFoundError:
            continue
        at = table.find(needle)
        if at >= 0:
            fields = table[at : table.find(b"\n", at)].split()
            found = Row(int(fields[8]), int(fields[2], 16))
            if found.inode:
                break
    return found


def _hex(endpoint: Endpoint, size: int) -> str:
    """An address as the table prints it: words of four bytes, each as a number of this machine."""
    packed = endpoint[0].packed
    if size > len(packed):
        packed = bytes(10) + b"\xff\xff" + packed
    words = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, size, 4)]
    return "".join(f"{word:08X}" for word in words) + f":{endpoint[1]:04X}"
