"""Carriers: processes that pass on what others send, such as a reverse proxy, a port forward or a tunnel.

Theory of operation
-------------------
The process behind a connection is the client, as a rule: what it opened is to be ended when it ends, and nothing is
as long as it lives. A carrier is none. It may be restarted while all its clients live, and outlive each of them. So
nothing follows from its end or its life: its requests are told apart by address, `User-Agent` and credentials, as those
that come from another host, and evidence decides.

What shows that a process is a carrier stands in `SIGNS`. To have others connect to it shows it only if that was so when
it was first looked at with a request of its own waiting: whoever carries it has somebody connected at that moment.
Many clients have visitors at some time, of a sign-in in a browser, or of a window of their own, and must not be taken
for a carrier, or they would not be ended at once. Whoever is taken for one wrongly is ended later, and brought back
if it was ended too early. Once a carrier, always a carrier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..wire.headers import FORWARDED
from ..wire.jsonrpc import Kind
from .client import Client, Voices
from .exchange import Exchange

PLACES_LIMIT = 32
"""Endpoints, twice, of which it is remembered who has spoken there by a process."""

VOICES_LIMIT = 8
"""Voices that are remembered at each."""

RENEWAL = 5.0
"""Seconds within which requests with credentials that have been renewed may still arrive."""


class Sign(NamedTuple):
    """Something in a request that shows that its process is a carrier."""

    text: str
    """For people: `it ...`."""
    shown: Callable[[Client, Exchange], bool]


def _forwards(_: Client, x: Exchange) -> bool:
    return not FORWARDED.isdisjoint(x.headers)


def _credentials_return(client: Client, x: Exchange) -> bool:
    return bool(x.credentials) and _returns(client, x, "credentials", x.credentials)


def _handshake_returns(client: Client, x: Exchange) -> bool:
    opened = x.session.initialize if x.session is not None else None
    info = opened.get("clientInfo") if opened is not None else None
    return info is not None and _returns(client, x, "clientInfo", repr(info)[:200])


SIGNS = (
    Sign("says that it forwards", _forwards),
    Sign("uses several credentials in turn", _credentials_return),
    Sign("speaks for several clients in turn", _handshake_returns),
)

VISITED = "has others connected to it while it sends"


def sign_of(client: Client, x: Exchange) -> str:
    """What shows that the process that sends this is a carrier; empty if nothing does."""
    if _forwards(client, x):
        return SIGNS[0].text
    # Only calls count: some clients open a second session to try something out, and hold a stream in it.
    if x.session is None or x.kind is not Kind.REQUEST or x.is_initialize:
        return ""
    voice = (x.session.number, x.credentials)
    if client.voices is None:
        client.voices = Voices()
    if client.voices.latest == voice:
        return ""  # as nearly always
    client.voices.latest = voice
    return next((sign.text for sign in SIGNS[1:] if sign.shown(client, x)), "")


def _returns(client: Client, x: Exchange, kind: str, value: str) -> bool:
    """Whether this is said although something newer is said since quite a while. What was renewed does not return."""
    assert client.voices is not None
    heard, key = client.voices.heard, (x.endpoint, kind)
    if key not in heard and len(heard) >= PLACES_LIMIT:
        del heard[next(iter(heard))]
    said = heard.setdefault(key, {})
    if value not in said:
        if len(said) >= VOICES_LIMIT:
            del said[next(iter(said))]
        said[value] = x.at
    return any(said[value] < at < x.at - RENEWAL for at in said.values())
