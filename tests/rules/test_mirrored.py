"""Headers that repeat the body: how they are encoded, whom they are asked of, and when they say the same."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.rules.mirrored import DEEP, FRESH, MANY, decoded, equals, remember, told, value_at
from mcp_sessions.rules.places import Annotated, Place
from rules.single import exchange

CITY = {"type": "string", "x-mcp-header": "City"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("plain", "plain"),
        (" \tplain\t ", "plain"),
        ("XaX", "XaX"),
        ("a b", "a b"),
        ("\x0bplain", "\x0bplain"),  # no white space in a header
        ("=?base64?SGVsbG8=?=", "Hello"),
        (" =?base64?SGVsbG8=?=\t", "Hello"),
        ("=?base64?w7w=?=", "ü"),
        ("=?base64??=", ""),
        ("=?base64?SGVsbG8=", "=?base64?SGVsbG8="),
        ("SGVsbG8=?=", "SGVsbG8=?="),
        ("=?BASE64?SGVsbG8=?=", "=?BASE64?SGVsbG8=?="),
        ("=?base64?SGVs bG8=?=", None),
        ("=?base64?SGVsbG8?=", None),  # not filled up
        ("=?base64?QUJD=?=", None),  # filled up too far
        ("=?base64?w7x_?=", None),
        ("=?base64?/w==?=", None),  # no UTF-8
        ("=?base64?=", None),
    ],
)
def test_what_a_header_says(value: str, said: str | None) -> None:
    assert decoded(value) == said


@pytest.mark.parametrize(
    ("said", "value", "same"),
    [
        ("x", "x", True),
        ("x", "X", False),
        ("", "", True),
        ("true", True, True),
        ("True", True, False),
        ("false", True, False),
        ("false", False, True),
        ("true", False, False),
        ("1", True, False),
        ("5", 5, True),
        ("5.0", 5, True),
        ("5", 5.0, True),
        ("6", 5, False),
        ("five", 5, False),
        ("", 0, False),
        ("5", "5", True),
        ("5.0", "5", False),
        ("x", ["x"], False),
    ],
)
def test_when_a_header_says_what_the_body_says(said: str, value: Any, same: bool) -> None:
    assert equals(said, value) is same


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        ({"a": 1}, ("a",), 1),
        ({"a": {"b": 2}}, ("a", "b"), 2),
        ({"a": {"b": 2}}, ("a",), {"b": 2}),
        ({"a": [2]}, ("a", "b"), None),
        ({"a": 1}, ("b",), None),
        (None, ("a",), None),
    ],
)
def test_where_a_value_stands(arguments: Any, path: tuple[str, ...], value: Any) -> None:
    assert value_at(arguments, path) == value


def listed(*tools: Any) -> Place:
    """An endpoint that has told A of these tools when the clock was at 100."""
    place = Place()
    remember(place, exchange(place=place), {"tools": list(tools)}, 100.0)
    return place


def known(place: Place, name: Any = "t", client: str = "A", credentials: str = "", at: float = 100.0) -> Any:
    """What a client knows then of what a tool asks for."""
    x = exchange(place=place, client=client, at=at)
    x.credentials = credentials
    return told(place, x, name)


def asked(schema: Any) -> Any:
    """What a tool with this schema asks for."""
    return known(listed({"name": "t", "inputSchema": schema}))


def under(*names: str, innermost: Any = CITY) -> Any:
    """A schema with a property at this path."""
    found = innermost
    for name in reversed(names):
        found = {"type": "object", "properties": {name: found}}
    return found


@pytest.mark.parametrize("kind", ["string", "integer", "boolean"])
def test_a_parameter_of_these_types_is_asked_for(kind: str) -> None:
    schema = {"properties": {"a": {"type": kind, "x-mcp-header": "A"}}}
    assert asked(schema) == (Annotated(("a",), "A", kind),)


@pytest.mark.parametrize("kind", ["number", "object", "array", "null", ["string"], None])
def test_a_parameter_of_another_type_makes_the_whole_tool_invalid(kind: Any) -> None:
    wrong = {"type": kind, "x-mcp-header": "A"}
    assert asked({"properties": {"city": CITY, "a": wrong}}) == ()
    assert asked({"properties": {"city": CITY, "a": under("b", innermost=wrong)}}) == ()


@pytest.mark.parametrize(
    ("header", "valid"),
    [
        ("City-2", True),
        ("!#$%&'*+.^_`|~", True),
        ("x" * 100, True),
        ("x" * 101, False),
        ("", False),
        ("City name", False),
        ("City\n", False),
        ("Stadt:", False),
        ("Straße", False),
        (7, False),
    ],
)
def test_the_name_of_a_header(header: Any, valid: bool) -> None:
    found = asked({"properties": {"a": {"type": "string", "x-mcp-header": header}}})
    assert found == ((Annotated(("a",), header, "string"),) if valid else ())


def test_parameters_are_found_at_their_paths() -> None:
    schema = {"properties": {"x": 7, "plain": {"type": "string"}, "city": CITY, "at": under("b")["properties"]["b"]}}
    schema["properties"]["at"] = under("b", innermost={"type": "integer", "x-mcp-header": "B"})
    assert asked(schema) == (Annotated(("city",), "City", "string"), Annotated(("at", "b"), "B", "integer"))


def test_two_parameters_can_not_have_one_header_in_whatever_letters() -> None:
    other = {"type": "string", "x-mcp-header": "cITY"}
    assert asked({"properties": {"a": CITY, "b": other}}) == ()
    assert len(asked({"properties": {"a": CITY, "b": {**other, "x-mcp-header": "town"}}})) == 2


@pytest.mark.parametrize("schema", [None, 7, {}, {"properties": 7}, {"properties": {}}])
def test_a_tool_without_parameters_asks_for_nothing(schema: Any) -> None:
    assert asked(schema) == ()


def test_how_deep_and_how_far_a_schema_is_looked_at() -> None:
    names = [f"n{n}" for n in range(DEEP)]
    assert asked(under(*names)) == (Annotated(tuple(names), "City", "string"),)
    assert asked(under(*names, "one")) == ()
    many: dict[str, Any] = {f"n{n}": {} for n in range(MANY - 1)}
    assert len(asked({"properties": {**many, "city": CITY}})) == 1
    assert asked({"properties": {**many, "one": {}, "city": CITY}}) == ()


def test_whoever_was_told_is_held_to_it() -> None:
    place = listed({"name": "t", "inputSchema": under("a")}, {"name": "u"})
    found = (Annotated(("a",), "City", "string"),)
    assert known(place) == found
    assert known(place, "u") == ()
    assert known(place, "v") is None
    assert known(place, ["t"]) is None
    assert known(place, client="B") is None
    assert known(place, credentials="hash") is None
    assert known(place, at=99.0 + FRESH) == found
    assert known(place, at=100.0 + FRESH) is None
    assert known(place, "v", at=0.5) is None, "whatever the clock says"


def test_what_is_no_tool_is_passed_over() -> None:
    place = listed(7, {"inputSchema": {}}, {"name": 7}, {"name": "t"})
    assert list(place.tools) == [((exchange().client.key, ""), "t")]
    assert listed().tools == {}
    remember(place := Place(), exchange(), {"tools": {"name": "t"}}, 100.0)
    assert place.tools == {}
    remember(place, exchange(), {}, 100.0)
    assert place.tools == {}


def test_how_many_tools_are_remembered_of_a_list() -> None:
    place = listed(*({"name": f"t{n}"} for n in range(MANY + 5)))
    assert known(place, f"t{MANY - 1}") == ()
    assert known(place, f"t{MANY}") is None
