"""Real children and real sockets for the tests of `mcp_sessions.processes`."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

CONNECTS = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass
class Child:
    """A child process, and our end of its connection if it has one."""

    popen: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.popen.pid

    def line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().decode().strip()

    def say(self, text: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(text.encode() + b"\n")
        self.popen.stdin.flush()

    def until_zombie(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def kill(self, *, reap: bool = True) -> None:
        self.popen.kill()
        if reap:
            self.popen.wait()


type Spawn = Callable[..., Child]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    children: list[Child] = []

    def start(code: str, *args: object, prefix: tuple[str, ...] = ()) -> Child:
        command = [*prefix, sys.executable, "-c", code, *map(str, args)]
        child = Child(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        children.append(child)
        assert child.line() == "ready"
        return child

    yield start
    for child in children:
        child.kill()
        child.popen.communicate()


@pytest.fixture
def sleeper(spawn: Spawn) -> Callable[[], Child]:
    return lambda: spawn("import sys; print('ready', flush=True); sys.stdin.read()")


@dataclass
class Connection:
    child: Child
    socket: socket.socket

    @property
    def peer(self) -> tuple[str, int]:
        return self.socket.getpeername()  # type: ignore[no-any-return]

    @property
    def local(self) -> tuple[str, int]:
        return self.socket.getsockname()  # type: ignore[no-any-return]


type Connect = Callable[..., Connection]


@pytest.fixture
def connect(spawn: Spawn) -> Iterator[Connect]:
    with ExitStack() as stack:

        def start(
            listen: str = "127.0.0.1",
            to: str | None = None,
            *,
            code: str = CONNECTS,
            prefix: tuple[str, ...] = (),
        ) -> Connection:
            v6 = ":" in listen
            server = stack.enter_context(
                socket.create_server(
                    (listen, 0), family=socket.AF_INET6 if v6 else socket.AF_INET, dualstack_ipv6=listen == "::"
                )
            )
            child = spawn(code, to or listen, server.getsockname()[1], prefix=prefix)
            return Connection(child, stack.enter_context(server.accept()[0]))

        yield start
