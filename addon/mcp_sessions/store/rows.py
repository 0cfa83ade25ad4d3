"""A session as a row, and back. What is secret stays out: headers, the query, credentials but for a keyed hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple, NotRequired, TypedDict

from pydantic import TypeAdapter

from ..core.client import Client, ClientKey
from ..core.credentials import APART, Fingerprints, read
from ..core.ending.parts import part_of, took_part
from ..core.ledger import Ledger
from ..core.recovery.server_state import SUBSCRIPTION_LIMIT, Held
from ..core.session import REPLACED_LIMIT, UNKNOWN_CREDENTIALS, Endpoint, Session, packed
from ..core.states import JOINT, STANDINGS, ClientSide, Reason, ServerSide, Standing, Why
from ..processes.place import Place
from ..wire.jsonrpc import load
from ..wire.text import printable

OWNERS_LIMIT = 20
"""Clients of a session that are remembered: the latest."""

TEXT_LIMIT = 1000
"""Characters of the text of a reason that are remembered."""


class Row(NamedTuple):
    """What is remembered of a session, in plain values; the first five are the key. Times: seconds since the epoch."""

    scheme: str
    host: str
    port: int
    path: str
    client_id: str
    server_id: str
    client: str
    """The client's side, a `ClientSide`."""
    server: str
    """The server's side, a `ServerSide`."""
    kept: bool
    reason: str | None
    """Why it is being ended, or was: a `Why`."""
    reason_text: str
    outcome: str | None
    """Why it could not be ended: a `Why`."""
    outcome_text: str
    opened: float
    last_used: float
    stream_aborted_at: float | None
    revision: str
    parameters: str | None
    """Of `initialize`: JSON."""
    result: str | None
    """Of `initialize`: JSON."""
    generation: int
    recoveries: int
    requests: int
    answered: int
    replaced: str
    """Server-side ids of earlier generations: a JSON array."""
    held: str
    """What it holds at its server: JSON, see `HeldRow`."""
    owners: str
    """Its clients, the latest last: a JSON array, see `Owner`."""
    opened_by: str
    credentials: str | None = None
    """Keyed hash of those that the server accepted last; empty if there were none, None if that is not known."""


type Key = tuple[str, str, int, str, str]

KEY = Row._fields[:5]


class Owner(TypedDict):
    """One client of a session: a process, if it has a pid."""

    pid: int | None
    started: float | None
    name: str
    host: str
    place: str
    """Where the pid means something."""
    gone: bool
    at: float
    """When it used the session last."""
    part: NotRequired[str]
    """What part it plays, the name of a `Part`; nothing follows from its end where none is told."""


class HeldRow(TypedDict):
    """What is remembered of what a session holds at its server."""

    level: str | None
    subscriptions: list[str]


KEYLESS = Fingerprints()
"""With which no credentials are written down."""

_ROW = TypeAdapter(Row)
_OWNERS = TypeAdapter(list[Owner])
_HELD = TypeAdapter(HeldRow)
_REPLACED = TypeAdapter(list[str])

type Gone = Callable[[str, int, float], bool | None]
"""Whether a process is gone, by its place, pid and start time; None if that can't be known: `Place.gone`."""


# To a row


def key_of(session: Session, fingerprints: Fingerprints) -> Key:
    """What tells its row from others."""
    if session.whose is not None and not session.written_as:
        session.written_as = fingerprints.name(session.client_id, session.whose)
    return (*session.endpoint, session.written_as or session.client_id)


def found(key: Key, ledger: Ledger, fingerprints: Fingerprints) -> Session | None:
    """The session in the ledger whose row has this key."""
    place = ledger.endpoints.get(Endpoint(*key[:4]))
    if place is None:
        return None
    if APART not in key[4]:
        first = place.sessions.get(key[4])
        return first if first is not None and key_of(first, fingerprints) == key else None
    for session in place.unwritten:
        place.written[key_of(session, fingerprints)[4]] = session
    place.unwritten.clear()
    return place.written.get(key[4])


