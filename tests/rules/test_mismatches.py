"""Headers of a stateless request beside its body: each that differs, and how it is worded."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.exchange import Exchange
from mcp_sessions.rules.mirrored import remember
from mcp_sessions.rules.mismatches import mismatches
from mcp_sessions.rules.places import Place
from mcp_sessions.wire.jsonrpc import Body, Message
from mcp_sessions.wire.revision import META_VERSION
from rules.single import exchange

NEW = "2026-07-28"
META = {META_VERSION: NEW}


def request(method: str = "tools/list", **params: Any) -> dict[str, Any]:
    return {"id": 1, "method": method, "params": {"_meta": META, **params}}


def sent(message: Any, *, method: str | None = "", version: str | None = NEW, name: str | None = None) -> Exchange:
    """A request with these headers; the method's is right unless it is said otherwise."""
    fields: dict[str, Any] = {
        "mcp_method": message["method"] if method == "" else method,
        "mcp_protocol_version": version,
        "mcp_name": name,
    }
    return exchange(message, **{key: value for key, value in fields.items() if value is not None})


def found(x: Exchange) -> dict[str, str] | None:
    return mismatches(x, Place())


LIST, CALL = request(), request("tools/call", name="echo")


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (sent(LIST), None),
        (sent(LIST, method=" tools/list\t"), None),
        (sent(LIST, method=None), {"method": "tools/list without Mcp-Method"}),
        (sent(LIST, method="tools/call"), {"method": "Mcp-Method: tools/call, body tools/list"}),
        (sent(LIST, method="Tools/List"), {"method": "Mcp-Method: Tools/List, body tools/list"}),
        (sent(LIST, method="x" * 99), {"method": f"Mcp-Method: {'x' * 63}…, body tools/list"}),
        (
            sent(LIST, method="tools/list\x0b"),
            {"method": "Mcp-Method: tools/list\N{REPLACEMENT CHARACTER}, body tools/list"},
        ),
        (sent(LIST, version=f" {NEW}\t"), None),
        (sent(LIST, version=None), {"no version": f"no MCP-Protocol-Version, _meta {NEW}"}),
        (sent(LIST, version="2027-01-01"), {"version": f"MCP-Protocol-Version: 2027-01-01, _meta {NEW}"}),
        (
            sent({"id": 1, "method": "tools/list"}),
            {"version": f"MCP-Protocol-Version: {NEW}, _meta (none)"},
        ),
        (
            sent({"id": 1, "method": "tools/list"}, version=None),
            {"no version": "no MCP-Protocol-Version, _meta (none)"},
        ),
        (sent(CALL, name="echo"), None),
        (sent(CALL, name="=?base64?ZWNobw==?="), None),
        (sent(CALL), {"name": "tools/call without Mcp-Name"}),
        (sent(CALL, name="other"), {"name": "Mcp-Name: other, body echo"}),
        (sent(CALL, name="=?base64?!?="), {"name": "Mcp-Name: =?base64?!?=, body echo"}),
        (sent(request("prompts/get", name="p")), {"name": "prompts/get without Mcp-Name"}),
        (sent(request("resources/read", uri="a:b")), {"name": "resources/read without Mcp-Name"}),
        (sent(request("resources/read", uri="a:b"), name="a:b"), None),
        (sent(request("resources/read", uri="a:b"), name="a:c"), {"name": "Mcp-Name: a:c, body a:b"}),
        (sent(LIST, method="Xtools/list"), {"method": "Mcp-Method: Xtools/list, body tools/list"}),
        (sent(LIST, version=f"{NEW}X"), {"version": f"MCP-Protocol-Version: {NEW}X, _meta {NEW}"}),
        (sent(LIST, version=f"{NEW}\x0b"), {"version": f"MCP-Protocol-Version: {NEW}\ufffd, _meta {NEW}"}),
        # Nothing to be repeated
        (sent(request("tools/list", **{"": "x"})), None),
        (sent(request("resources/read", name="x")), None),
        (sent(request("prompts/list", name="x")), None),
        (sent(request("tools/call", name=7)), None),
        (sent(request("tools/call")), None),
        (
            sent(CALL, method=None, version=None),
            {
                "method": "tools/call without Mcp-Method",
                "name": "tools/call without Mcp-Name",
                "no version": f"no MCP-Protocol-Version, _meta {NEW}",
            },
        ),
    ],
)
def test_what_headers_say_otherwise(x: Exchange, said: dict[str, str] | None) -> None:
    assert found(x) == said


