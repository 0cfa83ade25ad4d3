"""Reading along with a stream: all of it, and never much in one turn of the event loop."""

import asyncio
import time
import zlib

import pytest
from mitmproxy.test import tflow

from mcp_sessions.proxy import streams
from mcp_sessions.proxy.streams import StreamReader
from mcp_sessions.wire.sse import Event

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
