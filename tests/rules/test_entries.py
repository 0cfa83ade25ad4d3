"""What an entry of the catalogue says in each revision: where it stands, in which words, and how strongly."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mcp_sessions.rules.entries import SITE, Level, Rule, Source, Wording, catalogue

THREE = ("2025-03-26", "2025-06-18", "2025-11-25")
OLD, MIDDLE, NEW = THREE


def rule(**more: Any) -> Rule:
    """A rule that no catalogue has."""
    entry: dict[str, Any] = {"id": "MCP999", "name": "n", "party": "client", "level": "MUST", "revisions": THREE}
    return Rule(**entry | {"summary": "s", "why": "w", "bad": "b", "good": "g"} | more)


def test_levels_have_an_order() -> None:
    assert sorted(Level, key=lambda level: level.weight) == [Level.PRACTICE, Level.SHOULD, Level.MUST]
    assert [level.weight for level in Level] == [3, 2, 1]


def test_where_a_clause_stands() -> None:
    source = Source(clause="a#b", clause_by_revision={OLD: "c#d", MIDDLE: ""})
    assert source.address_in(NEW) == f"{SITE}/{NEW}/a#b"
    assert source.address_in(OLD) == f"{SITE}/{OLD}/c#d"
    assert source.address_in(MIDDLE) == ""
    assert Source().address_in(NEW) == ""


def test_what_a_clause_says() -> None:
    assert Source(clause="a", quote="q").wordings_in(THREE) == [Wording("q", f"{SITE}/{NEW}/a", THREE)]
    source = Source(clause="a", quote="q", quote_by_revision={MIDDLE: "m"})
    assert source.wordings_in(THREE) == [
        Wording("q", f"{SITE}/{NEW}/a", (OLD, NEW)),
        Wording("m", f"{SITE}/{MIDDLE}/a", (MIDDLE,)),
    ]
    assert source.wordings_in((OLD, MIDDLE)) == [
        Wording("m", f"{SITE}/{MIDDLE}/a", (MIDDLE,)),
        Wording("q", f"{SITE}/{OLD}/a", (OLD,)),
    ]
    assert Source().wordings_in((NEW,)) == [Wording("", "", (NEW,))]
    assert source.wordings_in(()) == []


@pytest.mark.parametrize(
    ("level", "others", "known", "unknown"),
    [
        ("MUST", {}, ["MUST"] * 3, "MUST"),
        ("MUST", {OLD: "SHOULD"}, ["SHOULD", "MUST", "MUST"], "SHOULD"),
        ("SHOULD", {MIDDLE: "MUST"}, ["SHOULD", "MUST", "SHOULD"], "SHOULD"),
        ("MUST", {MIDDLE: "SHOULD", NEW: "PRACTICE"}, ["MUST", "SHOULD", "PRACTICE"], "PRACTICE"),
    ],
)
def test_how_strongly_it_is_worded(level: str, others: dict[str, str], known: list[str], unknown: str) -> None:
    found = rule(level=level, level_by_revision=others)
    assert [found.level_in(revision) for revision in THREE] == known
    assert found.level_in(None) == unknown


def test_the_address_of_a_rule() -> None:
    found = rule(clause="a", clause_by_revision={OLD: "b"}, parts={"x": {"clause": "c"}})
    assert found.address() == f"{SITE}/{NEW}/a"
    assert found.address(MIDDLE) == f"{SITE}/{MIDDLE}/a"
    assert found.address(OLD) == f"{SITE}/{OLD}/b"
    assert found.address("2026-07-28") == f"{SITE}/{NEW}/a"
    assert found.address(OLD, "x") == f"{SITE}/{OLD}/c"
    assert found.address(part="x") == f"{SITE}/{NEW}/c"
    assert found.address(part="y") == f"{SITE}/{NEW}/a"
    assert rule().address() == ""


def test_the_wordings_of_a_rule_are_those_of_its_parts_too() -> None:
    found = rule(revisions=(NEW,), clause="a", quote="q", parts={"x": {"clause": "c", "quote": "p"}})
    assert found.wordings() == [Wording("q", f"{SITE}/{NEW}/a", (NEW,)), Wording("p", f"{SITE}/{NEW}/c", (NEW,))]


@pytest.mark.parametrize("more", [{"id": "MCP1"}, {"name": "N"}, {"party": "both"}, {"level": "MAY"}, {"x": 1}])
def test_an_entry_that_is_none_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rule(**more)


def test_rules_are_found_by_their_ids() -> None:
    assert all(rule_id == found.id for rule_id, found in catalogue().items())
    assert {rule_id[:4] for rule_id in catalogue()} == {f"MCP{family}" for family in "123456789"}
