"""Redaction: nothing that was planted survives, however odd the body is that it stands in; and nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_sessions.recordings.redact import Redactor

JSON, SSE = "application/json", "text/event-stream"
SECRET_NAMES = ["password", "token", "api_key", "client_secret", "sessionId", "authorization", "x-auth-token"]
PLAIN = st.none() | st.booleans() | st.integers(-999, 999) | st.text("abc xyz.,!<>&'ü", max_size=12)
SECRETS = st.text("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=9, max_size=24).map(lambda text: f"Zq{text}")


def redact(content: bytes, media_type: str = JSON) -> bytes:
    redactor = Redactor()
    redactor.body(content, media_type)
    redactor.replacing()
    return redactor.body(content, media_type)


@st.composite
def documents(draw: st.DrawFn) -> tuple[Any, list[str]]:
    """An object with secrets under names that say so, and what those are."""
    planted: list[str] = []

    def value(depth: int) -> Any:
        kind = draw(st.sampled_from(["plain", "plain", "secret", "object", "array", "text"]))
        if depth > 3 or kind == "plain":
            return draw(PLAIN)
        if kind == "array":
            return [value(depth + 1) for _ in range(draw(st.integers(0, 3)))]
        if kind == "text":
            return json.dumps(value(depth + 1))
        return members(depth + 1)

    def members(depth: int) -> dict[str, Any]:
        found = {draw(st.text("abcdef", min_size=1, max_size=4)): value(depth) for _ in range(draw(st.integers(0, 3)))}
        if draw(st.booleans()):
            planted.append(draw(SECRETS))
            found[draw(st.sampled_from(SECRET_NAMES))] = planted[-1]
        return found

    document = members(0)
    secret = draw(SECRETS)
    planted.append(secret)
    document[draw(st.sampled_from(SECRET_NAMES))] = secret
    return document, planted


def told_apart(shown: Any, original: Any) -> None:
    """They differ in placeholders alone."""
    if isinstance(original, dict):
        assert shown.keys() == original.keys()
        for key in original:
            told_apart(shown[key], original[key])
    elif isinstance(original, list):
        assert len(shown) == len(original)
        for one, other in zip(shown, original, strict=True):
            told_apart(one, other)
    elif shown != original:
        assert isinstance(shown, str)
        try:
            inner = json.loads(original)
        except ValueError:
            assert shown.startswith(("<secret-", "<session-"))
        else:
            told_apart(json.loads(shown), inner)


@settings(max_examples=150, deadline=None)
@given(documents(), st.sampled_from([None, 1, "\t"]))
def test_nothing_survives_and_nothing_else_changes(document: tuple[Any, list[str]], indent: Any) -> None:
    said, planted = document
    shown = redact(json.dumps(said, indent=indent).encode())
    for secret in planted:
        assert secret.encode() not in shown
    told_apart(json.loads(shown), said)


@settings(max_examples=150, deadline=None)
@given(documents(), st.data())
def test_nothing_survives_in_what_is_no_json_or_is_odd(document: tuple[Any, list[str]], data: st.DataObject) -> None:
    said, planted = document
    text = json.dumps(said)
    how = data.draw(st.sampled_from(["bom", "cut", "twice", "half a pair", "nested", "before", "two members", "lines"]))
    match how:
        case "bom":
            text = "\ufeff" + text
        case "cut":
            text = text[: data.draw(st.integers(0, len(text)))]
        case "twice":
            text = f"{text} {text}"
        case "half a pair":
            text = text[:-1] + ', "x": "\\ud83d"}'
        case "nested":
            text = f'{text[:-1]}, "x": {"[" * 300}{"]" * 300}}}'
        case "before":
            text = f"the server said {text}, and that was all"
        case "two members":
            name = data.draw(st.sampled_from(SECRET_NAMES))
            first, last = data.draw(st.tuples(SECRETS, SECRETS | st.none()))
            planted = [first, *([last] if last else [])]
            text = f'{{"a": 1, {json.dumps(name)}: {json.dumps(first)}, {json.dumps(name)}: {json.dumps(last)}}}'
        case "lines":
            text = f"{text}\n{text}\r\n"
    shown = redact(text.encode())
    for secret in planted:
        for size in (len(secret), 8):
            assert secret[:size].encode() not in shown, how


@settings(max_examples=150, deadline=None)
@given(
    st.lists(documents() | st.text("abc {}", max_size=9), max_size=4),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.sampled_from(["", ": c", "id: 7", "event: message", "retry: 5"]),
    st.integers(0, 2),
)
def test_of_an_event_stream_only_data_with_secrets_changes(
    events: list[Any], end: str, bom: bool, other: str, place: int
) -> None:
    lines: list[str] = []
    planted: list[str] = []
    for event in events:
        said = event if isinstance(event, str) else json.dumps(event[0], indent=1)
        planted += [] if isinstance(event, str) else event[1]
        fields = [f"data: {line}" for line in said.split("\n")]
        if other:
            fields.insert(min(place, len(fields)), other)
        lines += [*fields, ""]
    content = (("\ufeff" if bom else "") + end.join(lines) + end).encode()
    shown = redact(content, SSE)
    for secret in planted:
        assert secret.encode() not in shown
    if not planted:
        assert shown == content
    assert shown.count(b": c") == content.count(b": c")
    for line in (b"id: 7", b"event: message", b"retry: 5"):
        assert shown.count(line) == content.count(line)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a":1, "token":"abcdefgh', b'{"a":1, "token":"<secret-1>'),
        (b'{"token":"a\\"bcdefgh"', b'{"token":"<secret-1>"'),
        (b'{"pin": 123456', b'{"pin": <secret-1>'),
        (b'{"n": 123456', b'{"n": 123456'),
        (b'{"token":"abcdefgh","token":null}', b'{"token":null}'),
        (b'{"token":"short","token":7}', b'{"token":7}'),
        (b'\xef\xbb\xbf{"a":1}', b'\xef\xbb\xbf{"a":1}'),
        (b'{"maxTokens":"1","token":""', b'{"maxTokens":"1","token":""'),
        (b'{"sessionId":"abcdefgh"', b'{"sessionId":"<session-1>"'),
        (b'{"authorization":"Bearer abcdefgh"', b'{"authorization":"Bearer <secret-1>"'),
    ],
)
def test_what_can_not_be_read_as_a_whole(content: bytes, expected: bytes) -> None:
    assert redact(content) == expected


def test_a_known_secret_does_not_survive_in_the_name_of_another() -> None:
    form, cookie = b"password-abcdefgh=x1&a=1", b"abcdefgh-token=x2; b=3"
    redactor, shown = Redactor(), b""
    for last in (False, True):
        fields = redactor.fields(((b"authorization", b"Bearer abcdefgh"), (b"cookie", cookie)))
        shown = redactor.body(form, "application/x-www-form-urlencoded") + dict(fields)[b"cookie"]
        if not last:
            redactor.replacing()
    assert b"abcdefgh" not in shown
    assert b"&a=1" in shown
