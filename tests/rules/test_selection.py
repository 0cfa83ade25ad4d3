"""Which checks are asked: by the rules that are judged, their revisions and levels, what an exchange is like, and
what a message is about.
"""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.rules import selection
from mcp_sessions.rules.checks import Check, MessageCheck
from mcp_sessions.rules.entries import Level, Rule
from mcp_sessions.rules.selection import ByMethod, Picked, Selection
from mcp_sessions.rules.traits import GET, OK, POST, STATELESS

EVERY = ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")


def rule(rule_id: str, *revisions: str, **more: Any) -> Rule:
    """A rule that no catalogue has."""
    entry: dict[str, Any] = {"name": "n", "party": "client", "level": "MUST", "summary": "s", "why": "w"}
    return Rule(id=rule_id, revisions=revisions or EVERY, bad="b", good="g", **entry | more)


def asked(found: Any) -> list[str]:
    """The ids of the rules of which checks are asked."""
    return [one[0].id for one in found]


def check(*_: Any) -> None:
    """Find nothing."""


def test_a_check_is_asked_about_what_it_fits() -> None:
    one, two = rule("MCP901"), rule("MCP902")
    rows = [
        Check("MCP902", check, POST),
        Check("MCP901", check, POST | OK),
        Check("MCP901", check, 0, GET),
        Check("MCP902", check, 0, 0, POST),
        Check("MCP903", check, 0),
    ]
    here: dict[tuple[str | None, bool], dict[str, Rule]] = {}
    here |= {("2025-11-25", False): {"MCP901": one, "MCP902": two}, ("2025-11-25", True): {"MCP901": one}}
    picked = Picked(rows, here)
    assert picked["2025-11-25", POST] == ((two, check),)
    assert asked(picked["2025-11-25", POST | OK]) == ["MCP902", "MCP901"]
    assert asked(picked["2025-11-25", GET]) == ["MCP901", "MCP902"]
    assert asked(picked["2025-11-25", GET | STATELESS]) == ["MCP901"]
    assert asked(picked["2025-03-26", POST]) == []
    assert picked["2025-11-25", POST] is picked["2025-11-25", POST]


def test_how_many_sorts_of_exchanges_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "PICKS_LIMIT", 2)
    picked: Picked[Any] = Picked([Check("MCP901", check, 0)], {(None, False): {"MCP901": rule("MCP901")}})
    for traits in (POST, GET):
        assert asked(picked[None, traits]) == ["MCP901"]
    assert set(picked) == {(None, POST), (None, GET)}
    assert asked(picked[None, OK]) == ["MCP901"]
    assert set(picked) == {(None, OK)}


def test_checks_of_messages_are_found_by_the_method() -> None:
    every, lists, two = rule("MCP901"), rule("MCP902"), rule("MCP903")

    def when(*_: Any) -> bool:
        return True

    rows = [
        (every, MessageCheck("MCP901", check, frozenset(), None)),
        (lists, MessageCheck("MCP902", check, frozenset({"tools/list"}), when)),
        (two, MessageCheck("MCP903", check, frozenset({"tools/list", "ping"}), None)),
    ]
    found = ByMethod(iter(rows))
    assert found.rules == {"MCP901", "MCP902", "MCP903"}
    assert set(found) == {None, "tools/list", "ping"}
    assert found.of("tools/list") == ((every, check, None), (lists, check, when), (two, check, None))
    assert asked(found.of("ping")) == ["MCP901", "MCP903"]
    assert asked(found.of("tools/call")) == ["MCP901"]
    assert asked(found.of(None)) == ["MCP901"]
    assert ByMethod([]).of("ping") == ()
    assert ByMethod([]).rules == frozenset()


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One check of each of these rules, at every moment."""
    ids = ["MCP901", "MCP902", "MCP903", "MCP904"]
    for moment in ("ON_REQUEST", "ON_ANSWER", "ON_EVENT", "ON_FINISH"):
        monkeypatch.setattr(selection, moment, [Check(rule_id, check, 0) for rule_id in ids])
    monkeypatch.setattr(selection, "ON_SESSION", [(rule_id, check) for rule_id in ids])
    monkeypatch.setattr(selection, "ON_MESSAGE", [MessageCheck(rule_id, check, frozenset(), None) for rule_id in ids])


RULES = [
    rule("MCP901"),
    rule("MCP902", "2025-11-25", "2026-07-28", party="server", level="SHOULD"),
    rule("MCP903", "2025-03-26", "2025-06-18", level_by_revision={"2025-03-26": "PRACTICE"}),
    rule("MCP905"),  # has no check
]


@pytest.mark.parametrize(
    ("revision", "stateless", "level", "found"),
    [
        ("2025-03-26", False, Level.PRACTICE, ["MCP901", "MCP903"]),
        ("2025-03-26", False, Level.SHOULD, ["MCP901"]),
        ("2025-06-18", False, Level.MUST, ["MCP901", "MCP903"]),
        ("2025-11-25", False, Level.PRACTICE, ["MCP901", "MCP902"]),
        ("2025-11-25", False, Level.SHOULD, ["MCP901", "MCP902"]),
        ("2025-11-25", False, Level.MUST, ["MCP901"]),
        ("2025-11-25", True, Level.PRACTICE, []),
        ("2026-07-28", True, Level.PRACTICE, ["MCP901", "MCP902"]),
        ("2026-07-28", False, Level.PRACTICE, []),
        # Where the revision is not known, what holds in all of them.
        (None, False, Level.MUST, ["MCP901"]),
        (None, True, Level.PRACTICE, ["MCP901"]),
        ("2024-11-05", False, Level.PRACTICE, []),
    ],
)
@pytest.mark.usefixtures("rows")
def test_which_rules_are_judged(revision: str | None, stateless: bool, level: Level, found: list[str]) -> None:
    chosen = Selection(RULES, level)
    traits = STATELESS if stateless else 0
    for moment in (chosen.request, chosen.answer, chosen.event, chosen.finish):
        assert asked(moment[revision, traits]) == found
    if not stateless and revision not in ("2024-11-05", "2026-07-28"):
        assert asked(chosen.session[revision or ""]) == found


@pytest.mark.usefixtures("rows")
def test_each_party_has_its_rules_of_messages() -> None:
    chosen = Selection(RULES, Level.PRACTICE)
    assert set(chosen.session) == {*EVERY[:3], ""}
    assert chosen.session["2025-11-25"] == ((RULES[0], check), (RULES[1], check))
    assert set(chosen.message) == {(revision, party) for revision in EVERY for party in ("client", "server")}
    assert asked(chosen.message["2025-11-25", "client"].of("ping")) == ["MCP901"]
    assert asked(chosen.message["2025-11-25", "server"].of("ping")) == ["MCP902"]
    assert asked(chosen.message["2025-06-18", "client"].of("ping")) == ["MCP901", "MCP903"]
    assert asked(chosen.message["2025-06-18", "server"].of("ping")) == []


def test_each_moment_has_its_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = {"ON_REQUEST": "request", "ON_ANSWER": "answer", "ON_EVENT": "event", "ON_FINISH": "finish"}
    for number, name in enumerate(moments):
        monkeypatch.setattr(selection, name, [Check(f"MCP90{number}", check, 0)])
    chosen = Selection([rule(f"MCP90{number}") for number in range(4)], Level.MUST)
    for number, moment in enumerate(moments.values()):
        assert asked(getattr(chosen, moment)["2025-11-25", 0]) == [f"MCP90{number}"]
