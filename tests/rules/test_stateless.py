"""Checks of the stateless era by themselves: near misses beside what the catalogue's examples show."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.rules import stateless
from mcp_sessions.rules.checks import Arrival, Verdict
from mcp_sessions.rules.facts import notes
from mcp_sessions.rules.places import Place
from mcp_sessions.wire.jsonrpc import Body, Message
from mcp_sessions.wire.revision import META_CAPABILITIES, META_VERSION
from mcp_sessions.wire.sse import Event
from rules.single import body, exchange

NEW = "2026-07-28"
LIST = {"id": 1, "method": "tools/list"}
PLACE = Place(modern=True)


def result(**members: Any) -> Body:
    return body({"id": 1, "result": members})


def error(code: Any = -32601, number: int = 1) -> Body:
    return body({"id": number, "error": {"code": code, "message": "m"}})


def sniffed(found: Body) -> Body:
    return Body(found.messages, sniffed=True)


def arrival(found: Body | None) -> Arrival:
    return Arrival(Event(b""), found, 0.0)


def answered(answer: Body | None, status: int = 200, message: Any = None, place: Place = PLACE) -> Exchange:
    return exchange(message or LIST, answer=answer, status=status, place=place)


HINTS = {"ttlMs": 5, "cacheScope": "public"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (result(**HINTS), None),
        (result(ttlMs=0, cacheScope="private"), None),
        (result(ttlMs=5.0, cacheScope="private"), None),
        (result(cacheScope="public"), "tools/list without a valid ttlMs"),
        (result(ttlMs=-1, cacheScope="public"), "tools/list without a valid ttlMs"),
        (result(ttlMs=0.5, cacheScope="public"), "tools/list without a valid ttlMs"),
        (result(ttlMs=True, cacheScope="public"), "tools/list without a valid ttlMs"),
        (result(ttlMs="5", cacheScope="public"), "tools/list without a valid ttlMs"),
        (result(ttlMs=5), "tools/list without a cacheScope"),
        (result(ttlMs=5, cacheScope="PUBLIC"), "tools/list without a cacheScope"),
        (result(), "tools/list without a valid ttlMs"),
        (result(resultType="complete"), "tools/list without a valid ttlMs"),
        (result(resultType="input_required"), None),
        (error(), None),
        (body({"id": 2, "result": {}}), None),
        (body({"id": 1, "result": []}), None),
        (sniffed(result()), None),
        (None, None),
    ],
)
def test_hints_for_caches(answer: Body | None, said: str | None) -> None:
    assert stateless.cache_hints_missing(answered(answer)) == said
    assert stateless.cache_hints_missing_on_stream(answered(None), arrival(answer)) == said
    assert stateless.cache_hints_missing(answered(answer, place=Place())) is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (result(), "tools/list"),
        (result(resultType=7), "tools/list"),
        (result(resultType="complete"), None),
        (result(resultType="anything"), None),
        (error(), None),
        (body({"id": 2, "result": {}}), None),
        (sniffed(result()), None),
        (body({"method": "notifications/message"}), None),
        (None, None),
    ],
)
def test_types_of_results(answer: Body | None, said: str | None) -> None:
    assert stateless.result_type_missing(answered(answer)) == said
    assert stateless.result_type_missing_on_stream(answered(None), arrival(answer)) == said
    assert stateless.result_type_missing(answered(answer, place=Place())) is None


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (error(), 200, "tools/list answered 200"),
        (error(), 400, "tools/list answered 400"),
        (error(), 404, None),
        (error(-32602), 200, None),
        (error(number=2), 200, None),
        (result(), 200, None),
        (sniffed(error()), 200, None),
        (None, 200, None),
    ],
)
def test_unknown_methods(answer: Body | None, status: int, said: str | None) -> None:
    assert stateless.unknown_method_answer(answered(answer, status)) == said
    assert stateless.unknown_method_on_stream(answered(None, status), arrival(answer)) == said
    assert stateless.unknown_method_answer(answered(answer, status, place=Place())) is None


def test_what_answers_no_request_is_no_answer() -> None:
    assert stateless.unknown_method_answer(answered(error(), message={"method": "x"})) is None
    assert stateless.unknown_method_answer(exchange(answer=error(), status=200, place=PLACE)) is None
    null = body({"id": None, "error": {"code": -32601, "message": "m"}})
    assert stateless.unknown_method_answer(answered(null, message={"method": "notifications/x"})) is None
    assert stateless.unknown_method_answer(answered(body(LIST))) is None


def refused(wrong: dict[str, str], status: int, answer: Body | None, finish: Finish = Finish.COMPLETE) -> Verdict:
    x = answered(answer, status)
    x.finish = finish
    notes(x).mismatch = wrong
    return stateless.mismatch_accepted(x)


def test_headers_that_differ_are_told_of() -> None:
    x = exchange(LIST)
    checks = (stateless.method_header, stateless.name_header, stateless.version_meta, stateless.param_header)
    assert [check(x) for check in checks] == [None] * 4
    for number, kind in enumerate(("method", "name", "version", "param")):
        notes(x).mismatch = {kind: "said"}
        assert [check(x) for check in checks] == ["said" if at == number else None for at in range(4)]
    notes(x).mismatch = {"no version": "said"}
    assert [check(x) for check in checks] == [None, None, "said", None]


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (200, result(), "answered 200: m"),
        (204, None, "answered 204: m"),
        (400, error(-32020), None),
        (400, error(-32022), None),
        (400, error(-32601), None),
        (400, error(-32602), None),
        (400, error(-32600), "answered 400 with -32600: m"),
        (401, error(-32600), None),
        (400, error("x"), None),
        (400, result(), None),
        (400, None, None),
    ],
)
def test_headers_that_differ_are_refused(status: int, answer: Body | None, said: str | None) -> None:
    assert refused({"method": "m"}, status, answer) == said
    assert refused({"no version": "v", "method": "m", "name": "n"}, status, answer) == said
    assert refused({"no version": "v"}, status, answer) is None
    assert refused({}, status, answer) is None
    assert refused({"method": "m"}, status, answer, Finish.CLIENT) is None
    x = answered(answer, status, place=Place())
    x.finish, notes(x).mismatch = Finish.COMPLETE, {"method": "m"}
    assert stateless.mismatch_accepted(x) is None


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([LIST], "tools/list"),
        ([LIST | {"params": {"_meta": {META_CAPABILITIES: {}}}}], None),
        ([LIST | {"params": {"_meta": {META_CAPABILITIES: []}}}], "tools/list"),
        ([LIST | {"params": {"_meta": 7}}], "tools/list"),
        ([{"method": "notifications/x"}], None),
        ([{"id": 1, "result": {}}], None),
        ([LIST, LIST], None),
        ([], None),
    ],
)
def test_what_a_client_can_is_said_with_each_request(messages: list[Any], said: str | None) -> None:
    assert stateless.capabilities_meta(exchange(*messages)) == said


def test_a_server_sends_no_requests() -> None:
    asks = body({"id": "s", "method": "roots/list"}, {"method": "n"}, {"id": "t", "method": "ping"})
    told = LIST | {"params": {"_meta": {META_VERSION: NEW}}}
    x = exchange(told, mcp_protocol_version=NEW)
    assert stateless.server_request_sent(x, arrival(asks)) == ["roots/list", "ping"]
    assert stateless.server_request_sent(x, arrival(body({"method": "n"}))) is None
    assert stateless.server_request_sent(x, arrival(None)) is None
    for other in (exchange(LIST, mcp_protocol_version=NEW), exchange(told), exchange(told, mcp_protocol_version="x")):
        assert stateless.server_request_sent(other, arrival(asks)) is None


def test_a_client_sends_no_responses() -> None:
    response = {"id": 1, "result": {}}
    assert stateless.client_response_sent(exchange(response, mcp_protocol_version=NEW)) == ""
    assert stateless.client_response_sent(exchange(response)) is None
    x = exchange(response, mcp_protocol_version=NEW)
    x.body = Body((Message({"jsonrpc": "2.0", **response}),), sniffed=True)
    assert stateless.client_response_sent(x) is None


def test_what_belongs_to_sessions() -> None:
    assert stateless.session_id_in_stateless(exchange(LIST)) == "tools/list"
    assert stateless.legacy_verb(exchange(verb="DELETE")) == "DELETE"
    minted = answered(result(), place=Place(only_modern=True))
    assert stateless.session_id_minted(minted) == "on the 200 answer to tools/list"
    assert stateless.session_id_minted(answered(result())) is None
    assert stateless.session_id_minted(answered(result(), place=Place(only_modern=True, assigns=True))) is None
