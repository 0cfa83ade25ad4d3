"""Every state that a session can be in, every table that leads from one to the next, and every field that steers them.

Theory of operation
-------------------
A session is two machines, one for its client and one for its server, as each side has a mind of its own: a client may
be gone while the server works, and a server may forget while its client goes on.

The client's side begins USING. The client sends `DELETE` (LEAVING), and has LEFT once that was answered, or was cut
off: it meant to go. Or it is GONE without a word, which is believed until somebody uses the session again. LEFT is
never left: what its client has ended is brought back for nobody.

The server's side begins ALIVE. The server loses the session (LOST), and the proxy brings it back (RECOVERING), for a
client that is USING it and for nobody else. Or the proxy ends it (DELETING), for a client that is GONE or has LEFT and
for no other, until the `DELETE` is *answered* (DELETED) or can't be delivered (STUCK): a `DELETE` that was only sent
proves nothing.

A trigger may move both sides. What one side then means for the other stands in JOINT: a client that turns up while its
session is being ended has it ALIVE, as far as anybody knows, and one whose session was ended meanwhile has LOST it, so
that it can be brought back like any other. A trigger that a state has no entry for means nothing there: traffic may do
anything at any time.

What users read (open, lost, leaving, ...) is a word for the pair: WORDS.

A recovery and a `DELETE` of the proxy's own are machines beside it; their tables stand below. What can be enumerated of
these tables is, in tests/core/test_states.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import NamedTuple


class ClientSide(StrEnum):
    """What the client does with the session."""

    USING = "using"
    LEAVING = "leaving"
    GONE = "gone"
    LEFT = "left"


class ServerSide(StrEnum):
    """What the server knows of it."""

    ALIVE = "alive"
    LOST = "lost"
    RECOVERING = "recovering"
    DELETING = "deleting"
    STUCK = "stuck"
    DELETED = "deleted"


class Trigger(StrEnum):
    """What can happen to a session, in the words of its history."""

    # What the client does
    DELETE_SENT = "delete sent"
    DELETE_CUT = "delete cut"  # it hung up, or the server did, before its DELETE was answered
    DELETE_REFUSED = "delete refused"  # its DELETE was answered by something that ends nothing
    DELETE_DONE = "delete answered"  # its DELETE was answered 2xx, or the server knows no such session
    GONE = "orphaned"  # every client that used it is gone, beyond doubt or by evidence
    RETURNED = "adopted"  # a client uses a session whose client was taken for gone
    # What the server does
    SUCCEEDED = "used"  # it answered a request of the session with success
    REFUSED = "refused"  # it said that it does not know the session
    REINITIALIZED = "reinitialized"  # it answered the client's own `initialize` with the id that the session has
    # What the proxy does
    HANDSHAKE = "handshake"
    RECOVERED = "recovered"
    NOT_RECOVERED = "not recovered"
    PROXY_DELETE = "ending"
    PROXY_DELETE_DONE = "ended"
    PROXY_DELETE_FAILED = "not ended"
    INTERRUPTED = "interrupted"  # whoever sent its DELETE was replaced, and does not know what came of it
    # What the user does
    ENDED_BY_HAND = "ended by hand"
    KEPT = "kept by hand"
    NOT_KEPT = "no longer kept"


C, S, T = ClientSide, ServerSide, Trigger

CLIENT: dict[ClientSide, dict[Trigger, ClientSide]] = {
    C.USING: {T.DELETE_SENT: C.LEAVING, T.GONE: C.GONE, T.DELETE_DONE: C.LEFT, T.ENDED_BY_HAND: C.LEFT},
    C.LEAVING: {
        T.DELETE_REFUSED: C.USING,
        T.DELETE_CUT: C.LEFT,
        T.DELETE_DONE: C.LEFT,
        T.ENDED_BY_HAND: C.LEFT,
    },
    C.GONE: {T.RETURNED: C.USING, T.DELETE_SENT: C.LEAVING, T.DELETE_DONE: C.LEFT, T.ENDED_BY_HAND: C.LEFT},
    C.LEFT: {},
}

SERVER: dict[ServerSide, dict[Trigger, ServerSide]] = {
    S.ALIVE: {
        T.REFUSED: S.LOST,
        T.PROXY_DELETE: S.DELETING,
        T.DELETE_DONE: S.DELETED,
        T.PROXY_DELETE_DONE: S.LOST,  # its client turned up while the DELETE was on its way
    },
    S.LOST: {
        T.HANDSHAKE: S.RECOVERING,
        T.SUCCEEDED: S.ALIVE,  # behind a balancer the next replica may know it
        T.REINITIALIZED: S.ALIVE,
        T.PROXY_DELETE: S.DELETING,
        T.DELETE_DONE: S.DELETED,
    },
    S.RECOVERING: {T.RECOVERED: S.ALIVE, T.REINITIALIZED: S.ALIVE, T.NOT_RECOVERED: S.LOST},
    S.DELETING: {
        T.PROXY_DELETE_DONE: S.DELETED,
        T.PROXY_DELETE_FAILED: S.STUCK,
        T.DELETE_DONE: S.DELETED,
        T.INTERRUPTED: S.ALIVE,
    },
    S.STUCK: {T.PROXY_DELETE: S.DELETING, T.PROXY_DELETE_DONE: S.DELETED, T.DELETE_DONE: S.DELETED},
    S.DELETED: {},
}

ONLY_UNDER: dict[Trigger, frozenset[ClientSide]] = {
    T.HANDSHAKE: frozenset({C.USING}),
    T.PROXY_DELETE: frozenset({C.GONE, C.LEFT}),
}
"""Guards: what the proxy does to the server's side only under these states of the client's."""

NOT_WHILE_KEPT = frozenset({T.PROXY_DELETE})

JOINT: dict[tuple[ClientSide, ServerSide], ServerSide] = {
    (C.USING, S.DELETING): S.ALIVE,
    (C.USING, S.STUCK): S.ALIVE,
    (C.USING, S.DELETED): S.LOST,
}
"""What a session whose client lives can't be, and what it is instead."""


