"""Checks of tokens and challenges: what a client sends with each request, and how a server refuses."""

from __future__ import annotations

import re

from ..core.exchange import Exchange
from ..wire.headers import HeaderMap
from ..wire.text import printable
from .answers import is_loopback
from .checks import on_answer, on_request
from .facts import notes, talk_of
from .modern import once
from .talks import history
from .traits import KNOWN, OK

_PARAMETER = re.compile(r'([A-Za-z_]{1,40})\s*=\s*(?:"([^"]{0,1000})"|([^\s,"]{1,200}))')


def _authorized(headers: HeaderMap) -> bool:
    return "authorization" in headers


def _not_authorized(headers: HeaderMap) -> bool:
    return "authorization" not in headers


def _bears(headers: HeaderMap) -> bool:
    return headers.get("authorization", "")[:7].lower() == "bearer "


def _challenges(headers: HeaderMap) -> bool:
    return headers.get("www-authenticate", "")[:6].lower() == "bearer"


def _challenge(x: Exchange) -> dict[str, str]:
    """The parameters of a challenge."""
    said = x.answer_headers.get("www-authenticate", "")[:4_000] if x.answer_headers is not None else ""
    return {found[1].lower(): found[2] or found[3] or "" for found in _PARAMETER.finditer(said)}


@on_request("MCP703", needs=KNOWN, headers=_authorized)
def note_authorized(x: Exchange) -> None:
    """Note whose requests of a session carry a token."""
    talk = talk_of(x)
    if talk is not None:
        history(talk).authorized = x.client


@on_request("MCP703", needs=KNOWN, headers=_not_authorized)
def authorization_dropped(x: Exchange) -> str | None:
    """Every request carries the token, within a session, too."""
    talk = talk_of(x)
    if talk is None or talk.history is None or talk.history.authorized is not x.client or x.session is None:
        return None
    if len(x.session.owners) != 1 or x.client not in x.session.owners or not talk.once("MCP703"):
        return None
    return printable(x.what)


@on_request("MCP705", headers=_bears)
def token_in_clear(x: Exchange) -> str | None:
    """A token goes over TLS, or stays on the host. How a reverse proxy goes on from there is not its client's doing."""
    if x.endpoint.scheme != "http" or is_loopback(x.endpoint.host) or x.connection.dialled:
        return None
    return printable(x.what) if once(notes(x).place, "MCP705") else None


@on_answer("MCP704", unless=OK, told=_challenges)
def challenge_status(x: Exchange) -> str | None:
    """Who has no token, or one that is not good, is answered 401."""
    if x.status == 401:
        return None
    error = _challenge(x).get("error")
    if error == "invalid_token":
        return f"invalid_token with status {x.status}"
    return f"no token was sent, status {x.status}" if error is None and _not_authorized(x.headers) else None


@on_answer("MCP706", unless=OK, told=_challenges)
def challenge_scope(x: Exchange) -> str | None:
    """A challenge says which scopes are needed."""
    scope = _challenge(x).get("scope")
    if x.status != 401 or (scope and "offline_access" not in scope.split()):
        return None
    if not once(notes(x).place, "MCP706"):
        return None
    return "scope has offline_access" if scope else "no scope"


@on_answer("MCP707", unless=OK, told=_challenges)
def insufficient_scope(x: Exchange) -> str | None:
    """Who lacks a scope is told which."""
    challenge = _challenge(x)
    if challenge.get("error") != "insufficient_scope":
        return None
    if x.status != 403:
        return f"status {x.status}"
    lacking = [name for name in ("scope", "resource_metadata") if not challenge.get(name)]
    return f"without {' and '.join(lacking)}" if lacking else None