def row_of(session: Session, place: Place, fingerprints: Fingerprints = KEYLESS) -> Row:
    """What is to be remembered of a session whose processes are in this place."""
    standing, reason, outcome = session.standing, session.reason, session.outcome
    owners: list[Owner] = [
        {
            "pid": owner.pid if owner.is_process else None,
            "started": owner.started if owner.is_process else None,
            "name": owner.name,
            "host": owner.host,
            "place": str(place) if owner.is_process else "",
            "gone": owner.gone and owner.is_process,
            "at": at,
            "part": part_of(owner, session).name,
        }
        for owner, at in list(session.settled_owners.items())[-OWNERS_LIMIT:]
    ]
    held = session.held or Held()
    return Row(
        *key_of(session, fingerprints),
        session.server_id,
        standing.client.value,
        standing.server.value,
        standing.kept,
        reason.kind.value if reason else None,
        reason.text[:TEXT_LIMIT] if reason else "",
        outcome.kind.value if outcome else None,
        outcome.text[:TEXT_LIMIT] if outcome else "",
        session.opened,
        session.last_used,
        session.stream_aborted_at,
        session.revision,
        session.parameters.decode() if session.parameters is not None else None,
        session.result.decode() if session.result is not None else None,
        session.generation,
        session.recoveries,
        session.requests,
        session.answered,
        json.dumps(session.replaced[-REPLACED_LIMIT:]),
        json.dumps({"level": held.level, "subscriptions": list(held.subscriptions)[:SUBSCRIPTION_LIMIT]}),
        json.dumps(owners),
        session.opened_by,
        fingerprints.written(session.credentials),
    )


# And back


def resumed(client: ClientSide, server: ServerSide, outcome: Why | None) -> tuple[ClientSide, ServerSide]:
    """From where a session goes on of which nobody has seen what came of what was under way.

    What a handshake came to, nobody knows. A client whose `DELETE` was on its way saw no answer: it has left. One that
    was taken for gone is judged anew, and what could not be ended is tried again; both in vain where the credentials
    are missing, which no row holds. What is deleted stays so.
    """
    hopeless = server is ServerSide.STUCK and outcome is Why.NEEDS_CREDENTIALS
    if client is ClientSide.LEAVING:
        client = ClientSide.LEFT
    elif client is ClientSide.GONE and server is not ServerSide.DELETED and not hopeless:
        client = ClientSide.USING
    if server is ServerSide.RECOVERING:
        server = ServerSide.LOST
    elif server is ServerSide.DELETING or (server is ServerSide.STUCK and not hopeless):
        server = ServerSide.ALIVE
    return client, JOINT.get((client, server), server)


def session_of(row: Row, ledger: Ledger, gone: Gone, now: float) -> tuple[Session, list[Client]]:
    """The session of a row, not yet entered in the ledger; and those of its clients that are known to be gone.

    Its clients are entered, if they are new. What was written by a clock that was ahead was now, at the latest: else it
    would not be idle for as long as that.

    Raises:
        ValueError: for a row that was not written by `row_of`.
    """
    row = _ROW.validate_python(row)
    reason, outcome = _reason(row.reason, row.reason_text), _reason(row.outcome, row.outcome_text)
    standing = _standing(row, outcome)
    if standing.client is ClientSide.USING:
        reason = None
    if standing.server is not ServerSide.STUCK:
        outcome = None
    owners = _OWNERS.validate_json(row.owners)[-OWNERS_LIMIT:]
    endpoint, (client_id, apart, _) = Endpoint(row.scheme, row.host, row.port, row.path), row.client_id.partition(APART)
    session = Session(
        endpoint,
        client_id,
        row.server_id,
        opened=min(row.opened, now),
        last_used=min(row.last_used, now),
        revision=row.revision,
        standing=standing,
        parameters=_json(row.parameters),
        result=_json(row.result),
        generation=row.generation,
        credentials=read(row.credentials),
        url=str(endpoint),
        requests=row.requests,
        answered=row.answered,
        answered_before=row.answered,
        recoveries=row.recoveries,
        replaced=tuple(_REPLACED.validate_json(row.replaced)[-REPLACED_LIMIT:]),
        stream_aborted_at=min(row.stream_aborted_at, now) if row.stream_aborted_at is not None else None,
        watched_from=now,
        held=_held(row.held),
        reason=reason,
        outcome=outcome,
        opened_by=row.opened_by,
        stored=True,
    )
    known = []  # nothing of a row that makes no sense is entered
    for owner in owners:
        client, is_gone = _client(owner, ledger, gone, now)
        ledger.own(session, client, min(owner["at"], now))
        if client.is_process:
            took_part(client, session, owner.get("part", ""))
        if is_gone and not client.gone:
            known.append(client)
    if apart:
        session.whose = (session.client.host if session.client else "", session.credentials)
        session.written_as = row.client_id
    # Only who was settled is written down beside a process.
    session.vouched = tuple(client for client in session.owners if not client.is_process)
    session.note(now, "found in the stored ledger", f"was {row.client}, {row.server}", standing.word)
    return session, known


