"""The words by which a server says that a session is lost, shared by what is logged and by what is done about it."""

from __future__ import annotations

import re

LIMIT = 4096
"""Characters of a message that are looked at."""

LOST = re.compile(
    r"no valid session|invalid (or missing |or expired )?session|session (id )?(not found|is invalid|expired|"
    r"has expired|terminated|unknown|does not exist)|unknown session|server not initiali[sz]ed|"
    r"not initiali[sz]ed",
    re.I,
)
PLAINLY_LOST = re.compile(
    r"(error: )?(bad request: |not found: )?(mcp[- ])?(no valid |unknown |invalid |expired )?(mcp[- ])?session([- ]id)?"
    r"( (is )?(not found|invalid|expired|unknown|terminated|provided)| has expired| does not exist)?"
    r"( or expired| or has expired)?[.!]?",
    re.I,
)
"""A whole message that is about the session and about nothing else: not "Terminal session not found: t1"."""
STALE_EVENT = re.compile(r"event (id )?(was )?not found|unknown event|last-event-id", re.I)
SESSION = re.compile(r"session", re.I)


def says_lost(text: str) -> bool:
    """Whether a message names an unknown, invalid, missing, expired or not initialized session."""
    return bool(text) and LOST.search(text[:LIMIT]) is not None


def says_plainly(text: str) -> bool:
    """Whether a message says of the session, and of nothing else, that it is lost."""
    return PLAINLY_LOST.fullmatch(text[:LIMIT].strip()) is not None


def names_session(text: str) -> bool:
    """Whether a message is about a session at all; enough where the status says the rest."""
    return bool(text) and SESSION.search(text[:LIMIT]) is not None


def names_event(text: str) -> bool:
    """Whether a message is about the event that a stream was to be resumed from."""
    return bool(text) and STALE_EVENT.search(text[:LIMIT]) is not None
