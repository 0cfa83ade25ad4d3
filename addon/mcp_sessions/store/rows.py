"""A session as a row of a table, and back. What is secret stays out: headers, credentials, the URL's query."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ..core.client import Client, ClientKey
from ..core.ending.delete_answers import Result
from ..core.ledger import Ledger
from ..core.recovery.server_state import SUBSCRIPTION_LIMIT
from ..core.session import REPLACED_LIMIT, UNKNOWN_CREDENTIALS, Endpoint, Session
from ..core.states import State
from ..processes.place import Place
from ..wire.text import printable

JSON_LIMIT = 64 * 1024
"""Characters of `initialize` parameters or of their result; what is longer is not kept."""

OWNERS_LIMIT = 20


class Row(NamedTuple):
    """The columns, in their order in the table; the first five are the key."""

    scheme: str
    host: str
    port: int
    path: str
    client_id: str
    server_id: str
    state: str
    opened: float
    last_used: float
    stream_aborted_at: float | None
    revision: str
    initialize: str | None
    answer: str | None
    generation: int
    recoveries: int
    requests: int
    answered: int
    replaced: str
    held: str
    owners: str
    flags: int
    evidence: str
    opened_by: str


type Key = tuple[str, str, int, str, str]

KEY = Row._fields[:5]
FLAGS = ("kept", "left", "returnable")
"""Attributes of a session that are bits of `flags`, the first one the lowest."""


def row_of(session: Session, place: Place) -> Row:
    """What is to be remembered of a session."""
    owners = [
        {
            "pid": owner.pid,
            "started": owner.started,
            "name": owner.name,
            "host": owner.host,
            "place": str(place) if owner.is_process else "",
            "gone": owner.gone,
            "at": at,
        }
        for owner, at in list(session.settled_owners.items())[-OWNERS_LIMIT:]
    ]
    return Row(
        *session.endpoint,
        session.client_id,
        session.server_id,
        session.state.value,
        session.opened,
        session.last_used,
        session.stream_aborted_at,
        session.revision,
        _json(session.initialize),
        _json(session.answer),
        session.generation,
        session.recoveries,
        session.requests,
        session.answered,
        json.dumps(list(session.replaced)),
        json.dumps({"level": session.held.level, "subscriptions": list(session.held.subscriptions)}),
        json.dumps(owners),
        sum(1 << bit for bit, name in enumerate(FLAGS) if getattr(session, name)),
        session.evidence,
        session.opened_by,
    )


_AFTER_A_CRASH = {
    State.RECOVERING: State.LOST,  # what the handshake came to, nobody knows
    State.LEAVING: State.OPEN,
    State.ABANDONED: State.OPEN,
    State.ENDING: State.OPEN,
}
"""States that something would have followed which a crash prevented, and what to start from again."""


def session_of(row: Row, ledger: Ledger, place: Place, at: float) -> tuple[Session, list[Client]]:
    """The session of a row, and those of its clients that are known to be gone.

    Raises:
        ValueError, TypeError, KeyError: for a row that was not written by `row_of`.
    """
    endpoint = Endpoint(row.scheme, row.host, row.port, row.path)
    state = State(row.state)
    # The DELETE of one that is stuck is tried again; in vain where the credentials are missing, which nothing here has.
    wants_credentials = Result.CREDENTIALS.value in row.evidence
    session = Session(
        endpoint,
        row.client_id,
        row.server_id,
        opened=row.opened,
        last_used=row.last_used,
        stream_aborted_at=row.stream_aborted_at,
        revision=row.revision,
        initialize=_object(row.initialize),
        answer=_object(row.answer),
        state=State.OPEN if state is State.STUCK and not wants_credentials else _AFTER_A_CRASH.get(state, state),
        generation=row.generation,
        recoveries=row.recoveries,
        requests=row.requests,
        answered=row.answered,
        answered_before=row.answered,
        evidence=row.evidence,
        opened_by=row.opened_by,
        credentials=UNKNOWN_CREDENTIALS,
        url=str(endpoint),
        watched_from=at,
    )
    for bit, name in enumerate(FLAGS):
        setattr(session, name, bool(row.flags & 1 << bit))
    # Its DELETE was on its way, and its client saw no answer before the proxy was gone.
    session.left = session.left or state is State.LEAVING
    session.replaced.extend(str(one) for one in json.loads(row.replaced)[-REPLACED_LIMIT:])
    held = json.loads(row.held)
    session.held.level = None if held["level"] is None else str(held["level"])
    session.held.subscriptions = dict.fromkeys(str(uri) for uri in held["subscriptions"][:SUBSCRIPTION_LIMIT])
    gone = []
    for owner in json.loads(row.owners)[-OWNERS_LIMIT:]:
        client, is_gone = _client(owner, ledger, place, at)
        ledger.own(session, client, float(owner["at"]))
        if not client.is_process:
            client.vouched.add(session)  # only who was settled is written down beside a process
        if is_gone and not client.gone:
            gone.append(client)
    session.note(at, "found in the ledger on disk", f"was {row.state}")
    return session, gone


def _client(owner: dict[str, Any], ledger: Ledger, place: Place, at: float) -> tuple[Client, bool]:
    pid, started = owner["pid"], owner["started"]
    gone = place.gone(owner["place"], int(pid), float(started)) if pid is not None else None
    name, host = printable(owner["name"], 40), printable(owner["host"])
    if gone is None:
        key = ClientKey(host=host, credentials=UNKNOWN_CREDENTIALS, user_agent=name)
        client = Client(key, name, host, first_seen=at, last_seen=at)
    else:
        key = ClientKey(pid=int(pid), started=float(started))
        client = Client(key, name, host, first_seen=at, last_seen=at, pid=int(pid), started=float(started))
    return ledger.client(client), bool(gone or (owner["gone"] and gone is not None))


def to_be_ended(row: Row, place: Place) -> bool:
    """Whether all clients of this session are known to be gone, so that any proxy may end it."""
    try:
        owners = json.loads(row.owners)
        return bool(owners) and all(
            owner["pid"] is not None and place.gone(owner["place"], int(owner["pid"]), float(owner["started"]))
            for owner in owners
        )
    except (ValueError, TypeError, KeyError):
        return False


def _json(value: dict[str, Any] | None) -> str | None:
    text = json.dumps(value, separators=(",", ":")) if value is not None else None
    return text if text is None or len(text) <= JSON_LIMIT else None


def _object(text: str | None) -> dict[str, Any] | None:
    value = json.loads(text) if text else None
    return value if isinstance(value, dict) else None
