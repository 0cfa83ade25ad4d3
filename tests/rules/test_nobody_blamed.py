"""Nobody is blamed wrongly: what conforms, or can not be told from it, and beside each its neighbour that breaks."""

from __future__ import annotations

from rules.transcripts import Player, broken_by, read


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
