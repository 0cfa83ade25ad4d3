"""Hosts on one host: network namespaces that are linked with each other, or with this one, and with nothing else."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NEAR, FAR = "10.213.7.1", "10.213.7.2"
"""Addresses inside the two namespaces."""


def missing() -> str:
    """Why there can be no namespaces here; empty if there can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    name = f"mcp-try-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except (OSError, subprocess.SubprocessError) as failure:
        return f"no network namespaces here: {failure}"
    return ""


@contextmanager
def two_hosts() -> Iterator[tuple[list[str], list[str]]]:
    """The commands that start a process in the near (`NEAR`) and in the far (`FAR`) one."""
    near, far = f"mcp-near-{os.getpid()}", f"mcp-far-{os.getpid()}"
    try:
        for name in (near, far):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", near, "link", "add", "mcp0", "type", "veth", "peer", "name", "mcp0", "netns", far)
        for name, address in ((near, NEAR), (far, FAR)):
            _ip("-n", name, "addr", "add", f"{address}/30", "dev", "mcp0")
            _ip("-n", name, "link", "set", "mcp0", "up")
        yield ["ip", "netns", "exec", near], ["ip", "netns", "exec", far]
    finally:
        for name in (near, far):
            with suppress(subprocess.SubprocessError):
                _ip("netns", "del", name)


@contextmanager
def another_host() -> Iterator[tuple[list[str], str]]:
    """A command that starts a process on another host, and this one's address there; no command where that can't be."""
    if missing():
        yield [], ""
        return
    # Several may run at a time: none shares a name or an address with another.
    own = os.getpid()
    name, near, far, net = f"mcp-endure-{own}", f"mcp{own}", f"mcq{own}", f"10.214.{own % 250}"

    try:
        _ip("netns", "add", name)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        _ip("addr", "add", f"{net}.1/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", name, "addr", "add", f"{net}.2/30", "dev", far)
        _ip("-n", name, "link", "set", far, "up")
        yield ["ip", "netns", "exec", name], f"{net}.1"
    finally:
        with suppress(subprocess.SubprocessError):
            _ip("netns", "del", name)


def cut(host: list[str]) -> None:
    """Let nothing pass any more between a host, given by its command, and the other."""
    _ip("-n", host[-1], "link", "set", "mcp0", "down")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)