class State(StrEnum):
    """A session in one word, as users read it."""

    OPEN = "open"
    LOST = "lost"
    RECOVERING = "recovering"
    LEAVING = "leaving"
    ABANDONED = "abandoned"
    ENDING = "ending"
    STUCK = "stuck"
    CLOSED = "closed"


W = State

WORDS: dict[ServerSide, tuple[State, State, State, State]] = {
    # the client is   USING          LEAVING        GONE           LEFT
    S.ALIVE: (W.OPEN, W.LEAVING, W.ABANDONED, W.ABANDONED),
    S.LOST: (W.LOST, W.LEAVING, W.ABANDONED, W.ABANDONED),
    S.RECOVERING: (W.RECOVERING, W.RECOVERING, W.RECOVERING, W.RECOVERING),
    S.DELETING: (W.ENDING, W.ENDING, W.ENDING, W.ENDING),
    S.STUCK: (W.STUCK, W.LEAVING, W.STUCK, W.STUCK),
    S.DELETED: (W.CLOSED, W.CLOSED, W.CLOSED, W.CLOSED),
}
"""The words, by the server's side and then the client's."""

LIVE = frozenset({State.OPEN, State.LOST, State.RECOVERING, State.LEAVING})
"""The words for a session that a client is believed to hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """How a session stands: both sides, and whether the user protects it. There is one object for each combination."""

    client: ClientSide
    server: ServerSide
    kept: bool
    """Protected by hand: not ended by the proxy."""
    word: State
    following: dict[Trigger, Standing] = field(default_factory=dict, repr=False)
    """The standing after each trigger that changes it."""


def step(client: ClientSide, server: ServerSide, kept: bool, trigger: Trigger) -> tuple[ClientSide, ServerSide, bool]:
    """What follows; the same where the trigger means nothing."""
    if client not in ONLY_UNDER.get(trigger, C) or (kept and trigger in NOT_WHILE_KEPT):
        return client, server, kept
    after = CLIENT[client].get(trigger, client)
    then = SERVER[server].get(trigger, server)
    if trigger in (T.KEPT, T.NOT_KEPT, T.ENDED_BY_HAND):
        kept = trigger is T.KEPT
    return after, JOINT.get((after, then), then), kept


STANDINGS: dict[tuple[ClientSide, ServerSide, bool], Standing] = {
    (client, server, kept): Standing(client, server, kept, WORDS[server][list(C).index(client)])
    for client, server, kept in product(C, S, (False, True))
}
for _key, _standing in STANDINGS.items():
    for _trigger in T:
        if (_after := step(*_key, _trigger)) != _key:
            _standing.following[_trigger] = STANDINGS[_after]

OPENED = STANDINGS[C.USING, S.ALIVE, False]
"""How every session begins."""


# A recovery


class RecoveryState(StrEnum):
    """How far the bringing back of a session has come. The server's side is RECOVERING in the second and the third."""

    IDLE = "idle"
    INITIALIZING = "initializing"
    RESTORING = "restoring"
    BACKOFF = "backoff"


