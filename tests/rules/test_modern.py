"""Checks of 2026-07-28 beside its headers, by themselves: each wording, each limit, and near misses."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.rules import modern
from mcp_sessions.rules.checks import Arrival
from mcp_sessions.rules.facts import notes
from mcp_sessions.rules.mirrored import remember
from mcp_sessions.rules.modern import (
    FILTERS,
    LEVELS,
    META_CLIENT,
    META_LOG_LEVEL,
    META_SERVER,
    META_SUBSCRIPTION,
    SAID_LIMIT,
    misplaced,
    once,
)
from mcp_sessions.rules.places import Place
from mcp_sessions.wire.jsonrpc import Body, Message
from mcp_sessions.wire.revision import META_CAPABILITIES, META_VERSION
from mcp_sessions.wire.sse import Event
from rules.single import body, exchange, headers

COMPLETE = {META_VERSION: "2026-07-28", META_CAPABILITIES: {}}
RESULT = Message({"jsonrpc": "2.0", "id": 1, "result": {}})


def request(method: str = "tools/list", meta: Any = None, **params: Any) -> dict[str, Any]:
    return {"id": 1, "method": method, "params": {"_meta": COMPLETE if meta is None else meta, **params}}


def asked(method: str = "tools/list", meta: Any = None, status: int = 200, **params: Any) -> Exchange:
    """A request to an endpoint that is known to speak this revision."""
    return exchange(request(method, meta, **params), place=Place(modern=True), status=status)


def error(code: Any, data: Any = None) -> Message:
    return Message({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "m", "data": data}})


def result(**members: Any) -> Message:
    return Message({"jsonrpc": "2.0", "id": 1, "result": members})


def test_what_is_complained_of_once() -> None:
    place = Place()
    assert [once(place, what) for what in ("a", "a", "b", "b")] == [True, False, True, False]
    for number in range(SAID_LIMIT - 2):
        assert once(place, f"c{number}")
    assert once(place, "the last")
    assert not once(place, "one too many")
    assert not once(place, "a")


# Errors


@pytest.mark.parametrize(
    ("code", "status", "data", "said"),
    [
        (-32020, 400, None, None),
        (-32020, 200, None, "-32020 with status 200"),
        (-32021, 404, None, "-32021 with status 404"),
        (-32022, 400, {"supported": []}, None),
        (-32022, 400, {"supported": "x"}, "-32022 without data.supported"),
        (-32022, 400, ["supported"], "-32022 without data.supported"),
        (-32022, 400, {"requiredCapabilities": {}}, "-32022 without data.supported"),
        (-32021, 400, {"requiredCapabilities": {}}, None),
        (-32021, 400, {"requiredCapabilities": []}, "-32021 without data.requiredCapabilities"),
        (-32021, 400, {"supported": []}, "-32021 without data.requiredCapabilities"),
        (-32602, 200, None, None),
        ("x", 200, None, None),
    ],
)
def test_errors_with_a_status(code: Any, status: int, data: Any, said: str | None) -> None:
    assert modern.error_answer(asked(status=status), error(code, data)) == said


@pytest.mark.parametrize(
    ("code", "reserved", "legacy"),
    [
        (-32002, True, False),
        (-32042, True, False),
        (-32099, True, False),
        (-32023, True, False),
        (-32100, False, True),
        (-32020, False, False),
        (-32021, False, False),
        (-32022, False, False),
        (-32000, False, True),
        (-32001, False, True),
        (-31999, False, False),
        (-32768, False, True),
        (-32769, False, False),
        (-32700, False, False),
        (-32600, False, False),
        (-32601, False, False),
        (-32603, False, False),
        (-32604, False, True),
        (-32599, False, True),
        (-1, False, False),
        (7, False, False),
        ("x", False, False),
    ],
)
def test_codes_of_errors(code: Any, reserved: bool, legacy: bool) -> None:
    x, said = asked(), f"tools/list answered {code}"
    assert [modern.error_code_reserved(x, error(code)) for _ in range(2)] == [said if reserved else None] * 2
    assert [modern.error_code_legacy(x, error(code)) for _ in range(2)] == [said if legacy else None, None]
    other = exchange(request())
    assert modern.error_code_reserved(other, error(code)) is None, "of a server that may be an older one"
    assert modern.error_code_legacy(other, error(code)) is None


@pytest.mark.parametrize(
    ("meta", "lacking"),
    [
        (COMPLETE, None),
        ({**COMPLETE, META_VERSION: 7}, META_VERSION),
        ({META_CAPABILITIES: {}}, META_VERSION),
        ({META_VERSION: "x"}, META_CAPABILITIES),
        ({**COMPLETE, META_CAPABILITIES: []}, META_CAPABILITIES),
        ({}, META_VERSION),
        (7, META_VERSION),
    ],
)
def test_a_request_without_what_is_required(meta: Any, lacking: str | None) -> None:
    accepted = modern.required_meta_accepted(asked(meta=meta), RESULT)
    assert accepted == (lacking and f"answered 200 without {lacking}")
    refused = modern.required_meta_status(asked(meta=meta), error(-32602))
    assert refused == (lacking and f"-32602 with status 200, without {lacking}")
    assert modern.required_meta_status(asked(meta=meta, status=400), error(-32602)) is None
    assert modern.required_meta_status(asked(meta=meta), error(-32601)) is None
    assert modern.required_meta_accepted(exchange(request(meta=meta)), RESULT) is None
    assert modern.required_meta_status(exchange(request(meta=meta)), error(-32602)) is None


def test_what_is_no_single_request_need_not_say_it() -> None:
    place, bare = Place(modern=True), {"id": 1, "method": "ping"}
    assert modern.required_meta_accepted(exchange(bare, place=place), RESULT) is not None
    for messages in ([{"method": "n"}], [{"id": 1, "result": {}}], [bare, bare], []):
        assert modern.required_meta_accepted(exchange(*messages, place=place), RESULT) is None
    x = exchange(bare, place=place)
    x.body = Body(x.body.messages, sniffed=True)
    assert modern.required_meta_accepted(x, RESULT) is None


def test_a_server_can_be_discovered() -> None:
    assert modern.discover_missing(asked(), error(-32601)) == "answered -32601"
    assert modern.discover_missing(asked(), error(-32602)) is None
    assert modern.discover_missing(exchange(request()), error(-32601)) is None


def test_headers_that_are_right_are_taken_for_that() -> None:
    mismatch = error(-32020)
    assert modern.mismatch_claimed(asked(), mismatch) == "tools/list answered -32020"
    assert modern.mismatch_claimed(asked(), error(-32602)) is None
    assert modern.mismatch_claimed(exchange(), mismatch) is None
    assert modern.mismatch_claimed(exchange(request(), mcp_param_x="y"), mismatch) is None
    call = asked("tools/call", name="echo")
    assert modern.mismatch_claimed(call, mismatch) is None, "nobody knows what it asks for"
    remember(notes(call).place, call, {"tools": [{"name": "echo"}]}, 0.0)
    assert modern.mismatch_claimed(call, mismatch) == "tools/call echo answered -32020"


# Streams


def arrival(*messages: Any) -> Arrival:
    return Arrival(Event(b""), body(*messages) if messages else None, 0.0)


def listening(**filters: Any) -> Exchange:
    return asked("subscriptions/listen", notifications=filters)


def note(method: str, **meta: Any) -> dict[str, Any]:
    return {"method": method, "params": {"_meta": meta}}


CHANGED, ACKNOWLEDGED = "notifications/tools/list_changed", "notifications/subscriptions/acknowledged"


def test_a_subscription_is_acknowledged_first() -> None:
    x = listening()
    assert modern.listen_unacknowledged(x, arrival()) is None
    assert modern.listen_unacknowledged(x, arrival(note(CHANGED))) == f"{CHANGED} came first"
    assert modern.listen_unacknowledged(x, arrival(note(CHANGED))) is None
    x = listening()
    assert modern.listen_unacknowledged(x, arrival(note(ACKNOWLEDGED))) is None
    assert modern.listen_unacknowledged(x, arrival(note(CHANGED))) is None


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({META_SUBSCRIPTION: 1}, None),
        ({META_SUBSCRIPTION: 2}, "2"),
        ({META_SUBSCRIPTION: "1"}, '"1"'),
        ({META_SUBSCRIPTION: None}, "null"),
        ({META_SUBSCRIPTION: "x" * 100}, '"' + "x" * 78 + "…"),
        ({META_SUBSCRIPTION: "x" * 78}, '"' + "x" * 78 + '"'),
        ({}, "none"),
    ],
)
def test_what_comes_says_of_which_subscription(meta: dict[str, Any], said: str | None) -> None:
    found = modern.subscription_id(listening(), arrival(note(CHANGED, **meta)))
    assert found == (None if said is None else [f"{CHANGED}: {said}"])


def test_each_message_says_of_which_subscription() -> None:
    right, wrong = note(CHANGED, **{META_SUBSCRIPTION: 1}), note(CHANGED)
    several = arrival(right, wrong, {"id": 1, "result": {}}, wrong)
    assert modern.subscription_id(listening(), several) == [f"{CHANGED}: none"] * 2
    assert modern.subscription_id(listening(), arrival()) is None
    assert modern.subscription_id(exchange(), several) is None
    sniffed = Arrival(Event(b""), Body(body(wrong).messages, sniffed=True), 0.0)
    assert modern.subscription_id(listening(), sniffed) is None


@pytest.mark.parametrize(("method", "needed"), FILTERS.items())
def test_a_subscription_brings_what_was_asked_for(method: str, needed: str) -> None:
    told = [f"{method} without {needed}"]
    assert modern.notification_unrequested(listening(), arrival(note(method))) == told
    assert modern.notification_unrequested(listening(**{needed: False}), arrival(note(method))) == told
    assert modern.notification_unrequested(listening(**{needed: True}), arrival(note(method))) is None
    assert modern.notification_unrequested(asked("subscriptions/listen"), arrival(note(method))) is None
    assert modern.notification_unrequested(listening(), arrival(note("notifications/message"))) is None
    assert modern.unrelated_notification(asked(), arrival(note(method), note("n"))) == [method]


def test_the_stream_of_a_request_brings_what_is_about_it() -> None:
    assert modern.unrelated_notification(asked(), arrival(note(ACKNOWLEDGED))) == [ACKNOWLEDGED]
    assert modern.unrelated_notification(asked(), arrival(note("notifications/progress"))) is None
    assert modern.unrelated_notification(asked(), arrival()) is None
    cancelled = note("notifications/cancelled")
    assert modern.cancelled_by_server(asked(), arrival(cancelled)) == "on the stream of tools/list"
    assert modern.cancelled_by_server(asked(), arrival(note("n"))) is None
    assert modern.cancelled_by_server(asked(), arrival()) is None


def test_log_messages_come_to_who_asked_for_them() -> None:
    log = arrival(note("n"), note("notifications/message"))
    assert modern.log_unrequested(asked(), log) == "tools/list did not ask for a logLevel"
    assert modern.log_unrequested(listening(), log) == "on a subscription"
    assert modern.log_unrequested(asked(meta={META_LOG_LEVEL: "info"}), log) is None
    assert modern.log_unrequested(asked(), arrival(note("n"))) is None
    assert modern.log_unrequested(asked(), arrival()) is None


@pytest.mark.parametrize(
    ("level", "said"),
    [
        *((level, None) for level in sorted(LEVELS)),
        ("trace", "logLevel trace"),
        ("INFO", "logLevel INFO"),
        (None, None),
    ],
)
def test_log_levels(level: Any, said: str | None) -> None:
    assert modern.log_level_unknown(asked(meta={META_LOG_LEVEL: level}), RESULT) == said
    assert modern.log_level_unknown(exchange(request(meta={META_LOG_LEVEL: level})), RESULT) is None


@pytest.mark.parametrize(
    ("finish", "unread", "cancelled", "said"),
    [
        (Finish.COMPLETE, False, False, "after 3 events"),
        (Finish.CLIENT, False, False, None),
        (Finish.COMPLETE, True, False, None),
        (Finish.COMPLETE, False, True, None),
    ],
)
def test_a_subscription_that_ends_is_answered(finish: Finish, unread: bool, cancelled: bool, said: str | None) -> None:
    x = listening()
    x.finish, x.events, notes(x).unread, notes(x).cancelled = finish, 3, unread, cancelled
    assert modern.listen_ended_silently(x) == said


# Said with every message


@pytest.mark.parametrize(
    ("buffering", "found"), [("no", False), (" NO ", False), ("yes", True), ("", True), (None, True)]
)
def test_streams_are_not_buffered(buffering: str | None, found: bool) -> None:
    fields: dict[str, str] = {} if buffering is None else {"x_accel_buffering": buffering}
    assert modern._does_not_stop_buffers(headers(content_type="text/event-stream; a=b", **fields)) is found
    assert not modern._does_not_stop_buffers(headers(content_type="application/json", **fields))
    assert not modern._does_not_stop_buffers(headers(**fields))


def test_who_is_who_is_complained_of_once() -> None:
    x = asked()
    assert [modern.client_info_missing(x) for _ in range(2)] == ["tools/list", None]
    other = exchange(request(), place=notes(x).place, client="B")
    assert modern.client_info_missing(other) == "tools/list"
    assert modern.client_info_missing(asked(meta={META_CLIENT: {}})) is None
    assert [modern.server_info_missing(x, RESULT) for _ in range(2)] == ["tools/list", None]
    assert modern.server_info_missing(asked(), result(_meta={META_SERVER: {}})) is None
    assert modern.server_info_missing(asked(), result(_meta={})) == "tools/list"
    assert modern.server_info_missing(exchange(request()), RESULT) is None
    assert [modern.buffering_not_off(x) for _ in range(2)] == ["tools/list", None]


# Lists


def test_the_pages_of_a_list_have_one_scope() -> None:
    place = Place()

    def page(cursor: Any, scope: Any, following: Any, method: str = "tools/list") -> Any:
        params = {} if cursor is None else {"cursor": cursor}
        x = exchange(request(method, **params), place=place)
        return modern.cache_scope_varies(x, result(cacheScope=scope, nextCursor=following))

    assert page(None, "public", "a") is None
    assert page("a", "public", "b") is None
    assert page("b", "private", "c") == "tools/list: public, then private"
    assert page("c", "private", None) is None
    assert page("b", "x" * 30, None) == "tools/list: public, then " + "x" * 19 + "…"
    assert page("b", 7, None) is None
    assert page("unknown", "private", None) is None
    assert page("b", "private", None, "prompts/list") is None


def test_a_list_that_has_not_changed_has_its_order() -> None:
    place = Place()

    def listed(*names: str, cursor: bool = False, **more: Any) -> Any:
        x = exchange(request(**({"cursor": "c"} if cursor else {})), place=place)
        return modern.list_order_varies(x, result(tools=[{"name": name} for name in names], **more))

    assert listed("a", "b") is None
    assert listed("a", "b") is None
    assert listed("b", "a", cursor=True) is None
    assert listed("b", "a", nextCursor="c") is None
    assert listed("b", "c") is None
    assert listed("c", "b") == "2 tools"
    assert listed("b", "c") is None, "it was said"


# Annotations


def annotated(header: Any = "A", kind: Any = "string") -> dict[str, Any]:
    return {"type": kind, "x-mcp-header": header}


RIGHT = annotated()


@pytest.mark.parametrize(
    ("schema", "wrong", "names"),
    [
        ({"properties": {"a": RIGHT}}, [], ["a"]),
        ({"properties": {"a": annotated("X-City")}}, [], ["x-city"]),
        ({"properties": {"a": {"properties": {"b": annotated(kind="integer")}}}}, [], ["a"]),
        ({"properties": {"a": annotated(kind="boolean")}}, [], ["a"]),
        ({"properties": {"a": annotated(kind=["string", "null"])}}, [], ["a"]),
        ({"properties": {"a": annotated(kind=None)}}, [], ["a"]),
        ({"properties": {"a": annotated(kind="number")}}, ["A is of type number"], []),
        ({"properties": {"a": annotated(kind="object")}}, ["A is of type object"], []),
        ({"properties": {"a": annotated(kind="x" * 50)}}, ["A is of type " + "x" * 39 + "…"], []),
        ({"properties": {"a": annotated("A" * 50, "number")}}, ["A" * 39 + "… is of type number"], []),
        ({"properties": {"a": annotated("!#$%&'*+-.^_`|~09")}}, [], ["!#$%&'*+-.^_`|~09"]),
        *(
            ({"properties": {"a": annotated(header)}}, ["x-mcp-header is no name of a header"], [])
            for header in ("", "A B", "A:", "Größe", "A\n", 7, ["A"])
        ),
        ({"properties": {"a": {"type": "string", "x-mcp-header": None}}}, [], []),
        # Of the schema itself it says nothing, and nothing in what is no schema.
        (RIGHT, [], []),
        ({"properties": {"a": {"default": RIGHT, "enum": [RIGHT], "examples": [RIGHT]}}}, [], []),
        ({"properties": [RIGHT]}, [], []),
        ({"properties": {"properties": {"properties": {"a": RIGHT}}}}, [], ["a"]),
        *(
            ({"properties": {"p": {keyword: RIGHT}}}, ["A is not reachable through properties alone"], [])
            for keyword in ("items", "not", "if", "then", "else", "additionalProperties")
        ),
        *(
            ({"properties": {"p": {keyword: [{}, RIGHT]}}}, ["A is not reachable through properties alone"], [])
            for keyword in ("prefixItems", "oneOf", "anyOf", "allOf")
        ),
        *(
            ({keyword: {"a": RIGHT}}, ["A is not reachable through properties alone"], [])
            for keyword in ("$defs", "definitions", "patternProperties", "dependentSchemas")
        ),
        ({"items": {"properties": {"a": RIGHT}}}, ["A is not reachable through properties alone"], []),
        ({"$defs": {"a": {"properties": {"b": RIGHT}}}}, ["A is not reachable through properties alone"], []),
        ({"items": annotated("A" * 50)}, ["A" * 39 + "… is not reachable through properties alone"], []),
        ({"$defs": [RIGHT]}, [], []),
    ],
)
def test_what_is_wrong_with_annotations(schema: Any, wrong: list[str], names: list[str]) -> None:
    found: list[str] = []
    assert list(misplaced(schema, found)) == wrong
    assert found == names


def test_annotations_are_found_wherever_they_stand() -> None:
    names: list[str] = []
    wrong = {
        "items": annotated("B"),
        "properties": {"a": RIGHT},
        "oneOf": [annotated("C"), annotated("D")],
        "definitions": {"e": annotated("E")},
        "$defs": {"f": annotated("F"), "g": annotated("G")},
    }
    assert sorted(said.partition(" ")[0] for said in misplaced(wrong, names)) == list("BCDEFG")
    assert names == ["a"]


def test_how_far_annotations_are_looked_for() -> None:
    def found(schema: Any) -> int:
        names: list[str] = []
        return len(list(misplaced(schema, names))) + len(names)

    fill: dict[str, Any] = {f"n{number}": {} for number in range(99)}
    assert found({"properties": {**fill, "a": RIGHT}}) == 1
    assert found({"properties": {**fill, "one": {}, "a": RIGHT}}) == 0
    assert found({"$defs": {**fill, "a": RIGHT}}) == 1
    assert found({"$defs": {**fill, "one": {}, "a": RIGHT}}) == 0
    assert found({"allOf": [*fill.values(), RIGHT]}) == 1
    assert found({"allOf": [{}, *fill.values(), RIGHT]}) == 0
    assert found({**fill, "items": RIGHT}) == 1
    assert found({**fill, "one": {}, "items": RIGHT}) == 0

    def chain(levels: int) -> Any:
        schema: Any = RIGHT
        for _ in range(levels):
            schema = {"items": schema}
        return schema

    assert found(chain(999)) == 1
    assert found(chain(1_000)) == 0


def told_of(*tools: Any, x: Exchange | None = None) -> Any:
    return modern.annotation_invalid(x or asked(), result(tools=list(tools)))


def test_annotations_of_a_list_are_told_of_by_tool() -> None:
    good, bad = {"properties": {"a": RIGHT}}, {"items": RIGHT}
    twice = {"properties": {"a": RIGHT, "b": annotated("a")}}
    assert told_of({"name": "t", "inputSchema": good}, 7, {"name": "u"}) is None
    assert told_of({"name": "t", "inputSchema": bad}, {"name": "u", "inputSchema": twice}) == [
        "t: A is not reachable through properties alone",
        "u: two parameters have one header",
    ]
    x = asked()
    assert told_of({"name": "t", "inputSchema": bad}, x=x) is not None
    assert told_of({"name": "t", "inputSchema": bad}, x=x) is None
    assert modern.annotation_invalid(asked(), result(tools={})) is None
    many = [{"name": f"n{number}"} for number in range(99)]
    assert told_of(*many, {"name": "t", "inputSchema": bad}) is not None
    assert told_of(*many, {"name": "one"}, {"name": "t", "inputSchema": bad}) is None


@pytest.mark.parametrize(
    ("later", "name", "pid", "said"),
    [
        (300.0, "t", 5, "t"),
        (300.5, "t", 5, None),
        (1.0, "u", 5, None),
        (1.0, "v", 5, None),
        (1.0, 7, 5, None),
        (1.0, "t", None, None),
    ],
)
def test_a_client_leaves_such_tools_out(later: float, name: Any, pid: int | None, said: str | None) -> None:
    x = asked()
    x.answered_at = 100.0
    told_of({"name": "t", "inputSchema": {"items": RIGHT}}, {"name": "u"}, x=x)
    call = exchange(request("tools/call", name=name), place=notes(x).place, at=100.0 + later)
    call.client.pid = pid
    assert [modern.misannotated_called(call) for _ in range(2)] == [said, None]
