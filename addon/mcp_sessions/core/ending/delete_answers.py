"""What the answer to a DELETE is worth: a row for each, the first that fits decides; and when to ask again."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..states import DeleteTrigger

BACKOFF = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds to wait after the n-th attempt that failed; after the last one there is no other."""

LONGEST_WAIT = 120.0
"""Seconds that a `Retry-After` is obeyed at most."""

WORDS_LIMIT = 4096
"""Characters of an error message that are looked at."""


class Row(NamedTuple):
    """One kind of answer."""

    came: DeleteTrigger
    statuses: range | tuple[int, ...]
    words: re.Pattern[str] | None = None
    """In the message of the JSON-RPC error."""
    leave_alone: bool = False
    """Whether the server asks to be left alone for a while."""


_UNKNOWN = re.compile(
    r"session (was )?(not found|expired|unknown|terminated|closed)|(no valid|unknown|invalid|expired) session"
    r"|not initialized",
    re.I,
)

ANSWERS = (
    Row(DeleteTrigger.ENDED, range(200, 300)),
    Row(DeleteTrigger.ENDED, (404, 410)),
    # Much code copied from old examples says so about a session that it does not know.
    Row(DeleteTrigger.ENDED, (400,), words=_UNKNOWN),
    Row(DeleteTrigger.UNSUPPORTED, (405, 501)),
    Row(DeleteTrigger.CREDENTIALS, (401, 403)),
    Row(DeleteTrigger.AGAIN, (429, 503), leave_alone=True),
    Row(DeleteTrigger.AGAIN, (408, 425)),
    Row(DeleteTrigger.AGAIN, range(500, 1000)),
)

NO_ANSWER = Row(DeleteTrigger.AGAIN, ())
OTHERWISE = Row(DeleteTrigger.REFUSED, ())


def read(status: int | None, said: str = "") -> Row:
    """The row for an answer; no status stands for no answer."""
    if status is None:
        return NO_ANSWER
    for row in ANSWERS:
        if status in row.statuses and (row.words is None or row.words.search(said[:WORDS_LIMIT])):
            return row
    return OTHERWISE


def ends(status: int | None, said: str = "") -> bool:
    """Whether a session is over once a DELETE was answered so: it is unknown now, or will never be ended."""
    return read(status, said).came in (DeleteTrigger.ENDED, DeleteTrigger.UNSUPPORTED)


def wait(attempt: int, retry_after: str | None = None) -> float | None:
    """Seconds until the next attempt after the n-th (from 1) has failed; None when it was the last."""
    if attempt > len(BACKOFF):
        return None
    asked = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0
    return min(max(BACKOFF[attempt - 1], asked), LONGEST_WAIT)
