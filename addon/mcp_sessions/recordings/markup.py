"""Text from the wire, made harmless for Markdown and Mermaid: it says what it says, and is never markup."""

from __future__ import annotations

import re

_FENCE = re.compile(r"`{3,}|~{3,}")
_TICKS = re.compile(r"`+")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,/_()+-")
_WORDS = re.compile(r"(?i)\b(end)\b")


def shown(text: str, limit: int) -> str:
    """The text in one line, without control and direction characters, cut to `limit` characters."""
    line = "".join(c if c.isprintable() else "�" for c in text[: limit + 1].replace("\n", " ").replace("\t", " "))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def code(text: str, limit: int = 200) -> str:
    """A code span, also for a table's cell: nothing in it is a mention, a link, an entity or a tag."""
    line = shown(text, limit).strip()
    if not line:
        return ""
    ticks = "`" * (max((len(run) for run in _TICKS.findall(line)), default=0) + 1)
    room = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{room}{line}{room}{ticks}".replace("|", "\\|")


def block(text: str, language: str, limit: int) -> str:
    """A fenced block that nothing inside can close."""
    kept = "".join(c if c.isprintable() or c == "\n" else "�" for c in text[:limit].replace("\r\n", "\n"))
    if len(text) > limit:
        kept += f"\n… {len(text) - limit:,} characters more"
    fence = "`" * max(3, *(len(run) + 1 for run in _FENCE.findall(kept)), 3)
    return f"{fence}{language}\n{kept}\n{fence}"


def diagram(text: str, limit: int = 80) -> str:
    """A text within a Mermaid diagram: whatever might mean something there is written as a character code."""
    coded = "".join(c if c in _PLAIN else f"#{ord(c)};" for c in shown(text, limit))
    return _WORDS.sub(lambda word: f"#{ord(word[1][0])};{word[1][1:]}", coded)
