"""The clauses beside the catalogue: every one that a rule names exists, and every one has a rule or a reason."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mcp_sessions.rules import Level, Rule, catalogue
from mcp_sessions.rules.clauses import Clause, clauses, coverers, hidden, judged_by
from mcp_sessions.rules.clauses.pages import Count, count
from mcp_sessions.wire.revision import REVISIONS

CLAUSES = list(clauses().values())
RULES = list(catalogue().values())


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_a_rule_names_clauses_that_bind_its_party_where_it_is_judged(rule: Rule) -> None:
    named = [clauses()[clause_id] for clause_id in rule.clauses]
    assert len(set(rule.clauses)) == len(named)
    for clause in named:
        assert clause.party in ("both", rule.party), clause.id
        assert set(clause.revisions) & set(rule.revisions), clause.id
        assert not clause.undecidable, clause.id


@pytest.mark.parametrize("clause", CLAUSES, ids=[clause.id for clause in CLAUSES])
def test_a_clause_has_a_rule_or_a_reason(clause: Clause) -> None:
    assert set(clause.revisions) <= set(REVISIONS)
    assert set(clause.page_by_revision) < set(clause.revisions)
    for revision in clause.revisions:
        assert coverers(clause, revision) or clause.unjudged or clause.undecidable, revision
    assert not (clause.unjudged and clause.undecidable)


def test_quotes_are_short_and_on_one_line() -> None:
    for clause in CLAUSES:
        assert 10 < len(clause.quote) <= 240
        assert clause.quote == " ".join(clause.quote.split())


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_clause_is_counted_once(revision: str) -> None:
    found = [count(revision, level) for level in (Level.MUST, Level.SHOULD)]
    here = [clause for clause in CLAUSES if revision in clause.revisions]
    assert sum(one.observable + one.undecidable for one in found) == len(here)
    assert any(revision in page for group in hidden() for page in group.pages.values())


@pytest.mark.parametrize("revision", REVISIONS)
def test_most_of_what_can_be_observed_is_judged(revision: str) -> None:
    assert count(revision, Level.MUST).share >= 90
    assert count(revision, Level.SHOULD).share >= 75


def test_a_clause_is_judged_in_full_if_both_whom_it_binds_are() -> None:
    assert Count(9, 1, 0, 5).share == 90.0
    assert Count(0, 0, 0, 5).share == 100.0
    both = [clause for clause in CLAUSES if clause.party == "both" and clause.id in judged_by()]
    assert both


@pytest.mark.long
def test_clauses_are_not_read_while_traffic_passes() -> None:
    code = (
        "import sys, mcp_sessions.rules as rules; rules.Judge(lambda *_: None); "
        "sys.exit(any('rules.clauses' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
