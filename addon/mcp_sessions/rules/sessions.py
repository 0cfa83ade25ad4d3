"""Checks of how a session begins, is lost, and ends."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice

from ..core.client import Client
from ..core.exchange import Exchange
from ..core.session import ID_LIMIT
from ..core.states import State
from ..wire import headers as h
from ..wire.headers import HeaderMap
from ..wire.text import printable
from . import losses
from .answers import from_gateway
from .checks import Left, on_abandoned, on_answer, on_request
from .facts import notes, talk_of
from .talks import Talk
from .traits import DELETE, INITIALIZE, OK, OVER, REFUSED, SHARED, TALK, has_id

SHORT = 16
"""Characters that a session id has at least if it is not to be guessed."""
AT_ONCE = 0.5
"""Seconds within which a request may still have been under way when its session was lost."""
TO_START_ANEW = 2.0
"""Seconds that a client is given to start anew before its end is held against it."""
LONG = 256
"""Characters beyond which an id is no number."""
STEP = 16
"""How far apart numbers are at most that follow one another."""
BACK_AND_FORTH = 5.0
"""Seconds after which a credential that returns is no renewal."""

MINE = 20
"""Sessions of a client that a request without an id may be meant for, the latest first."""
LATEST = 100
"""Sessions of a client that are looked at to find these: it may have had 100,000."""
OWNERS = 20
"""Clients of a session that are looked at, the latest first."""

_RUN = re.compile(r"(?i:[0-9a-f]{1,12})\Z")
_DECIMAL = re.compile(r"[0-9]{1,12}\Z")


def _has_no_id(headers: HeaderMap) -> bool:
    return h.SESSION_ID not in headers


@on_answer("MCP301", "POST", needs=INITIALIZE | OK, told=has_id)
def session_id_charset(x: Exchange) -> str | None:
    """A session id is visible ASCII."""
    assigned = _assigned(x)
    if not assigned:
        return None
    odd = sorted({byte for byte in assigned.encode("utf-8", "surrogateescape") if not 0x21 <= byte <= 0x7E})
    return f"has {', '.join(f'0x{byte:02x}' for byte in odd[:5])}" if odd else None


@on_answer("MCP302", "POST", needs=INITIALIZE | OK, told=has_id)
def session_id_weak(x: Exchange) -> list[str] | None:
    """A session id can't be guessed and is given once."""
    assigned = _assigned(x)
    if not assigned or x.presented is not None or len(assigned) > ID_LIMIT:
        return None
    place = notes(x).place
    found = []
    if len(assigned) < SHORT:
        found.append(f"short: {len(assigned)} characters")
    if any(_follows(assigned, other) for other in place.latest):
        found.append("sequential")
    if hash(assigned) in place.handed_out:
        found.append("handed out twice")
    fresh = [kind for kind in found if kind.split(":")[0] not in place.said]
    place.said.update(kind.split(":")[0] for kind in fresh)
    return fresh or None


def _follows(one: str, other: str) -> bool:
    """Whether two ids differ in nothing but a small step of one number at their end."""
    if len(one) != len(other) or one == other or len(one) > LONG:
        return False
    return any(
        prefix == other_prefix and 1 <= abs(number - other_number) <= STEP
        for (prefix, number), (other_prefix, other_number) in zip(_endings(one), _endings(other), strict=True)
    )


@lru_cache(maxsize=512)
def _endings(session_id: str) -> tuple[tuple[str, int], tuple[str, int]]:
    """The number at the end of an id, decimal and hexadecimal, each with what stands before; 0 where there is none."""
    found = []
    for run, base in ((_DECIMAL, 10), (_RUN, 16)):
        match = run.search(session_id)
        found.append((session_id[: match.start()], int(match[0], base)) if match else (session_id, 0))
    return found[0], found[1]


@on_request("MCP303", unless=INITIALIZE, headers=_has_no_id)
def session_id_missing(x: Exchange) -> str | None:
    """Once an id was assigned, every request carries it."""
    party = notes(x).party
    if not x.client.sessions or party is None or party.idless is not None:
        return None
    latest = islice(reversed(x.client.sessions), LATEST)
    mine = [s for s in latest if s.endpoint == x.endpoint and s.state is not State.CLOSED][:MINE]
    if not mine or any(session.state not in (State.OPEN, State.RECOVERING) for session in mine):
        return None
    for session in mine:
        known = session.notes
        if (
            not isinstance(known, Talk)
            or known.known_at is None
            or known.known_at >= x.at
            or known.deleted_at is not None
        ):
            return None
        if not x.client.is_process and known.connection != x.connection.id:
            return None
    return f"{printable(x.what)} without Mcp-Session-Id"


@on_answer("MCP304", needs=REFUSED, unless=INITIALIZE, headers=_has_no_id)
def missing_id_not_400(x: Exchange) -> str | None:
    """A request that lacks the id is answered 400."""
    if x.status is None or not 401 < x.status < 500 or x.status in (403, 405, 406, 415) or from_gateway(x):
        return None
    kept = notes(x)
    if not kept.place.assigns or kept.party is None or kept.party.idless is not None:
        return None
    return f"{printable(x.what)} without Mcp-Session-Id answered {x.status}"


@on_answer("MCP305", needs=TALK | REFUSED, headers=has_id)
def lost_session_not_404(x: Exchange) -> str | None:
    """A session that is over is answered 404."""
    talk = talk_of(x)
    if x.status is None or x.status == 404 or talk is None:
        return None
    if losses.by_words(x):
        if losses.may_be_a_tools(x, talk) or losses.on_arrival(x, talk):
            return None  # the second is MCP315
        # The id must have been good here once: else the server is right to call the request a bad one.
        return f"answered {x.status}" if talk.known_at is not None or talk.worked else None
    if x.status < 400 or x.status >= 500 or (x.status == 405 and x.verb != "POST") or from_gateway(x):
        return None
    over = talk.deleted_at if talk.deleted_at is not None else talk.lost_at if talk.lost_plainly else None
    return f"answered {x.status}" if over is not None and x.at > over else None


