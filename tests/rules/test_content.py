"""What is in a message by itself, and values against schemas that came over the wire: near misses, and hostile ones."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mcp_sessions.rules import catalogue
from mcp_sessions.rules.content import _is_base64, _is_meta_key
from mcp_sessions.rules.fitting import invalid, misfit
from mcp_sessions.rules.schema import available
from rules.transcripts import broken_by

pytest.importorskip("jsonschema")

RECURSIVE = {"$defs": {"a": {"properties": {"next": {"$ref": "#/$defs/a"}}}}, "$ref": "#/$defs/a"}
DEEP: dict[str, Any] = {"type": "string"}
for _ in range(20):
    DEEP = {"anyOf": [DEEP, DEEP]}


@pytest.mark.parametrize(
    ("schema", "value", "wrong"),
    [
        ({"type": "object", "required": ["a"]}, {}, True),
        ({"type": "object", "required": ["a"]}, {"a": None}, False),
        ({"type": "integer"}, 10.0, False),
        ({"type": "integer"}, True, True),
        ({"properties": {"type": {"type": "string"}}}, {"type": 7}, True),
        ({"$defs": {"n": {"type": "number"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}, {"a": "x"}, True),
        (
            {"$defs": {"n": {"type": "number"}}, "properties": {"a": {"anyOf": [{"$ref": "#/$defs/n"}]}}},
            {"a": 1},
            False,
        ),
        # What can't be told, or would take long, is let pass.
        ({"pattern": "(a+)+$"}, "a" * 40 + "!", False),
        ({"patternProperties": {"(a+)+$": False}}, {"a" * 40 + "!": 1}, False),
        ({"$ref": "https://example.com/schema"}, 7, False),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "string"}, 7, False),
        (RECURSIVE, {"next": {"next": 7}}, False),
        (DEEP, 7, False),
        ({"items": {"type": "string"}}, [7] * 200_000, False),
        ({"type": 7}, 7, False),
        ("no schema", 7, False),
    ],
)
def test_values_against_schemas(schema: Any, value: Any, wrong: bool) -> None:
    began = time.process_time()
    assert (misfit(schema, value) is not None) is wrong
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        ({"type": "object"}, False),
        ({"type": "obj"}, True),
        ({"properties": {"a": {"type": "str"}}}, True),
        ({"type": "object", "x-mcp-header": 7, "nullable": True}, False),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "exclusiveMinimum": True}, False),
        ({"exclusiveMinimum": True}, True),
    ],
)
def test_schemas_against_their_own(schema: Any, wrong: bool) -> None:
    assert (invalid(schema) is not None) is wrong


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("progressToken", True),
        ("io.modelcontextprotocol/related-task", True),
        ("com.example/", True),
        ("my_key.v2", True),
        ("-key", False),
        ("/key", False),
        ("com..example/key", False),
        ("1com.example/key", False),
        ("com.example-/key", False),
    ],
)
def test_keys_of_meta(key: str, right: bool) -> None:
    assert _is_meta_key(key) is right


def test_base64() -> None:
    assert _is_base64("iVBORw0KGgo=")
    assert _is_base64("iVBO\r\nRw0K\r\n")
    assert _is_base64("iVBORw0KGgo")
    assert not _is_base64("a-_b")
    began = time.process_time()
    assert not _is_base64(" " * 2_000_000 + "!")
    assert time.process_time() - began < 1


judged = pytest.mark.skipif(not available(), reason="the extra schema is not installed: it needs Python 3.13")


@judged
def test_a_result_is_judged_by_the_schema_of_its_own_session() -> None:
    bad = catalogue()["MCP901"].bad
    assert broken_by(bad) == ["MCP901"]
    other = "%init 2025-11-25 client=B session=0b7d19e2c4f84a6e9d3158ca7e60f2b1"
    calls = bad.index("### client A", bad.index("tools/list"))
    elsewhere = bad[:calls] + other + "\n" + bad[calls:].replace("### client A", "### client B")
    assert broken_by(elsewhere) == []


@judged
def test_a_result_without_structure_is_judged_unless_it_is_an_error() -> None:
    good = catalogue()["MCP901"].good
    assert broken_by(good.replace(',"isError":true', "")) == ["MCP901"]
