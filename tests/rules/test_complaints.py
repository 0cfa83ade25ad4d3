"""What is found is told word by word: to whom, of whom, how often, and what a check that fails itself says."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.client import Connection
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.records import Action, AnyRecord, Violation, Weight
from mcp_sessions.core.session import Session
from mcp_sessions.rules import catalogue
from mcp_sessions.rules.checks import Part
from mcp_sessions.rules.complaints import COMPLAINTS, Complaints
from mcp_sessions.rules.entries import Rule
from mcp_sessions.rules.facts import notes
from rules.built import LATEST, client, exchange, request, session

RULE = catalogue()["MCP104"]
WEAKER_BEFORE = catalogue()["MCP404"]
"""Other revisions word it more weakly."""
OTHER = catalogue()["MCP105"]


class Told(Complaints):
    """Keeps what is told, and over which connection."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.connections: list[Connection | None] = []
        super().__init__(self._keep)

    def _keep(self, record: AnyRecord, connection: Connection | None) -> None:
        self.records.append(record)
        self.connections.append(connection)


@pytest.fixture
def told() -> Told:
    return Told()


def call(**how: Any) -> Exchange:
    x = exchange(request("tools/call", name="echo?key=secret?more"), **how)
    x.finished_at = 200.0
    return x


def test_a_violation_is_told_with_whatever_is_known(told: Told) -> None:
    x = call(session=session(client(7)), by=client(7))
    told.found(RULE, "what was wrong", "2025-06-18", x.session, x, 150.0)
    assert x.session is not None
    assert told.records == [
        Violation(
            at=150.0,
            client="client[7]",
            session=x.session.label,
            endpoint="http://mcp.example:80/mcp",
            flow="x1",
            rule="MCP104",
            name=RULE.name,
            party="client",
            level=RULE.level_in("2025-06-18"),
            clause=RULE.address("2025-06-18"),
            call="tools/call echo",
            detail="what was wrong",
            times=1,
        )
    ]
    assert told.connections == [x.connection]
    assert (told.counts, x.session.violations, x.findings) == ({"MCP104": 1}, {"MCP104": 1}, ["MCP104"])


def test_a_session_without_an_exchange(told: Told) -> None:
    left = session(client(7))
    left.owners.clear()
    told.found(RULE, "", None, left, None, 150.0)
    (record,) = told.records
    assert (record.client, record.session, record.endpoint) == (left.client_label, left.label, str(left.endpoint))
    assert (record.flow, record.call, record.detail) == ("", "", "")
    assert (record.level, record.clause) == (RULE.level_in(None), RULE.address())
    assert told.connections == [None]
    assert left.violations == {"MCP104": 1}


def test_an_exchange_without_a_session(told: Told) -> None:
    x = call()
    told.found(RULE, "", LATEST, None, x, 150.0)
    assert (told.records[0].client, told.records[0].session) == ("client[1]", "")


def test_the_session_that_an_exchange_has_opened_is_its_own(told: Told) -> None:
    x, opened = call(), session()
    x.opened = opened
    told.found(RULE, "", LATEST, None, x, 150.0)
    assert told.records[0].session == opened.label
    assert opened.violations == {"MCP104": 1}
    other = session(id="another-session-of-this")
    told.found(RULE, "", LATEST, other, x, 150.0)
    assert told.records[1].session == other.label
    assert (opened.violations, other.violations) == ({"MCP104": 1}, {"MCP104": 1})


@pytest.mark.parametrize("revision", ["2025-03-26", "2025-06-18", None])
def test_a_rule_is_as_strong_as_the_revision_has_it(told: Told, revision: str | None) -> None:
    told.found(WEAKER_BEFORE, "", revision, None, call(), 150.0)
    assert told.records[0].level == WEAKER_BEFORE.level_in(revision)
    assert told.records[0].clause == WEAKER_BEFORE.address(revision)


def test_nobody_and_nothing(told: Told) -> None:
    told.found(RULE, "", LATEST, None, None, 150.0)
    assert [(r.client, r.session, r.endpoint, r.flow, r.call) for r in told.records] == [("",) * 5]
    assert told.counts == {"MCP104": 1}


def test_each_detail_is_a_violation_of_its_own(told: Told) -> None:
    x = call(session=session())
    told.found(RULE, ["one", "two"], LATEST, x.session, x, 150.0)
    told.found(OTHER, "three", LATEST, x.session, x, 151.0)
    assert [(r.rule, r.detail, r.at) for r in told.records] == [
        ("MCP104", "one", 150.0),
        ("MCP104", "two", 150.0),
        ("MCP105", "three", 151.0),
    ]
    assert x.session is not None
    assert told.counts == x.session.violations == {"MCP104": 2, "MCP105": 1}
    assert x.findings == ["MCP104", "MCP104", "MCP105"]
    assert notes(x).broken == {"MCP104": 2, "MCP105": 1}


@pytest.mark.parametrize("rule", [rule for rule in catalogue().values() if rule.parts], ids=lambda rule: rule.id)
def test_a_part_of_a_rule_stands_on_its_own_clause(told: Told, rule: Rule) -> None:
    revision = rule.revisions[-1]
    for part in rule.parts:
        told.found(rule, Part(part, "wrong"), revision, None, None, 150.0)
        assert told.records[-1].clause == rule.parts[part].address_in(revision)
        assert told.records[-1].detail == "wrong"
    told.found(rule, "wrong", revision, None, None, 150.0)
    assert told.records[-1].clause == rule.address_in(revision)


