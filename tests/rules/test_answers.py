"""How a server answers: gateways, media types, streams that are refused, origins; near misses of each."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.exchange import Exchange
from mcp_sessions.rules import answers
from mcp_sessions.rules.answers import (
    _has_origin,
    _has_unknown_version,
    _is_json,
    _is_neither,
    foreign_origin_accepted,
    from_gateway,
    get_answer,
    is_loopback,
    unknown_version_accepted,
)
from mcp_sessions.rules.facts import notes
from mcp_sessions.rules.places import Place
from mcp_sessions.rules.talks import Talk, history
from mcp_sessions.wire.jsonrpc import Body
from rules.single import body, exchange, headers

ERROR = body({"id": 1, "error": {"code": -32603, "message": "m"}})


@pytest.mark.parametrize(
    ("status", "answer", "found"),
    [
        (None, None, True),
        *((status, ERROR, True) for status in (401, 403, 407, 408, 413, 421, 425, 429)),
        *((status, None, False) for status in (200, 400, 404, 405, 406, 499)),
        (500, ERROR, False),
        (503, ERROR, False),
        (500, None, True),
        (502, Body(problem="no JSON"), True),
        (503, body({"error": "upstream"}), False),
        (503, body({"jsonrpc": "1.0"}), True),
        (503, body(["upstream"]), True),
        (599, body(7), True),
    ],
)
def test_who_may_be_a_gateway(status: int | None, answer: Body | None, found: bool) -> None:
    assert from_gateway(exchange(status=status, answer=answer)) is found


@pytest.mark.parametrize(
    ("content_type", "json", "neither"),
    [
        ("application/json", True, False),
        ("application/json; charset=utf-8", True, False),
        ("text/event-stream", False, False),
        ("text/plain", False, True),
        ("application/problem+json", False, True),
        ("", False, True),
    ],
)
def test_media_types(content_type: str, json: bool, neither: bool) -> None:
    told = headers(content_type=content_type)
    assert (_is_json(told), _is_neither(told)) == (json, neither)
    assert (_is_json(headers()), _is_neither(headers())) == (False, True)


@pytest.mark.parametrize(
    ("version", "unknown"),
    [
        ("2025-11-25", False),
        ("2026-07-28", False),
        ("2024-11-05", False),
        ("2024-10-07", False),
        (" 2025-06-18 ", False),
        ("", False),
        (" ", False),
        ("DRAFT-2026-v1", False),
        ("draft", False),
        ("2027-01-01", False),  # may come yet
        ("2026-07-29", False),
        ("2026-07-27", True),
        ("1999-01-01", True),
        ("2", True),
        ("9999", True),
        ("nonsense", True),
    ],
)
def test_revisions_that_nobody_knows(version: str, unknown: bool) -> None:
    named = headers(mcp_protocol_version=version)
    assert _has_unknown_version(named) is unknown
    assert not _has_unknown_version(headers())
    if unknown:
        x = exchange(status=200, mcp_protocol_version=f" {version} ")
        assert unknown_version_accepted(x) == f"MCP-Protocol-Version: {version} answered 200"


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("notlocalhost", False),
        ("X127.0.0.1", False),
        ("localhostX", False),
        ("localhost.example", False),
        ("128.0.0.1", False),
        ("::2", False),
        ("mcp.example", False),
        ("", False),
    ],
)
def test_what_is_the_host_itself(host: str, found: bool) -> None:
    assert is_loopback(host) is found


@pytest.mark.parametrize(
    ("origin", "host", "dialled", "found"),
    [
        ("http://evil.example", "127.0.0.1", "", True),
        ("https://evil.example:8443", "localhost", "", True),
        ("http://evil.example", "127.0.0.1", "127.0.0.1", True),
        ("http://evil.example", "127.0.0.1", "10.0.0.1", False),
        ("http://evil.example", "mcp.example", "", False),
        ("http://localhost:3000", "127.0.0.1", "", False),
        ("http://[::1]", "127.0.0.1", "", False),
        ("null", "127.0.0.1", "", False),
        ("", "127.0.0.1", "", False),
        ("chrome-extension://abc", "127.0.0.1", "", False),
        ("http://", "127.0.0.1", "", False),
        ("http://[evil", "127.0.0.1", "", False),
    ],
)
def test_origins(origin: str, host: str, dialled: str, found: bool) -> None:
    x = exchange(status=200, origin=origin)
    assert _has_origin(x.headers)
    assert not _has_origin(headers())
    x.endpoint = x.endpoint._replace(host=host)
    x.connection.dialled = dialled
    assert foreign_origin_accepted(x) == (f"Origin: {origin} answered 200" if found else None)


def get(
    status: int = 406,
    *,
    accept: str = "text/event-stream",
    told: str = "text/plain",
    words: str = "",
    talk: Talk | None = None,
    session: str = "s",
    known: bool = True,
    **fields: Any,
) -> Exchange:
    """A GET in a session whose beginning was seen, refused."""
    place = Place()
    if talk is None and known:
        talk = Talk(place, known_at=1.0, revision="2025-11-25")
    if session:
        fields["mcp_session_id"] = session
    answer = body({"id": None, "error": {"code": 1, "message": words}}) if words else None
    x = exchange(
        verb="GET", status=status, told=headers(content_type=told), place=place, answer=answer, accept=accept, **fields
    )
    notes(x).talk = talk
    return x


def talk(**more: Any) -> Talk:
    given: dict[str, Any] = {"known_at": 1.0, "revision": "2025-11-25"}
    return Talk(Place(), **given | more)


def stranger() -> Exchange:
    x = get()
    x.stranger = True
    return x


VERSION: dict[str, Any] = {"mcp_protocol_version": "2025-11-25"}
OTHER: dict[str, Any] = {"mcp_protocol_version": "2025-06-18"}
RESUMED: dict[str, Any] = {"last_event_id": "e"}


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (get(), True),
        (get(500), True),
        (get(400, **VERSION), True),
        (get(405), False),
        (get(403), False),
        (get(200), True),
        (get(204), True),
        (get(200, told="text/event-stream"), False),
        (get(501, known=False, session=""), True),
        (get(501, talk=talk(known_at=None)), True),
        # There may be another reason.
        (get(known=False), False),
        (get(known=False, session=""), False),
        (get(200, known=False, session=""), True),
        (get(200, known=False), False),
        (get(talk=talk(deleted_at=2.0)), False),
        (get(200, talk=talk(deleted_at=2.0)), False),
        (get(talk=talk(lost_at=2.0)), False),
        (get(talk=talk(known_at=None)), False),
        (get(accept="application/json"), False),
        (stranger(), False),
        (get(404), False),
        (get(404, session=""), True),
        (get(404, session="", **RESUMED), False),
        (get(406, **RESUMED), True),
        (get(400, **VERSION, **RESUMED), False),
        (get(400, **OTHER), False),
        (get(406, **OTHER), True),
        (get(400), False),
        (get(400, talk=talk(revision="2025-03-26")), True),
        (get(400, talk=talk(revision="")), True),
        (get(500, words="Session not found", **VERSION), False),
        (get(400, words="Session not found", **VERSION), False),
        (get(400, words="bad", **VERSION), True),
    ],
)
def test_a_get_is_answered_with_a_stream_or_405(x: Exchange, told: bool) -> None:
    said = get_answer(x)
    if told:
        assert x.answer_headers is not None
        assert said == f"{x.status} with Content-Type: {x.answer_headers['content-type']}"
    else:
        assert said is None


def test_a_get_without_a_media_type() -> None:
    x = get()
    x.answer_headers = headers()
    assert get_answer(x) == "406 with Content-Type: (none)"
    x.answer_headers = None
    assert get_answer(x) is None


@pytest.mark.parametrize(("at", "said"), [(5.0, True), (4.0, False), (3.0, False)])
def test_a_session_lives_whose_get_was_answered_404(at: float, said: bool) -> None:
    x = exchange({"id": 1, "method": "ping"}, at=at)
    assert answers.get_404_in_a_session_that_lives(x) is None
    notes(x).talk = one = talk()
    assert answers.get_404_in_a_session_that_lives(x) is None
    history(one)
    assert answers.get_404_in_a_session_that_lives(x) is None
    history(one).get_404_at = 4.0
    wanted = ["GET answered 404, and the session lives", None] if said else [None, None]
    assert [answers.get_404_in_a_session_that_lives(x) for _ in range(2)] == wanted


NOTE, ONE, TWO = {"method": "notifications/x"}, {"id": 1, "method": "ping"}, {"id": 2, "method": "ping"}
DONE, SECOND = {"id": 1, "result": {}}, {"id": 2, "result": {}}
FAILED = {"error": {"code": -32700, "message": "m"}}


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (202, Body(), None),
        (202, Body(problem="empty"), None),
        (202, None, None),
        (202, body({"id": 1, "result": {}}), "notifications/x answered 202 with a body"),
        (202, Body(problem="no JSON"), "notifications/x answered 202 with a body"),
        (200, Body(), "notifications/x answered 200"),
        (204, Body(), "notifications/x answered 204"),
    ],
)
def test_what_needs_no_answer(status: int, answer: Body | None, said: str | None) -> None:
    assert answers.accepted_not_202(exchange(NOTE, status=status, answer=answer)) == said


@pytest.mark.parametrize(
    ("asked", "answer", "said"),
    [
        ([ONE], body(DONE), None),
        ([ONE], body({"id": 1.0, "result": {}}), None),
        ([ONE], body(SECOND), "answers id 2"),
        ([ONE], body({"id": "1", "result": {}}), "answers id 1"),
        ([ONE], body({"id": None, **FAILED}), "answers id None"),
        ([ONE], body({"id": None, "result": {}}), "answers id None"),
        ([ONE], body(ONE), "not a JSON-RPC response"),
        ([ONE], body(7), "not a JSON-RPC response"),
        ([ONE], body(DONE, DONE), "an array in answer to a single request"),
        ([ONE], Body(problem="no JSON"), "no JSON"),
        ([ONE], None, None),
        ([{"id": None, "method": "ping"}], body({"id": None, **FAILED}), None),
        ([{"id": None, "method": "ping"}], body(DONE), "answers id 1"),
        ([ONE, TWO], body(DONE, SECOND), None),
        ([ONE, TWO], body(SECOND, DONE), None),
        ([ONE, TWO], body({"id": None, **FAILED}), None),
        ([ONE, TWO], body(DONE), "1 requests of the batch are not answered"),
        ([ONE, TWO], body(DONE, {"id": None, **FAILED}), None),
        ([ONE, TWO], body(DONE, DONE), "answers one id twice"),
        ([ONE, TWO], body(DONE, {"id": 3, "result": {}}), "answers id 3"),
        ([ONE, NOTE], body(DONE), None),
    ],
)
def test_what_answers_a_request(asked: list[Any], answer: Body | None, said: str | None) -> None:
    assert answers.answer_not_jsonrpc(exchange(*asked, answer=answer, told=headers())) == said


def test_an_answer_that_can_not_be_read_is_not_judged() -> None:
    wrong = body(SECOND)
    assert answers.answer_not_jsonrpc(exchange(ONE, answer=wrong)) is None
    large = Body(wrong.messages, sniffed=True)
    assert answers.answer_not_jsonrpc(exchange(ONE, answer=large, told=headers())) is None
    x = exchange(ONE, answer=wrong, told=headers())
    x.body = Body(x.body.messages, sniffed=True)
    assert answers.answer_not_jsonrpc(x) is None
    coded = headers(content_encoding="gzip")
    assert answers.answer_not_jsonrpc(exchange(ONE, answer=Body(problem="no JSON"), told=coded)) is None
    assert answers.answer_not_jsonrpc(exchange(ONE, answer=wrong, told=coded)) == "answers id 2"


def test_the_media_type_of_an_answer() -> None:
    x = exchange(ONE, status=200, told=headers(content_type="text/html"))
    assert answers.answer_content_type(x) is None, "nothing is due"
    notes(x).due = {1}
    assert answers.answer_content_type(x) == "200 with Content-Type: text/html"
    x.answer_headers = headers()
    assert answers.answer_content_type(x) == "200 with Content-Type: (none)"
    x.answer_headers = None
    assert answers.answer_content_type(x) is None
