"""What is MCP, and what is not: a table."""

import pytest

from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.recognition import is_mcp

BOTH = {"accept": "application/json, text/event-stream"}
VERSION = {"mcp-protocol-version": "2025-11-25"}
INITIALIZE = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}'
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}'

ROWS: list[tuple[str, str, dict[str, str], bytes | None, bool, bool]] = [
    ("initialize", "POST", BOTH, INITIALIZE, False, True),
    ("initialize without Accept", "POST", {}, INITIALIZE, False, True),
    ("discover", "POST", {}, INITIALIZE.replace(b"initialize", b"server/discover"), False, True),
    ("session header", "POST", {"mcp-session-id": "x"}, b"garbage", False, True),
    ("event stream under a revision", "GET", VERSION | {"accept": "text/event-stream"}, None, False, True),
    ("metadata, as the SDKs ask for it", "GET", VERSION | {"accept": "*/*"}, None, False, False),
    ("GET that asks for no stream, known endpoint", "GET", VERSION | {"accept": "*/*"}, None, True, True),
    ("GET of a session", "GET", {"mcp-session-id": "x"}, None, False, True),
    ("call under a revision", "POST", VERSION, CALL, False, True),
    ("call under a revision, streamed", "POST", VERSION, None, False, True),
    ("call under a revision, compressed", "POST", VERSION | {"content-encoding": "gzip"}, b"?", False, True),
    ("registration of a client", "POST", VERSION, b'{"client_name":"x","redirect_uris":[]}', False, False),
    ("token", "POST", VERSION, b"grant_type=authorization_code&code=x", False, False),
    ("call with the two media types", "POST", BOTH, CALL, False, True),
    ("call without anything, unknown endpoint", "POST", {}, CALL, False, False),
    ("call without anything, known endpoint", "POST", {}, CALL, True, True),
    ("garbage to a known endpoint", "POST", {}, b"garbage", True, True),
    ("another JSON-RPC", "POST", {"accept": "*/*"}, CALL.replace(b"tools/call", b"eth_call"), False, False),
    (
        "language server's initialize",
        "POST",
        {},
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}',
        False,
        False,
    ),
    ("ordinary API", "POST", {"content-type": "application/json"}, b'{"a":1}', False, False),
    ("ordinary event stream", "GET", {"accept": "text/event-stream"}, None, False, False),
    ("event stream of a known endpoint", "GET", {"accept": "text/event-stream"}, None, True, True),
    ("page of a known endpoint", "GET", {"accept": "text/html"}, None, True, False),
    ("other DELETE", "DELETE", {}, None, True, False),
    ("DELETE of a session", "DELETE", {"mcp-session-id": "x"}, None, False, True),
    ("preflight", "OPTIONS", {"mcp-session-id": "x"}, None, True, False),
    ("body that was not read", "POST", BOTH, None, False, False),
]


@pytest.mark.parametrize(("name", "verb", "headers", "body", "known", "mcp"), ROWS, ids=[row[0] for row in ROWS])
def test_rows(name: str, verb: str, headers: dict[str, str], body: bytes | None, known: bool, mcp: bool) -> None:
    fields = [(key.encode(), value.encode()) for key, value in headers.items()]
    assert is_mcp(verb, "/mcp", HeaderMap(fields), body, known) is mcp


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
        "/mcp/.well-known/openid-configuration",
        "/a/.well-known/x?y=z",
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_discovery_is_no_request_of_the_transport(path: str, known: bool) -> None:
    for fields in (VERSION, VERSION | BOTH, BOTH):
        headers = HeaderMap([(key.encode(), value.encode()) for key, value in fields.items()])
        assert not is_mcp("GET", path, headers, None, known)
    in_session = HeaderMap([(b"mcp-session-id", b"x")])
    assert is_mcp("GET", path, in_session, None, known) is known
    assert is_mcp("POST", path, HeaderMap([]), INITIALIZE, known)
