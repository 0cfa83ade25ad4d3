"""Messages by the schema of their revision: what is found, how it is worded, and what is left to others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sessions.proxy import checking
from mcp_sessions.proxy.checking import Checking
from mcp_sessions.rules import Deferred, Level, catalogue, schema
from mcp_sessions.rules.checks import Said, Verdict
from mcp_sessions.rules.judge import EXTRAS
from mcp_sessions.wire.jsonrpc import Message
from rules.transcripts import EPOCH, Player, Scene, read

pytest.importorskip(schema.LIBRARY, reason="the extra `schema` is for Python 3.13 and later")

NEW, OLD = "2026-07-28", "2025-03-26"
META = {"io.modelcontextprotocol/protocolVersion": NEW, "io.modelcontextprotocol/clientCapabilities": {}}
FORM = {"type": "object", "properties": {}}
TOOL = {"name": "t", "inputSchema": {"type": "object"}}
PEER = {"name": "p", "version": "1"}
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
            "Input should be one of the types that the schema lists",
        ),
        (noted("notifications/progress", progressToken=10.0, progress=1), OLD, None),
        ({"id": 1, "error": {"code": -1, "message": "m"}}, OLD, None),
        ({"id": 1, "error": "no"}, OLD, "error: it: Input should be a valid dictionary or instance of ErrorData"),
        (asked("tools/list", _meta=META), NEW, None),
        ({"id": 1, "method": "tools/list"}, NEW, None),  # MCP611
        (asked("tools/list", _meta={}), NEW, None),  # MCP605 and MCP611
        (asked("tools/list", _meta=META, cursor=1), NEW, "tools/list: params.cursor: Input should be a valid string"),
        (
            asked("prompts/get", name="p", arguments={"City": 5}),
            OLD,
            "prompts/get: params.arguments.City: Input should be a valid string",
        ),
        (
            asked("prompts/get", name="p", arguments={"ttlMs": 5}),
            OLD,
            "prompts/get: params.arguments.ttlMs: Input should be a valid string",
        ),
        (
            asked("prompts/get", name="p", arguments={"task": 5}),
            OLD,
            "prompts/get: params.arguments.task: Input should be a valid string",
        ),
        # What came with a later revision is an extension in an earlier one.
        (asked("initialize", protocolVersion=OLD, clientInfo=PEER, capabilities={"elicitation": True}), OLD, None),
        (
            asked("initialize", protocolVersion="2025-06-18", clientInfo=PEER, capabilities={"elicitation": True}),
            "2025-06-18",
            "initialize: params.capabilities.elicitation: Input should be a valid dictionary or instance of "
            "Elicitation",
        ),
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
        ({"resultType": ["x"]}, CALL, NEW, "tools/call result: content: Field required"),
        ({"resultType": "input_required"}, CALL, OLD, "tools/call result: content: Field required"),  # not of then
        ({"resultType": "input_required"}, "tools/list", NEW, None),  # no list asks for anything
        # What came with a later revision is an extension in an earlier one.
        ({"tools": [TOOL | {"icons": [{"src": "x", "sizes": "48x48"}]}]}, "tools/list", "2025-06-18", None),
        ({"tools": [TOOL | {"icons": [{"src": "x", "sizes": "48x48"}]}]}, "tools/list", "2025-11-25", "icons.0.sizes"),
        ({"tools": [TOOL | {"outputSchema": {"anyOf": []}}]}, "tools/list", OLD, None),
        ({"tools": [TOOL | {"outputSchema": {"anyOf": []}}]}, "tools/list", "2025-06-18", "outputSchema.type"),
        ({"content": [], "structuredContent": [1]}, CALL, OLD, None),
    ],
)
def test_of_a_server(result: Any, answers: str | None, revision: str, said: str | None) -> None:
    found = by_server({"id": 1, "result": result}, revision, answers)
    assert found is None if said is None else found is not None and said in found


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"message": "m", "requestedSchema": FORM, "_meta": {"progressToken": 10.0}, "task": {"ttl": 6e4}}, None),
        ({"requestedSchema": FORM}, "elicitation/create: params.message: Field required"),
        ({"mode": "url", "message": "m", "url": "u"}, "elicitation/create: params.elicitationId: Field required"),
        ({"mode": "other", "message": "m"}, "elicitation/create: params: Input should be one of the types"),
    ],
)
def test_of_several_types_the_likeliest(params: dict[str, Any], said: str | None) -> None:
    found = by_server({"id": 1, "method": "elicitation/create", "params": params})
    assert found is None if said is None else found is not None and said in found


def test_content_that_may_be_a_block_or_a_list() -> None:
    def sampled(content: Any) -> Verdict:
        return by_client(
            {"id": 1, "result": {"role": "user", "model": "m", "content": content}}, answers="sampling/createMessage"
        )

    link = {"type": "resource_link", "name": "n", "uri": "u", "size": 10.0}
    assert sampled([{"type": "tool_result", "toolUseId": "i", "content": [link]}]) is None
    assert sampled({"type": "text"}) == "sampling/createMessage result: content.text: Field required"
    assert sampled([{"type": "text"}]) == "sampling/createMessage result: content.0.text: Field required"


def test_what_is_lacking_tells_less_than_what_is_there() -> None:
    found = by_server({"id": 1, "result": {"contents": [{"uri": "a:b", "blob": 5}]}}, answers="resources/read")
    assert found == "resources/read result: contents.0.blob: Input should be a valid string"


def test_of_a_long_message_only_so_much_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else runs while the types look at a message, and a block costs a problem for each type that it may be."""
    seen: list[int] = []
    adapter = schema._adapter

    class Counting:
        def __init__(self, expected: Any) -> None:
            self.real = adapter(expected)

        def validate_python(self, value: Any, **how: Any) -> None:
            seen.append(len(value["content"]))
            self.real.validate_python(value, **how)

    monkeypatch.setattr(schema, "_adapter", Counting)
    found = by_server({"id": 1, "result": {"content": [{}] * 100_000}}, answers=CALL)
    assert seen == [schema.ELEMENTS_LIMIT]
    assert isinstance(found, str)
    assert "content.0" in found
    # Members of objects can't be left out, so nothing is said.
    many = {f"k{n}": 1 for n in range(schema.MEMBERS_LIMIT)}
    assert by_client(asked("prompts/get", name="p", arguments=many)) is None