def test_what_is_no_single_request_is_not_compared() -> None:
    assert found(exchange(LIST)) is not None
    assert found(exchange()) is None
    assert found(exchange({"method": "notifications/initialized"})) is None
    assert found(exchange({"id": 1, "result": {}})) is None
    assert found(exchange(LIST, LIST)) is None
    x = exchange(LIST)
    x.body = Body((Message({"jsonrpc": "2.0", **LIST}),), sniffed=True)
    assert found(x) is None


PROPERTIES = {
    "city": {"type": "string", "x-mcp-header": "City"},
    "days": {"type": "integer", "x-mcp-header": "Days"},
    "at": {"properties": {"home": {"type": "boolean", "x-mcp-header": "Home"}}},
}


def called(arguments: Any, method: str = "tools/call", name: str = "weather", **fields: str) -> str | None:
    """What is found in the call of a tool that asks for three headers."""
    place = Place()
    known = {"tools": [{"name": "weather", "inputSchema": {"properties": PROPERTIES}}]}
    remember(place, exchange(place=place), known, 0.0)
    given: dict[str, Any] = {"mcp_method": method, "mcp_protocol_version": NEW, "mcp_name": name, **fields}
    message = request(method, name=name, arguments=arguments)
    x = exchange(message, place=place, **given)
    wrong = mismatches(x, place)
    assert wrong is None or set(wrong) == {"param"}
    return wrong["param"] if wrong else None


ALL = {"city": "Köln", "days": 3, "at": {"home": True}}
KOELN = "=?base64?S8O2bG4=?="


@pytest.mark.parametrize(
    ("arguments", "fields", "said"),
    [
        (ALL, {"city": KOELN, "days": "3", "home": "true"}, None),
        (ALL, {"days": "3", "home": "true"}, "Mcp-Param-City is missing"),
        (ALL, {"city": KOELN, "home": "true"}, "Mcp-Param-Days is missing"),
        (ALL, {"city": KOELN, "days": "3"}, "Mcp-Param-Home is missing"),
        (ALL, {"city": "Koeln", "days": "3", "home": "true"}, "Mcp-Param-City does not say what the argument says"),
        (ALL, {"city": "=?base64?S8O?=", "days": "3"}, "Mcp-Param-City does not say what the argument says"),
        (ALL, {"city": KOELN, "days": "4", "home": "true"}, "Mcp-Param-Days does not say what the argument says"),
        (ALL, {"city": KOELN, "days": "3", "home": "1"}, "Mcp-Param-Home does not say what the argument says"),
        ({}, {}, None),
        (None, {}, None),
        ({"city": None}, {}, None),
        ({"city": None}, {"city": ""}, "Mcp-Param-City although the argument is null or absent"),
        ({"city": "a"}, {"city": "a", "days": "3"}, "Mcp-Param-Days although the argument is null or absent"),
        ({"city": ""}, {"city": ""}, None),
        ({"days": 0, "at": {"home": False}}, {"days": "0", "home": "false"}, None),
    ],
)
def test_parameters(arguments: Any, fields: dict[str, str], said: str | None) -> None:
    assert called(arguments, **{f"mcp_param_{name}": value for name, value in fields.items()}) == said


def test_parameters_of_what_is_not_known_are_not_compared() -> None:
    assert called(ALL) == "Mcp-Param-City is missing"
    assert called(ALL, name="other") is None
    assert called(ALL, method="prompts/get") is None
