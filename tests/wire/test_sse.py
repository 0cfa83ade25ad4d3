"""The decoder of server-sent events: chunk borders mean nothing, limits hold, nothing raises."""

from hypothesis import given
from hypothesis import strategies as st

from mcp_sessions.wire.sse import Decoder, Event, encode

CASES: list[tuple[str, bytes, list[Event]]] = [
    ("one event", b"data: a\n\n", [Event(b"a")]),
    ("three ends of line", b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [Event(b"a"), Event(b"b"), Event(b"c")]),
    ("several lines of data", b"data: a\ndata:b\ndata\n\n", [Event(b"a\nb\n")]),
    ("comment", b": keep alive\n\ndata: a\n\n", [Event(b"a")]),
    ("priming event", b"id: 1\ndata:\n\n", [Event(b"", "1")]),
    ("retry alone", b"retry: 500\n\n", [Event(None, None, "message", 500)]),
    ("bad retry", b"retry: soon\ndata: a\n\n", [Event(b"a")]),
    ("id and type", b"event: message\nid: 7\ndata: a\n\n", [Event(b"a", "7")]),
    ("other type", b"event: endpoint\ndata: /x\n\n", [Event(b"/x", None, "endpoint")]),
    ("id with NUL", b"id: a\0b\ndata: x\n\n", [Event(b"x")]),
    ("byte order mark", b"\xef\xbb\xbfdata: a\n\n", [Event(b"a")]),
    ("unknown field", b"colour: red\ndata: a\n\n", [Event(b"a")]),
    ("cut event", b"data: a\n\ndata: b\n", [Event(b"a")]),
    ("one leading space only", b"data:  a\n\n", [Event(b" a")]),
]


def whole(stream: bytes, size: int | None = None, limit: int = 1 << 20) -> list[Event]:
    decoder = Decoder(limit)
    pieces = [stream] if size is None else [stream[i : i + size] for i in range(0, len(stream), size)]
    return [event for piece in pieces for event in decoder.feed(piece)]


def test_cases() -> None:
    for name, stream, events in CASES:
        assert whole(stream) == events, name


def test_chunk_borders_are_not_event_borders() -> None:
    for name, stream, events in CASES:
        for size in range(1, 6):
            assert whole(stream, size) == events, (name, size)


LINES = st.sampled_from(
    [b"data: x", b"data", b"data: {}", b": c", b"id: 1", b"id:", b"retry: 9", b"event: e", b"", b"\xff"]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(LINES, ENDS)), st.lists(st.integers(1, 9), min_size=1))
def test_any_way_to_cut_a_stream_gives_the_same_events(parts: list[tuple[bytes, bytes]], sizes: list[int]) -> None:
    stream = b"".join(line + end for line, end in parts)
    decoder, events, position, turn = Decoder(), [], 0, 0
    while position < len(stream):
        size = sizes[turn % len(sizes)]
        events += decoder.feed(stream[position : position + size])
        position, turn = position + size, turn + 1
    assert events == whole(stream)


@given(st.lists(st.binary(max_size=50)))
def test_garbage_never_raises(chunks: list[bytes]) -> None:
    decoder = Decoder(limit=20)
    for chunk in chunks:
        decoder.feed(chunk)
    decoder.finish()


def test_a_line_that_never_ends_is_dropped_and_the_next_event_is_read() -> None:
    decoder = Decoder(limit=100)
    for _ in range(50):
        assert decoder.feed(b"data: " + b"x" * 60) == []
    events = decoder.feed(b"\n\ndata: next\n\n")
    assert [(event.data, event.oversized) for event in events] == [(None, True), (b"next", False)]


def test_an_event_of_too_many_lines_is_reported_without_its_data() -> None:
    events = whole(b"data: 0123456789\n" * 50 + b"\ndata: next\n\n", limit=100)
    assert [(event.data, event.oversized) for event in events] == [(None, True), (b"next", False)]


def test_the_end_within_an_event_is_noticed() -> None:
    decoder = Decoder()
    decoder.feed(b"data: a\n\n")
    assert not decoder.finish()
    decoder.feed(b"data: b")
    assert decoder.finish()


@given(st.text().map(str.encode))
def test_what_is_encoded_can_be_decoded(data: bytes) -> None:
    clean = data.replace(b"\r", b"")
    assert whole(encode(clean)) == [Event(clean)]
