"""Near misses of multi-round-trip requests, and of what else the stateless era asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_sessions.rules import catalogue
from mcp_sessions.rules.modern import misplaced
from rules.test_capabilities import HINTS, discovered, modern
from rules.transcripts import broken_by

ASKED = {"city": {"method": "roots/list"}}


def call(id: int, result: dict[str, Any], caller: dict[str, Any] | None = None, **params: Any) -> str:
    scene = modern(id, "tools/call", result, {"roots": {}} if caller is None else caller, "book")
    return scene.replace(
        '"arguments": {}', f'"arguments": {{}}, {json.dumps(params)[1:-1]}' if params else '"arguments": {}'
    )


def rounds(*scenes: str) -> list[str]:
    return [rule for rule in broken_by("\n".join(scenes)) if rule not in ("MCP111", "MCP207")]


def asks(**more: Any) -> dict[str, Any]:
    return {"resultType": "input_required", "inputRequests": ASKED, **more}


GIVEN: dict[str, Any] = {"inputResponses": {"city": {"roots": []}}}


@pytest.mark.parametrize(
    ("first", "then", "found"),
    [
        (asks(requestState="s"), {**GIVEN, "requestState": "s"}, []),
        (asks(requestState="s"), GIVEN, ["MCP624"]),
        (asks(requestState="s"), {"requestState": "s"}, ["MCP624"]),
        (asks(), GIVEN, []),
        (asks(), {**GIVEN, "requestState": "s"}, ["MCP624"]),
        ({"resultType": "input_required", "requestState": "s"}, {"requestState": "s"}, []),
        ({"resultType": "input_required"}, {}, ["MCP623"]),
    ],
)
def test_the_next_round(first: dict[str, Any], then: dict[str, Any], found: list[str]) -> None:
    assert rounds(call(10, first), call(11, {"content": []}, **then)) == found


def test_equal_calls_side_by_side_each_have_their_state() -> None:
    scenes = [call(10, asks(requestState="a")), call(11, asks(requestState="b"))]
    assert rounds(*scenes, call(12, {"content": []}, **GIVEN, requestState="a")) == []
    assert rounds(*scenes, call(12, {"content": []}, **GIVEN, requestState="b")) == []
    assert rounds(*scenes, call(12, {"content": []}, **GIVEN, requestState="c")) == ["MCP624"]


def test_a_call_of_which_the_first_round_was_not_seen_is_not_judged() -> None:
    assert rounds(call(12, {"content": []}, **GIVEN, requestState="a")) == []


def test_who_gives_input_has_declared_it() -> None:
    scenes = [call(10, asks(), {}), call(11, {"content": []}, {}, **GIVEN)]
    assert rounds(*scenes) == ["MCP405", "MCP409"]


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        ({"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}, False),
        ({"properties": {"a": {"properties": {"b": {"type": "integer", "x-mcp-header": "A"}}}}}, False),
        ({"properties": {"a": {"type": ["string", "null"], "x-mcp-header": "A"}}}, False),
        ({"properties": {"a": {"type": "number", "x-mcp-header": "A"}}}, True),
        ({"properties": {"a": {"type": "string", "x-mcp-header": ""}}}, True),
        ({"properties": {"a": {"type": "string", "x-mcp-header": "A\r\nB"}}}, True),
        ({"properties": {"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}}}, True),
        ({"properties": {"a": {"anyOf": [{"type": "string", "x-mcp-header": "A"}]}}}, True),
        ({"properties": {"a": {"default": {"x-mcp-header": 7}}}}, False),
    ],
)
def test_annotations(schema: dict[str, Any], wrong: bool) -> None:
    assert bool(list(misplaced(schema, []))) is wrong


def test_errors_of_a_server_that_is_not_known_as_modern_are_its_own() -> None:
    bad = catalogue()["MCP616"].bad
    assert broken_by(bad[bad.index("### client A", 5) :]) == []


def test_a_subscription_may_be_refused() -> None:
    bad = catalogue()["MCP631"].bad
    refused = bad[: bad.index("< 200")] + (
        "< 400\n< Content-Type: application/json\n<\n"
        '< {"jsonrpc":"2.0","id":10,"error":{"code":-32602,"message":"no such filter"}}'
    )
    assert broken_by(refused) == []


def test_what_a_server_declares_is_by_its_users() -> None:
    listed = modern(2, "prompts/list", {"prompts": [{"name": "a"}], **HINTS})
    other = listed.replace("> %modern prompts/list ", "> %modern prompts/list \n> Authorization: Bearer b")
    assert broken_by("\n".join([discovered({"tools": {}}), listed])) == ["MCP407"]
    assert broken_by("\n".join([discovered({"tools": {}}), other])) == []
