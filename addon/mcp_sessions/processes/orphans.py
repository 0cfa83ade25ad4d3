"""What a process leaves behind when it ends: those of its children that live on (Linux only).

Once it is gone nobody tells whose children they were: they have a reaper for a parent, which is the first process or
one that has asked for it. What still tells is how they are laid out in memory, which a fork copies and everything else
makes at random, and, for a child that is a program of its own, that it stands in the same process group while its
parent does not.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator

import psutil

from .process import Process, glance

_LINUX = psutil.LINUX


def left_behind(gone: Iterable[Process]) -> dict[Process, tuple[Process, ...]]:
    """The living children of each of these processes, which have ended, as far as they can be told. Never raises.

    Goes through all processes, some microseconds for each. Among what it finds may be what another member of the same
    process group has left: whoever needs to be certain must not ask here.
    """
    by_layout, by_group = defaultdict(list), defaultdict(list)
    for process in gone:
        if process.layout:
            by_layout[process.layout].append(process)
        if process.group:
            by_group[process.group].append(process)
    found: dict[Process, dict[Process, None]] = {process: {} for process in gone}
    if not _LINUX or not found:
        return dict.fromkeys(found, ())
    living = {process.pid: process for process in _all()}
    for child in living.values():
        above = living.get(child.parent or 0)
        parents: list[Process] = []
        if above is None or above.layout != child.layout:
            parents += by_layout.get(child.layout, ())
        if above is None or above.group != child.group:
            parents += (one for one in by_group.get(child.group, ()) if one.parent != child.parent)
        for parent in parents:
            if child.started >= parent.started and child != parent:
                found[parent][child] = None
    return {process: tuple(children) for process, children in found.items()}


def _all() -> Iterator[Process]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdigit():
            try:
                process = glance(int(name))
            except OSError:
                continue
            if process is not None:
                yield process
