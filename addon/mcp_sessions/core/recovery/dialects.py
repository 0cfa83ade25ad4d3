"""What a refusal means: a lost session, or something that no handshake will mend. A row for each way to say so.

The rows hold what servers were seen to answer; the first that fits decides. Only `LOST` is ever recovered.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ...wire.headers import LAST_EVENT_ID
from ...wire.jsonrpc import METHOD_NOT_FOUND
from ...wire.revision import Era
from ..exchange import Exchange
from ..states import ClientSide, ServerSide, Why
from . import wording
from .own_id import may_answer


class Verdict(StrEnum):
    """What a refused request is a case of."""

    LOST = "lost session"
    UNKNOWN_METHOD = "unknown method"
    WRONG_PATH = "wrong path or routing page"
    STALE_EVENT = "stale Last-Event-ID"
    ANSWERED = "the answer to the request itself"
    AUTH = "authentication"
    ENDED = "session ended by its own client"
    ENDED_BY_HAND = "session ended by hand"
    OTHER = "not about the session"


class Reading(NamedTuple):
    """A verdict and the evidence for it."""

    verdict: Verdict
    reason: str
    dialect: str = ""
    """The dialect that was matched, where it is not the specification's 404."""
    unprocessed: bool = True
    """Whether it is beyond doubt that the request was not processed, as it was refused because of the session.

    No server answers a request by its id before it has processed it; and 404 to a GET may mean that there is no stream.
    """


