"""The states of a session, and every transition between them.

Theory of operation
-------------------
A session comes into being OPEN, with a 2xx answer to `initialize` that carries an id, and is over when it is CLOSED:
when a `DELETE` was *answered*, not when it was sent, for a client that exits cuts its own `DELETE` off as often as not.

Between the two, three things can happen to it. The server loses it (LOST), and the proxy brings it back (RECOVERING).
The client ends it (LEAVING), in which case nobody brings it back. Or the client is gone without a word (ABANDONED), and
the proxy ends it in the client's place (ENDING), unless a client turns up that uses it, which makes it OPEN again. A
session that could not be ended rests as STUCK, with the reason in its history. A session that the proxy ended for want
of a client, and that a client uses after all, counts as LOST: it can be brought back like any other.

`TRANSITIONS` is the whole of it. A cause that a state has no entry for means nothing there and changes nothing: traffic
may do anything at any time.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a session stands."""

    OPEN = "open"
    LOST = "lost"
    RECOVERING = "recovering"
    LEAVING = "leaving"
    ABANDONED = "abandoned"
    ENDING = "ending"
    STUCK = "stuck"
    CLOSED = "closed"


class Cause(StrEnum):
    """What can happen to a session."""

    USED = "used"  # the server answered a request of this session with success
    REINITIALIZED = "reinitialized"  # the client initialized it anew, the server kept the id
    REFUSED = "refused"  # the server said that it does not know the session
    HANDSHAKE = "handshake"  # the proxy began an `initialize` of its own
    RECOVERED = "recovered"  # that handshake made a new session at the server
    NOT_RECOVERED = "not recovered"  # that handshake failed
    DELETE_SENT = "delete sent"  # the client sent its DELETE
    DELETE_CUT = "delete cut"  # ... and hung up before it was answered
    DELETE_REFUSED = "delete refused"  # ... and the server answered something that ends nothing
    DELETE_ANSWERED = "delete answered"  # 2xx, 404 or 405, whoever had asked
    ORPHANED = "orphaned"  # the last client that used it is gone
    ADOPTED = "adopted"  # it was given up, and a client uses it
    RETURNED = "returned"  # the proxy has ended it, and a client uses it all the same
    ENDING = "ending"  # the proxy sends its DELETE
    NOT_ENDED = "not ended"  # the proxy's DELETE was refused or could not be delivered


S, C = State, Cause

TRANSITIONS: dict[State, dict[Cause, State]] = {
    S.OPEN: {
        C.REFUSED: S.LOST,
        C.DELETE_SENT: S.LEAVING,
        C.DELETE_ANSWERED: S.CLOSED,
        C.ORPHANED: S.ABANDONED,
        C.ENDING: S.ENDING,
    },
    S.LOST: {
        C.HANDSHAKE: S.RECOVERING,
        C.USED: S.OPEN,  # behind a balancer the next replica may know it
        C.REINITIALIZED: S.OPEN,
        C.DELETE_SENT: S.LEAVING,
        C.DELETE_ANSWERED: S.CLOSED,
        C.ORPHANED: S.ABANDONED,
        C.ENDING: S.ENDING,
    },
    S.RECOVERING: {
        C.RECOVERED: S.OPEN,
        C.NOT_RECOVERED: S.LOST,
        C.REINITIALIZED: S.OPEN,
    },
    S.LEAVING: {
        C.DELETE_ANSWERED: S.CLOSED,
        C.DELETE_REFUSED: S.OPEN,
        C.DELETE_CUT: S.ABANDONED,
        C.ORPHANED: S.ABANDONED,
        C.ENDING: S.ENDING,
    },
    S.ABANDONED: {
        C.ENDING: S.ENDING,
        C.ADOPTED: S.OPEN,
        C.DELETE_SENT: S.LEAVING,
        C.DELETE_ANSWERED: S.CLOSED,
    },
    S.ENDING: {
        C.ADOPTED: S.OPEN,
        C.DELETE_ANSWERED: S.CLOSED,
        C.NOT_ENDED: S.STUCK,
    },
    S.STUCK: {
        C.ENDING: S.ENDING,
        C.ADOPTED: S.OPEN,
        C.DELETE_SENT: S.LEAVING,
        C.DELETE_ANSWERED: S.CLOSED,
    },
    S.CLOSED: {C.RETURNED: S.LOST},  # only where its client had not ended it; see `Endings.returned`
}

RECOVERABLE = frozenset({S.OPEN, S.LOST, S.RECOVERING})
"""States in which a session may be brought back: its client neither ended it nor is gone."""

LIVE = frozenset({S.OPEN, S.LOST, S.RECOVERING, S.LEAVING})
"""States in which a client is believed to hold the session."""


def step(state: State, cause: Cause) -> State | None:
    """The state that follows, or None where the cause changes nothing."""
    return TRANSITIONS[state].get(cause)
