"""Values against schemas off the wire: what is told of a misfit, and up to where anything is told."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.rules import fitting
from mcp_sessions.rules.fitting import DEEP, DIALECT, NOT_TRIED, SUBSCHEMAS, UNKNOWN, VALUES, invalid, misfit

pytest.importorskip("jsonschema")

TEXT = {"type": "string"}


def nested(keyword: str, levels: int, innermost: Any) -> Any:
    """A schema so many levels deep."""
    found = innermost
    for _ in range(levels):
        found = {keyword: found}
    return found


def lists(levels: int) -> Any:
    """A list in a list, so many levels deep."""
    found: Any = 7
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        (TEXT, 7, "it: type"),
        ({"properties": {"a": {"items": TEXT}}}, {"a": ["x", 7]}, "a.1: type"),
        ({"required": ["a"]}, {}, "it: required"),
        ({"items": {"not": {}}}, [7], "0: not"),
        (nested("allOf", 1, [False]), 7, "it: false"),  # a schema without any keyword
        ({"properties": {"a" * 200: TEXT}}, {"a" * 200: 7}, "a" * 119 + "…"),
        ({"properties": {"\x1b": TEXT}}, {"\x1b": 7}, "\N{REPLACEMENT CHARACTER}: type"),
        ({"$schema": DIALECT, **TEXT}, 7, "it: type"),
        ({"$schema": DIALECT + "#", **TEXT}, 7, "it: type"),
        ({"$schema": "https://json-schema.org/draft/2019-09/schema", **TEXT}, 7, None),
        ({"$schema": DIALECT + "X", **TEXT}, 7, None),
        ({"$schema": 7, **TEXT}, 7, None),
        (False, 7, None),
        # Members may have the names of keywords.
        ({"properties": {"pattern": TEXT}}, {"pattern": 7}, "pattern: type"),
        ({"$defs": {"pattern": TEXT}, "$ref": "#/$defs/pattern"}, 7, "it: type"),
        ({"definitions": {"pattern": TEXT}, "$ref": "#/definitions/pattern"}, 7, "it: type"),
        ({"dependentSchemas": {"pattern": {"required": ["b"]}}}, {"pattern": 7}, "it: required"),
        ({"items": {"pattern": "^a$"}}, ["b"], None),
        ({"properties": [], **TEXT}, 7, "it: type"),
        # What stands for itself is no schema.
        ({"const": {"pattern": 1}}, {"pattern": 1}, None),
        ({"const": {"pattern": 1}}, {}, "it: const"),
        ({"enum": [{"$id": 1}]}, {"$id": 1}, None),
        ({"enum": [{"$id": 1}]}, {}, "it: enum"),
        ({"default": {"$id": "x"}, **TEXT}, 7, "it: type"),
        ({"examples": [{"$ref": 7}], **TEXT}, 7, "it: type"),
        # References
        ({"$defs": {"a/b": TEXT}, "$ref": "#/$defs/a~1b"}, 7, "it: type"),
        ({"$defs": {"a~b": TEXT}, "$ref": "#/$defs/a~0b"}, 7, "it: type"),
        ({"$defs": {"a": {"properties": {"b": TEXT}}}, "$ref": "#/$defs/a/properties/b"}, 7, "it: type"),
        ({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": TEXT}}, [7], "0: type"),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": TEXT}}, 7, "it: type"),
        ({"$ref": "#/$defs/none", **TEXT}, 7, None),
        ({"items": {"$ref": "#/$defs/none"}, **TEXT}, 7, None),
        ({"allOf": [TEXT], "$ref": "#/allOf/0"}, 7, None),
        ({"properties": {"a": {"$ref": "#"}}, **TEXT}, 7, None),
        ({"$ref": 7, **TEXT}, 7, None),
    ],
)
def test_what_is_told_of_a_misfit(schema: Any, value: Any, said: str | None) -> None:
    assert misfit(schema, value) == said


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("pattern", "^a$"),
        ("patternProperties", {"": False}),
        ("propertyNames", False),
        ("format", "date"),
        ("uniqueItems", True),
        ("contentMediaType", "application/json"),
    ],
)
def test_what_takes_its_time_is_left_out_and_all_else_is_judged(keyword: str, value: Any) -> None:
    assert keyword in NOT_TRIED
    for one in ("b", {"b": 1}, [1, 1]):
        assert misfit({keyword: value}, one) is None
        assert misfit({keyword: value, "not": {}}, one) == "it: not"
        assert misfit({"allOf": [{keyword: value}]}, one) is None


@pytest.mark.parametrize("keyword", sorted(UNKNOWN))
def test_a_schema_with_what_is_not_known_is_not_judged_by(keyword: str) -> None:
    for schema in ({keyword: {}, **TEXT}, {"allOf": [{keyword: {}}], **TEXT}):
        assert misfit(schema, 7) is None
    assert invalid({keyword: {}, "type": "text"}) is None


def test_no_reference_is_followed_out_of_a_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[Any] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *asked, **_: followed.append(asked))
    # Its parts lead to something in the schema, too.
    hostile = {"$ref": "http://127.0.0.1:9/x", "": {"127.0.0.1:9": {"x": {}}}}
    assert misfit(hostile, 7) is None
    assert invalid(hostile) is None
    assert followed == []


def test_without_the_library_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert misfit(TEXT, 7) is not None
    assert invalid({"type": "text"}) is not None
    monkeypatch.setattr(fitting, "find_spec", lambda name: pytest.fail(name) if name != "jsonschema" else None)
    assert misfit(TEXT, 7) is None
    assert invalid({"type": "text"}) is None


@pytest.mark.parametrize("keyword", ["items", "not", "contains"])
def test_how_deep_a_schema_is_looked_at(keyword: str) -> None:
    assert misfit({**TEXT, keyword: nested("items", DEEP - 1, True)}, 7) == "it: type"
    assert misfit({**TEXT, keyword: nested("items", DEEP, True)}, 7) is None


def test_how_deep_lists_of_schemas_and_references_are_looked_at() -> None:
    assert misfit({**TEXT, "allOf": [nested("items", DEEP - 2, True)]}, 7) is not None
    assert misfit({**TEXT, "allOf": [nested("items", DEEP - 1, True)]}, 7) is None
    blocks: Any = True
    for _ in range(DEEP):
        blocks = {"allOf": [blocks]}
    assert misfit({**TEXT, "$defs": {"a": blocks}}, 7) is None
    chain: dict[str, Any] = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(DEEP - 1)}
    assert misfit({"$defs": {**chain, f"a{DEEP - 1}": False}, "$ref": "#/$defs/a0"}, 7) == "it: false"
    assert misfit({"$defs": {**chain, f"a{DEEP - 1}": {"not": {}}}, "$ref": "#/$defs/a0"}, 7) is None
    chain = {f"a{n}": {"items": {"$ref": f"#/$defs/a{n + 1}"}} for n in range(DEEP)}
    assert misfit({"$defs": {**chain, f"a{DEEP}": {}}, "$ref": "#/$defs/a0", **TEXT}, 7) is None


def test_how_deep_names_are_looked_at() -> None:
    for member, levels in (("$defs", DEEP - 1), ("definitions", DEEP - 1), ("properties", DEEP - 2)):
        assert misfit({**TEXT, member: {"a": nested("items", levels, True)}}, 7) == "it: type"
        assert misfit({**TEXT, member: {"a": nested("items", levels + 1, True)}}, 7) is None


def test_how_deep_a_value_is_looked_at() -> None:
    assert misfit(TEXT, lists(DEEP)) == "it: type"
    assert misfit(TEXT, lists(DEEP + 1)) is None
    assert misfit(TEXT, {"a": lists(DEEP - 1)}) == "it: type"
    assert misfit(TEXT, {"a": lists(DEEP)}) is None
    # What stands for itself in a schema may be as deep as it likes.
    assert misfit({"const": lists(DEEP * 2)}, 7) == "it: const"


def test_how_many_schemas_are_looked_at() -> None:
    """The schema, its list, its word, and what is in the list."""
    assert misfit({**TEXT, "allOf": [True] * (SUBSCHEMAS - 3)}, 7) == "it: type"
    assert misfit({**TEXT, "allOf": [True] * (SUBSCHEMAS - 2)}, 7) is None
    assert invalid({"type": "text", "allOf": [True] * (SUBSCHEMAS - 3)}) == "type: anyOf"
    assert invalid({"type": "text", "allOf": [True] * (SUBSCHEMAS - 2)}) is None
    referred = {"$defs": {"a": {"anyOf": [False] * (SUBSCHEMAS // 2)}}}
    assert misfit({**referred, "items": {"$ref": "#/$defs/a"}}, [7]) == "0: anyOf"
    assert misfit({**referred, "allOf": [{"$ref": "#/$defs/a"}] * 2}, 7) is None


@pytest.mark.parametrize("member", ["$defs", "definitions"])
def test_what_nobody_refers_to_does_not_count(member: str) -> None:
    assert misfit({**TEXT, member: {f"a{n}": {} for n in range(2 * SUBSCHEMAS)}}, 7) == "it: type"


@pytest.mark.parametrize("member", sorted(VALUES))
def test_values_in_a_schema_do_not_count(member: str) -> None:
    assert misfit({"not": {}, member: [1] * 2 * SUBSCHEMAS}, 7) is not None


def test_how_much_is_looked_at_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "STEPS", 12)
    schema = {"items": TEXT}  # three
    assert misfit(schema, [7] * 3) == "0: type"
    assert misfit(schema, [7] * 4) is None
    assert misfit({"enum": []}, [7] * 11) == "it: enum"
    assert misfit({"enum": []}, [7] * 12) is None
    assert misfit({"enum": []}, dict.fromkeys("abcdefghijk")) == "it: enum"
    assert misfit({"enum": []}, dict.fromkeys("abcdefghijkl")) is None


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "text"}, "type: anyOf"),
        ({"properties": {"a": {"minimum": "1"}}}, "properties.a.minimum: type"),
        ({"properties": 7}, "properties: type"),
        ({"properties": {"a" * 200: 7}}, "properties." + "a" * 108 + "…"),
        ({"$schema": DIALECT + "#", "type": "text"}, "type: anyOf"),
        ({"$schema": 7, "type": "text"}, None),
        ({"properties": {"a": nested("items", DEEP + 1, 7)}}, None),
        (nested("items", DEEP, 7), "items." * 20 + "…"),
        (nested("items", DEEP + 1, 7), None),
        (["no schema"], None),
        ({}, None),
    ],
)
def test_what_is_told_of_a_schema(schema: Any, said: str | None) -> None:
    found = invalid(schema)
    assert found == (said if said is None or not said.startswith("items") else f"{'items.' * 19}items…")
