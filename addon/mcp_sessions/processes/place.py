"""Where pids mean something: this host, since its last boot, in this pid namespace."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from . import Process, is_alive
from .process import read


class Place(NamedTuple):
    """Two processes that see the same place can look each other up by pid and start time."""

    host: str
    boot: str
    namespace: str

    @classmethod
    def here(cls) -> Place:
        """The place of this process."""
        boot = ""
        with suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = ""
        with suppress(OSError):
            namespace = os.readlink("/proc/self/ns/pid")
        # To the minute: elsewhere than on Linux the boot time is derived from a clock that is corrected now and then.
        return cls(platform.node(), boot or str(round(psutil.boot_time() / 60)), namespace)

    def __str__(self) -> str:
        return "|".join(self)

    def gone(self, other: str, pid: int, started: float) -> bool | None:
        """Whether a process, known by the text of its place, is gone; None if that can't be known from here."""
        if other == str(self):
            return not is_alive(Process(pid, started, ""))
        # A boot ends every process of its host. Another namespace is another container: it may well be alive.
        host, _, boot = other.rpartition("|")[0].rpartition("|")
        return True if host == self.host and boot != self.boot else None


def this_process() -> Process:
    """The process that this runs in."""
    return read(os.getpid()) or Process(os.getpid(), 0.0, "")
