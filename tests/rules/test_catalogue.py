"""Every rule of the catalogue by its own two transcripts, in each of its revisions."""

from __future__ import annotations

import re

import pytest

from mcp_sessions.rules import Level, Rule, catalogue, schema
from mcp_sessions.rules.checks import ON_ANSWER, ON_EVENT, ON_FINISH, ON_MESSAGE, ON_REQUEST, ON_SESSION
from rules.transcripts import REVISION, Player, broken_by, read

RULES = list(catalogue().values())
IDS = [rule.id for rule in RULES]
OTHER = {"2025-03-26", "2025-06-18"}


def revisions_of(transcript: str, rule_revisions: tuple[str, ...]) -> list[str]:
    """The revisions that a transcript can be told in: its own, and another where it names only the usual one."""
    if "2026-07-28" in transcript or "%modern" in transcript:
        return [REVISION]
    named = set(re.findall(r"\d{4}-\d\d-\d\d", transcript)) & OTHER
    return [REVISION] if named else [r for r in ("2025-06-18", REVISION) if r in rule_revisions or r == REVISION]


@pytest.mark.parametrize("rule", RULES, ids=IDS)
def test_bad_breaks_the_rule_and_no_other(rule: Rule) -> None:
    if rule.extra and not schema.available():
        pytest.skip(f"needs the extra {rule.extra}, which is for Python 3.13 and later")
    for revision in revisions_of(rule.bad, rule.revisions):
        found = set(broken_by(rule.bad, revision, rule.id))
        assert rule.id in found
        assert found <= {rule.id, *rule.also}


@pytest.mark.parametrize("rule", RULES, ids=IDS)
def test_good_breaks_nothing(rule: Rule) -> None:
    for revision in revisions_of(rule.good, rule.revisions):
        assert broken_by(rule.good, revision, rule.id) == []


def test_every_rule_has_a_check() -> None:
    tables = (ON_REQUEST, ON_ANSWER, ON_EVENT, ON_FINISH, ON_SESSION, ON_MESSAGE)
    checked = {row[0] for table in tables for row in table}
    assert checked == set(IDS)


def test_a_rule_is_worded_more_weakly_where_its_revision_is() -> None:
    bad = catalogue()["MCP404"].bad
    for revision, level in (("2025-03-26", Level.SHOULD), ("2025-06-18", Level.MUST)):
        player = Player()
        player.play(read(bad, revision))
        assert [violation.level for violation in player.violations] == [level]
        assert f"/{revision}/" in player.violations[0].clause
