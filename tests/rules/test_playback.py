"""Flows that were read from a file: what of their bodies is read, and what is not."""

from __future__ import annotations

import gzip

import pytest
import zstandard
from mitmproxy import http
from mitmproxy.test import tflow

from mcp_sessions.core.records import AnyRecord, Violation
from mcp_sessions.proxy import streams
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
