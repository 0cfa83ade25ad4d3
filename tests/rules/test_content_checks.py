"""What is in a message by itself, check by check: each place where something stands, each wording, each limit."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.session import Session
from mcp_sessions.rules import content
from mcp_sessions.rules.checks import Arrival, Said
from mcp_sessions.rules.content import MANY, MANY_KEYS
from mcp_sessions.rules.facts import notes
from mcp_sessions.rules.places import Place
from mcp_sessions.rules.talks import Talk, history
from mcp_sessions.wire.jsonrpc import Message
from mcp_sessions.wire.sse import Event
from rules.single import ENDPOINT, body, exchange


def message(**members: Any) -> Message:
    return Message({"jsonrpc": "2.0", **members})


def result(**members: Any) -> Message:
    return message(id=1, result=members)


def asked(method: str, **params: Any) -> Message:
    return message(id=1, method=method, params=params)


def said(one: Message, x: Any = None) -> Said:
    return Said(one, "2025-11-25", "tools/call", x)


X = exchange()
TEXT, IMAGE = {"type": "text"}, {"type": "image"}
ERROR, NOTE = message(id=1, error={}), message(method="n")


@pytest.mark.parametrize(
    ("one", "structured", "more", "asks", "gives"),
    [
        (result(), False, True, False, True),
        (result(structuredContent=None), True, True, False, True),
        (result(inputRequests={}), False, True, True, True),
        (result(content=[]), False, False, False, True),
        (result(content=[TEXT]), False, False, False, True),
        (result(content=[TEXT, IMAGE]), False, True, False, True),
        (result(content=[7]), False, True, False, True),
        (result(content={"type": "text"}), False, True, False, True),
        (result(content=[TEXT] * (MANY - 1) + [IMAGE]), False, True, False, True),
        (result(content=[TEXT] * MANY + [IMAGE]), False, False, False, True),
        (ERROR, False, False, False, True),
        (asked("m"), False, True, True, False),
        (asked("m", inputResponses={}), False, True, True, True),
        (NOTE, False, False, False, False),
    ],
)
def test_which_messages_are_looked_at(one: Message, structured: bool, more: bool, asks: bool, gives: bool) -> None:
    found = [check(X, one) for check in (content._structured, content._more_than_text, content._asks, content._gives)]
    assert found == [structured, more, asks, gives]


# Tools


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a", "A.b_c-9", "x" * 128], None),
        (["a b"], ["'a b'"]),
        ([""], ["''"]),
        (["x" * 129], ["'" + "x" * 59 + "…'"]),
        (["a\n"], ["'a\N{REPLACEMENT CHARACTER}'"]),
        (["a", "b", "a", "a"], ["a twice"]),
        (["!", "!"], ["'!'", "! twice"]),
        (["z", "y", "z", "y", 7], ["y twice", "z twice"]),
        ([f"{n}!" for n in range(6)], [f"'{n}!'" for n in range(5)]),
        ([f"{n}" for n in range(6)] * 2, [f"{n} twice" for n in range(5)]),
        (["y" * 61] * 2, ["y" * 59 + "… twice"]),
        (["a"] * (MANY - 1) + ["!"], ["'!'", "a twice"]),
        ([str(n) for n in range(MANY)] + ["!"], None),
    ],
)
def test_names_of_tools(names: list[Any], found: list[str] | None) -> None:
    assert content.tool_names(said(result(tools=[{"name": name} for name in names]))) == found


@pytest.mark.parametrize("tools", [None, {}, [7], [{}], [["name"]]])
def test_what_is_no_list_of_tools(tools: Any) -> None:
    for check in (content.tool_names, content.tool_schemas):
        assert check(said(result(tools=tools))) is None
        assert check(said(ERROR)) is None


def test_schemas_of_tools() -> None:
    pytest.importorskip("jsonschema")
    wrong, right = {"type": "text"}, {"type": "string"}
    tools = [
        {"name": "a", "inputSchema": wrong, "outputSchema": right},
        {"name": "b" * 61, "outputSchema": wrong},
        {"inputSchema": wrong},
    ]
    assert content.tool_schemas(said(result(tools=tools))) == [
        "a, inputSchema: type: anyOf",
        "b" * 59 + "…, outputSchema: type: anyOf",
        "None, inputSchema: type: anyOf",
    ]
    assert content.tool_schemas(said(result(tools=[tools[0]] * 6))) == ["a, inputSchema: type: anyOf"] * 5


def test_what_tools_return_is_noted_by_whose_list_it_is() -> None:
    place = Place()
    x = exchange({"id": 1, "method": "tools/list"}, place=place)
    x.credentials = "hash"
    assert not content._has_outputs(x, NOTE)
    schema = {"type": "object"}
    tools = [{"name": "a", "outputSchema": schema}, {"name": "b"}, {"name": 7, "outputSchema": schema}]
    content.note_outputs(x, result(tools=tools))
    assert place.outputs == {("hash", "a"): schema}
    assert content._has_outputs(x, NOTE)
    x.session = Session(ENDPOINT, "client-id", "server-id", 0.0, 0.0, "2025-11-25")
    content.note_outputs(x, result(tools=tools))
    content.note_outputs(x, result(tools=[{"name": "a"}]))
    assert place.outputs == {("hash", "a"): schema, ("client-id", "a"): None}
    other = exchange({"id": 1, "method": "prompts/list"}, place=Place())
    content.note_outputs(other, result(tools=tools))
    assert not content._has_outputs(other, NOTE)


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("t", {"structuredContent": {"a": 1}}, None),
        ("t", {"structuredContent": {}}, "t: it: required"),
        ("t", {"structuredContent": {}, "isError": False}, "t: it: required"),
        ("t", {"structuredContent": {}, "isError": True}, None),
        ("t", {"content": []}, "t: no structuredContent"),
        ("t", {"content": [], "resultType": "complete"}, "t: no structuredContent"),
        ("t", {"content": [], "resultType": "input_required"}, None),
        ("t", {}, None),
        ("u", {"content": []}, None),
        (7, {"content": []}, None),
        ("v" * 61, {"content": []}, "v" * 59 + "…: no structuredContent"),
        ("v" * 61, {"structuredContent": {}}, "v" * 59 + "…: it: required"),
    ],
)
def test_results_against_what_was_noted(name: Any, given: dict[str, Any], found: str | None) -> None:
    pytest.importorskip("jsonschema")
    place = Place()
    x = exchange({"id": 1, "method": "tools/call", "params": {"name": name}}, place=place)
    for known in ("t", "v" * 61):
        place.outputs.put(("", known), {"required": ["a"]})
    assert content.structured_content(said(result(**given), x)) == found
    assert content.structured_content(said(result(**given))) is None
    assert content.structured_content(said(result(**given), exchange(place=place))) is None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"structuredContent": {}}, ""),
        ({"structuredContent": {}, "content": [IMAGE]}, ""),
        ({"structuredContent": {}, "content": [IMAGE, TEXT]}, None),
        ({"structuredContent": {}, "isError": True}, None),
        ({"structuredContent": None}, None),
        ({}, None),
    ],
)
def test_structure_is_returned_as_text_too(given: dict[str, Any], found: str | None) -> None:
    assert content.structured_text(said(result(**given))) == found


# Content


def block(**more: Any) -> dict[str, Any]:
    return {"type": "image", "data": "!", "mimeType": "image/png", **more}


@pytest.mark.parametrize(
    "one",
    [
        result(content=[block()]),
        result(content=block()),
        result(contents=[block()]),
        result(messages=[{"role": "user", "content": block()}]),
        result(messages=[{}, {"content": [TEXT, block()]}]),
        asked("sampling/createMessage", messages=[{"content": block()}]),
        asked("x", content=[block()]),
    ],
)
def test_wherever_content_stands(one: Message) -> None:
    assert content.content_encoding(said(one)) == ["image: no base64"]


@pytest.mark.parametrize(
    ("one", "found"),
    [
        (block(data="aGk="), None),
        (block(type="audio"), ["audio: no base64"]),
        (block(type="text"), None),
        (block(type="blob", data=None, blob="!"), ["blob: no base64"]),
        (block(data=7), None),
        (block(blob="!", data="aGk="), None),
        ({"blob": "!"}, ["resource: no base64"]),
        ({"type": "resource", "resource": {"blob": "!"}}, ["resource: no base64"]),
        ({"type": "resource", "resource": {"blob": "aGk="}, "blob": "!", "data": "!"}, None),
        ({"type": "x" * 21, "blob": "!"}, ["x" * 19 + "…: no base64"]),
        (block(data="aGk=", mimeType="png"), ["image: mimeType png"]),
        (block(data="aGk=", mimeType="image/png; a=b"), None),
        (block(data="aGk=", mimeType="image/svg+xml"), None),
        (block(data="aGk=", mimeType="image/"), ["image: mimeType image/"]),
        (block(type="audio", data="aGk=", mimeType="x" * 41), ["audio: mimeType " + "x" * 39 + "…"]),
        (block(data="aGk=", mimeType=7), None),
        ({"type": "text", "mimeType": "png"}, None),
        (block(mimeType="png"), ["image: no base64", "image: mimeType png"]),
    ],
)
def test_how_content_is_encoded(one: dict[str, Any], found: list[str] | None) -> None:
    assert content.content_encoding(said(result(content=[one]))) == found


def test_five_are_told_of() -> None:
    assert content.content_encoding(said(result(content=[block()] * 6))) == ["image: no base64"] * 5
    many = [{"uri": ""}] * 6
    assert content.resource_uri(said(result(resources=many))) == ["empty"] * 5
    assert content.root_uri(said(result(roots=[{"uri": "x"}] * 6))) == ["x"] * 5
    urls = {str(n): {"method": "elicitation/create", "params": {"mode": "url", "url": "x"}} for n in range(6)}
    assert content.elicitation_url(said(result(inputRequests=urls))) == ["x"] * 5
    clear = {key: {**one, "params": {"mode": "url", "url": "http://a.example.com"}} for key, one in urls.items()}
    assert content.elicitation_https(said(result(inputRequests=clear))) == ["http://a.example.com"] * 5
    assert content.server_meta_key(X, result(_meta={f"-{n}": 1 for n in range(6)})) == [f"-{n}" for n in range(5)]


@pytest.mark.parametrize(
    ("data", "right"),
    [
        ("", True),
        ("aGk=", True),
        ("aGk", True),
        ("a", False),
        ("aGkh", True),
        ("aGkha", False),
        ("a-_b", False),
        ("aGk===", False),
        ("aG k=\n", True),
        ("aQ= =", True),
    ],
)
def test_base64(data: str, right: bool) -> None:
    assert content._is_base64(data) is right


# Addresses


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("a:b", None),
        ("x-y+z.1:b", None),
        ("a:\n", None),
        ("a:", ["a:"]),
        ("/path", ["/path"]),
        ("1a:b", ["1a:b"]),
        ("", ["empty"]),
        (7, None),
        ("x" * 61, ["x" * 59 + "…"]),
    ],
)
def test_addresses_of_resources(uri: Any, found: list[str] | None) -> None:
    link, embedded = {"type": "resource_link", "uri": uri}, {"type": "resource", "resource": {"uri": uri}, "uri": "/x"}
    for given in ({"resources": [{"uri": uri}]}, {"content": [link]}, {"content": [embedded]}):
        assert content.resource_uri(said(result(**given))) == found
    contents = content.resource_uri(said(result(contents=[{"uri": uri}])))
    assert contents == (found and found * 2)  # as a resource, and as content
    assert content.resource_uri(said(asked("m", content=[link]))) == found


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("file:///a", None),
        ("FILE:///a", None),
        ("file:/a", ["file:/a"]),
        ("https://a", ["https://a"]),
        ("x" * 61, ["x" * 59 + "…"]),
        (7, None),
    ],
)
def test_addresses_of_roots(uri: Any, found: list[str] | None) -> None:
    roots = {"roots": [{"uri": uri}]}
    assert content.root_uri(said(result(**roots))) == found
    assert content.root_uri(said(asked("tools/call", inputResponses={"a": {}, "b": roots}))) == found
    assert content.root_uri(said(asked("tools/call", inputResponses=[roots]))) is None
    assert content.root_uri(said(ERROR)) is None


def elicited(url: Any, mode: str = "url") -> list[Said]:
    """The same question, asked by a request and in a result."""
    params = {"mode": mode, "url": url}
    inside = {"a": {"method": "roots/list", "params": params}, "b": {"method": "elicitation/create", "params": params}}
    return [said(asked("elicitation/create", **params)), said(result(inputRequests=inside))]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://a.example/x", None),
        ("http://a", None),
        ("mailto:x", None),
        ("https:x", ["https:x"]),
        ("http:x", ["http:x"]),
        ("https:///x", ["https:///x"]),
        ("a.example/x", ["a.example/x"]),
        ("https://a b", ["https://a b"]),
        ("https://[a", ["https://[a"]),
        ("", ["empty"]),
        ("x" * 61, ["x" * 59 + "…"]),
        (7, None),
    ],
)
def test_addresses_of_elicitations(url: Any, found: list[str] | None) -> None:
    assert [content.elicitation_url(one) for one in elicited(url)] == [found] * 2
    assert [content.elicitation_url(one) for one in elicited(url, "form")] == [None] * 2


def test_only_elicitations_elicit() -> None:
    wrong = {"mode": "url", "url": "x"}
    assert content.elicitation_url(said(asked("sampling/createMessage", **wrong))) is None
    assert content.elicitation_url(said(message(method="elicitation/create", params=wrong))) is None
    requests: Any
    for requests in (7, [{"method": "elicitation/create", "params": wrong}], {"a": 7}, {"a": {}}):
        assert content.elicitation_url(said(result(inputRequests=requests))) is None
    for params in ("x", None):
        inside = {"a": {"method": "elicitation/create", "params": params}}
        assert content.elicitation_url(said(result(inputRequests=inside))) is None


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("http://a.example.com/x", True),
        ("HTTP://a.example.com/x", True),
        ("https://a.example.com", False),
        ("ftp://a.example.com", False),
        *((f"http://a.{name}", False) for name in ("localhost", "local", "test", "internal", "example")),
        ("http://localhost.com", True),
        ("http://localhost", False),
        ("http://intranet:8080", False),
        ("http://10.0.0.1", False),
        ("http://[::1]", False),
        ("http://a b.com", False),  # none at all
    ],
)
def test_addresses_of_elicitations_are_those_of_https(url: str, clear: bool) -> None:
    assert [content.elicitation_https(one) for one in elicited(url)] == [[url] if clear else None] * 2


# Sampling and elicitation


def use(number: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": number}


def used(number: Any) -> dict[str, Any]:
    return {"type": "tool_result", "toolUseId": number}


def turn(*blocks: Any, role: str = "assistant") -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([], None),
        ([turn(TEXT), turn(TEXT)], None),
        ([turn(use("a")), turn(used("a"))], None),
        ([turn(use("a"), use("b")), turn(used("b"), used("a"))], None),
        ([turn(use("a")), turn(used("a")), turn(use("b")), turn(used("b"))], None),
        ([turn(TEXT, use("a")), {"content": used("a")}], None),
        ([{"role": "assistant", "content": use("a")}, turn(used("a"))], None),
        ([turn(use("a"))], "the last message lacks the result of a"),
        ([turn(use("b"), use("a"))], "the last message lacks the result of a"),
        ([turn(use("x" * 41))], "the last message lacks the result of " + "x" * 39 + "…"),
        ([turn(use("a")), turn(TEXT)], "message 1 lacks the result of a"),
        ([turn(use("c"), use("b"), use("a")), turn(used("b"))], "message 1 lacks the result of a"),
        ([turn(TEXT), turn(use("x" * 41)), turn()], "message 2 lacks the result of " + "x" * 39 + "…"),
        ([turn(use("a")), turn(used("a"), TEXT)], "message 1 has tool results and other content"),
        ([turn(use("a")), turn(used("a")), turn(TEXT)], None),
        ([turn(use("a"), role="user"), turn(TEXT)], None),
        ([turn(used("z"))], None),
        ([turn(use(1)), turn(used("1"))], None),
        (7, None),
    ],
)
def test_uses_of_tools_and_their_results(messages: Any, found: str | None) -> None:
    assert content.sampling_tool_results(said(asked("sampling/createMessage", messages=messages))) == found
    inside = {
        "a": {"method": "roots/list"},
        "b": {"method": "sampling/createMessage", "params": {"messages": messages}},
    }
    assert content.sampling_tool_results(said(result(inputRequests=inside))) == found


def talking(*questions: Any) -> Any:
    """An exchange in a session whose server has asked this."""
    x = exchange({"id": 1, "method": "tools/call"})
    notes(x).talk = Talk(Place())
    content.note_question(x, Arrival(Event(b""), body(*questions), 0.0))
    return x


def question(method: str, number: Any = 1, **params: Any) -> dict[str, Any]:
    return {"id": number, "method": method, "params": params}


FORM = question("elicitation/create", requestedSchema={"required": ["a"]})
SAMPLING = question("sampling/createMessage", toolChoice={"mode": "none"})


def test_what_is_asked_for_is_noted() -> None:
    wrong = question("elicitation/create", number=[], requestedSchema={})
    x = talking(FORM, question("elicitation/create", 2, requestedSchema=7), question("ping", 3), wrong)
    assert history(notes(x).talk).wanted == {1: {"required": ["a"]}}  # type: ignore[arg-type]
    content.note_question(x, Arrival(Event(b""), None, 0.0))
    content.note_question(exchange(), Arrival(Event(b""), body(FORM), 0.0))


@pytest.mark.parametrize(
    ("asked_for", "given", "found"),
    [
        (SAMPLING, {"content": use("a")}, "tool_use in the answer"),
        (SAMPLING, {"content": [TEXT, use("a")]}, "tool_use in the answer"),
        (SAMPLING, {"content": TEXT}, None),
        (SAMPLING, {}, None),
        (question("sampling/createMessage", toolChoice={"mode": "auto"}), {"content": use("a")}, None),
        (question("sampling/createMessage"), {"content": use("a")}, None),
    ],
)
def test_a_model_that_is_to_use_no_tools(asked_for: Any, given: dict[str, Any], found: str | None) -> None:
    x = talking(asked_for)
    assert content.sampling_tool_choice(said(result(**given), x)) == found
    assert content.sampling_tool_choice(said(message(id=2, result=given), x)) is None
    assert content.sampling_tool_choice(said(result(**given))) is None
    assert content.sampling_tool_choice(said(result(**given), exchange())) is None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"action": "accept", "content": {"a": 1}}, None),
        ({"action": "accept", "content": {}}, "it: required"),
        ({"action": "accept"}, "it: required"),
        ({"action": "decline"}, None),
        ({}, None),
    ],
)
def test_a_form_and_its_answer(given: dict[str, Any], found: str | None) -> None:
    pytest.importorskip("jsonschema")
    assert content.elicitation_answer(said(result(**given), talking(FORM))) == found
    assert content.elicitation_answer(said(result(**given), talking())) is None
    quiet = exchange()
    notes(quiet).talk = Talk(Place())
    assert content.elicitation_answer(said(result(**given), quiet)) is None


# Keys of `_meta`


@pytest.mark.parametrize(
    ("meta", "found"),
    [
        ({"a": 1, "com.example/b": 2}, None),
        ({"-a": 1, "b": 2, "c d": 3}, ["-a", "c d"]),
        ({"-" * 81: 1}, ["-" * 79 + "…"]),
        ({"-" * 80: 1}, ["-" * 80]),
        ({"-" * 256: 1}, ["-" * 79 + "…"]),
        ({"-" * 257: 1}, None),
        ({"-": 1, **{f"a{n}": 1 for n in range(MANY_KEYS - 1)}}, ["-"]),
        ({"-": 1, **{f"a{n}": 1 for n in range(MANY_KEYS)}}, None),
        (["-"], None),
        (None, None),
    ],
)
def test_keys(meta: Any, found: list[str] | None) -> None:
    assert content.server_meta_key(X, result(_meta=meta)) == found
    assert content.client_meta_key(exchange({"id": 1, "method": "m", "params": {"_meta": meta}})) == found
    assert content.client_meta_key(exchange()) is None
    assert content.server_meta_key(X, ERROR) is None


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("parent", "right"),
    [
        (TRACE, True),
        ("cc" + TRACE[2:] + "-more", True),
        (None, True),
        ("ff" + TRACE[2:], False),
        (TRACE.upper(), False),
        (TRACE + "x", False),
        (TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), False),
        (TRACE.replace("b7ad6b7169203331", "0" * 16), False),
        ("", False),
        (7, False),
        ("x" * 80, False),
    ],
)
def test_traces(parent: Any, right: bool) -> None:
    found = None if right else f"traceparent {parent}"
    assert content.server_trace_context(X, result(_meta={"traceparent": parent})) == found
    meta = {"_meta": {"traceparent": parent}}
    assert content.client_trace_context(exchange({"id": 1, "method": "m", "params": meta})) == found


def test_traces_that_are_none() -> None:
    long = result(_meta={"traceparent": "x" * 81})
    assert content.server_trace_context(X, long) == "traceparent " + "x" * 79 + "…"
    for one in (result(_meta={}), result(_meta=["traceparent"]), result(), ERROR):
        assert content.server_trace_context(X, one) is None
    assert content.client_trace_context(exchange()) is None
