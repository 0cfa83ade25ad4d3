"""JSON that its grammar allows and a strict parser refuses: half a surrogate pair, deep nesting, very long numbers."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import from_json

ESCAPES_LIMIT = 20_000
"""Backslashes up to which a body is searched for halves of surrogate pairs: each that is found takes its time."""

SIZE_LIMIT = 512 * 1024
"""Bytes up to which a body is read that is nested too deep."""

KEPT = 3
"""Levels of what is nested too deep to be read that are kept."""

UNREAD = "nested too deep, or with too large a number, not read in full"

_ESCAPED = re.compile(
    rb"\\(?:\\|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""A backslash, a whole pair, or (the group) half of one: Node writes that for half an emoji."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.S)

_UNREADABLE = ("recursion limit", "number out of range")
"""What the parser says of JSON that it can't read, as far as it is JSON."""

_DIGITS = 4_000
"""Digits of a number up to which it is read."""


def read(data: bytes, problem: str) -> tuple[Any, bool]:
    """The value of what the parser has refused with this problem, and whether all of it is there.

    Half a surrogate pair becomes a replacement character. Of what is nested too deep the outermost levels are kept.

    Raises:
        ValueError: when it is no JSON; says why.
        RecursionError: when it is nested so deep that this can't be told, but its brackets match.
    """
    if b"\\u" in data and data.count(b"\\") <= ESCAPES_LIMIT:
        mended = _ESCAPED.sub(lambda found: b"\\ufffd" if found[1] else found[0], data)
        if mended != data:
            try:
                return from_json(mended, allow_inf_nan=False, cache_strings="keys"), True
            except ValueError as e:
                data, problem = mended, str(e)
    if not problem.startswith(_UNREADABLE):
        raise ValueError(problem)
    try:
        return _outermost(json.loads(data, parse_int=_integer, parse_constant=_no_constant), KEPT), False
    except RecursionError:
        bare = _STRING.sub(b"", data)
        if bare.count(b"[") != bare.count(b"]") or bare.count(b"{") != bare.count(b"}"):
            raise ValueError("brackets do not match") from None
        raise


def is_too_much(data: bytes, problem: str) -> bool:
    """Whether it would take too long to read what the parser has refused with this problem."""
    if "hex escape" in problem:
        return data.count(b"\\") > ESCAPES_LIMIT
    return problem.startswith(_UNREADABLE) and len(data) > SIZE_LIMIT


def _outermost(value: Any, levels: int) -> Any:
    if isinstance(value, dict):
        return {name: _outermost(item, levels - 1) for name, item in value.items()} if levels else {}
    if isinstance(value, list):
        return [_outermost(item, levels - 1) for item in value] if levels else []
    return value


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else float("inf")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