@pytest.mark.parametrize(("tools", "more"), [("ab", ""), ("abc", ""), ("abcd", "; and 1 more")])
def test_three_problems_are_told_of(tools: str, more: str) -> None:
    found = by_server({"id": 1, "result": {"tools": [{"name": n} for n in tools]}}, OLD, "tools/list")
    named = "; ".join(f"tools.{n}.inputSchema: Field required" for n in range(min(len(tools), 3)))
    assert found == f"tools/list result: {named}{more}"


def test_members_have_the_names_of_the_wire() -> None:
    initialize = asked("initialize", protocol_version=OLD, clientInfo=PEER, capabilities={})
    assert by_client(initialize) == "initialize: params.protocolVersion: Field required"


def test_how_much_of_a_message_is_looked_at() -> None:
    def members(number: int) -> dict[str, Any]:
        return {f"k{n}": 7.0 for n in range(number)}

    limit, half = schema.MEMBERS_LIMIT, schema.MEMBERS_LIMIT // 2
    assert schema._bounded(members(limit)) == members(limit)
    assert schema._bounded([members(half), members(half)]) == [members(half)] * 2
    for long in (members(limit + 1), [members(half), members(half + 1)], {"k": members(limit)}):
        with pytest.raises(schema.TooLongError):
            schema._bounded(long)
    assert schema._bounded([7] * schema.ELEMENTS_LIMIT) == [7] * schema.ELEMENTS_LIMIT
    assert schema._bounded([7] * (schema.ELEMENTS_LIMIT + 1)) == [7] * schema.ELEMENTS_LIMIT
    assert schema._bounded([[7] * 600, [7] * 600, [7]]) == [[7] * 600, [7] * 397, []]
    whole = schema._bounded([10.0, 10.5, True, None, "10.0"])
    assert [(type(one), one) for one in whole] == [
        (int, 10),
        (float, 10.5),
        (bool, True),
        (type(None), None),
        (str, "10.0"),
    ]


@pytest.mark.parametrize(
    ("place", "since"),
    [
        (("params", "url"), "2025-11-25"),
        (("params", "url", 0), "2025-11-25"),
        (("params", 0, "url"), "2025-11-25"),
        (("url",), ""),
        (("params", "name"), ""),
        (("result", "serverInfo", "description"), "2025-11-25"),
        (("serverInfo", "x", "description"), ""),
        (("params", "context", "x"), "2025-06-18"),
        (("params", "arguments", "title"), ""),
        (("arguments", "title"), "2025-06-18"),
        ((), ""),
    ],
)
def test_what_came_with_a_later_revision_is_left_alone_before(place: schema.Place, since: str) -> None:
    for revision in (OLD, "2025-06-18", "2025-11-25"):
        assert schema._left_alone(place, revision) is (revision < since)


