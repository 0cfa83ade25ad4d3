"""Nobody is blamed wrongly: what conforms, or can not be told from it, and beside each its neighbour that breaks."""

from __future__ import annotations

from mcp_sessions.rules import catalogue
from rules.transcripts import Player, broken_by, read

VERSION = "> MCP-Protocol-Version: 2025-11-25"


def lines(*parts: str) -> str:
    return "\n".join(parts)


def request(*head: str, body: str = "", answer: str = "", at: str = "") -> str:
    """One exchange, told without its marks: the head of the request, its body, and the whole answer."""
    asked = [*head, *(["", *body.split("\n")] if body else [])]
    return lines(
        f"### client A at {at}" if at else "### client A",
        *(f"> {line}".rstrip() for line in asked),
        *(f"< {line}".rstrip() for line in (answer.split("\n") if answer else ())),
    )


def test_discovery_of_authorization_is_no_request_of_the_transport() -> None:
    for path in (
        "/.well-known/oauth-protected-resource/mcp",
        "/mcp/.well-known/openid-configuration",
        "/custom/metadata.json",
    ):
        for revision in ("2025-06-18", "2025-11-25", "2026-07-28"):
            for answer in ("404", "200\nContent-Type: application/json\n\n{}"):
                player = Player()
                head = f"GET {path}", f"MCP-Protocol-Version: {revision}", "Accept: */*"
                player.play(read(lines("%init", request(*head, answer=answer))))
                assert player.rules == []
                assert [str(endpoint) for endpoint in player.core.ledger.endpoints] == ["http://mcp.example:80/mcp"]


def test_a_get_of_an_endpoint_is_one_whatever_it_accepts() -> None:
    get = request("GET /mcp", "%headers -Accept -Content-Type", "Accept: */*", answer="405")
    assert broken_by(lines("%init", get)) == ["MCP102"]
    get = request("GET /mcp", "MCP-Protocol-Version: 2026-07-28", "Accept: text/event-stream", answer="405")
    assert broken_by(get) == ["MCP610"]


OLD = '"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"x","version":"1"}'
"""What a client of HTTP+SSE asks for in its `initialize`."""
MESSAGES = "POST /messages/?session_id=1", "Accept: */*", "Content-Type: application/json"


def older(number: int, method: str, params: str = "", at: str = "") -> str:
    """A request to the older transport's second endpoint; its answer comes on the stream."""
    body = f'{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{{{params}}}}}'
    return request(*MESSAGES, body=body, answer="202\nContent-Type: text/plain\n\nAccepted", at=at)


def test_the_transport_of_2024_is_named_once_and_judged_by_nothing() -> None:
    ready = request(*MESSAGES, body='{"jsonrpc":"2.0","method":"notifications/initialized"}', answer="202\n\nAccepted")
    calls = lines(older(1, "initialize", OLD), ready, older(2, "tools/list"), older(3, "tools/list"))
    for scenes in (calls, lines(calls, older(1, "initialize", OLD), older(2, "tools/list"))):
        player = Player()
        player.play(read(scenes))
        assert player.rules == []
        assert [record.line() for record in player.told] == [
            "mcp: speaks HTTP+SSE of 2024-11-05, which is not judged: http://mcp.example:80/messages/"
        ]


def test_an_endpoint_event_names_both_endpoints_of_the_older_transport() -> None:
    response = '{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}'
    stream = request(
        "GET /sse",
        "Accept: text/event-stream",
        answer="200\nContent-Type: text/event-stream\n\n"
        f"event: endpoint\ndata: /messages/?session_id=1\n\nevent: message\ndata: {response}\n",
    )
    # A client that tries the newer one first is what makes the endpoint known.
    body = f'{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{{OLD}}}}}'
    probe = request("POST /sse", "Accept: application/json, text/event-stream", body=body, answer="405")
    player = Player()
    player.play(read(lines(probe, stream, older(2, "tools/list"), older(3, "tools/list"))))
    assert player.rules == ["MCP103"]  # the probe is one of the newer transport
    assert [record.line() for record in player.told if not hasattr(record, "rule")] == [
        "mcp: speaks HTTP+SSE of 2024-11-05, which is not judged: http://mcp.example:80/sse"
    ]


def test_what_is_no_endpoint_of_the_older_transport_is_judged() -> None:
    plain = request("POST /mcp", "%headers -Accept", "Accept: */*", body='{"jsonrpc":"2.0","id":9,"method":"ping"}')
    accepted = lines(plain, "< 202")
    assert sorted(broken_by(lines("%init", accepted))) == ["MCP101", "MCP202"]
    # 200 is no 202, and a session belongs to the newer transport even at an endpoint that speaks both.
    initialize = catalogue()["MCP101"].bad.replace("> %headers -Accept\n", "> Content-Type: application/json\n")
    initialize = initialize.replace("%init\n", "").replace(
        '"method":"tools/list"', f'"method":"initialize","params":{{{OLD}}}'
    )
    assert broken_by(initialize) == ["MCP101"]
    both = older(1, "initialize", OLD).replace("/messages/?session_id=1", "/mcp")
    assert sorted(broken_by(lines(both, "%init", accepted))) == ["MCP101", "MCP202"]
    elsewhere = "200\nContent-Type: text/event-stream\n\nevent: endpoint\ndata: http://other.example/mcp\n"
    stream = request("GET /sse", "Accept: text/event-stream", "MCP-Protocol-Version: 2025-11-25", answer=elsewhere)
    stranger = plain.replace("/mcp", "http://other.example:80/mcp").replace("> %headers -Accept", VERSION)
    assert "MCP101" in broken_by(lines(stream, stranger))
