"""JSON values as text that people can read: YAML, with long strings folded and nothing lost, so that it can be edited.

The text is a subset of YAML 1.2 that any YAML reader takes back to the same value. It is written by hand because a
general writer needs seconds for a body that is drawn in milliseconds here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

WIDTH = 100
"""Characters of a string on one line; a longer one goes on in the next."""

DEPTH_LIMIT = 60
"""Levels of nesting that are drawn line by line; what lies deeper is written on one line."""

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./ @+-]{0,78}[A-Za-z0-9_/]|[A-Za-z_/]")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""What a YAML reader, of this version or an older one, takes for something else than text."""

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def dump(value: Any, cut: int | None = None) -> str:
    """The value as text, each line ended; strings longer than `cut` characters are cut, which can't be undone."""
    return "\n".join(_block(value, 0, cut)) + "\n"


def _block(value: Any, depth: int, cut: int | None) -> Iterator[str]:
    """The lines of a value that begins on a line of its own."""
    pad = "  " * depth
    if depth < DEPTH_LIMIT and isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _entry(f"{pad}{_scalar(str(key))}:", item, depth, cut)
    elif depth < DEPTH_LIMIT and isinstance(value, list) and value:
        for item in value:
            if isinstance(item, dict) and item:
                first, *rest = _block(item, depth + 1, cut)
                yield f"{pad}- {first.lstrip(' ')}"
                yield from rest
            else:
                yield from _entry(f"{pad}-", item, depth, cut)
    elif isinstance(value, (dict, list)):
        yield f"{pad}{_flow(value)}"
    else:
        yield from _entry("", value, depth, cut)


def _entry(lead: str, value: Any, depth: int, cut: int | None) -> Iterator[str]:
    """A value behind its key or dash."""
    if depth < DEPTH_LIMIT and isinstance(value, (dict, list)) and value:
        yield lead
        yield from _block(value, depth + 1, cut)
        return
    space = " " if lead else ""
    if not isinstance(value, str):
        yield f"{lead}{space}{_flow(value)}"
        return
    if cut is not None and len(value) > cut:
        yield f"{lead}  # {len(value):,} characters, the first {cut:,}:".lstrip(" ")
        value = value[:cut]
        lead, space = "  " * (depth + 1), ""
    if lead and _suits_a_block(value):
        text, mark = (value[:-1], "|") if value.endswith("\n") else (value, "|-")
        yield f"{lead} {mark}"
        for line in text.split("\n"):
            yield f"{'  ' * (depth + 1)}{line}" if line else ""
    elif len(value) > WIDTH:
        yield from _folded(f"{lead}{space}", value, "  " * (depth + 1))
    else:
        yield f"{lead}{space}{_scalar(value)}"


def _suits_a_block(text: str) -> bool:
    """Whether the text reads best, and without loss, as indented lines."""
    if "\n" not in text or text[0] in " \n" or text.endswith("\n\n") or text == "\n":
        return False
    return all(
        len(line) <= 2 * WIDTH and line.isprintable() and (not line or line[0] != " " or line.strip(" "))
        for line in text.split("\n")
    )


def _folded(lead: str, text: str, pad: str) -> Iterator[str]:
    """A long string in quotes, over several lines; a backslash at a line's end says that it goes on."""
    pieces = []
    position = 0
    while position < len(text):
        end = min(position + WIDTH, len(text))
        if end < len(text):
            gap = text.rfind(" ", position + WIDTH // 2, end)
            end = gap + 1 if gap > 0 else end
        pieces.append(_escaped(text[position:end]))
        position = end
    yield f'{lead}"{pieces[0]}\\'
    for piece in pieces[1:-1]:
        yield f"{pad}{_guarded(piece)}\\"
    yield f'{pad}{_guarded(pieces[-1])}"'


def _guarded(piece: str) -> str:
    """A piece that begins with a blank which is part of the text."""
    return f"\\{piece}" if piece.startswith(" ") else piece


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(_SHORT.get(c) or (c if c.isprintable() else _numbered(ord(c))) for c in text)


def _numbered(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{_escaped(str(k))}": {_flow(v)}' for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, str):
        return f'"{_escaped(value)}"'
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return _number(value)


def _number(value: float) -> str:
    """A number so that it stays one: YAML wants a point in what has an exponent."""
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return text
