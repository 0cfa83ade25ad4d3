"""The time, as everything that the core is told carries it."""

from __future__ import annotations

import time

_EPOCH = time.time() - time.monotonic()


def now() -> float:
    """Seconds since the epoch, by the clock as it stood at the start: whatever happens to that, this only goes on."""
    return _EPOCH + time.monotonic()
