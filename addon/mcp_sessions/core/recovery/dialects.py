"""What a refusal means: a lost session, or something that no handshake will mend.

Read from the table of dialects below, which holds what servers were seen to answer, and from whether the session has
worked before. Only `LOST` is ever recovered.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ...wire.jsonrpc import METHOD_NOT_FOUND
from ...wire.revision import Era
from ..exchange import Exchange
from ..states import State
from . import wording

REFUSALS = frozenset({200, 400, 401, 403, 404, 410, 503})
"""Statuses that some server was seen to use for a session it does not know."""

TEXT_LIMIT = 4096


class Verdict(StrEnum):
    """What a refused request is a case of."""

    LOST = "lost session"
    UNKNOWN_METHOD = "unknown method"
    WRONG_PATH = "wrong path or routing page"
    STALE_EVENT = "stale Last-Event-ID"
    AUTH = "authentication"
    ENDED = "session ended by its own client"
    OTHER = "not about the session"


class Reading(NamedTuple):
    """A verdict and the evidence for it."""

    verdict: Verdict
    reason: str
    dialect: str = ""
    """The dialect that was matched, where it is not the specification's 404."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How some servers say that a session is lost, in other words than 404.

    The option `mcp_recover_dialects` names it by its status; 400 is understood unless told otherwise.
    """

    status: int
    text: re.Pattern[str]
    seen_at: str


DIALECTS = (
    Dialect(
        400,
        wording.LOST,
        "server-everything and much code copied from the old examples; Python and TypeScript servers without a session",
    ),
    Dialect(
        401, re.compile(r"(unknown|invalid|expired) session|session (not found|expired|unknown)", re.I), "gateways"
    ),
    Dialect(410, re.compile(r"session", re.I), "hosted servers that sleep"),
    Dialect(503, re.compile(r"session", re.I), "hosted servers that scale"),
    Dialect(200, re.compile(r"session (not found|expired|unknown|terminated)|unknown session", re.I), "gateways"),
)


def read(x: Exchange, text: str, dialects: Collection[int]) -> Reading:
    """Classify a refused request.

    Args:
        x: the exchange, with its answer's status, headers and body.
        text: the answer's body as text, bounded.
        dialects: statuses other than 404 that are understood.
    """
    if x.era is Era.STATELESS:
        return Reading(Verdict.OTHER, "2026-07-28 has no sessions")
    message = x.answer.first if x.answer else None
    code = message.error_code if message else None
    said = str((message.error or {}).get("message", ""))[:TEXT_LIMIT] if message and message.error else text
    if code == METHOD_NOT_FOUND:
        return Reading(Verdict.UNKNOWN_METHOD, "JSON-RPC -32601")
    session = x.session
    if session is not None and (session.left or session.state in (State.LEAVING, State.CLOSED, State.ENDING)):
        return Reading(Verdict.ENDED, f"the session is {session.state}")
    if x.presented is None:
        return Reading(Verdict.OTHER, "the request carries no session id")
    if x.status == 404:
        return _read_404(x, said, code)
    dialect = next((d for d in DIALECTS if d.status == x.status), None)
    if dialect is None or dialect.status not in dialects:
        auth = x.status in (401, 403)
        return Reading(Verdict.AUTH if auth else Verdict.OTHER, f"status {x.status}")
    if x.status == 401 and x.answer_headers is not None and "www-authenticate" in x.answer_headers:
        return Reading(Verdict.AUTH, "401 with a challenge")
    if x.status == 200 and (message is None or message.error is None):
        return Reading(Verdict.OTHER, "a proper answer")
    if not dialect.text.search(said):
        return Reading(Verdict.AUTH if x.status == 401 else Verdict.OTHER, f"status {x.status}, not about a session")
    if session is None or not session.answered:
        return Reading(Verdict.OTHER, f"status {x.status} on a session that never worked")
    return Reading(
        Verdict.LOST, f"status {x.status} that names the session, which worked before", f"{x.status}-for-404"
    )


def _read_404(x: Exchange, said: str, code: int | None) -> Reading:
    if x.verb == "GET" and "last-event-id" in x.headers and wording.STALE_EVENT.search(said):
        return Reading(Verdict.STALE_EVENT, "404 that names the event")
    if code is not None and wording.SESSION.search(said):
        return Reading(Verdict.LOST, f"404 with JSON-RPC {code} that names the session")
    known = x.session is not None and x.session.initialize is not None
    if known:
        return Reading(Verdict.LOST, "404 on a session that this server had opened")
    if wording.SESSION.search(said):
        return Reading(Verdict.LOST, "404 that names the session")
    return Reading(Verdict.WRONG_PATH, "404 on an id that this server was never seen to know")
