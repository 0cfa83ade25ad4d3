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
from .checks import on_answer
from .facts import notes, valid_key
from .traits import INVALID, NOTIFICATION, OK, PLAIN, REQUEST, RESPONSE

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
    if not (x.ok or x.status == 501) or x.answer_headers is None:
        return None
    kept = notes(x)
    if (x.presented and kept.talk is None) or (kept.talk is not None and kept.talk.deleted_at is not None):
        return None
    if x.ok and x.answer_headers.content_type == h.SSE:
        return None
    return f"{x.status} with Content-Type: {printable(x.answer_headers.get('content-type', '(none)'))}"


@on_answer("MCP205", needs=OK, headers=_has_unknown_version)
def unknown_version_accepted(x: Exchange) -> str:
    """A revision that nobody knows is refused."""
    said = x.headers.get(h.PROTOCOL_VERSION, "").strip()
    return f"MCP-Protocol-Version: {printable(said)} answered {x.status}"


@on_answer("MCP206", needs=OK, headers=_has_origin)
def foreign_origin_accepted(x: Exchange) -> str | None:
    """A server on loopback refuses what a foreign site sends."""
    origin = x.headers.get("origin", "")
    if not is_loopback(x.endpoint.host):
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
