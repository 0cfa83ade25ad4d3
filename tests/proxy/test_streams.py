"""Reading along with a stream: all of it, and never much in one turn of the event loop."""

import asyncio
import time
import zlib

import pytest
from mitmproxy.test import tflow

from mcp_sessions.proxy import streams
from mcp_sessions.proxy.streams import StreamReader
from mcp_sessions.wire.sse import Decoder, Event

CHUNK = 65_535
"""What asyncio reads at once."""


def reader_of(seen: list[Event], coding: str = "") -> StreamReader:
    flow = tflow.tflow(resp=True)
    assert flow.response
    if coding:
        flow.response.headers["content-encoding"] = coding
    return StreamReader(flow, lambda event, _: seen.append(event), 1_000)


@pytest.mark.parametrize("unit", [b"data:x\n\n", b"id:1\n\n", b"\n", b"data\n", b":\n", b"data: 0123456789\n"])
async def test_all_events_are_seen_some_at_a_time(unit: bytes) -> None:
    seen: list[Event] = []
    reader, chunk = reader_of(seen), unit * (CHUNK // len(unit))
    turns: list[int] = []
    for _ in range(3):
        before = len(seen)
        assert reader(chunk) == chunk
        turns.append(len(seen) - before)
    assert reader(b"") == b""
    before_all = time.thread_time()
    await asyncio.wait_for(reader.caught_up(), 10)
    assert time.thread_time() - before_all < 5
    assert max(turns) <= streams.EVENTS_AT_ONCE + streams.SLICE / 6
    assert len(seen) == (3 * (CHUNK // len(unit)) if unit.endswith(b"\n\n") else 0)


async def test_a_small_piece_is_seen_at_once() -> None:
    seen: list[Event] = []
    reader = reader_of(seen)
    reader(b"data: {}\n\n")
    assert [event.data for event in seen] == [b"{}"]
    assert not reader.behind


async def test_a_piece_that_grows_too_much_ends_the_reading(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []
    reader = reader_of(seen, "gzip")
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(b"data: x\n\n" * 4_000_000) + packer.flush()
    began = time.thread_time()
    for at in range(0, len(bomb), CHUNK):
        reader(bomb[at : at + CHUNK])
    assert time.thread_time() - began < 1
    assert reader.unread
    assert not reader.behind


async def test_what_comes_too_fast_passes_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BACKLOG_LIMIT", 100_000)
    reader = reader_of([])
    for _ in range(3):
        reader(b"data:x\n\n" * 8_000)
    assert reader.unread
    await asyncio.wait_for(reader.caught_up(), 1)


# Signs of life

SIGN = b": keep-alive\n\n"

STREAMS = [
    b"event: message\ndata: {}\n\nid: 1\ndata: a\ndata: b\n\nretry: 5\n\n: theirs\n\ndata: end\n\n",
    b"id: 1\r\nevent: x\r\ndata: {}\r\n\r\n: ping\r\n\r\n\r\ndata: end\r\n\r\n",
    b"data: one\rdata: two\r\rdata: end\r\r",
    b"\xef\xbb\xbfdata: with a mark\n\ndata: end\n\n",
    b": half a comment",
]


def speaking(headers: dict[str, str] | None = None) -> StreamReader:
    flow = tflow.tflow(resp=True)
    assert flow.response
    flow.response.headers.clear()
    flow.response.headers.update(headers or {})
    reader = StreamReader(flow, lambda *_: None, 1_000)
    reader.outlet = object()
    return reader


def decoded(pieces: list[bytes]) -> list[Event]:
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.parametrize("text", STREAMS)
async def test_a_sign_is_only_put_between_two_events(text: bytes) -> None:
    whole, put_in = decoded([text]), 0
    for cut in range(len(text) + 1):
        if 0 < cut < 3 and text.startswith(b"\xef"):
            continue  # nobody sends a mark in pieces
        reader = speaking()
        before = reader(text[:cut]) if cut else b""
        sign = reader.sign()
        after = reader(text[cut:]) if cut < len(text) else b""
        assert sign in (b"", SIGN)
        put_in += bool(sign)
        assert decoded([before, sign, after]) == whole
        if sign and cut:
            assert before.endswith(b"\n"), "at the beginning of a line"
            assert before.endswith((b"\n\n", b"\r\n\r\n")) or before.splitlines()[-1].startswith(b":"), "and no event"
        else:
            assert sign or cut
    assert put_in >= (1 if b"half" in text or b"\rdata" in text else 2)


@pytest.mark.parametrize("headers", [{"content-encoding": "gzip"}, {"content-length": "1000"}])
async def test_a_body_that_is_compressed_or_of_given_length_gets_none(headers: dict[str, str]) -> None:
    assert speaking(headers).sign() == b""


async def test_a_stream_that_is_over_or_can_not_be_read_gets_none() -> None:
    reader = speaking()
    reader(b"")
    assert reader.sign() == b""
    unread = speaking({"content-encoding": "unknown"})
    assert unread.sign() == b""
    nowhere = reader_of([])
    assert nowhere.quiet_since == float("inf")


async def test_what_waits_to_be_looked_at_is_no_quiet() -> None:
    reader = speaking()
    reader(b"data: x\n\n" * 20_000)
    assert reader.behind
    assert reader.quiet_since == float("inf")
    await asyncio.wait_for(reader.caught_up(), 10)
    assert reader.quiet_since == reader.read_at
    assert reader.sign() == SIGN
    assert reader.quiet_since > reader.read_at


async def test_what_is_kept_is_the_servers() -> None:
    reader = speaking()
    reader(b"data: x\n\n")
    reader.sign()
    reader(b"data: y\n\n")
    reader.finish()
    assert reader._response.content == b"data: x\n\ndata: y\n\n"