class Needs(StrEnum):
    """What must be known of the session for a row to fit."""

    NOTHING = "nothing"
    OPENED = "its initialize was seen"
    WORKED = "the server has answered a request in it with success"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to answer: everything that is given must fit."""

    verdict: Verdict
    reason: str
    """For people; `{status}` and `{code}` are filled in."""
    status: int | None = None
    code: int | None = None
    """The code of the JSON-RPC error."""
    is_error: bool = False
    """Whether it must be a JSON-RPC error at all."""
    own_id: bool = False
    """Whether it must be an error that answers the request by its own id."""
    words: re.Pattern[str] | None = None
    """In the message of the JSON-RPC error, or else in the body."""
    header: str = ""
    """A header that the answer must have."""
    resumes: bool = False
    """Whether the request must be a GET with `Last-Event-ID`."""
    needs: Needs = Needs.NOTHING
    optional: bool = False
    """Whether it is understood only if the option `mcp_recover_dialects` names its status."""
    seen_at: str = ""


_V, _NAMES_SESSION = Verdict, "status {status} that names the session, which worked before"

ROWS = (
    Row(_V.UNKNOWN_METHOD, "JSON-RPC -32601", code=METHOD_NOT_FOUND),
    Row(
        _V.LOST,
        "status 200 with an error that names the session, which worked before",
        200,
        is_error=True,
        words=re.compile(r"session (not found|expired|unknown|terminated)|unknown session", re.I),
        needs=Needs.WORKED,
        optional=True,
        seen_at="gateways",
    ),
    Row(
        _V.LOST,
        "404 with JSON-RPC {code} that says of the session, and of nothing else, that it is not found",
        404,
        own_id=True,
        words=wording.PLAINLY_LOST,
        needs=Needs.OPENED,
        seen_at="guards before a map of transports: `message: 'Session not found'}, id: req.body?.id ?? null`",
    ),
    Row(
        _V.LOST,
        "400 with JSON-RPC {code} that says of the session, and of nothing else, that it is not found",
        400,
        own_id=True,
        words=wording.PLAINLY_LOST,
        needs=Needs.WORKED,
        optional=True,
        seen_at="the same with another status: `id: req.body?.id || null`",
    ),
    Row(_V.ANSWERED, "JSON-RPC {code} under the request's own id", own_id=True),
    Row(_V.STALE_EVENT, "404 that names the event", 404, words=wording.STALE_EVENT, resumes=True),
    Row(_V.LOST, "404 with JSON-RPC {code} that names the session", 404, is_error=True, words=wording.SESSION),
    Row(_V.LOST, "404 on a session that this server had opened", 404, needs=Needs.OPENED),
    Row(_V.LOST, "404 that names the session", 404, words=wording.SESSION),
    Row(_V.WRONG_PATH, "404 on an id that this server was never seen to know", 404),
    Row(
        _V.LOST,
        _NAMES_SESSION,
        400,
        words=wording.LOST,
        needs=Needs.WORKED,
        optional=True,
        seen_at="server-everything and much code copied from the old examples; Python and TypeScript servers without a "
        "session",
    ),
    Row(_V.AUTH, "401 with a challenge", 401, header="www-authenticate"),
    Row(
        _V.LOST,
        _NAMES_SESSION,
        401,
        words=re.compile(r"(unknown|invalid|expired) session|session (not found|expired|unknown)", re.I),
        needs=Needs.WORKED,
        optional=True,
        seen_at="gateways",
    ),
    Row(
        _V.LOST,
        _NAMES_SESSION,
        410,
        words=wording.SESSION,
        needs=Needs.WORKED,
        optional=True,
        seen_at="hosted servers that sleep",
    ),
    Row(
        _V.LOST,
        _NAMES_SESSION,
        503,
        words=wording.SESSION,
        needs=Needs.WORKED,
        optional=True,
        seen_at="hosted servers that scale",
    ),
    Row(_V.AUTH, "status 401", 401),
    Row(_V.AUTH, "status 403", 403),
)

OTHERWISE = Row(_V.OTHER, "status {status}")

REFUSALS = frozenset({200, 400, 401, 403, 404, 410, 503})
"""Statuses that some server was seen to use for a session it does not know."""

OPTIONAL = frozenset(row.status for row in ROWS if row.optional and row.status is not None)
"""Statuses other than 404 that may be understood as a lost session."""


def reading(x: Exchange, content: bytes | None, dialects: Collection[int]) -> Reading | None:
    """What an answer that was read whole means for its session; None if it is no refusal that could mean anything.

    Args:
        x: the exchange, with its answer's status, headers and body.
        content: the answer's body, decoded; None if it can't be read.
        dialects: statuses other than 404 that are understood.
    """
    if x.presented is None or (x.stranger and x.akin is None) or x.status not in REFUSALS or x.era is Era.STATELESS:
        return None
    if x.ok and (x.answer is None or x.answer.first is None or x.answer.first.error is None):
        return None
    return _read(x, content, dialects)


def _read(x: Exchange, content: bytes | None, dialects: Collection[int]) -> Reading:
    message = x.answer.first if x.answer else None
    is_error = message is not None and message.error is not None
    text = (content or b"")[: wording.LIMIT].decode("utf-8", "replace")
    said = (message.error_text if message and is_error else text)[: wording.LIMIT]
    code = message.error_code if message else None
    session = x.session or x.akin
    if (
        code != METHOD_NOT_FOUND
        and session is not None
        and (
            session.standing.client in (ClientSide.LEAVING, ClientSide.LEFT)
            or (not x.stranger and session.standing.server in (ServerSide.DELETING, ServerSide.DELETED))
        )
    ):
        by_hand = session.reason is not None and session.reason.kind is Why.BY_HAND
        return Reading(Verdict.ENDED_BY_HAND if by_hand else Verdict.ENDED, f"the session is {session.state}")
    own = may_answer(x, content)
    row = next((row for row in ROWS if _fits(row, x, code, is_error, bool(own), said, dialects)), OTHERWISE)
    reason = row.reason.format(status=x.status, code="error" if code is None else code)
    sure = own is False and (x.verb != "GET" or wording.names_session(said))
    return Reading(row.verdict, reason, f"{row.status}-for-404" if row.optional else "", unprocessed=sure)


def _fits(
    row: Row, x: Exchange, code: int | None, is_error: bool, own: bool, said: str, dialects: Collection[int]
) -> bool:
    if row.status is not None and row.status != x.status:
        return False
    if row.code is not None and row.code != code:
        return False
    if row.optional and row.status not in dialects:
        return False
    if (row.is_error and not is_error) or (row.own_id and not own):
        return False
    if row.header and (x.answer_headers is None or row.header not in x.answer_headers):
        return False
    if row.resumes and not (x.verb == "GET" and LAST_EVENT_ID in x.headers):
        return False
    session = x.session or x.akin
    if row.needs is Needs.OPENED and (
        session is None or (session.parameters is None and session.opened_by != "client")
    ):
        return False
    if row.needs is Needs.WORKED and (session is None or not session.answered):
        return False
    if row.words is None:
        return True
    return row.words.search(said) is not None and (not own or wording.says_plainly(said))
