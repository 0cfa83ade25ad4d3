"""HTTP+SSE, the transport of 2024-11-05: how it shows. What goes by it is not judged, for these rules are another's.

Its server tells on a GET stream, in an `endpoint` event, where messages go, accepts each of them with 202, and answers
on that stream. A server may offer both transports at one endpoint: then what is of a session belongs to the newer one.
"""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from ..core.exchange import Exchange
from ..core.session import Endpoint
from ..wire.headers import SESSION_ID
from ..wire.revision import Era
from ..wire.sse import Event
from .facts import Notes

ADDRESS_LIMIT = 2_048
"""Bytes of an address that is looked at."""

SPEAKS = "speaks HTTP+SSE of 2024-11-05, which is not judged"


def is_of_it(x: Exchange, kept: Notes) -> bool:
    """Whether an exchange goes by it, as far as is known by now."""
    return kept.place.older and x.presented is None and x.era is not Era.STATELESS


def accepts(x: Exchange) -> bool:
    """Whether this answer to an `initialize` is one of its kind."""
    if x.status != 202 or not x.is_initialize:
        return False
    return x.answer_headers is None or SESSION_ID not in x.answer_headers


def announced(x: Exchange, event: Event) -> tuple[Endpoint, ...]:
    """Which endpoints an event shows to be of its kind: that of the stream, then, if told, the one for messages."""
    if event.type != "endpoint" or x.verb != "GET" or x.presented is not None:
        return ()
    messages = _endpoint(x.url, event.data or b"")
    # Nobody can say so of another's.
    return (x.endpoint, messages) if messages and messages.origin == x.endpoint.origin else (x.endpoint,)


def _endpoint(base: str, address: bytes) -> Endpoint | None:
    if len(address) > ADDRESS_LIMIT:
        return None
    try:
        told = urlsplit(urljoin(base, address.decode("latin-1").strip()))
        port = told.port or {"http": 80, "https": 443}.get(told.scheme, 0)
    except ValueError:
        return None
    return Endpoint(told.scheme, told.hostname or "", port, told.path)
