"""Members of JSON, found in any text: one that is cut off, several documents in one, or JSON that is odd otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .patterns import NUMERIC_SECRET_NAME, is_secret_name

MEMBER = re.compile(
    r"""(?P<before>(?:"(?P<name>(?:[^"\\]|\\.){1,256}+)"\s{0,16}:\s{0,16})?)"""
    r"""(?:"(?P<said>(?:[^"\\]|\\.)*+)(?P<after>"?)|(?(name)(?P<number>-?[0-9][0-9.eE+-]{0,64})|(?!)))""",
    re.S,
)
"""A text, which may be cut off, or a number, with the name that stands before it, if one does."""


def is_secret(member: re.Match[str]) -> bool:
    """Whether it has the name of a secret, and a value that can be one."""
    name = member["name"]
    if not name or not is_secret_name(name):
        return False
    return bool(member["said"] or (member["number"] and NUMERIC_SECRET_NAME.search(name)))


def said(member: re.Match[str]) -> str:
    """Its value, without escapes."""
    raw = member["said"] if member["number"] is None else member["number"]
    try:
        read = json.loads(f'"{raw}"', strict=False) if "\\" in raw else raw
        read.encode("utf-8", "surrogateescape")  # half a surrogate pair stays as it is written
    except ValueError:
        return raw
    return str(read)


def instead(member: re.Match[str], value: str) -> str:
    """The same with another value."""
    if member["number"] is not None:
        return member["before"] + value
    return f'{member["before"]}"{json.dumps(value, ensure_ascii=False)[1:-1]}{member["after"]}'


def texts(document: Any) -> Iterator[str]:
    """Every string value of a document, with a stack of its own: the nesting is the sender's."""
    stack = [document]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
