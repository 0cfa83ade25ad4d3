"""What the answer to the proxy's own DELETE is worth, and when to ask again."""

from __future__ import annotations

import re
from enum import StrEnum

BACKOFF = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds to wait after the n-th attempt that failed; after the last one there is no other."""

LONGEST_WAIT = 120.0
"""Seconds that a `Retry-After` is obeyed at most."""

_SESSION_UNKNOWN = re.compile(
    r"session (was )?(not found|expired|unknown|terminated|closed)|(no valid|unknown|invalid|expired) session"
    r"|not initialized",
    re.I,
)


class Result(StrEnum):
    """What came of a DELETE."""

    ENDED = "ended"
    UNSUPPORTED = "the server does not end sessions"
    CREDENTIALS = "needs credentials"
    AGAIN = "to be tried again"
    REFUSED = "refused"


_BY_STATUS = {
    401: Result.CREDENTIALS,
    403: Result.CREDENTIALS,
    404: Result.ENDED,
    405: Result.UNSUPPORTED,
    408: Result.AGAIN,
    410: Result.ENDED,
    425: Result.AGAIN,
    429: Result.AGAIN,
    501: Result.UNSUPPORTED,
}


def result(status: int | None, said: str = "") -> Result:
    """What a DELETE that was answered so has done; no status stands for no answer."""
    if status is None:
        return Result.AGAIN
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    if 200 <= status < 300:
        return Result.ENDED
    if status >= 500:
        return Result.AGAIN
    # Much code copied from old examples says so about a session that it does not know.
    return Result.ENDED if status == 400 and _SESSION_UNKNOWN.search(said[:4096]) else Result.REFUSED


def wait(attempt: int, retry_after: str | None = None) -> float | None:
    """Seconds until the next attempt after the n-th (from 1) has failed; None when it was the last."""
    if attempt > len(BACKOFF):
        return None
    asked = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0
    return min(max(BACKOFF[attempt - 1], asked), LONGEST_WAIT)
