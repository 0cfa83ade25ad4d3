"""What a refusal is read as, by who asks, how the session stands, and what the answer holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.test_tables import a_session
from core.world import ENDPOINT, fields
from mcp_sessions.core.client import Connection
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.recovery.dialects import OPTIONAL, REFUSALS, Reading, Verdict, reading
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import STANDINGS, ClientSide, Reason, ServerSide, Why
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import parse
from mcp_sessions.wire.revision import Era

CONNECTION = Connection("c1", ("127.0.0.1", 1), ("127.0.0.1", 2), opened=1, last_active=1)
ALL = frozenset({200, 400, 401, 410, 503})
PLAIN, OTHER = "Session not found", "User 5 not found"


def a_refusal(status: int = 404, *, verb: str = "POST", asked: Any = 1, **more: Any) -> Exchange:
    shown = fields({"mcp-session-id": "s-one-two", "last-event-id": more.pop("last", None)})
    body = json.dumps({"jsonrpc": "2.0", "method": "ping", "id": asked}).encode() if verb == "POST" else b""
    x = Exchange("x1", 1.0, verb, ENDPOINT, str(ENDPOINT), HeaderMap(shown), parse(body), CONNECTION)
    x.session, x.status, x.answer_headers = a_session(), status, HeaderMap()
    x.session.answered = 1
    for name, value in more.items():
        setattr(x, name, value)
    return x


def read(x: Exchange, content: Any = b"", dialects: frozenset[int] = ALL) -> Reading | None:
    found = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
    x.answer = parse(found) if found is not None else None
    return reading(x, found, dialects)


def error(message: str = PLAIN, *, id: Any = None, code: Any = -32001) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}


def standing(client: ClientSide, server: ServerSide, why: Why | None = None) -> Session:
    session = a_session()
    session.standing, session.answered = STANDINGS[client, server, False], 1
    session.reason = Reason(why, "for a test") if why else None
    return session


# Whether it is read at all


def test_what_is_no_refusal_of_a_session_is_not_read() -> None:
    assert read(a_refusal()) is not None
    for x in (
        a_refusal(presented=None),
        a_refusal(stranger=True),
        a_refusal(402),
        a_refusal(500),
        a_refusal(era=Era.STATELESS),
    ):
        assert read(x) is None
    assert read(a_refusal(stranger=True, akin=a_session())) is not None
    assert (frozenset({200, 400, 401, 403, 404, 410, 503}), ALL) == (REFUSALS, OPTIONAL)


@pytest.mark.parametrize(
    ("content", "is_read"),
    [
        (error(), True),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, False),
        (b"Session not found", False),
        (b"", False),
        (None, False),
    ],
)
def test_with_200_only_an_error_is_one(content: Any, is_read: bool) -> None:
    found = read(a_refusal(200), content)
    assert (found is not None) is is_read
    if found is not None:
        assert (found.verdict, found.dialect) == (Verdict.LOST, "200-for-404")


# As what


@pytest.mark.parametrize(
    ("client", "server", "why", "verdict"),
    [
        (ClientSide.LEAVING, ServerSide.ALIVE, None, Verdict.ENDED),
        (ClientSide.LEFT, ServerSide.ALIVE, None, Verdict.ENDED),
        (ClientSide.LEFT, ServerSide.ALIVE, Why.BY_HAND, Verdict.ENDED_BY_HAND),
        (ClientSide.LEFT, ServerSide.DELETED, Why.CLIENT_DELETE, Verdict.ENDED),
        (ClientSide.GONE, ServerSide.DELETING, Why.IDLE, Verdict.ENDED),
        (ClientSide.GONE, ServerSide.DELETED, Why.IDLE, Verdict.ENDED),
        (ClientSide.GONE, ServerSide.ALIVE, None, Verdict.LOST),
        (ClientSide.USING, ServerSide.LOST, None, Verdict.LOST),
    ],
)
def test_what_has_been_ended_is_not_lost(
    client: ClientSide, server: ServerSide, why: Why | None, verdict: Verdict
) -> None:
    session = standing(client, server, why)
    found = read(a_refusal(session=session), error())
    assert found is not None
    assert found.verdict is verdict
    if verdict is not Verdict.LOST:
        assert found == Reading(verdict, f"the session is {session.state}")
    unknown = read(a_refusal(session=session), error(code=-32601))
    assert unknown is not None
    assert unknown.verdict is Verdict.UNKNOWN_METHOD, "that is said whatever the session is"


def test_a_stranger_is_not_told_that_another_ones_session_is_being_ended() -> None:
    for client, server, verdict in (
        (ClientSide.GONE, ServerSide.DELETING, Verdict.LOST),
        (ClientSide.LEFT, ServerSide.ALIVE, Verdict.ENDED),
    ):
        x = a_refusal(session=None, stranger=True, akin=standing(client, server))
        found = read(x, error())
        assert found is not None
        assert found.verdict is verdict


@pytest.mark.parametrize(
    ("status", "content", "more", "verdict"),
    [
        (404, error(id=1), {}, Verdict.LOST),
        (404, error(OTHER, id=1), {}, Verdict.ANSWERED),
        (404, error("Terminal session not found: t1", id=1), {}, Verdict.ANSWERED),
        (400, error(id=1), {}, Verdict.LOST),
        (400, error(OTHER, id=1), {}, Verdict.ANSWERED),
        (404, error(OTHER), {}, Verdict.LOST),
        (404, b"", {}, Verdict.LOST),
        (404, b"", {"verb": "GET"}, Verdict.LOST),
        (404, b"event not found", {"verb": "GET", "last": "7"}, Verdict.STALE_EVENT),
        (404, b"event not found", {"verb": "GET"}, Verdict.LOST),
        (404, b"event not found", {"last": "7"}, Verdict.LOST),
        (404, b"session", {"session": None}, Verdict.LOST),
        (404, b"nothing", {"session": None}, Verdict.WRONG_PATH),
        (400, b"No valid session ID", {}, Verdict.LOST),
        (400, b"No valid session ID", {"session": None}, Verdict.OTHER),
        (400, b"nothing", {}, Verdict.OTHER),
        (401, b"unknown session", {}, Verdict.LOST),
        (401, b"unknown session", {"answer_headers": HeaderMap([(b"www-authenticate", b"Bearer")])}, Verdict.AUTH),
        (401, b"who?", {}, Verdict.AUTH),
        (403, b"unknown session", {}, Verdict.AUTH),
        (410, b"the session is gone", {}, Verdict.LOST),
        (410, b"gone", {}, Verdict.OTHER),
        (503, b"no such session", {}, Verdict.LOST),
        (503, b"busy", {}, Verdict.OTHER),
    ],
)
def test_each_way_to_say_it(status: int, content: Any, more: dict[str, Any], verdict: Verdict) -> None:
    found = read(a_refusal(status, **more), content)
    assert found is not None
    assert found.verdict is verdict
    lost_in_a_dialect = verdict is Verdict.LOST and status != 404
    assert found.dialect == (f"{status}-for-404" if lost_in_a_dialect else "")
    if lost_in_a_dialect:
        silent = read(a_refusal(status, **more), content, frozenset())
        assert silent is not None
        assert silent.verdict is not Verdict.LOST, "nobody wants it understood"
        fresh = a_refusal(status, **more)
        assert fresh.session is not None
        fresh.session.answered = 0
        unproven = read(fresh, content)
        assert unproven is not None
        assert unproven.verdict is not Verdict.LOST, "it has never worked"


def test_a_404_alone_says_something_where_the_session_was_seen_to_be_opened() -> None:
    for opened_by, parameters, verdict in (
        ("client", None, Verdict.LOST),
        ("unknown", b"{}", Verdict.LOST),
        ("unknown", None, Verdict.WRONG_PATH),
    ):
        x = a_refusal()
        assert x.session is not None
        x.session.opened_by, x.session.parameters = opened_by, parameters
        found = read(x, b"<html>")
        assert found is not None
        assert found.verdict is verdict


# Whether it was processed


@pytest.mark.parametrize(
    ("content", "more", "unprocessed"),
    [
        (error(), {}, True),
        (error(id=1), {}, False),
        (error(id=2), {}, True),
        (b"", {}, True),
        (b'data: {"jsonrpc":"2.0","id":1,"error":{}}', {}, False),
        (b"", {"verb": "GET"}, False),
        (b"session not found", {"verb": "GET"}, True),
    ],
)
def test_a_refusal_proves_that_nothing_was_done_unless_it_may_be_the_answer(
    content: Any, more: dict[str, Any], unprocessed: bool
) -> None:
    found = read(a_refusal(**more), content)
    assert found is not None
    assert found.unprocessed is unprocessed


def test_the_reason_names_the_status_and_the_code() -> None:
    reasons = [
        getattr(read(a_refusal(status), content), "reason", "")
        for status, content in ((404, error(code=-32001)), (404, error(code="x")), (410, b"session"), (410, b""))
    ]
    assert reasons == [
        "404 with JSON-RPC -32001 that names the session",
        "404 with JSON-RPC error that names the session",
        "status 410 that names the session, which worked before",
        "status 410",
    ]
