"""JSON-RPC bodies: tolerant of everything, never raising, bounded."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sessions.wire.jsonrpc import PARSE_LIMIT, Kind, dump, parse

KINDS: list[tuple[Any, Kind]] = [
    ({"jsonrpc": "2.0", "id": 1, "method": "ping"}, Kind.REQUEST),
    ({"jsonrpc": "2.0", "id": None, "method": "ping"}, Kind.REQUEST),
    ({"jsonrpc": "2.0", "method": "notifications/x"}, Kind.NOTIFICATION),
    ({"jsonrpc": "2.0", "id": 1, "result": {}}, Kind.RESPONSE),
    ({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": ""}}, Kind.RESPONSE),
    ({"jsonrpc": "2.0", "error": {"code": 1, "message": ""}}, Kind.RESPONSE),
    ({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}, Kind.INVALID),
    ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, Kind.INVALID),
    ({"id": 1, "method": "ping"}, Kind.INVALID),
    ({"jsonrpc": "2.0", "id": 1, "method": 5}, Kind.INVALID),
    ({"jsonrpc": "2.0", "id": 1}, Kind.INVALID),
    ("text", Kind.INVALID),
    (None, Kind.INVALID),
]


@pytest.mark.parametrize(("value", "kind"), KINDS)
def test_kinds(value: Any, kind: Kind) -> None:
    body = parse(json.dumps(value).encode())
    assert [message.kind for message in body.messages] == [kind]


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"", "empty"), (b"{", "not JSON"), (b'"\xff"', "not UTF-8"), (b"[]", "empty batch"), (b"[" * 10_000, "not JSON")],
)
def test_what_is_no_message_says_why(data: bytes, problem: str) -> None:
    body = parse(data)
    assert body.problem.startswith(problem)
    assert body.messages == ()


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"\udc00", "\ufffd"),
        (rb"\ud83d\u0041", "\ufffdA"),
        (rb"\uD83D\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\\ud83d\ud83d", "\\ud83d\ufffd"),
        (rb"\"\ud83d\n", '"\ufffd\n'),
    ],
)
def test_half_a_surrogate_pair_is_json(escaped: bytes, text: str) -> None:
    body = parse(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%s"}}' % escaped)
    assert (body.problem, body.sniffed) == ("", False)
    assert body.messages[0].params == {"name": text}
    assert parse(b'{"jsonrpc":"2.0","id":1,"method":"%s}' % escaped).problem.startswith("not JSON")


@pytest.mark.parametrize("deep", [b"[" * 250 + b"]" * 250, b'{"id":5,"a":' * 250 + b"1" + b"}" * 250])
def test_nesting_that_is_not_read_is_json(deep: bytes) -> None:
    body = parse(b'{"params":{"a":%s,"name":"x"},"jsonrpc":"2.0","id":1,"method":"tools/call"}' % deep)
    assert body.sniffed
    assert body.problem == "nested too deep, or with too large a number, not read in full"
    [message] = body.messages
    assert (message.kind, message.id, message.method) == (Kind.REQUEST, 1, "tools/call")
    assert message.params["name"] == "x"
    dump(message.raw)
    [message] = parse(b'{"result":%s,"jsonrpc":"2.0","id":1}' % deep).messages
    assert (message.kind, message.id) == (Kind.RESPONSE, 1)
    body = parse(b'[{"result":%s,"jsonrpc":"2.0","id":1},1]' % deep)
    assert [message.kind for message in body.messages] == [Kind.RESPONSE, Kind.INVALID]
    assert body.batch
    assert parse(b'{"jsonrpc":"2.0","id":1,"params":%s' % deep).problem.startswith("not JSON")


def test_a_number_that_is_too_large_to_be_read_is_json() -> None:
    body = parse(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"n":%s}}' % (b"1" * 5_000))
    assert body.sniffed
    assert body.messages[0].method == "tools/call"


@pytest.mark.parametrize("part", [rb"\\a", rb"\ud83d", rb"\n", rb"\ud83d\ude00"])
def test_a_large_body_of_escapes_holds_up_nobody(part: bytes) -> None:
    data = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":"\\ud83d' + part * (
        PARSE_LIMIT // len(part) - 40
    )
    begun = time.thread_time()
    body = parse(data + b'"}}')
    assert time.thread_time() - begun < 0.05
    assert body.messages[0].method == "tools/call"


def test_a_large_body_is_known_by_its_head() -> None:
    filler = "x" * PARSE_LIMIT
    body = parse(b'{"jsonrpc":"2.0","id":"a1","method":"tools/call","params":{"x":"%s"}}' % filler.encode())
    assert body.sniffed
    assert (body.messages[0].kind, body.messages[0].method, body.messages[0].id) == (Kind.REQUEST, "tools/call", "a1")
    body = parse(b'{"params":{"x":"%s"},"jsonrpc":"2.0","id":7,"method":"tools/call"}' % filler.encode())
    assert (body.messages[0].kind, body.messages[0].method, body.messages[0].id) == (Kind.REQUEST, "tools/call", 7)
    body = parse(b'{"jsonrpc":"2.0","id":7,"result":{"x":"%s"}}' % filler.encode())
    assert body.messages[0].kind is Kind.RESPONSE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["jsonrpc", "id", "method", "result", "params"]), inner)
    ),
)


@given(JSON)
def test_any_json_can_be_asked_anything(value: Any) -> None:
    for message in parse(json.dumps(value).encode()).messages:
        _ = (message.params, message.result, message.error, message.error_code, message.has_valid_id, repr(message))


@given(st.binary())
def test_any_bytes_can_be_parsed(data: bytes) -> None:
    parse(data)


@pytest.mark.parametrize("part", [b"[],", b'{"a":1},', b"1,", b'"x"\n,', b"[[[]]],"])
def test_a_large_body_of_many_parts_is_not_parsed(part: bytes) -> None:
    data = (
        b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":['
        + part * (PARSE_LIMIT // len(part) - 40)
        + b"1]}}"
    )
    before = time.thread_time()
    body = parse(data)
    assert time.thread_time() - before < 0.05
    assert body.sniffed
    assert body.first is not None
    assert (body.first.method, body.first.id) == ("tools/call", 7)


def test_a_large_body_of_text_is_parsed() -> None:
    body = parse(b'{"jsonrpc":"2.0","id":7,"result":{"text":"' + b"word, " * 100_000 + b'"}}')
    assert not body.sniffed