def owners_of(row: Row, ledger: Ledger, gone: Gone, now: float) -> list[tuple[Client, bool, float]]:
    """Who has used a session: entered, if they are new; whether it is known that they are gone, and when they did."""
    try:
        owners = _OWNERS.validate_json(row.owners)[-OWNERS_LIMIT:]
    except ValueError:
        return []
    return [(*_client(owner, ledger, gone, now), owner["at"]) for owner in owners]


def held_of(row: Row) -> Held | None:
    """What a session holds at its server; None if that is nothing."""
    try:
        return _held(row.held)
    except ValueError:
        return None


def to_be_ended(row: Row, gone: Gone, idle_since: float) -> bool:
    """Whether any proxy may see to this session's end.

    Its client has left it, or all that used it are known to be gone; or nobody can see some of them, and it was not
    used since then (seconds since the epoch), so that whoever takes it may begin to count how long it is idle.
    """
    if row.kept or row.server == ServerSide.DELETED:
        return False
    if row.client in (ClientSide.LEAVING, ClientSide.LEFT):
        return True
    try:
        owners = _OWNERS.validate_json(row.owners)
    except ValueError:
        return False
    known = {_is_gone(owner, gone) for owner in owners}
    return known == {True} or (False not in known and row.last_used < idle_since)


def _standing(row: Row, outcome: Reason | None) -> Standing:
    client, server = ClientSide(row.client), ServerSide(row.server)
    return STANDINGS[(*resumed(client, server, outcome.kind if outcome else None), row.kept)]


def _reason(kind: str | None, text: str) -> Reason | None:
    if kind is None:
        return None
    return Reason(Why(kind) if kind in Why else Why.UNKNOWN, text[:TEXT_LIMIT])


def _json(text: str | None) -> bytes | None:
    return packed(load(text.encode())) if text is not None else None


def _held(text: str) -> Held | None:
    held = _HELD.validate_json(text)
    if held["level"] is None and not held["subscriptions"]:
        return None
    return Held(held["level"], dict.fromkeys(held["subscriptions"][:SUBSCRIPTION_LIMIT]))


def _is_gone(owner: Owner, gone: Gone) -> bool | None:
    pid, started = owner["pid"], owner["started"]
    return gone(owner["place"], pid, started) if pid is not None and started is not None else None


def _client(owner: Owner, ledger: Ledger, gone: Gone, now: float) -> tuple[Client, bool]:
    """A client of an earlier run: a process only where its pid means something; and whether it is known to be gone."""
    is_gone, pid, started = _is_gone(owner, gone), owner["pid"], owner["started"]
    name, host = printable(owner["name"], 40), printable(owner["host"])
    if is_gone is None or pid is None or started is None:
        key = ClientKey(host=host, credentials=UNKNOWN_CREDENTIALS, user_agent=name)
        client = Client(key, name, host, first_seen=now, last_seen=now)
        return ledger.client(client), False
    key = ClientKey(pid=pid, started=started)
    client = Client(key, name, host, first_seen=now, last_seen=now, pid=pid, started=started)
    return ledger.client(client), is_gone or owner["gone"]
