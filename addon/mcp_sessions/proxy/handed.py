"""Sockets that somebody else listens on and hands over at the start, as systemd does (sd_listen_fds(3)).

Connections wait in such a socket while the proxy is not there, and the clients at its other end are seen as they are,
which a forwarder in between would hide.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import MutableMapping
from typing import Any

FIRST = 3
"""The file descriptor of the first of them."""


def take(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The TCP sockets that were handed over to this process; no child of its is told of them.

    Raises:
        ValueError: when there is one that is no TCP socket.
    """
    mine = environ.get("LISTEN_PID") == str(os.getpid())
    count = environ.get("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    if not mine or not count.isdecimal():
        return []
    found = []
    for number in range(FIRST, FIRST + int(count)):
        try:
            one = socket.socket(fileno=number)
        except OSError as e:
            raise ValueError(f"file descriptor {number} was handed over, and is no socket: {e.strerror}") from None
        if one.family not in (socket.AF_INET, socket.AF_INET6) or one.type != socket.SOCK_STREAM:
            raise ValueError(f"file descriptor {number} was handed over, and is no TCP socket")
        one.set_inheritable(False)
        found.append(one)
    return found


def arguments(handed: list[socket.socket]) -> list[str]:
    """What mitmproxy is told, so that it listens there, unless the user says otherwise."""
    if len(handed) != 1:
        return []
    host, port = handed[0].getsockname()[:2]
    return ["--listen-host", host, "--listen-port", str(port)]


def serve(handed: list[socket.socket]) -> None:
    """Where asyncio is to listen at the address of one of these, let it listen on that one."""
    listen: Any = asyncio.start_server
    by_address = {one.getsockname()[:2]: one for one in handed}

    async def start_server(connected: Any, host: Any = None, port: Any = None, **more: Any) -> asyncio.Server:
        one = by_address.get((host, port))
        given = {"host": host, "port": port} if one is None else {"sock": one.dup()}
        server: asyncio.Server = await listen(connected, **given, **more)
        return server

    if handed:
        asyncio.start_server = start_server  # type: ignore[assignment]  # it has overloads, for sockets or addresses
