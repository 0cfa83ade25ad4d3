"""mitmproxy's content views of MCP: JSON-RPC bodies, which can be edited, and event streams, recorded and live."""

from __future__ import annotations

from typing import Any

from mitmproxy import contentviews, http
from mitmproxy.contentviews import Contentview, InteractiveContentview, Metadata, SyntaxHighlight
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ..proxy.metadata import ARRIVALS, CLIENT, OWN, TRUNCATED
from ..wire.coding import CodingError, Undo
from ..wire.headers import SSE, HeaderMap
from ..wire.jsonrpc import PARSE_LIMIT, Body, dump, parse
from ..wire.recognition import is_mcp
from .conversation import DOWN, UP, Answers, asked, body_text, stream_text
from .shown import Shown, View

PRIORITY = 10.0
"""Above mitmproxy's own views, which see JSON or nothing in particular."""


class McpView(InteractiveContentview):
    """JSON-RPC messages of a request or an answer."""

    name = "MCP"
    syntax_highlight: SyntaxHighlight = "yaml"

    def prettify(self, data: bytes, metadata: Metadata) -> str:
        """The messages as editable YAML; raises ValueError for what is no JSON."""
        body = parse(data)
        if body.sniffed or (body.problem and not body.batch):
            raise ValueError(body.problem)
        answering = _is_answer(metadata)
        return body_text(body, DOWN if answering else UP, _answers(metadata) if answering else None)

    def reencode(self, prettified: str, metadata: Metadata) -> bytes:
        """The edited text as JSON; raises ValueError in one line if it can't be read."""
        before = metadata.original_data
        if before is None and metadata.http_message is not None:
            before = metadata.http_message.get_content(strict=False)
        if before is not None and _unchanged(self, prettified, before, metadata):
            return before  # not a byte is changed by looking at it
        try:
            value = YAML(typ="safe", pure=True).load(prettified)
        except YAMLError as e:
            mark = getattr(e, "problem_mark", None)
            where = f"line {mark.line + 1}: " if mark else ""
            raise ValueError(f"not YAML: {where}{getattr(e, 'problem', None) or e}") from None
        try:
            return dump(value)
        except Exception as e:
            raise ValueError(f"not JSON: {e}") from None

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        """High for a JSON body of an MCP flow."""
        if not data or len(data) > PARSE_LIMIT or not _is_mcp_flow(metadata):
            return -1
        return PRIORITY if data.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] in b"{[" and b'"jsonrpc"' in data else -1


class McpStreamView(Contentview):
    """An event stream as a conversation."""

    name = "MCP stream"
    syntax_highlight: SyntaxHighlight = "yaml"

    def prettify(self, data: bytes, metadata: Metadata) -> str:
        """The events with their times, as far as the stream was kept."""
        message, flow = metadata.http_message, metadata.flow
        if message is not None and data == message.raw_content and (coding := message.headers.get("content-encoding")):
            data = _decoded_so_far(data, coding)
        if not isinstance(flow, http.HTTPFlow):
            return stream_text(data)
        arrivals = flow.metadata.get(ARRIVALS, ())
        return stream_text(
            data,
            _answers(metadata),
            began=flow.request.timestamp_end or flow.request.timestamp_start,
            arrivals=[at for at in arrivals if isinstance(at, float)] if isinstance(arrivals, list) else (),
            dropped=flow.metadata.get(TRUNCATED, 0),
            still_open=bool(flow.response and flow.response.timestamp_end is None and flow.error is None),
        )

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        """High for an event stream of an MCP flow."""
        is_stream = metadata.content_type == SSE and not data.startswith(b"{")  # of own requests only one event is kept
        return PRIORITY if is_stream and _is_mcp_flow(metadata) else -1


class ContentViews(View):
    """Both of them."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        register()


def register() -> None:
    """Offer the views to mitmproxy."""
    contentviews.add(McpView())
    contentviews.add(McpStreamView())


def _is_mcp_flow(metadata: Metadata) -> bool:
    flow = metadata.flow
    if not isinstance(flow, http.HTTPFlow):
        return False
    if CLIENT in flow.metadata or OWN in flow.metadata:
        return True
    # Recorded without the addon.
    request = flow.request
    headers = HeaderMap(request.headers.fields)
    return is_mcp(request.method, request.path, headers, request.get_content(strict=False), True)


def _is_answer(metadata: Metadata) -> bool:
    return isinstance(metadata.http_message, http.Response)


def _answers(metadata: Metadata) -> Answers:
    flow = metadata.flow
    body = Body()
    if isinstance(flow, http.HTTPFlow):
        body = parse(flow.request.get_content(strict=False))
    return asked(body)


def _unchanged(view: McpView, prettified: str, before: bytes, metadata: Metadata) -> bool:
    try:
        return view.prettify(before, metadata) == prettified
    except ValueError:
        return False


def _decoded_so_far(data: bytes, coding: Any) -> bytes:
    try:
        return Undo(coding, 4 * PARSE_LIMIT).feed(data)
    except CodingError:
        return data
