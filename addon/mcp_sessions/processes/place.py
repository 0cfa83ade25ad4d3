"""Where pids mean something: this machine, since its last boot, in this pid namespace."""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from . import Process, is_alive
from .process import read

_MACHINE, _BOOT = Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")


class Place(NamedTuple):
    """Two processes that see the same place can look each other up by pid and start time."""

    machine: str
    """Which machine it is, since which boot. A hash: a machine's own id is not to be passed on."""
    namespace: str

    @classmethod
    def here(cls) -> Place:
        """The place of this process."""
        namespace = ""
        with suppress(OSError):
            namespace = os.readlink("/proc/self/ns/pid")
        # To the minute: elsewhere than on Linux the boot time is derived from a clock that is corrected now and then.
        boot = _said(_BOOT) or str(round(psutil.boot_time() / 60))
        known = "\0".join((_said(_MACHINE) or platform.node(), boot))
        return cls(hashlib.blake2b(known.encode(), digest_size=12, person=b"mcp-sessions").hexdigest(), namespace)

    def __str__(self) -> str:
        return "|".join(self)

    def gone(self, other: str, pid: int, started: float) -> bool | None:
        """Whether a process, known by the text of its place, is gone; None if that can't be known from here.

        Nor can it after another boot, though that ends every process: a clone of a machine has booted, too, and the
        machine goes on.
        """
        return not is_alive(Process(pid, started, "")) if other == str(self) else None


def _said(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""


def this_process() -> Process:
    """The process that this runs in."""
    return read(os.getpid()) or Process(os.getpid(), 0.0, "")
