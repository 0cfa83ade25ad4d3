"""How a run came out: what the addon saw of violations, for the wrapper commands' exit status and the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..core.records import Violation
from ..rules import Level, catalogue
from ..rules.baseline import Baseline, Place
from ..wire.text import counted

VIOLATED = 3
"""Exit status of the wrapper commands when a violation was seen that `mcp_fail_on` asks about; mitmproxy's own is 1."""


BY_LIMIT = 1_000
"""Clients and servers that are told apart; what more of them do is counted under one name."""

OTHERS = "others"

SHOWN = 20
"""Of those, how many are shown: who did most. So are places that are new or stale."""


@dataclass(slots=True)
class Outcome:
    """Violations of a run, counted by rule, level and party, and by who did it."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    by: dict[str, Counter[str]] = field(default_factory=dict)
    """Rules by client, or by the address of the server."""
    baseline: Baseline | None = None
    """What is known."""
    new: Counter[Place] = field(default_factory=Counter)
    """What is not, by its place, if there is a baseline."""
    _worst: Level | None = None
    """Of all that is not known."""

    def add(self, violation: Violation) -> None:
        """Count a violation."""
        self.counts[violation.rule, violation.level, violation.party] += violation.times
        who = violation.client if violation.party == "client" else violation.endpoint
        if who not in self.by and len(self.by) >= BY_LIMIT:
            who = OTHERS
        self.by.setdefault(who or "unknown", Counter())[violation.rule] += violation.times
        if self.baseline is not None:
            if self.baseline.knows(violation):
                return
            place = Place.of(violation)
            if place in self.new or len(self.new) < BY_LIMIT:
                self.new[place] += violation.times
        level = Level(violation.level)
        if self._worst is None or level.weight > self._worst.weight:
            self._worst = level

    def fails(self, level: Level | None) -> bool:
        """Whether a violation of this level or above was seen that is not known."""
        return level is not None and self._worst is not None and self._worst.weight >= level.weight

    def compared(self) -> Iterator[str]:
        """What is new and what is stale by the baseline, line by line; nothing without one."""
        if self.baseline is None:
            return
        for what, places in (
            ("new", [f"{place} ({times})" for place, times in self.new.most_common()]),
            ("stale, take it out of the baseline", list(map(str, self.baseline.stale))),
        ):
            yield from (f"{what}: {place}" for place in places[:SHOWN])
            if len(places) > SHOWN:
                yield f"{what}: {len(places) - SHOWN} more"

    def summary(self) -> str:
        """A table by rule and party, and one by who did it, each with the most frequent first; empty if nothing was."""
        if not self.counts:
            return ""
        rows = [
            (rule, catalogue()[rule].name, party, level, str(times))
            for (rule, level, party), times in sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        ]
        most = sorted(self.by.items(), key=lambda item: (-item[1].total(), item[0]))
        by = [(who, str(rules.total()), " ".join(sorted(rules))) for who, rules in most[:SHOWN]]
        if len(most) > SHOWN:
            by.append((f"{len(most) - SHOWN} more", str(sum(rules.total() for _, rules in most[SHOWN:])), ""))
        parties = Counter[str]()
        for (_, _, party), times in self.counts.items():
            parties[party] += times
        total = ", ".join(f"{times} by {party}s" for party, times in sorted(parties.items()))
        return "\n".join(
            [
                f"{counted(sum(parties.values()), 'violation')} ({total})",
                *_aligned([("rule", "name", "party", "level", "times"), *rows]),
                *_aligned([("by", "times", "rules"), *by]),
            ]
        )


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


FAILED: list[str] = []
"""Why this process is to exit with `VIOLATED`; written by the addon at its end, read by the wrapper commands."""
