"""Recordings: what is written is what is read, and what is read once more is the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.test import tflow, tutils

from mcp_sessions.proxy.metadata import ARRIVALS, CLIENT, NUMBER, OWN, PRESENTED, RULES, SESSION
from mcp_sessions.recordings.export import Export
from mcp_sessions.recordings.reading import exchange_of, exchanges_in, flows_in
from mcp_sessions.recordings.recorded import Recorded

NAMES = st.sampled_from(b"accept Mcp-Session-Id X-Odd content-type authorization mcp-protocol-version".split())
VALUES = st.sampled_from(b"application/json|text/event-stream|s-1|\xff\xfe||Bearer abcdefgh|2025-11-25".split(b"|"))
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
BODIES = st.sampled_from(
    [
        b"",
        b"\xff\0",
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'data: {"jsonrpc":"2.0","id":1,"result":{}}\n\ndata: x\n\n',
        b'[{"jsonrpc":"2.0","id":2,"method":"ping"}]',
        b"data: cut",
    ]
)
TEXTS = st.text(max_size=8)
METADATA: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        OWN: st.sampled_from(["refused", "initialize"]),
        CLIENT: TEXTS,
        SESSION: TEXTS,
        NUMBER: st.integers(0, 9),
        PRESENTED: TEXTS,
        RULES: st.lists(st.sampled_from(["MCP101", "x"]), max_size=2),
        ARRIVALS: st.lists(st.floats(0, 2e9), max_size=3),
    },
)


@st.composite
def flows(draw: st.DrawFn) -> http.HTTPFlow:
    verb = draw(st.sampled_from([b"POST", b"GET", b"DELETE"]))
    request = tutils.treq(
        method=verb,
        path=draw(st.sampled_from([b"/mcp", b"/mcp?key=abcdefgh1234567890", b"/a%20b"])),
        headers=http.Headers([*draw(FIELDS), (b"mcp-session-id", b"s-1")]),
        content=draw(BODIES),
    )
    response = tutils.tresp(
        status_code=draw(st.sampled_from([200, 202, 404, 500])),
        headers=http.Headers(draw(FIELDS)),
        content=draw(BODIES),
    )
    flow = tflow.tflow(req=request, resp=draw(st.booleans()) and response, err=draw(st.booleans()))
    flow.metadata.update(draw(METADATA))
    return flow


def told(one: Recorded) -> dict[str, Any]:
    """All that is understood of an exchange; of its messages, what they say."""
    said = {name: getattr(one, name) for name in one.__slots__ if name not in ("body", "arrivals")}
    events = [(arrival.at, arrival.event, arrival.message and arrival.message.raw) for arrival in one.arrivals]
    return {**said, "sent": [message.raw for message in one.body.messages], "events": events}


def written(given_flows: list[http.HTTPFlow], *, keep_secrets: bool) -> list[http.HTTPFlow]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.mitm"
        file.write_bytes(Export(given_flows, keep_secrets=keep_secrets).recording())
        return list(flows_in(file))


@settings(max_examples=60, deadline=None)
@given(st.lists(flows(), max_size=3))
def test_what_is_written_is_what_is_read(given_flows: list[http.HTTPFlow]) -> None:
    again = written(given_flows, keep_secrets=True)
    assert [flow.get_state() for flow in again] == [flow.get_state() for flow in given_flows]
    assert [told(one) for one in exchanges_in(again)] == [told(one) for one in exchanges_in(given_flows)]


@settings(max_examples=60, deadline=None)
@given(st.lists(flows(), min_size=1, max_size=3))
def test_what_was_redacted_is_read_as_the_same_exchanges(given_flows: list[http.HTTPFlow]) -> None:
    shown = written(given_flows, keep_secrets=False)
    messages = [message for flow in given_flows for message in (flow.request, flow.response) if message]
    if any(message.headers.get("authorization", "").endswith("abcdefgh") for message in messages):
        assert b"abcdefgh" not in Export(given_flows).recording()
    for before, after in zip(map(exchange_of, given_flows), map(exchange_of, shown), strict=True):
        assert (after.verb, after.status, after.at, after.own) == (before.verb, before.status, before.at, before.own)
        assert len(after.arrivals) == len(before.arrivals)
        assert [one.kind for one in after.body.messages] == [one.kind for one in before.body.messages]
    once_more = written(shown, keep_secrets=False)
    assert [flow.get_state() for flow in once_more] == [flow.get_state() for flow in shown], "there is nothing left"
