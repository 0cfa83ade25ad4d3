"""Who is behind a connection where proxy and client are in containers: the rows of recipes/container/container.md.

A container is a network namespace, a process namespace, a user and its rights; each is made without Docker.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import namespaces
from harness.environments import REPOSITORY

ADDON = REPOSITORY / "addon"
LOOKS = f"""
import socket, sys
sys.path.insert(0, {str(ADDON)!r})
from mcp_sessions.processes import lookup
with socket.create_server(("0.0.0.0", int(sys.argv[1]))) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    found = lookup.find(connection.getpeername(), connection.getsockname())
    print("unknown " + found.reason if isinstance(found, lookup.Unknown) else "a process", flush=True)
"""
CONNECTS = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
sys.stdin.read()
"""
OPEN = """
set -eu
mount --make-rprivate /; mount -t tmpfs tmpfs /mnt; n=0
for at in "$1" "$2" "$3"; do n=$((n + 1)); mkdir /mnt/$n; mount --bind "$at" /mnt/$n; done
mount -t tmpfs -o mode=755 tmpfs /root; n=0
for at in "$1" "$2" "$3"; do n=$((n + 1)); [ -d "$at" ] || { mkdir -p "$at"; mount --bind /mnt/$n "$at"; }; done
shift 3; exec "$@"
"""
"""Lets everybody use the interpreter and the code, which may lie below root's home."""

NOBODY, ANOTHER, ROOT = "10001", "10002", "0"
BOTH = ("sys_ptrace", "dac_override")


@dataclass(frozen=True)
class Row:
    """How proxy and client are started, and what is found."""

    found: str
    user: str = NOBODY
    """The proxy's."""
    rights: tuple[str, ...] = ()
    client: str = NOBODY
    """The client's user."""
    apart: bool = False
    """A network of its own for each."""
    hidden: bool = False
    """The proxy has processes of its own: of the others it sees none."""


ROWS = {
    "docker run": Row("unknown remote", apart=True, hidden=True),
    "--pid=host alone": Row("unknown remote", ROOT, BOTH, apart=True),
    "--network=host --pid=host, root with two capabilities": Row("a process", ROOT, BOTH),
    "the same of another user": Row("a process", ROOT, BOTH, client=ANOTHER),
    "root with one of them": Row("unknown hidden", ROOT, ("sys_ptrace",)),
    "root with the other": Row("unknown hidden", ROOT, ("dac_override",)),
    "another user without rights": Row("unknown hidden", client=ANOTHER),
    "the client's network and processes, the same user": Row("a process"),
    "a sidecar without shareProcessNamespace": Row("unknown hidden", hidden=True),
}


def cannot() -> str:
    if sys.platform != "linux" or not shutil.which("setpriv"):
        return "namespaces are Linux's, and setpriv gives rights"
    return namespaces.missing()


def started(code: str, *words: str, user: str, rights: tuple[str, ...] = (), within: list[str]) -> list[str]:
    there = [str(Path(sys.base_prefix)), sys.prefix, str(ADDON)]
    kept = ",".join(["-all", *(f"+{right}" for right in rights)])
    as_user = [
        "setpriv",
        "--reuid",
        user,
        "--regid",
        user,
        "--clear-groups",
        "--bounding-set",
        kept,
        "--inh-caps",
        "-all",
    ]
    return [*within, "unshare", "-m", "sh", "-c", OPEN, "open", *there, *as_user, sys.executable, "-c", code, *words]


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[list[str], list[str]]]:
    if reason := cannot():
        pytest.skip(reason)
    with namespaces.two_hosts() as both:
        yield both


@pytest.mark.parametrize("name", ROWS)
def test_who_the_client_is(name: str, hosts: tuple[list[str], list[str]]) -> None:
    row, (near, far) = ROWS[name], hosts
    within = [*near, "unshare", "-p", "-f", "--kill-child", "--mount-proc"] if row.hidden else near
    port = str(20000 + os.getpid() % 20000)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    looks = started(LOOKS, port, user=row.user, rights=row.rights, within=within)
    with subprocess.Popen(looks, **pipes) as proxy:  # type: ignore[call-overload]
        try:
            assert proxy.stdout.readline() == "ready\n"
            place = far if row.apart else near
            connects = started(CONNECTS, namespaces.NEAR, port, user=row.client, within=place)
            with subprocess.Popen(connects, **pipes) as client:  # type: ignore[call-overload]
                assert client.stdout.readline() == "ready\n"
                assert proxy.stdout.readline().strip() == row.found
                client.stdin.close()
        finally:
            proxy.kill()


def test_the_page_has_these_rows() -> None:
    page = (REPOSITORY / "recipes" / "container" / "container.md").read_text("utf-8")
    table = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    certain = [line[0] for line in table if "**a process**" in line[-1]]
    assert len(table) == 6
    assert len(certain) == 3
    assert "SYS_PTRACE, DAC_OVERRIDE" in (REPOSITORY / "recipes" / "container" / "certainty.yaml").read_text("utf-8")
