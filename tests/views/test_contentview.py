"""The content views, through mitmproxy's own registry."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import contentviews, http
from mitmproxy.contentviews import Metadata
from mitmproxy.test import taddons, tflow

from mcp_sessions.proxy.metadata import ARRIVALS, CLIENT, OWN, TRUNCATED
from mcp_sessions.proxy.streams import StreamReader
from mcp_sessions.views import contentview
from mcp_sessions.views.contentview import McpView
from mcp_sessions.wire.sse import Event, encode

from .flows import ANSWER, CALL, answer, post


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    contentview.register()
    with taddons.context():
        yield


def mcp(flow: http.HTTPFlow) -> http.HTTPFlow:
    flow.metadata[CLIENT] = "somebody"
    return flow


def stream(flow: http.HTTPFlow, *messages: object) -> http.HTTPFlow:
    body = b"".join(encode(json.dumps(message).encode()) for message in messages)
    flow.response = http.Response.make(200, body, {"content-type": "text/event-stream"})
    flow.response.timestamp_end = 1.0
    return flow


def test_a_body_of_an_mcp_flow_is_shown_as_mcp() -> None:
    flow = mcp(answer(post(CALL), ANSWER))
    shown = contentviews.prettify_message(flow.request, flow)
    assert shown.view_name == "MCP"
    assert shown.text.startswith("# client → server · request tools/call echo · id 7")
    assert flow.response
    answered = contentviews.prettify_message(flow.response, flow)
    assert answered.text.startswith("# server → client · response to tools/call echo · id 7")


def test_a_flow_that_was_recorded_without_the_addon_is_known_by_its_looks() -> None:
    flow = post(CALL, "abc")
    assert contentviews.prettify_message(flow.request, flow).view_name == "MCP"


@pytest.mark.parametrize("content", [b'{"jsonrpc": "2.0"}', b"[1]", b"", b"<html>", b'{"a": 1}'])
def test_other_traffic_is_left_to_other_views(content: bytes) -> None:
    flow = tflow.tflow(resp=True)
    assert flow.response
    flow.response = http.Response.make(200, content, {"content-type": "application/json"})
    shown = contentviews.prettify_message(flow.response, flow)
    assert not (shown.view_name or "").startswith("MCP")


def test_what_is_not_json_in_an_mcp_flow_is_left_to_other_views() -> None:
    flow = mcp(answer(post(CALL), b'{"jsonrpc": broken'))
    assert flow.response
    shown = contentviews.prettify_message(flow.response, flow)
    assert shown.view_name != "MCP"
    assert "broken" in shown.text


def test_an_edited_body_goes_back_to_json() -> None:
    flow = mcp(post(CALL))
    text = contentviews.prettify_message(flow.request, flow).text
    edited = text.replace("text: hi", 'text: "two\\nlines"')
    content = contentviews.reencode_message(edited, flow.request, flow, "MCP")
    assert json.loads(content) == {**CALL, "params": {"name": "echo", "arguments": {"text": "two\nlines"}}}


def test_a_body_that_was_only_looked_at_keeps_every_byte() -> None:
    odd = b'{ "jsonrpc" :"2.0","id": 7 ,\n "method":"tools/list", "params":{"x": 1.0e2, "x": 2} }'
    flow = mcp(post(odd))
    text = contentviews.prettify_message(flow.request, flow).text
    assert contentviews.reencode_message(text, flow.request, flow, "MCP") == odd


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "{", "\t- x", "? [a]\n: b\nc"])
def test_an_edit_that_cannot_be_read_is_refused_in_one_line(text: str) -> None:
    flow = mcp(post(CALL))
    with pytest.raises(ValueError, match=r"^not YAML: .+") as refused:
        contentviews.reencode_message(text, flow.request, flow, "MCP")
    assert "\n" not in str(refused.value)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(10**15), 10**15) | st.none(),
    )
)
def test_any_message_can_be_edited(params: dict[str, object]) -> None:
    message = {"jsonrpc": "2.0", "id": "a", "method": "m", "params": params}
    view, metadata = McpView(), Metadata()
    text = view.prettify(json.dumps(message).encode(), metadata)
    changed = view.reencode(f"{text}changed: true\n", metadata)
    assert json.loads(changed) == {**message, "changed": True}


def test_a_stream_is_shown_as_a_conversation() -> None:
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}
    flow = mcp(stream(post(CALL), progress, ANSWER))
    sent = flow.request.timestamp_end
    assert sent
    flow.metadata[ARRIVALS] = [sent + 0.5, sent + 1.25]
    flow.metadata[TRUNCATED] = 99
    assert flow.response
    shown = contentviews.prettify_message(flow.response, flow)
    assert shown.view_name == "MCP stream"
    assert "(+0.500 s) · server → client · notification notifications/progress" in shown.text
    assert "(+1.250 s) · server → client · response to tools/call echo · id 7" in shown.text
    assert "99 bytes more" in shown.text
    assert "ended" in shown.text.splitlines()[0]


def test_an_own_request_whose_stream_was_cut_short_is_shown_as_a_message() -> None:
    flow = post(CALL)
    flow.metadata[OWN] = "initialize"
    flow.response = http.Response.make(200, json.dumps(ANSWER).encode(), {"content-type": "text/event-stream"})
    assert contentviews.prettify_message(flow.response, flow).view_name == "MCP"


def test_metadata_from_a_hostile_file_does_no_harm() -> None:
    flow = mcp(stream(post(CALL), ANSWER))
    flow.metadata[ARRIVALS] = {"not": "a list"}
    assert flow.response
    assert "response to" in contentviews.prettify_message(flow.response, flow).text
    flow.metadata[ARRIVALS] = ["x", None, 1.0]
    assert "response to" in contentviews.prettify_message(flow.response, flow).text


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_stream_that_is_still_open_can_be_looked_at(coding: str) -> None:
    flow = mcp(post(CALL))
    flow.response = http.Response.make(200, b"", {"content-type": "text/event-stream"})
    flow.response.data.content = None
    flow.response.timestamp_end = None
    flow.response.headers["content-encoding"] = coding
    changes: list[int] = []
    seen: list[Event] = []
    reader = StreamReader(flow, lambda event, at: seen.append(event), 10_000, lambda: changes.append(1))
    chunk = encode(json.dumps({"jsonrpc": "2.0", "method": "notifications/progress"}).encode())
    if coding == "gzip":
        import zlib

        packer = zlib.compressobj(wbits=31)
        chunk = packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert reader(chunk) == chunk
    assert changes == [1]
    assert len(seen) == 1
    reader.show()
    shown = contentviews.prettify_message(flow.response, flow)
    assert shown.view_name == "MCP stream"
    assert "1 event · still open" in shown.text
    assert "notifications/progress" in shown.text
    assert len(flow.metadata[ARRIVALS]) == 1
