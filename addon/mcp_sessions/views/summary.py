"""How a run came out: what the addon saw of violations, for the wrapper commands' exit status and the summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..core.records import Violation
from ..rules import Level, catalogue
from ..wire.text import counted

VIOLATED = 3
"""Exit status of the wrapper commands when a violation was seen that `mcp_fail_on` asks about; mitmproxy's own is 1."""


@dataclass(slots=True)
class Outcome:
    """Violations of a run, counted by rule, level and party."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, violation: Violation) -> None:
        """Count a violation."""
        self.counts[violation.rule, violation.level, violation.party] += violation.times

    def fails(self, level: Level | None) -> bool:
        """Whether a violation of this level or above was seen."""
        return level is not None and any(Level(seen).weight >= level.weight for _, seen, _ in self.counts)

    def summary(self) -> str:
        """A table by rule and party, the most frequent first; empty if there was nothing."""
        if not self.counts:
            return ""
        rows = [
            (rule, catalogue()[rule].name, party, level, str(times))
            for (rule, level, party), times in sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        ]
        table = [("rule", "name", "party", "level", "times"), *rows]
        widths = [max(len(row[n]) for row in table) for n in range(5)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        parties = Counter[str]()
        for (_, _, party), times in self.counts.items():
            parties[party] += times
        total = ", ".join(f"{times} by {party}s" for party, times in sorted(parties.items()))
        return "\n".join([f"mcp: {counted(sum(parties.values()), 'violation')} ({total})", *lines])


FAILED: list[str] = []
"""Why this process is to exit with `VIOLATED`; written by the addon at its end, read by the wrapper commands."""
