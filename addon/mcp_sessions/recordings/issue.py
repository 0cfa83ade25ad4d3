"""The report in short: what is broken, by whom, and how to see it, in fewer lines than anybody minds to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .faults import REPRODUCE, Broken, Fault, faults, told
from .markup import code
from .recorded import Conversation, Recorded, conversations

LINES = 59
FULL = 2
"""Rules that are told in full; the others have a line each."""

OTHERS = 8


def issue(exchanges: Sequence[Recorded], broken: Sequence[Broken], versions: str) -> str:
    """The page, shorter than 60 lines.

    Args:
        exchanges: the recording.
        broken: what it shows to be broken.
        versions: what made it, in one line.
    """
    ordered = sorted(exchanges, key=lambda one: one.at)
    numbers = {one.id: number for number, one in enumerate(ordered, 1)}
    found = faults(broken)
    lines = [*_head(conversations(ordered), versions, bool(found)), *_faults(found, numbers, ordered)]
    end = ["", "## Reproduce", "", *REPRODUCE.split("\n")]
    room = LINES - len(end) - 1
    if len(lines) > room:
        lines = [*_whole(lines[:room]), "… the rest stands in the full report."]
    return "\n".join([*lines, *end]) + "\n"


def _whole(lines: list[str]) -> list[str]:
    """These lines up to a block that is not closed, if there is one."""
    fences = [number for number, line in enumerate(lines) if line.startswith("```")]
    return lines[: fences[-1]] if len(fences) % 2 else lines


def _head(found: Sequence[Conversation], versions: str, broken: bool) -> Iterator[str]:
    told_of = max(found, key=lambda one: len(one.exchanges), default=None)
    yield f"# MCP traffic{' that does not follow the specification' if broken else ''}"
    yield ""
    for name, value in told_of.facts() if told_of else ():
        if value:
            yield f"- {name}: {value}"
    yield f"- recorded by: {versions}"


def _faults(found: Sequence[Fault], numbers: dict[str, int], ordered: Sequence[Recorded]) -> Iterator[str]:
    if not found:
        yield "\nNo rule of the specification was seen to be broken."
    by_id = {one.id: one for one in ordered}
    for fault in found[:FULL]:
        yield ""
        yield f"## {fault.title}"
        yield ""
        for text in told(fault, 1, numbers, by_id):
            yield from text.split("\n")
    if found[FULL:]:
        yield ""
        yield "Also: " + "; ".join(fault.title for fault in found[FULL : FULL + OTHERS]) + "."
    kept = {case.exchange for fault in found for case in fault.cases[:1]}
    if len(ordered) > len(kept):
        yield ""
        yield f"Left out here: {len(ordered) - len(kept)} of {len(ordered)} exchanges, {code('report.md')} has them."
