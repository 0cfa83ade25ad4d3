"""A session as Redis keeps it: its row as JSON by names, so that a later version may add some; and proxies' views."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from ...core.states import ClientSide, ServerSide
from ..rows import Key, Row

_OWNERS_LIMIT = 20
_SUBSCRIPTIONS_LIMIT = 1000


class Aside(NamedTuple):
    """What a proxy knows of a session beside its row."""

    streams: int = 0
    """Open GET streams."""
    connections: int = 0
    left_at: float | None = None
    """When the last connection was closed; seconds since the epoch."""
    credentials: str = "?"
    """Keyed hash of the credentials that used it last; all proxies have the same key."""
    sealed: bytes = b""
    """Credentials, encrypted; empty if they are not stored."""
    left: bool = False
    """Whether its client has ended it; of a session that is over."""


class Shared(Row):
    """A row with what several proxies saw."""

    aside: Aside
    """Streams and connections of the *other* proxies that live, and the latest of everything else."""
    holders: tuple[str, ...]
    """Other proxies that live and have seen the session."""


class Over(NamedTuple):
    """In the place of a row: the session is over, and nothing else is known of it any more."""

    at: float
    """When; seconds since the epoch."""
    left: bool
    """Whether its client has ended it."""


class View(NamedTuple):
    """What one proxy saw of a session."""

    used: float
    aborted: float | None
    left: float | None
    streams: int
    connections: int
    credentials: str
    owners: list[Any]
    level: str | None
    subscriptions: list[str]


_VIEW = TypeAdapter(View)
_NAMES = Row._fields


def hashed(secret: bytes, key: Key) -> str:
    """The name that a session has in keys: gives nothing away, also of an id that is easy to guess."""
    text = json.dumps(key).encode()
    return hashlib.blake2b(text, key=secret[:64], digest_size=16).hexdigest()


def mark_of(row: Row) -> str:
    """What others are to be told of when it changes."""
    left = row.client in (ClientSide.LEFT, ClientSide.LEAVING)
    over = row.server == ServerSide.DELETED
    owners = sorted(f"{one['place']}|{one['pid']}|{one['host']}" for one in json.loads(row.owners))
    text = json.dumps([row.generation, row.server_id, left, over, row.kept, owners])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def packed(row: Row) -> str:
    """A row as it is stored."""
    return json.dumps(row._asdict(), separators=(",", ":"))


def packed_view(row: Row, aside: Aside) -> str:
    """What this proxy saw, as it is stored."""
    held = json.loads(row.held)
    view = View(
        row.last_used,
        row.stream_aborted_at,
        aside.left_at,
        aside.streams,
        aside.connections,
        aside.credentials,
        json.loads(row.owners),
        held["level"],
        held["subscriptions"],
    )
    return json.dumps(view, separators=(",", ":"))


def unpacked(stored: Mapping[bytes, bytes], alive: Collection[str], me: str) -> Shared | Over | None:
    """The row with all that was seen; None if there is none, or it makes no sense."""
    if b"over" in stored:
        return Over(float(stored[b"over"]), stored.get(b"left") == b"1")
    try:
        values = json.loads(stored[b"row"])
        row = Row(**{name: values[name] for name in _NAMES if name in values})
        views = _views(stored)
        owners = {_whose(one): one for one in json.loads(row.owners)}
        held = json.loads(row.held)
    except (KeyError, TypeError, ValueError):
        return None
    others = {name: view for name, view in views.items() if name != me}
    for view in others.values():
        for one in view.owners:
            known = owners.get(_whose(one))
            if known is None or known["at"] < one["at"]:
                owners[_whose(one)] = {**one, "gone": one["gone"] or bool(known and known["gone"])}
    subscriptions = dict.fromkeys(
        [*held["subscriptions"], *(uri for view in views.values() for uri in view.subscriptions)]
    )
    holders = [name[2:].decode() for name in stored if name.startswith(b"v:")]
    living = [view for name, view in others.items() if name in alive]
    latest = max(views.values(), key=lambda view: view.used, default=None)
    merged = Shared(
        *row._replace(
            last_used=max([row.last_used, *(view.used for view in views.values())]),
            stream_aborted_at=_latest(row.stream_aborted_at, *(view.aborted for view in views.values())),
            owners=json.dumps(sorted(owners.values(), key=lambda one: one["at"])[-_OWNERS_LIMIT:]),
            credentials=row.credentials if latest is None or latest.credentials == "?" else latest.credentials,
            held=json.dumps({"level": held["level"], "subscriptions": list(subscriptions)[:_SUBSCRIPTIONS_LIMIT]}),
        )
    )
    merged.aside = Aside(
        sum(view.streams for view in living),
        sum(view.connections for view in living),
        _latest(*(view.left for view in views.values())),
        latest.credentials if latest is not None else "?",
        stored.get(b"sealed", b""),
    )
    merged.holders = tuple(name for name in holders if name in alive and name != me)
    return merged


def _views(stored: Mapping[bytes, bytes]) -> dict[str, View]:
    """What each proxy saw, if that makes sense here."""
    views = {}
    for name, text in stored.items():
        with suppress(ValidationError):
            if name.startswith(b"v:"):
                views[name[2:].decode()] = _VIEW.validate_json(text)
    return views


def _whose(owner: Mapping[str, Any]) -> tuple[object, ...]:
    if owner["pid"] is None:
        return owner["host"], owner["name"]
    return owner["place"], owner["pid"], owner["started"]


def _latest(*times: float | None) -> float | None:
    return max((time for time in times if time is not None), default=None)
