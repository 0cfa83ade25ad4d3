"""Checks of how a server answers: statuses, media types, bodies."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from ..core.exchange import Exchange
from ..wire import headers as h
from ..wire.headers import HeaderMap, coded
from ..wire.jsonrpc import Kind
from ..wire.revision import EARLIER, FIRST_STATELESS, REVISIONS, is_revision
from ..wire.text import printable
from . import losses
from .checks import on_answer, on_finish
from .facts import notes, valid_key
from .talks import Talk
from .traits import GET_REFUSED, INVALID, NOTIFICATION, OK, PLAIN, REQUEST, RESPONSE, RESULTED

NO_STREAM = frozenset({400, 404, 406, 500, 501})
"""Statuses by which a server says that there is no stream, in the place of 405."""
UNVERSIONED = ("2025-03-26", "")
"""Revisions under which a request need not name its revision."""

GATEWAYS = frozenset({401, 403, 407, 408, 413, 421, 425, 429})
"""Statuses about credentials, or in the words of somebody in front of the server."""


def from_gateway(x: Exchange) -> bool:
    """Whether this refusal may be the word of somebody in front of the server."""
    if x.status is None or x.status in GATEWAYS:
        return True
    return x.status >= 500 and (x.answer is None or x.answer.first is None or x.answer.first.kind is Kind.INVALID)


def _is_json(headers: HeaderMap) -> bool:
    return headers.content_type == h.JSON


def _is_neither(headers: HeaderMap) -> bool:
    return headers.content_type not in (h.JSON, h.SSE)


def _has_unknown_version(headers: HeaderMap) -> bool:
    said = headers.get(h.PROTOCOL_VERSION, "").strip()
    if not said or said in REVISIONS or said in EARLIER or said.upper().startswith("DRAFT"):
        return False
    return not (is_revision(said) and said > FIRST_STATELESS)


def _has_origin(headers: HeaderMap) -> bool:
    return "origin" in headers


@on_answer("MCP201", "POST", sent=NOTIFICATION | RESPONSE, needs=OK, unless=REQUEST | INVALID)
def accepted_not_202(x: Exchange) -> str | None:
    """What needs no answer is accepted with 202 and no body."""
    if x.status != 202:
        return f"{printable(x.what)} answered {x.status}"
    body = x.answer is not None and (x.answer.messages or x.answer.problem not in ("", "empty"))
    return f"{printable(x.what)} answered 202 with a body" if body else None


@on_answer("MCP202", "POST", sent=REQUEST, needs=OK, told=_is_neither)
def answer_content_type(x: Exchange) -> str | None:
    """A request is answered with JSON or an event stream."""
    if x.answer_headers is None or not notes(x).due:
        return None
    return f"{x.status} with Content-Type: {printable(x.answer_headers.get('content-type', '(none)'))}"


@on_answer("MCP203", "POST", sent=REQUEST, needs=OK, unless=PLAIN, told=_is_json)
def answer_not_jsonrpc(x: Exchange) -> str | None:
    """A JSON answer is the response to the request."""
    answer, headers = x.answer, x.answer_headers
    if answer is None or headers is None:
        return None
    asked = [message for message in x.body.messages if message.kind is Kind.REQUEST]
    if x.body.sniffed or answer.sniffed or (answer.problem and coded(headers)):
        return None
    if answer.problem:
        return answer.problem
    if answer.batch and not x.body.batch:
        return "an array in answer to a single request"
    if any(message.kind is not Kind.RESPONSE for message in answer.messages):
        return "not a JSON-RPC response"
    named = [message for message in answer.messages if message.error is None or message.id is not None]
    if not named and (x.body.batch or any(not valid_key(message.id) for message in asked)):
        return None  # it could not be read
    wanted = {message.id for message in asked if valid_key(message.id)}
    got = [message.id for message in (named if x.body.batch else answer.messages)]
    strange = [found for found in got if not valid_key(found) or found not in wanted]
    if strange:
        return f"answers id {printable(strange[0])}"
    if len(got) != len(set(got)):
        return "answers one id twice"
    missing = len(wanted) - len(answer.messages)
    return f"{missing} requests of the batch are not answered" if missing > 0 else None


@on_answer("MCP204", "GET")
def get_answer(x: Exchange) -> str | None:
    """A GET is answered with an event stream or 405."""
    if x.answer_headers is None or not (x.ok or x.status in NO_STREAM):
        return None
    talk = notes(x).talk
    if (x.presented and talk is None) or (talk is not None and talk.deleted_at is not None):
        return None
    if x.ok and x.answer_headers.content_type == h.SSE:
        return None
    if not x.ok and x.status != 501 and (talk is None or talk.lost_at is not None or _excused(x, talk)):
        return None
    return f"{x.status} with Content-Type: {printable(x.answer_headers.get('content-type', '(none)'))}"


def _excused(x: Exchange, talk: Talk) -> bool:
    """Whether there may be a reason to refuse a GET that has nothing to do with streams."""
    if x.stranger or talk.known_at is None or not x.headers.lists(h.SSE):
        return True
    if x.status == 404:
        return x.presented is not None or h.LAST_EVENT_ID in x.headers  # see below
    named = x.headers.get(h.PROTOCOL_VERSION)
    if x.status == 400 and (h.LAST_EVENT_ID in x.headers or named not in (talk.revision, None)):
        return True
    return losses.by_words(x) or (x.status == 400 and named is None and talk.revision not in UNVERSIONED)


@on_finish("MCP204", "POST", needs=RESULTED | GET_REFUSED)
def get_404_in_a_session_that_lives(x: Exchange) -> str | None:
    """What was no sign of a lost session was none of a stream either."""
    talk = notes(x).talk
    if talk is None or talk.history is None or talk.history.get_404_at is None or x.at <= talk.history.get_404_at:
        return None
    return "GET answered 404, and the session lives" if talk.once("MCP204") else None


@on_answer("MCP205", needs=OK, headers=_has_unknown_version)
def unknown_version_accepted(x: Exchange) -> str:
    """A revision that nobody knows is refused."""
    said = x.headers.get(h.PROTOCOL_VERSION, "").strip()
    return f"MCP-Protocol-Version: {printable(said)} answered {x.status}"


@on_answer("MCP206", needs=OK, headers=_has_origin)
def foreign_origin_accepted(x: Exchange) -> str | None:
    """A server on loopback refuses what a foreign site sends, unless a proxy offers it elsewhere."""
    origin = x.headers.get("origin", "")
    dialled = x.connection.dialled
    if not is_loopback(x.endpoint.host) or (dialled and not is_loopback(dialled)):
        return None
    try:
        site = urlsplit(origin)
        host = site.hostname
    except ValueError:
        return None
    if site.scheme not in ("http", "https") or not host or is_loopback(host):
        return None
    return f"Origin: {printable(origin)} answered {x.status}"


def is_loopback(host: str) -> bool:
    """Whether this is a name or an address of the host itself."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