# Limits


def broken(told: Told, x: Exchange, times: int, rule: Rule = RULE) -> None:
    for _ in range(times):
        told.found(rule, "again", LATEST, x.session, x, 150.0)


def test_so_many_are_told_of_one_exchange_and_the_rest_is_counted_at_its_end(told: Told) -> None:
    x = call(session=session(revision="2025-06-18"))
    broken(told, x, COMPLAINTS)
    told.over(x)
    assert len(told.records) == COMPLAINTS, "nothing was withheld"
    broken(told, x, 3)
    broken(told, x, 1, OTHER)
    assert [r.rule for r in told.records[COMPLAINTS:]] == ["MCP105"], "another rule is told of"
    assert len(x.findings) == COMPLAINTS + 1
    told.over(x)
    assert x.session is not None
    last = told.records[-1]
    assert (last.rule, last.detail, last.times, last.at) == ("MCP104", "and 3 times more", 3, 200.0)
    assert (last.session, last.flow, last.client) == (x.session.label, "x1", "client[1]")
    assert last.clause == RULE.address("2025-06-18") != RULE.address(LATEST)
    assert not told._withheld, "nothing is kept of what is over"
    assert told.connections[-1] is x.connection
    assert told.counts["MCP104"] == x.session.violations["MCP104"] == COMPLAINTS + 3
    told.over(x)
    assert told.records[-1] is last, "it is told once"
    broken(told, x, 2)
    told.over(x)
    assert told.records[-1].detail == "and 2 times more"


def test_of_many_details_at_once_all_are_counted(told: Told) -> None:
    x = call()
    broken(told, x, COMPLAINTS, OTHER)
    told.found(RULE, ["wrong"] * (COMPLAINTS + 5), LATEST, None, x, 150.0)
    assert told.counts["MCP104"] == COMPLAINTS + 5
    told.over(x)
    assert [(r.rule, r.detail) for r in told.records[2 * COMPLAINTS :]] == [("MCP104", "and 5 times more")]


def test_other_exchanges_have_their_own_count(told: Told) -> None:
    x, other = call(), call(id="x2")
    broken(told, x, COMPLAINTS + 1)
    broken(told, other, COMPLAINTS)
    assert len(told.records) == 2 * COMPLAINTS
    told.over(other)
    assert len(told.records) == 2 * COMPLAINTS
    told.over(x)
    assert told.records[-1].detail == "and 1 times more"


def test_the_session_that_was_opened_is_named_in_the_end_too(told: Told) -> None:
    x, opened = call(), session()
    x.opened = opened
    broken(told, x, COMPLAINTS + 1)
    told.over(x)
    assert told.records[-1].session == opened.label


def test_what_was_withheld_can_be_told_before_the_end(told: Told) -> None:
    x, over = call(), call(id="x2")
    over.finish = Finish.COMPLETE
    for one in (x, over):
        broken(told, one, COMPLAINTS + 1)
    told.rest(160.0, finished=True)
    assert [(r.flow, r.at) for r in told.records[2 * COMPLAINTS :]] == [("x2", 160.0)]
    told.rest(170.0)
    assert [(r.flow, r.at) for r in told.records[2 * COMPLAINTS :]] == [("x2", 160.0), ("x1", 170.0)]
    told.rest(180.0)
    assert len(told.records) == 2 * COMPLAINTS + 2


# What is no violation


def test_a_check_that_fails_is_reported_with_its_error(told: Told) -> None:
    x = call()
    told.failed(RULE, ValueError("x" * 500), x, 150.0)
    (record,) = told.records
    assert isinstance(record, Action)
    assert (record.what, record.at, record.weight) == ("could not check MCP104, please report it", 150.0, Weight.ERROR)
    assert (record.client, record.flow) == ("client[1]", "x1")
    assert record.detail.startswith("ValueError('xxx")
    assert len(record.detail) == 200
    assert told.connections == [x.connection]
    assert told.counts == {}


def test_an_action_of_an_exchange_and_of_none(told: Told) -> None:
    x = call()
    told.action("said something", x, 150.0)
    told.action("said something", None, 151.0, "of what", Weight.ERROR)
    one, other = told.records
    assert (one.what, one.at, one.client, one.flow, one.detail) == ("said something", 150.0, "client[1]", "x1", "")
    assert one.weight == Weight.INFO
    assert (other.at, other.client, other.flow, other.detail, other.weight) == (151.0, "", "", "of what", Weight.ERROR)
    assert told.connections == [x.connection, None]


def test_an_address_is_made_harmless(told: Told) -> None:
    x = call()
    x.endpoint = x.endpoint._replace(path="/" + "p\n" * 300)
    left = Session(x.endpoint, "one", "one", 0.0, 0.0, LATEST)
    told.found(RULE, "", LATEST, None, x, 150.0)
    told.found(RULE, "", LATEST, left, None, 150.0)
    for record in told.records:
        assert len(record.endpoint) == 200
        assert record.endpoint.isprintable()