@pytest.mark.parametrize(("place", "rule"), schema.OTHERS.items())
def test_what_other_rules_look_after_is_left_to_them(place: schema.Place, rule: str) -> None:
    assert schema._left_alone(place, NEW)
    assert not schema._left_alone((*place, "x"), NEW) or (*place, "x") in schema.OTHERS
    assert rule in catalogue()


A, B, MISSING, INT = "TypeA", "TypeB", "missing", "int_parsing"
UNION = "Input should be one of the types that the schema lists"


@pytest.mark.parametrize(
    ("found", "likeliest"),
    [
        ([], []),
        ([(("x",), MISSING), (("y", 0), INT)], [(("x",), MISSING), (("y", 0), INT)]),
        ([((A, "m"), MISSING)], [(("m",), MISSING)]),
        # What lacks less of its own, then what has less wrong, then the first.
        ([(("x", A, "m"), MISSING), (("x", B, "n"), INT)], [(("x", "n"), INT)]),
        (
            [(("x", A, "m"), MISSING), (("x", B, "n"), INT), (("x", B, "o"), INT)],
            [(("x", "n"), INT), (("x", "o"), INT)],
        ),
        ([(("x", A, "m"), INT), (("x", A, "n"), INT), (("x", B, "o"), INT)], [(("x", "o"), INT)]),
        ([(("x", B, "n"), INT), (("x", A, "m"), INT)], [(("x", "n"), INT)]),
        ([(("x", A, "m", "deep"), MISSING), (("x", B, "n"), INT)], [(("x", "m", "deep"), MISSING)]),
        # What is of another kind, or names another, is not meant.
        ([(("x", A), "model_type"), (("x", B, "n"), MISSING)], [(("x", "n"), MISSING)]),
        ([(("x", A, "type"), "literal_error"), (("x", B, "n"), MISSING)], [(("x", "n"), MISSING)]),
        ([(("x", A, "type", "y"), "literal_error"), (("x", B, "n"), MISSING)], [(("x", "type", "y"), "literal_error")]),
        ([(("x", A), "model_type"), (("x", B, "type"), "literal_error")], [(("x",), "union")]),
        ([(("x", "str"), "string_type"), (("x", "int"), "int_type")], [(("x",), "union")]),
        ([(("x", "list[TypeA]", 0, "m"), MISSING), (("x", A), "model_type")], [(("x", 0, "m"), MISSING)]),
        ([(("x", "dict[str,int]", "m"), INT), (("x", "str"), "string_type")], [(("x", "m"), INT)]),
        # One in another, and several beside each other.
        (
            [(("x", A, "y", B, "m"), INT), (("x", A, "y", "str"), "string_type"), (("x", B, "n"), MISSING)],
            [(("x", "y", "m"), INT)],
        ),
        (
            [(("z",), INT), (("x", A, "m"), INT), (("y", B, "n"), INT)],
            [(("z",), INT), (("x", "m"), INT), (("y", "n"), INT)],
        ),
    ],
)
def test_which_of_several_types_is_the_likeliest(found: Any, likeliest: Any) -> None:
    given = [schema.Wrong(place, kind, f"{kind}!") for place, kind in found]
    told = [schema.Wrong(place, kind, UNION if kind == "union" else f"{kind}!") for place, kind in likeliest]
    assert schema._likeliest(given, frozenset({A, B})) == told


def test_names_from_the_wire_stay_in_one_line() -> None:
    found = by_client(asked("prompts/get", name="p", arguments={"\n\x1b[31m" * 200: 1}))
    assert isinstance(found, str)
    assert found.isprintable()
    assert len(found) == 300


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


def test_an_id_that_the_server_uses_twice_tells_nothing_of_the_answer() -> None:
    again = """< data: {"jsonrpc":"2.0","id":"s","method":"roots/list"}\n<\n@ 2\n"""
    player = Player()
    player.play(read(SAMPLING.replace('"sampling":{}', '"sampling":{},"roots":{}').replace("@ 2\n", again)))
    assert player.rules == ["MCP513"]


Served = tuple[Player, Checking]


@pytest.fixture
def served() -> Iterator[Served]:
    """A player whose messages are checked in a thread."""
    player = Player()
    service = Checking(lambda _: None, lambda *_: None)
    service.serve(player.judge)
    yield player, service
    service.close()


