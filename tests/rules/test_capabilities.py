"""Near misses of what was declared, and the same rules in the stateless era."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_sessions.rules import catalogue
from rules.transcripts import broken_by

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


def modern(id: int, method: str, result: dict[str, Any], caller: dict[str, Any] | None = None, name: str = "") -> str:
    """A stateless exchange; `caller` is what its client declares."""
    meta = {**META, "io.modelcontextprotocol/clientCapabilities": caller or {}}
    params = {"_meta": meta, **({"name": name, "arguments": {}} if name else {})}
    asked = json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    told = json.dumps({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", **result}})
    return (
        f"### client A\n> POST /mcp\n> %modern {method} {name}\n>\n> {asked}\n"
        f"< 200\n< Content-Type: application/json\n<\n< {told}"
    )


HINTS = {"ttlMs": 0, "cacheScope": "private"}
TOOLS = {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}], **HINTS}


def discovered(capabilities: dict[str, Any]) -> str:
    return modern(1, "server/discover", {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, **HINTS})


def test_what_a_stateless_server_serves_is_declared_in_its_discovery() -> None:
    listed = modern(2, "tools/list", TOOLS)
    assert broken_by("\n".join([discovered({"prompts": {}}), listed, listed.replace('"id": 2', '"id": 3')])) == [
        "MCP407"
    ]
    assert broken_by("\n".join([discovered({"tools": {}}), listed])) == []
    assert broken_by(listed) == [], "nobody has seen what it declares"


def test_an_empty_list_serves_nothing() -> None:
    bad = catalogue()["MCP407"].bad
    assert broken_by(bad.replace('{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}', '{"tools":[]}')) == []


FORM = {
    "method": "elicitation/create",
    "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}},
}
URL = {"method": "elicitation/create", "params": {"mode": "url", "message": "?", "url": "https://a.example/"}}
SAMPLING = {"messages": [], "maxTokens": 1}


@pytest.mark.parametrize(
    ("declared", "asked", "found"),
    [
        ({"elicitation": {}}, FORM, []),
        ({"elicitation": {}}, URL, ["MCP410"]),
        ({"elicitation": {"url": {}}}, URL, []),
        ({"elicitation": {"url": {}}}, FORM, ["MCP410"]),
        ({"elicitation": {"url": {}, "form": {}}}, FORM, []),
        ({}, URL, ["MCP405"]),
        ({"sampling": {}}, {"method": "sampling/createMessage", "params": {**SAMPLING, "toolChoice": {}}}, ["MCP411"]),
        ({"sampling": {"tools": {}}}, {"method": "sampling/createMessage", "params": {**SAMPLING, "tools": [{}]}}, []),
        ({"sampling": {}}, {"method": "sampling/createMessage", "params": {**SAMPLING, "tools": []}}, []),
        ({}, {"method": "sampling/createMessage", "params": {**SAMPLING, "tools": [{}]}}, ["MCP405"]),
    ],
)
def test_what_a_result_asks_for(declared: dict[str, Any], asked: dict[str, Any], found: list[str]) -> None:
    scene = modern(2, "tools/call", {"resultType": "input_required", "inputRequests": {"a": asked}}, declared, "book")
    told = [rule for rule in broken_by(scene) if rule != "MCP207"]
    assert told == found


def test_a_session_without_id_and_one_that_was_there_before_are_not_blamed() -> None:
    bad = catalogue()["MCP408"].bad
    there_before = bad[bad.index("### client A") :].replace(
        "> %headers", "> %headers\n> Mcp-Session-Id: f3c2a5d87b91e4c6a0d2b8e7f6154c39"
    )
    assert broken_by(there_before) == []
    assert broken_by(bad) == ["MCP408", "MCP408"]
