"""The way from the event loop to the process that sends spans: a bounded queue, and a thread that writes it out.

Whatever a collector does, or a library, that process may wait for, leak or die of; nothing is waited for here, but at
the very end.
"""

from __future__ import annotations

import marshal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

EXPORTER = Path(__file__).with_name("exporter.py")

LIMIT = 20_000
"""Records that wait at most; what comes then is left out."""

AT_ONCE = 500
"""Records that are written in one go."""

EVERY = 0.2
"""Seconds between two looks at the queue."""

PATIENCE = 3.0
"""Seconds that the process has, at the end, for what it has not sent yet."""

STARTS = 3
"""How often the process is started, if it dies."""

LINES = 50
"""Lines of that process that are passed on."""

type Record = tuple[Any, ...]


class Pipe:
    """Started at once; ends when it is closed, or else with the program."""

    def __init__(self, environment: Mapping[str, str], version: str, said: Callable[[str], None]) -> None:
        """`said` is called, from other threads, with what is to be told to the user."""
        self._environment = environment
        self._version = version
        self._said = said
        self._queue: deque[bytes] = deque()
        self._woken = threading.Event()
        self._closing = False
        self._full_said = False
        # No daemon: the interpreter waits for it at the end, and so for what is in the queue.
        self._thread = threading.Thread(target=self._run, name="mcp_otel", daemon=False)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Have it written; never waits."""
        if len(self._queue) < LIMIT:
            # As bytes at once: many small objects that stay for a while would be looked at for garbage.
            self._queue.append(marshal.dumps(record))
        elif not self._full_said:
            self._full_said = True
            self._said(f"more than {LIMIT} spans wait: what comes now is left out")

    def close(self) -> None:
        """Write what is left, and end."""
        self._closing = True
        self._woken.set()

    @property
    def _ends(self) -> bool:
        return self._closing or not threading.main_thread().is_alive()

    def _run(self) -> None:
        for number in range(1, STARTS + 1):
            try:
                child = self._started()
            except OSError as e:
                self._said(f"its process can't be started ({type(e).__name__}): no spans")
                return
            for work in (self._listen, self._guard):
                threading.Thread(target=work, args=(child,), name="mcp_otel", daemon=True).start()
            try:
                self._feed(child)
            except OSError:
                if self._ends:
                    return
            status = child.wait()
            if self._ends:
                return
            again = "it is started anew" if number < STARTS else "no more spans"
            self._said(f"its process has ended (status {status}): {again}")
        self._queue = deque(maxlen=0)

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  # this file beside, and the version
            # The folder of that file is not to be where modules are looked for.
            [sys.executable, "-P", str(EXPORTER), self._version],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(self._environment),
            start_new_session=True,  # ^C is for the proxy: it ends the process when it is done itself
        )

    def _feed(self, child: subprocess.Popen[bytes]) -> None:
        """Write what comes until the end; OSError if nobody reads it any more."""
        out = child.stdin
        assert out is not None
        try:
            while True:
                ends = self._ends
                while self._queue:
                    batch = [self._queue.popleft() for _ in range(min(AT_ONCE, len(self._queue)))]
                    data = marshal.dumps(batch)
                    out.write(len(data).to_bytes(4, "big") + data)
                    out.flush()
                if ends:
                    return
                self._woken.wait(EVERY)
        finally:
            with suppress(OSError):
                out.close()

    def _guard(self, child: subprocess.Popen[bytes]) -> None:
        """See to it that the end is not waited for too long, be it that the process reads or not."""
        while not self._ends and child.poll() is None:
            self._woken.wait(EVERY)
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()

    def _listen(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        with child.stdout as lines:
            for number, line in enumerate(lines):
                if number < LINES:
                    self._said(line.decode("ascii", "replace").strip()[:200])