class RecoveryTrigger(StrEnum):
    """What happens to a recovery."""

    BEGUN = "begun"
    ANSWERED = "answered"  # the `initialize` has made a new session
    RESTORED = "restored"  # all that is to be set again was set, or could not be
    FAILED = "failed"
    TIRED = "tired"  # the session was lost at its first use again and again
    WAITED = "waited"  # the time of the backoff is over
    WORKED = "worked"  # the server answered a request of the session with success


R, RT = RecoveryState, RecoveryTrigger

RECOVERY: dict[RecoveryState, dict[RecoveryTrigger, RecoveryState]] = {
    R.IDLE: {RT.BEGUN: R.INITIALIZING, RT.TIRED: R.BACKOFF},
    R.INITIALIZING: {RT.ANSWERED: R.RESTORING, RT.FAILED: R.BACKOFF},
    R.RESTORING: {RT.RESTORED: R.IDLE, RT.FAILED: R.BACKOFF},
    R.BACKOFF: {RT.WAITED: R.IDLE, RT.WORKED: R.IDLE},
}


# A DELETE of the proxy's own


class DeleteState(StrEnum):
    """How a `DELETE` of the proxy's own stands."""

    QUEUED = "queued"
    SENT = "sent"
    BACKOFF = "backoff"
    DONE = "done"
    UNSUPPORTED = "the server does not end sessions"
    NEEDS_CREDENTIALS = "needs credentials"
    REFUSED = "refused"
    GIVEN_UP = "no answer"
    DROPPED = "not needed any more"


class DeleteTrigger(StrEnum):
    """What happens to it: what its answer is worth (`ending.delete_answers`), and what the proxy does."""

    SENDING = "sending"
    ENDED = "ended"
    UNSUPPORTED = "the server does not end sessions"
    CREDENTIALS = "needs credentials"
    AGAIN = "to be tried again"
    REFUSED = "refused"
    EXHAUSTED = "tried often enough"
    DUE = "due"
    MOOT = "not needed any more"
    ELSEWHERE = "another proxy sees to it"


D, DT = DeleteState, DeleteTrigger

DELETE: dict[DeleteState, dict[DeleteTrigger, DeleteState]] = {
    D.QUEUED: {DT.SENDING: D.SENT, DT.MOOT: D.DROPPED},
    D.SENT: {
        DT.ENDED: D.DONE,
        DT.UNSUPPORTED: D.UNSUPPORTED,
        DT.CREDENTIALS: D.NEEDS_CREDENTIALS,
        DT.AGAIN: D.BACKOFF,
        DT.REFUSED: D.REFUSED,
        DT.EXHAUSTED: D.GIVEN_UP,
        DT.ELSEWHERE: D.DROPPED,
        DT.MOOT: D.DROPPED,  # other proxies know better
    },
    D.BACKOFF: {DT.DUE: D.QUEUED, DT.MOOT: D.DROPPED},
    D.DONE: {},
    D.UNSUPPORTED: {},
    D.NEEDS_CREDENTIALS: {},
    D.REFUSED: {},
    D.GIVEN_UP: {},
    D.DROPPED: {},
}


# Reasons


class Why(StrEnum):
    """Why a session is ended, or could not be. What is done depends on these, never on the text beside them."""

    PROCESS_GONE = "process gone"
    STREAM_ABORTED = "stream aborted"
    IDLE = "idle"
    SUPERSEDED = "superseded"
    DELETE_CUT = "delete cut"
    CLIENT_DELETE = "deleted by its client"
    BY_HAND = "by hand"
    PROXY_ENDS = "proxy ends"
    UNSUPPORTED = "unsupported"
    NEEDS_CREDENTIALS = "needs credentials"
    NO_ANSWER = "no answer"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class WhyNot(StrEnum):
    """Why a lost session was not brought back: a handshake has failed, or none was begun for a refused call."""

    OFF = "off"  # the user does not want it
    NOT_THE_SESSION = "not about the session"  # what was refused can't be mended by a new one
    NOT_USED = "not used"  # its client has ended it, or is gone
    NOT_REPEATABLE = "not repeatable"
    TOO_OFTEN = "too often"
    TOO_MANY_WAIT = "too many wait"
    BACKOFF = "backoff"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TOO_LATE = "too late"
    ELSEWHERE = "elsewhere"  # another proxy shakes hands, or knows that the client has ended it
    INTERRUPTED = "interrupted"


class Failure(NamedTuple):
    """Why a handshake has failed: as for `Reason`."""

    kind: WhyNot
    text: str


class Reason(NamedTuple):
    """A reason: its kind, by which things are decided, and a text, which is for people alone."""

    kind: Why
    text: str
