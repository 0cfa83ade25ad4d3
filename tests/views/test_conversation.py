"""Streams and bodies as a conversation."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from mcp_sessions.views.conversation import DOWN, SHOWN_LIMIT, UP, asked, body_text, moment, stream_text
from mcp_sessions.wire.jsonrpc import Body, parse
from mcp_sessions.wire.sse import encode

CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "hi"}}}
ANSWER = {"jsonrpc": "2.0", "id": 7, "result": {"content": [{"type": "text", "text": "hi"}]}}
PROGRESS = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}
PING = {"jsonrpc": "2.0", "id": "s1", "method": "ping"}


def body(value: object) -> Body:
    return parse(json.dumps(value).encode())


def stream(*messages: object) -> bytes:
    return b"".join(encode(json.dumps(message).encode()) for message in messages)


def test_a_request_says_direction_kind_method_and_id() -> None:
    text = body_text(body(CALL), UP)
    assert text.startswith("# client → server · request tools/call echo · id 7\n")
    assert "params:\n  name: echo\n  arguments:\n    text: hi\n" in text


def test_an_answer_names_the_request_that_it_answers() -> None:
    answers = asked(body(CALL))
    assert body_text(body(ANSWER), DOWN, answers).startswith(f"# {DOWN} · response to tools/call echo · id 7\n")
    error = {"jsonrpc": "2.0", "id": 7, "error": {"code": -1, "message": "no"}}
    assert body_text(body(error), DOWN, answers).startswith(f"# {DOWN} · error to tools/call echo · id 7\n")
    assert body_text(body({**ANSWER, "id": 8}), DOWN, answers).startswith(f"# {DOWN} · response · id 8\n")


def test_a_batch_is_listed_message_by_message() -> None:
    text = body_text(body([CALL, PROGRESS]), UP)
    assert "batch of 2" in text
    assert "# client → server · notification notifications/progress\n- jsonrpc" in text


def test_a_stream_tells_each_event_with_its_arrival() -> None:
    began = 1_700_000_000.0
    text = stream_text(
        stream(PROGRESS, PING, ANSWER),
        asked(body(CALL)),
        began=began,
        arrivals=[began + 0.25, began + 1.5, began + 2],
    )
    heads = [line for line in text.splitlines() if line.startswith("# ")]
    assert heads[0] == "# event stream · 3 events · ended"
    assert heads[1].endswith(f"(+0.250 s) · {DOWN} · notification notifications/progress")
    assert heads[2].endswith(f"(+1.500 s) · {DOWN} · request ping · id s1")
    assert heads[3].endswith(f"(+2.000 s) · {DOWN} · response to tools/call echo · id 7")
    assert "result:\n  content:\n    - type: text\n      text: hi\n" in text
    assert "jsonrpc" not in text


def test_a_stream_that_is_open_cut_or_truncated_says_so() -> None:
    assert "· 1 event · still open" in stream_text(stream(PING), still_open=True)
    assert "ends within an event" in stream_text(stream(PING) + b"data: {")
    assert "12,345 bytes more" in stream_text(stream(PING), dropped=12345)


def test_what_is_no_message_is_shown_for_what_it_is() -> None:
    text = stream_text(b"retry: 500\n\nevent: odd\nid: 4\ndata: not json\n\ndata: 17\n\n")
    assert "no data · retry 500 ms" in text
    assert "not JSON-RPC · type odd · event id 4\nnot json\n" in text
    assert "not JSON-RPC 2.0\n17\n" in text


def test_a_very_long_stream_shows_its_ends() -> None:
    text = stream_text(stream(*({**PROGRESS, "params": {"progress": n}} for n in range(SHOWN_LIMIT + 500))))
    assert "500 events are not shown" in text
    assert text.count("notifications/progress") == SHOWN_LIMIT
    assert f"progress: {SHOWN_LIMIT + 499}" in text


@given(st.binary(max_size=400), st.lists(st.floats(0, 2e9), max_size=5))
def test_any_bytes_can_be_shown(data: bytes, arrivals: list[float]) -> None:
    text = stream_text(data, arrivals=arrivals, began=1.0)
    assert text.startswith("# event stream")
    assert "\x1b" not in text


@given(st.text(max_size=50))
def test_what_comes_from_the_wire_cannot_leave_its_headline(name: str) -> None:
    """A method with a line break in it would read as a body."""
    message = {"jsonrpc": "2.0", "id": name, "method": name, "params": {"name": name}}
    text = body_text(body(message), UP)
    assert text.splitlines()[1] == 'jsonrpc: "2.0"'


def test_a_moment_has_milliseconds() -> None:
    assert moment(1_700_000_000.9996, None).endswith(".000")
    assert "(+" not in moment(5.0, 6.0)
