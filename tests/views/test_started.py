"""The line at the start, and what becomes of options that were set before they were declared."""

from __future__ import annotations

import pytest

from mcp_sessions.options import unknown
from mcp_sessions.rules import Level, catalogue
from mcp_sessions.rules.judge import EXTRAS
from mcp_sessions.views.started import judged


def test_it_counts_the_rules_that_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = catalogue()
    monkeypatch.setitem(EXTRAS, "schema", lambda: True)
    assert judged((), Level.PRACTICE) == f"{len(rules)} of {len(rules)} rules judged"
    assert judged(("MCP101", "MCP102"), Level.PRACTICE) == f"{len(rules) - 2} of {len(rules)} rules judged"
    strong = sum("MUST" in (rule.level, *rule.level_by_revision.values()) for rule in rules.values())
    assert judged((), Level.MUST) == f"{strong} of {len(rules)} rules judged"


def test_it_says_that_an_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = catalogue()
    monkeypatch.setitem(EXTRAS, "schema", lambda: False)
    left = sum(rule.extra != "schema" for rule in rules.values())
    assert left < len(rules)
    assert judged((), Level.PRACTICE) == f"{left} of {len(rules)} rules judged (the extra schema is not installed)"
    needing = [rule.id for rule in rules.values() if rule.extra]
    assert judged(needing, Level.PRACTICE) == f"{left} of {len(rules)} rules judged"


@pytest.mark.parametrize("name", ["confdir", "stream_large_bodies", "my_addon_end", "ssl_insecur", "mode"])
def test_options_that_are_none_of_ours_are_left_alone(name: str) -> None:
    assert unknown([name]) == []
