"""One process on this host, told apart from any other that had or will have its pid.

A pid alone is reused. A pid and a start time are not, provided that the start time is the one the kernel keeps and not
one derived from the wall clock: that would shift with every correction of the clock, and a living process would look
like another one. On Linux the kernel's number is read from `/proc`; elsewhere psutil's process handles, which compare
it internally, are kept.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import psutil

_LINUX = psutil.LINUX

_NAME_LIMIT = 40

# Without a kept handle, start times elsewhere than on Linux are compared with this tolerance (seconds): the clock may
# have been corrected meanwhile, and taking a living process for a dead one is the worse mistake.
_TOLERANCE = 1.0

_HANDLES_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Process:
    """A process; equal to another if pid and start time are, whatever it calls itself by now (`exec` keeps both).

    `started` is in seconds: since the host was booted on Linux, since the epoch elsewhere. It serves comparison only,
    and only until the next boot. `name` is what the process calls itself, unfiltered.
    """

    pid: int
    started: float
    name: str = field(compare=False)
    parent: int | None = field(default=None, compare=False)
    """The pid of the parent when it was read; None if that is not known."""
    above: Process | None = field(default=None, compare=False)
    """That parent; None if it is not known, or is there to reap what others have left."""
    group: int = field(default=0, compare=False)
    """The process group when it was read; 0 if that is not known."""
    layout: tuple[int, ...] = field(default=(), compare=False, repr=False)
    """Where its memory begins, which is the same for those that it forks, and for hardly anybody else; may be empty."""

    def __str__(self) -> str:
        name = "".join(c if c.isprintable() else "?" for c in self.name[:_NAME_LIMIT])
        return f"{name}[{self.pid}]"


def read(pid: int) -> Process | None:
    """The process that has this pid now; None if there is none, or only a zombie.

    Raises OSError if there may be one that cannot be examined (no permission, out of file descriptors).
    """
    return glance(pid, with_parent=True)


def glance(pid: int, *, with_parent: bool = False) -> Process | None:
    """The same as `read`, without the process above it unless that is wanted, too."""
    if _LINUX:
        stat = _stat(pid)
        if stat is None or stat.gone:
            return None
        above = _above(stat.parent) if with_parent else None
        name = _name(pid, stat.name)
        return Process(pid, stat.started, name, stat.parent, above, stat.group, stat.layout)
    try:
        handle = psutil.Process(pid)
        if handle.status() == psutil.STATUS_ZOMBIE:
            return None
        above = _above(handle.ppid()) if with_parent else None
        process = Process(pid, handle.create_time(), handle.name(), handle.ppid(), above)
    except psutil.AccessDenied as error:
        raise PermissionError(errno.EACCES, str(error)) from error
    except psutil.Error:
        return None
    _keep(process, handle)
    return process


def _above(pid: int | None) -> Process | None:
    """The parent, unless it is the first process, which has all those for children whose parents are gone."""
    with contextlib.suppress(OSError):
        return glance(pid) if pid is not None and pid > 1 else None
    return None


def parent(pid: int) -> int | None:
    """The pid of the parent; None if it has none, is gone, or cannot be examined."""
    with contextlib.suppress(OSError, psutil.Error):
        if _LINUX:
            stat = _stat(pid)
            return None if stat is None else stat.parent or None
        return psutil.Process(pid).ppid() or None
    return None


def is_alive(process: Process) -> bool:
    """Whether the process still runs. A zombie is gone; so is one whose pid another process has now.

    Answers False only on evidence: what cannot be examined is taken to be alive. Never raises.
    """
    try:
        if _LINUX:
            stat = _stat(process.pid)
            return stat is not None and not stat.gone and stat.started == process.started
        return _is_alive_by_handle(process)
    except (OSError, psutil.AccessDenied):
        return True
    except (psutil.Error, OverflowError, ValueError):
        return False


# --- Linux


@dataclass(frozen=True, slots=True)
class _Stat:
    name: str
    gone: bool
    parent: int
    group: int
    started: float
    layout: tuple[int, ...]


_LAYOUT = slice(45, 48)
"""Where arguments and environment stand, which is as random as anything there; 0 to whoever may not know it."""

_TICKS = 100
if sys.platform != "win32":
    _TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> _Stat | None:
    """What `/proc` says about a pid; None if there is no such process. Raises OSError if that cannot be told."""
    if pid <= 0:
        return None
    path = f"/proc/{pid}/stat"
    try:
        data = _bytes(path)
    except (FileNotFoundError, ProcessLookupError):
        # Under hidepid= a process of another user is not listed; only kill tells it from one that is gone.
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return None
        data = _bytes(path)
    # The name is in parentheses and may contain any character, parentheses and spaces too.
    opening, closing = data.index(b"("), data.rindex(b")")
    fields = data[closing + 2 :].split()
    # The main thread alone may have ended, which looks like a zombie while other threads go on.
    gone = fields[0] in (b"Z", b"X", b"x") and int(fields[17]) <= 1
    name = data[opening + 1 : closing].decode("utf-8", "replace")
    layout = tuple(map(int, fields[_LAYOUT]))
    return _Stat(name, gone, int(fields[1]), int(fields[2]), int(fields[19]) / _TICKS, layout if all(layout) else ())


def _bytes(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _name(pid: int, name: str) -> str:
    """The kernel's name, which it cuts at 15 bytes, completed from the executable if that is what it was cut from."""
    # Not from the command line: reading that can block for as long as the process is stuck in the kernel.
    if len(name) >= 15:
        with contextlib.suppress(OSError):
            executable = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            if executable.startswith(name):
                return executable
    return name


# --- elsewhere

_handles: OrderedDict[Process, psutil.Process] = OrderedDict()
_handles_lock = threading.Lock()


def _keep(process: Process, handle: psutil.Process) -> None:
    with _handles_lock:
        _handles[process] = handle
        _handles.move_to_end(process)
        while len(_handles) > _HANDLES_LIMIT:
            _handles.popitem(last=False)


def _is_alive_by_handle(process: Process) -> bool:
    with _handles_lock:
        handle = _handles.get(process)
    if handle is None:
        handle = psutil.Process(process.pid)
        if abs(handle.create_time() - process.started) > _TOLERANCE:
            return False
        _keep(process, handle)
    alive = handle.is_running() and handle.status() != psutil.STATUS_ZOMBIE
    if not alive:
        with _handles_lock:
            _handles.pop(process, None)
    return alive
