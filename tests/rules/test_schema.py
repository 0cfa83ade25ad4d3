"""Messages by the schema of their revision: what is found, how it is worded, and what is left to others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sessions import checking
from mcp_sessions.checking import Checking
from mcp_sessions.rules import Deferred, catalogue, schema
from mcp_sessions.rules.checks import Said, Verdict
from mcp_sessions.wire.jsonrpc import Message
from rules.transcripts import Player, read

pytest.importorskip(schema.LIBRARY, reason="the extra `schema` is for Python 3.13 and later")

NEW, OLD = "2026-07-28", "2025-03-26"
META = {"io.modelcontextprotocol/protocolVersion": NEW, "io.modelcontextprotocol/clientCapabilities": {}}
CALL = "tools/call"


def by_client(raw: dict[str, Any], revision: str = "2025-11-25", answers: str | None = None) -> Verdict:
    return schema.client_message(Said(Message({"jsonrpc": "2.0", **raw}), revision, answers))


def by_server(raw: dict[str, Any], revision: str = "2025-11-25", answers: str | None = None) -> Verdict:
    return schema.server_message(Said(Message({"jsonrpc": "2.0", **raw}), revision, answers))


def asked(method: str, **params: Any) -> dict[str, Any]:
    return {"id": 1, "method": method, "params": params}


def noted(method: str, **params: Any) -> dict[str, Any]:
    return {"method": method, "params": params}


@pytest.mark.parametrize(
    ("raw", "revision", "said"),
    [
        (asked(CALL, name="x"), OLD, None),
        (asked(CALL, arguments={}), OLD, "tools/call: params.name: Field required"),
        (asked(CALL, name="x", arguments=[]), OLD, "tools/call: params.arguments: Input should be a valid dictionary"),
        ({"id": 1, "method": CALL}, OLD, "tools/call: params: Field required"),
        ({"id": None, "method": "ping"}, OLD, None),  # MCP109
        (asked("extension/anything", x=1), OLD, None),
        (asked("elicitation/create"), OLD, None),  # not one of a client's
        (noted("notifications/progress", progressToken=1, progress=0.5), OLD, None),
        (
            noted("notifications/progress", progressToken=1.5, progress="1"),
            OLD,
            "notifications/progress: params.progress: Input should be a valid number; params.progressToken: "
            "Input should be a valid string; params.progressToken: Input should be a valid integer",
        ),
        (noted("notifications/progress", progressToken=10.0, progress=1), OLD, None),
        ({"id": 1, "error": {"code": -1, "message": "m"}}, OLD, None),
        ({"id": 1, "error": "no"}, OLD, "error: it: Input should be a valid dictionary or instance of ErrorData"),
        (asked("tools/list", _meta=META), NEW, None),
        ({"id": 1, "method": "tools/list"}, NEW, None),  # MCP611
        (asked("tools/list", _meta={}), NEW, None),  # MCP605 and MCP611
        (asked("tools/list", _meta=META, cursor=1), NEW, "tools/list: params.cursor: Input should be a valid string"),
    ],
)
def test_of_a_client(raw: dict[str, Any], revision: str, said: str | None) -> None:
    assert by_client(raw, revision) == said


@pytest.mark.parametrize(
    ("result", "answers", "revision", "said"),
    [
        ({"content": [{"type": "text", "text": ""}]}, CALL, OLD, None),
        ({"content": [{"type": "text", "text": ""}], "isError": "true"}, CALL, OLD, "isError: Input should be a valid"),
        # What is said is about the type that the block says it is.
        ({"content": [{"type": "text"}]}, CALL, OLD, "tools/call result: content.0.text: Field required"),
        ({"content": [{"type": "image", "data": "", "mimeType": 1}]}, CALL, OLD, "content.0.mimeType: Input should be"),
        ({"content": [{"type": "x"}]}, CALL, OLD, "content.0: Input should be one of the types that the schema lists"),
        ([], CALL, OLD, "tools/call result: it: Input should be a valid dictionary"),
        ({}, CALL, OLD, "tools/call result: content: Field required"),
        ({}, None, OLD, None),  # of what, is not known
        ({}, "extension/anything", OLD, None),
        ({"content": []}, CALL, NEW, None),  # MCP613
        ({"resultType": "complete"}, CALL, NEW, "tools/call result: content: Field required"),
        (
            {"resultType": "input_required", "requestState": 1},
            CALL,
            NEW,
            "requestState: Input should be a valid string",
        ),
        ({"resultType": "input_required", "requestState": "s"}, CALL, NEW, None),
        ({"resultType": "task"}, CALL, NEW, None),  # of an extension
        ({"resultType": ["x"], "content": []}, CALL, NEW, None),  # MCP613
        ({"resultType": "complete", "tools": [], "ttlMs": 5.0, "cacheScope": "x"}, "tools/list", NEW, None),  # MCP614
        (
            {"tools": [{"name": n} for n in "abcde"]},
            "tools/list",
            OLD,
            "tools.2.inputSchema: Field required; and 2 more",
        ),
        ({"completion": {"values": [], "total": 3.0}}, "completion/complete", OLD, None),  # JSON has one kind of number
        ({"completion": {"values": [], "total": 3.5}}, "completion/complete", OLD, "completion.total: Input should be"),
    ],
)
def test_of_a_server(result: Any, answers: str | None, revision: str, said: str | None) -> None:
    found = by_server({"id": 1, "result": result}, revision, answers)
    assert found is None if said is None else found is not None and said in found


def test_a_long_list_of_problems_is_not_made() -> None:
    tools = [{"name": 1}] * (schema.ERRORS_LIMIT // 2 + 1)
    found = by_server({"id": 1, "result": {"tools": tools}}, answers="tools/list")
    assert found == f"tools/list result: {schema.ERRORS_LIMIT + 2} problems"


def test_names_from_the_wire_stay_in_one_line() -> None:
    found = by_server(
        {"id": 1, "result": {"messages": [], "_meta": 1, "description": {"\n\x1b[31m" * 200: 1}}}, answers="prompts/get"
    )
    assert isinstance(found, str)
    assert found.isprintable()
    assert len(found) <= 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
methods = st.sampled_from([CALL, "initialize", "completion/complete", "sampling/createMessage", "ping", "tools/list"])


@given(methods, json_values, json_values, st.sampled_from([OLD, "2025-11-25", NEW]))
def test_no_message_makes_a_check_fail(method: str, params: Any, result: Any, revision: str) -> None:
    for raw in ({"id": 1, "method": method, "params": params}, {"id": 1, "result": result}, {"id": 1, "error": result}):
        for side in (by_client, by_server):
            found = side(raw, revision, method)
            assert found is None or (isinstance(found, str) and found.isprintable() and len(found) <= 300)


SAMPLING = """
%init caller={"sampling":{}}
### client A
> POST /mcp
> %headers
>
> {"jsonrpc":"2.0","id":10,"method":"tools/call","params":{"name":"ask"}}
< 200
< Content-Type: text/event-stream
<
@ 1
< data: {"jsonrpc":"2.0","id":"s","method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}
<
@ 2
< data: {"jsonrpc":"2.0","id":10,"result":{"content":[]}}
<
### client A at 1.5
> POST /mcp
> %headers
>
> {"jsonrpc":"2.0","id":"s","result":{"role":"assistant","model":"m"}}
< 202
"""


def test_a_client_s_result_is_judged_by_what_the_server_had_asked() -> None:
    player = Player()
    player.play(read(SAMPLING))
    assert [(v.rule, v.detail) for v in player.violations] == [
        ("MCP111", "sampling/createMessage result: content: Field required")
    ]


@pytest.mark.parametrize("rule", ["MCP111", "MCP207"])
def test_without_the_extra_nothing_is_judged(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "available", lambda: False)
    player = Player()
    player.core.judge.later = lambda deferred: pytest.fail("nothing is to be checked")
    player.play(read(catalogue()[rule].bad))
    assert player.rules == []


class Gate:
    """Lets checks pass when it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        make = Deferred.make

        def gated(deferred: Deferred) -> Any:
            self.open.wait(10)
            return make(deferred)

        monkeypatch.setattr(Deferred, "make", gated)


async def test_checks_are_made_in_a_thread_and_told_of_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    player = Player()
    service = Checking(lambda _: None, lambda *_: None)
    service.serve(player.core)
    player.play(read(catalogue()["MCP111"].bad))
    assert service.waiting == 5  # three requests, of which one is a notification that is answered 202
    assert player.rules == []
    gate.open.set()
    assert await service.finish(10) == 0
    assert player.rules == ["MCP111"]
    assert [violation.at for violation in player.violations] == [player.violations[0].at]
    service.close()


async def test_what_comes_too_fast_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    monkeypatch.setattr(checking, "WAITING_LIMIT", 2)
    player = Player()
    service = Checking(lambda _: None, lambda *_: None)
    service.serve(player.core)
    player.play(read(catalogue()["MCP111"].bad))
    assert service.waiting == 2
    assert await service.finish(0.01) == 5
    gate.open.set()
    assert await service.finish(10) == 3
    service.close()


async def test_a_check_that_fails_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Deferred) -> Any:
        return RuntimeError("broken")

    monkeypatch.setattr(Deferred, "make", broken)
    player = Player()
    service = Checking(lambda _: None, lambda *_: None)
    service.serve(player.core)
    player.play(read(catalogue()["MCP207"].good))
    assert await service.finish(10) == 0
    await asyncio.sleep(0)
    assert "could not check MCP111, please report it" in [getattr(record, "what", "") for record in player.told]
    service.close()