@on_request("MCP306", needs=OVER, unless=INITIALIZE | DELETE)
def lost_session_not_reinitialized(x: Exchange) -> str | None:
    """After a 404 a client starts anew."""
    kept = notes(x)
    talk, told, party = kept.talk, kept.told_at, kept.party
    if talk is None or talk.lost_at is None or told is None or party is None:
        return None
    if x.at - told <= AT_ONCE or party.initialize_at >= told or not talk.once("MCP306"):
        return None
    return f"{printable(x.what)} with the id that was answered 404"


@on_abandoned("MCP306")
def left_without_reinitializing(left: Left) -> str | None:
    """After a 404 a client starts anew before it ends."""
    if left.talk.lost_at is None or left.told_at is None or left.at - left.told_at <= TO_START_ANEW:
        return None
    return "ended without a new initialize" if left.talk.once("MCP306") else None


@on_request("MCP307", needs=INITIALIZE | OVER)
def initialize_with_session_id(x: Exchange) -> str | None:
    """The `initialize` that replaces a lost session carries no session id."""
    talk = talk_of(x)
    return "" if talk is not None and talk.lost_at is not None and notes(x).told_at is not None else None


@on_abandoned("MCP308")
def session_not_deleted(left: Left) -> str | None:
    """A client that goes ends its session."""
    talk = left.talk
    if talk.known_at is None or talk.delete_sent or talk.lost_at is not None or left.told_at is not None:
        return None
    if not talk.used:
        return None  # MCP314
    return None if talk.place.refuses_delete else left.session.evidence


@on_request("MCP309", needs=OVER, unless=DELETE)
def used_after_delete(x: Exchange) -> str | None:
    """A client does not use a session that it has ended."""
    talk = talk_of(x)
    if talk is None or talk.deleted_at is None or x.at <= talk.deleted_at:
        return None
    return printable(x.what)


@on_answer("MCP310", needs=OVER | OK, unless=INITIALIZE | DELETE)
def deleted_session_accepted(x: Exchange) -> str | None:
    """A session that was ended is not served."""
    talk = talk_of(x)
    if talk is None or talk.deleted_at is None:
        return None
    return f"{printable(x.what)} answered {x.status}" if x.at > talk.deleted_at else None


@on_answer("MCP311", "DELETE", unless=OK, headers=has_id)
def delete_answer(x: Exchange) -> str | None:
    """A DELETE is answered 2xx, 404 or 405."""
    if x.status in (404, 405, 502, 503, 504):
        return None
    if (x.status != 501 and from_gateway(x)) or losses.by_words(x):
        return None
    talk = talk_of(x)
    over = talk is not None and (talk.deleted_at is not None or talk.lost_at is not None)
    return None if x.status == 400 and over else f"answered {x.status}"


@on_answer("MCP312", told=has_id)
def session_id_outside_initialize(x: Exchange) -> str | None:
    """Only a 2xx answer to `initialize` assigns an id."""
    given = x.answer_headers.get(h.SESSION_ID) if x.answer_headers else None
    if not given or (x.is_initialize and x.ok) or given == x.presented:
        return None
    if x.session is not None and given in (x.session.server_id, x.session.client_id):
        return None
    return f"on the {x.status} answer to {printable(x.what)}"


@on_request("MCP313", needs=TALK | SHARED)
def session_shared(x: Exchange) -> str | None:
    """A session has one client, and is used under one credential at a time."""
    session, talk = x.session, talk_of(x)
    if session is None or talk is None:
        return None
    for owner in reversed([*islice(reversed(session.owners), OWNERS)]):
        if owner is not x.client and not owner.gone and _strangers(owner, x.client):
            pair = " and ".join(sorted((x.client.label, owner.label)))
            return f"used by {pair}" if talk.once(pair) else None
    replaced = talk.replaced.get(x.credentials) if talk.replaced is not None else None
    if replaced is None or talk.credentials == x.credentials or x.at - replaced <= BACK_AND_FORTH:
        return None
    return "used under two credentials in turn" if talk.once("credentials") else None


def _strangers(one: Client, other: Client) -> bool:
    """Whether two clients are processes that are known to be neither parent nor child of each other."""
    if None in (one.pid, other.pid, one.parent, other.parent):
        return False
    return one.pid != other.parent and other.pid != one.parent


@on_abandoned("MCP314")
def session_never_used(left: Left) -> str | None:
    """A session that is opened is used."""
    talk = left.talk
    return "" if talk.known_at is not None and not talk.used and not talk.delete_sent else None


@on_answer("MCP315", needs=TALK | REFUSED, unless=INITIALIZE | DELETE)
def session_dead_on_arrival(x: Exchange) -> str | None:
    """A session that was just opened is known."""
    talk = talk_of(x)
    if talk is None or talk.known_at is None or not losses.on_arrival(x, talk):
        return None
    told = (losses.by_words(x) and not losses.may_be_a_tools(x, talk)) or losses.by_404(x) is not None
    if not told or not talk.once("MCP315"):
        return None
    return f"{printable(x.what)} answered {x.status}, {x.answered_at - talk.known_at:.1f} s after initialize"


def _assigned(x: Exchange) -> str:
    if x.answer_headers is None or not (x.is_initialize and x.ok):
        return ""
    return x.answer_headers.get(h.SESSION_ID, "").strip(" \t")
