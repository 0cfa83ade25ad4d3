"""Sockets that were handed over: which are taken, and that asyncio listens on them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from mcp_sessions.proxy import handed


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket as systemd opens it, at the place of the first one that is handed over."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        monkeypatch.setattr(handed, "FIRST", os.dup(one.fileno()))
        yield one


def environ(**more: str) -> dict[str, str]:
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", **more}


def test_what_was_handed_over_is_taken_once(listening: socket.socket) -> None:
    given = environ()
    [one] = handed.take(given)
    with one:
        assert one.getsockname() == listening.getsockname()
        assert not one.get_inheritable()
        assert handed.arguments([one]) == ["--listen-host", "127.0.0.1", "--listen-port", str(one.getsockname()[1])]
    assert given == {}, "no child is told of it"
    assert handed.take(given) == []
    assert handed.arguments([]) == []


@pytest.mark.parametrize("other", [{"LISTEN_PID": "1"}, {"LISTEN_FDS": "0"}, {"LISTEN_FDS": "x"}])
def test_what_is_meant_for_another_is_left_alone(other: dict[str, str]) -> None:
    assert handed.take(environ(**other)) == []


def test_what_is_no_tcp_socket_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        monkeypatch.setattr(handed, "FIRST", os.dup(other.fileno()))
        with pytest.raises(ValueError, match="is no TCP socket"):
            handed.take(environ())
    reading, writing = os.pipe()
    try:
        monkeypatch.setattr(handed, "FIRST", reading)
        with pytest.raises(ValueError, match=r"is no socket: "):
            handed.take(environ())
    finally:
        os.close(reading)
        os.close(writing)


async def test_asyncio_listens_where_it_is_to(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "start_server", asyncio.start_server)
    handed.serve([listening])
    host, port = listening.getsockname()
    served = asyncio.Event()

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.set()
        writer.close()

    waiting = socket.create_connection((host, port))  # before anybody accepts
    server = await asyncio.start_server(connected, host, port)
    other = await asyncio.start_server(connected, host, 0)
    async with server, other, asyncio.timeout(5):
        await served.wait()
        assert other.sockets[0].getsockname()[1] != port
    waiting.close()
    assert listening.fileno() > 0, "it is there for the next one"
