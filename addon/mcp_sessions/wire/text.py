"""Text as it may be printed: what comes from the wire made harmless, and numbers in words."""

from __future__ import annotations

NAME_LIMIT = 64
"""Characters of a name from the wire that are shown."""


def printable(text: object, limit: int = NAME_LIMIT) -> str:
    """Text from the wire as it may stand in a log or a table: one line, no control characters, bounded."""
    if isinstance(text, str) and len(text) <= limit and text.isprintable():
        return text
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text)[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def lacking(extra: str) -> str:
    """What is to be said where an extra of this package is not installed."""
    return f"needs the extra {extra}: pip install 'mitmproxy-mcp-sessions[{extra}]'"


def counted(number: int, noun: str, plural: str = "") -> str:
    """So many of a thing: `1 session`, `2 sessions`."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
