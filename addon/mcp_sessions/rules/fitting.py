"""Does a value fit a JSON Schema off the wire? Asked of `jsonschema`, where it is installed (extra `schema`).

Both are hostile. No reference is followed out of the schema, no pattern is tried (one can take hours, and nobody else
runs meanwhile), and what would take more than `STEPS` is not judged. Never called while a request waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..wire.text import printable

STEPS = 100_000
"""Subschemas times values: about a second."""
SUBSCHEMAS = 1_000
DEEP = 40
DIALECT = "https://json-schema.org/draft/2020-12/schema"

NOT_TRIED = frozenset({"pattern", "patternProperties", "propertyNames", "format", "uniqueItems", "contentMediaType"})
"""Left out: they take their time, or are no assertion."""
UNKNOWN = frozenset({"$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems", "$anchor", "$id"})
"""A schema with one of these is not judged by."""
VALUES = frozenset({"const", "enum", "default", "examples"})


class TooMuchError(Exception):
    """It can't be told within bounds."""


def misfit(schema: Any, value: Any) -> str | None:
    """What is wrong with a value, in a few words; None if nothing is, or if it can't be told."""
    if not _is_known(schema):
        return None
    try:
        plain = _plain(schema, 0)
        if _expanded(plain, plain, 0, [0]) * _nodes(value, 0, [0]) > STEPS:
            return None
        return _first(import_module("jsonschema").Draft202012Validator(plain).iter_errors(value))
    except (TooMuchError, RecursionError):
        return None
    except Exception:  # the schema is none, which is another rule's
        return None


def invalid(schema: Any) -> str | None:
    """What is wrong with a schema by the schema of schemas; None if nothing is, or if it can't be told."""
    if not _is_known(schema):
        return None
    try:
        if _nodes(schema, 0, [0]) > SUBSCHEMAS:
            return None
        validator = import_module("jsonschema").Draft202012Validator
        return _first(validator(validator.META_SCHEMA).iter_errors(_plain(schema, 0)))
    except (TooMuchError, RecursionError):
        return None


def _is_known(schema: Any) -> bool:
    """Whether it is a schema of the dialect that is known here, and there is somebody to ask."""
    dialect = schema.get("$schema", DIALECT) if isinstance(schema, dict) else None
    return isinstance(dialect, str) and dialect.rstrip("#") == DIALECT and find_spec("jsonschema") is not None


def _first(errors: Iterator[Any]) -> str | None:
    """The first of these errors: where it is, and by which keyword."""
    first = next(errors, None)
    if first is None:
        return None
    place = ".".join(str(part) for part in first.absolute_path) or "it"
    return printable(f"{place}: {first.validator or 'false'}", 120)


def _plain(schema: Any, depth: int) -> Any:
    """The schema without what is not tried."""
    if depth > DEEP:
        raise TooMuchError
    if isinstance(schema, list):
        return [_plain(one, depth + 1) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, one in schema.items():
        if key in UNKNOWN:
            raise TooMuchError
        if key in ("properties", "$defs", "definitions", "dependentSchemas") and isinstance(one, dict):
            found[key] = {name: _plain(below, depth + 1) for name, below in one.items()}
        elif key in VALUES:
            found[key] = one
        elif key == "$ref":
            if not isinstance(one, str) or not one.startswith("#"):
                raise TooMuchError
            found[key] = one
        elif key not in NOT_TRIED:
            found[key] = _plain(one, depth + 1)
    return found


def _expanded(schema: Any, root: Any, depth: int, count: list[int]) -> int:
    """How many subschemas there are once the references are followed."""
    count[0] += 1
    if depth > DEEP or count[0] > SUBSCHEMAS:
        raise TooMuchError
    if isinstance(schema, list):
        for one in schema:
            _expanded(one, root, depth + 1, count)
    elif isinstance(schema, dict):
        for key, one in schema.items():
            if key == "$ref":
                _expanded(_resolved(one, root), root, depth + 1, count)
            elif key not in VALUES and key not in ("$defs", "definitions"):
                _expanded(one, root, depth + 1, count)
    return count[0]


def _resolved(reference: Any, root: Any) -> Any:
    here = root
    for part in str(reference)[1:].split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(here, dict) or part not in here:
            raise TooMuchError
        here = here[part]
    return here


def _nodes(value: Any, depth: int, count: list[int]) -> int:
    """How many values there are in one."""
    count[0] += 1
    if depth > DEEP or count[0] > STEPS:
        raise TooMuchError
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _nodes(one, depth + 1, count)
    return count[0]
