"""The line at the start: what runs, what it will do, and where to look."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from .. import __version__
from ..rules import Level, catalogue
from ..rules.judge import EXTRAS


class Chosen(Protocol):
    """What of the user's choices it says."""

    @property
    def mcp_recover(self) -> str:
        """Whether sessions are brought back."""

    @property
    def mcp_end(self) -> str:
        """Whether they are ended."""

    @property
    def silenced(self) -> Collection[str]:
        """Rules that are not judged."""

    @property
    def level(self) -> Level:
        """The level from which on rules are judged."""


def started(chosen: Chosen, ledger: object, *, changed: Iterable[str], page: str) -> str:
    """Say it, in one line.

    `ledger`: where sessions are remembered, as it may be printed; None for nowhere. `changed`: what of mitmproxy's
    options is not as the user has left it, and why.
    """
    words = [
        f"recovery {chosen.mcp_recover}",
        f"ending {chosen.mcp_end}",
        f"ledger {ledger or 'off'}",
        judged(chosen.silenced, chosen.level),
    ]
    words += [what for what in changed if what]
    if page:
        words.append(f"page {page}")
    return f"mcp: mitmproxy-mcp-sessions {__version__}: {', '.join(words)}"


def judged(silenced: Collection[str], level: Level) -> str:
    """How many rules are judged, of how many, and which extra is missing for the others."""
    wanted = [
        rule
        for rule in catalogue().values()
        if rule.id not in silenced
        and any(rule.level_in(revision).weight >= level.weight for revision in rule.revisions)
    ]
    missing = sorted({rule.extra for rule in wanted if rule.extra and not EXTRAS[rule.extra]()})
    able = sum(rule.extra not in missing for rule in wanted)
    text = f"{able} of {len(catalogue())} rules judged"
    return text + "".join(f" (the extra {extra} is not installed)" for extra in missing)