@pytest.mark.parametrize("rule", ["MCP111", "MCP207"])
def test_without_the_extra_nothing_is_judged(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "schema", lambda: False)
    player = Player()
    player.judge.later = lambda deferred: pytest.fail("nothing is to be checked") if deferred.rule.extra else None
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


TWICE = catalogue()["MCP111"].bad + catalogue()["MCP111"].bad.replace("%init", "").replace('"id":10', '"id":11')


async def test_checks_are_made_in_a_thread_and_told_of_in_order(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    player, service = served
    scenes = [scene for scene in read(TWICE) if isinstance(scene, Scene)]
    player.play([*scenes])
    assert service.waiting == 7  # four requests, of which one is a notification that is answered 202
    assert player.rules == []
    gate.open.set()
    assert await service.finish(10) == 0
    assert player.rules == ["MCP111", "MCP111"]
    # With the times of the messages, not of the checks.
    assert [violation.at for violation in player.violations] == [EPOCH + scene.at for scene in scenes[2:]]


async def test_nothing_that_was_found_is_lost_at_the_end(served: Served) -> None:
    player, service = served
    player.play(read(catalogue()["MCP111"].bad))
    deadline = time.monotonic() + 10
    while service.waiting and time.monotonic() < deadline:
        time.sleep(0.001)  # noqa: ASYNC251  # the event loop is busy: nobody is told
    assert player.rules == []
    assert await service.finish(10) == 0
    assert player.rules == ["MCP111"]
    service.close()
    player.play(read(catalogue()["MCP207"].bad))
    assert service.waiting == 0  # nobody would empty the queue


async def test_a_rule_that_is_silenced_meanwhile_says_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    player, service = served
    player.play(read(catalogue()["MCP111"].bad))
    player.judge.limit(["MCP111"], Level.PRACTICE)
    gate.open.set()
    assert await service.finish(10) == 0
    assert player.rules == []


async def test_a_batch_counts_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = [
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "t", "progress": n}}
        for n in range(100)
    ]
    gate = Gate(monkeypatch)
    player, service = served
    text = f"%init 2025-03-26\n### client A\n> POST /mcp\n> %headers\n>\n> {json.dumps(notes)}\n< 202\n"
    monkeypatch.setattr(checking, "WAITING_BYTES", 2 * len(text))
    player.play(read(text))
    assert service.waiting == 3 + 100
    gate.open.set()
    assert await service.finish(10) == 0


async def test_what_comes_too_fast_is_not_kept(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    monkeypatch.setattr(checking, "WAITING_LIMIT", 2)
    player, service = served
    player.play(read(catalogue()["MCP111"].bad))
    assert service.waiting == 2
    assert await service.finish(0.01) == 5
    gate.open.set()
    assert await service.finish(10) == 3


async def test_a_check_that_fails_is_told_of(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Deferred) -> Any:
        return RuntimeError("broken")

    monkeypatch.setattr(Deferred, "make", broken)
    player, service = served
    player.play(read(catalogue()["MCP207"].good))
    assert await service.finish(10) == 0
    assert "could not check MCP111, please report it" in [getattr(record, "what", "") for record in player.told]


def test_the_same_message_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Said] = []
    player = Player()

    def later(deferred: Deferred) -> None:
        looked.append(Said(deferred.message, deferred.revision, deferred.answers))
        player.judge.settle(deferred, deferred.make())

    monkeypatch.setattr(player.judge, "later", later)
    call = '### client A\n> POST /mcp\n> %headers\n>\n> {{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{}}}\n'
    answer = '< 200\n< Content-Type: application/json\n<\n< {{"jsonrpc":"2.0","id":{},"result":{{"content":{}}}}}\n'
    fine, odd = '{"name":"echo","arguments":{}}', '{"name":7}'
    calls = "".join(call.format(n, fine) + answer.format(n, "[]") for n in (5, 6, 7))
    player.play(read(f"%init\n{calls}"))
    assert len([said for said in looked if said.message.method == "tools/call"]) == 1
    assert len([said for said in looked if said.answers == "tools/call"]) == 1
    # What is wrong is looked at, and told of, each time.
    player.play(read("".join(call.format(n, odd) + answer.format(n, "7") for n in (8, 9))))
    assert player.rules == ["MCP111", "MCP207"] * 2
    # And if other rules are judged by, all over again.
    player.judge.limit([], Level.PRACTICE)
    player.play(read(call.format(10, fine) + answer.format(10, "[]")))
    assert len([said for said in looked if said.message.raw.get("params") == {"name": "echo", "arguments": {}}]) == 2
