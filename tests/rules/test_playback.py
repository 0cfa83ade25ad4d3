"""Flows that were read from a file: what of their bodies is read, and what is not."""

from __future__ import annotations

import copy
import gzip
import json
from typing import Any

import pytest
import zstandard
from mitmproxy import http
from mitmproxy.test import tflow

from mcp_sessions.core.ledger import Ledger
from mcp_sessions.core.records import AnyRecord, Violation
from mcp_sessions.core.states import State
from mcp_sessions.proxy import streams
from mcp_sessions.proxy.metadata import NUMBER, OWN, SESSION
from mcp_sessions.proxy.streams import content
from mcp_sessions.recordings.playback import Playback

ASKED = b'{"jsonrpc":"2.0","id":10,"method":"tools/list"}'
OF_ANOTHER = b'{"jsonrpc":"2.0","id":11,"result":{"tools":[]}}'


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def recorded(coding: str) -> http.HTTPFlow:
    flow = tflow.tflow(resp=True)
    flow.request = http.Request.make(
        "POST",
        "http://mcp.example/mcp",
        ASKED,
        http.Headers(
            accept="application/json, text/event-stream",
            content_type="application/json",
            mcp_protocol_version="2025-11-25",
        ),
    )
    headers = {"content-type": "application/json", **({"content-encoding": coding} if coding else {})}
    flow.response = http.Response.make(200, b"", headers)
    flow.response.raw_content = {"gzip": gzip.compress, "zstd": zstd}.get(coding, bytes)(OF_ANOTHER)
    return flow


def broken_by(flow: http.HTTPFlow) -> list[str]:
    told: list[AnyRecord] = []
    settled: list[list[str]] = []
    reader = Playback(told.append, lambda _, rule_ids: settled.append(rule_ids))
    reader.add(flow)
    reader.play()
    assert [[record.rule for record in told if isinstance(record, Violation)]] == settled
    return settled[0]


def test_what_another_addon_has_decoded_is_not_decoded_again() -> None:
    flow = recorded("gzip")
    assert flow.response is not None
    flow.response.decode()
    assert content(flow.response) == OF_ANOTHER
    flow.response.headers["content-encoding"] = "zstd"
    assert content(flow.response) is None
    flow.response.raw_content = b""
    assert content(flow.response) == b""


@pytest.mark.parametrize("coding", ["", "identity", "gzip"])
def test_a_body_is_read_as_a_live_one_is(coding: str) -> None:
    assert broken_by(recorded(coding)) == ["MCP203"]


def test_a_body_that_a_live_proxy_does_not_read_is_not_read_either(monkeypatch: pytest.MonkeyPatch) -> None:
    assert broken_by(recorded("zstd")) == []
    monkeypatch.setattr(streams, "CONTENT_LIMIT", len(OF_ANOTHER) - 1)
    assert broken_by(recorded("gzip")) == []


@pytest.mark.parametrize("noted", [{}, {NUMBER: 26, SESSION: "recorded"}, {NUMBER: [], SESSION: {}}], ids=str)
def test_sessions_get_numbers_of_this_run(noted: dict[str, Any]) -> None:
    """Whatever a file says, which may come from anybody."""
    flow, own, stray = recorded(""), recorded(""), recorded("")
    flow.request.headers["mcp-session-id"] = "recorded-0123456789"
    assert flow.response
    flow.response.text = json.dumps({"jsonrpc": "2.0", "id": 10, "result": {"tools": []}})
    own.request.method = stray.request.method = "DELETE"
    own.request.headers["mcp-session-id"] = "recorded-0123456789"
    own.request.timestamp_start = own.request.timestamp_end = flow.request.timestamp_start + 9
    own.metadata[OWN] = stray.metadata[OWN] = "DELETE session"
    for one in (flow, own):
        one.metadata.update(copy.deepcopy(noted))
    stray.metadata[NUMBER] = 99
    reader, live = Playback(lambda _: None, lambda *_: None), Ledger()
    assert reader.beside(live) is live
    for one in (flow, own, stray):
        reader.add(one)
    reader.play()
    [session] = reader.beside(live).sessions.values()
    assert reader.has(session)
    assert session.number != 26
    assert flow.metadata[NUMBER] == own.metadata[NUMBER] == session.number
    assert flow.metadata[SESSION] == session.label == "record"
    assert NUMBER not in stray.metadata
    assert (session.state, session.ended_by) == (State.CLOSED, "proxy")
