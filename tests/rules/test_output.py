"""What comes of a violation: records, their schema, the log file, the summary, marks, pages and SARIF."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from mitmproxy import flowfilter
from mitmproxy.test import tflow

from harness.environments import REPOSITORY
from mcp_sessions.__main__ import main
from mcp_sessions.core.records import LINE, schema
from mcp_sessions.options import settings
from mcp_sessions.proxy.marks import mark_rules
from mcp_sessions.rules import Level, Rule, catalogue
from mcp_sessions.rules.examples import written_out
from mcp_sessions.rules.pages import explain, page
from mcp_sessions.views import summary
from mcp_sessions.views.log import EventLog
from mcp_sessions.views.summary import Outcome
from rules.transcripts import SESSION, Player, read

LOST = catalogue()["MCP305"]


def told(transcript: str = LOST.bad, **more: str) -> Player:
    player = Player(**more)
    player.play(read(transcript))
    return player


def test_a_violation_says_what_who_and_where_it_stands() -> None:
    [violation] = told().violations
    line = violation.line()
    for part in (
        "MCP305",
        "lost-session-not-404",
        "server MUST",
        "client=client[165]",
        "session=f3c2a5d8",
        "answered 400",
    ):
        assert part in line
    assert (
        violation.clause
        == "https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management"
    )
    assert SESSION not in line


def test_silence_and_level() -> None:
    assert told(mcp_silence="mcp305, MCP101").rules == []
    assert told(catalogue()["MCP311"].bad, mcp_level="should").rules == []
    assert told(catalogue()["MCP311"].bad, mcp_level="practice").rules == ["MCP311"]
    with pytest.raises(ValueError, match=r"^mcp_silence: there is no rule 'MCP999'$"):
        settings({"mcp_silence": "MCP101,MCP999"})


def test_a_rule_that_is_should_in_its_revision_is_left_out_at_level_must() -> None:
    bad = catalogue()["MCP404"].bad
    for revision, found in (("2025-03-26", []), ("2025-11-25", ["MCP404"])):
        player = Player(mcp_level="must")
        player.play(read(bad, revision))
        assert player.rules == found


def test_the_log_file_holds_every_record_and_is_its_owners(tmp_path: Path) -> None:
    player = told()
    path = tmp_path / "events.jsonl"
    for _ in range(2):  # a second run is appended
        log = EventLog(str(path))
        for record in player.told:
            log.put(record)
        log.close()
    lines = path.read_bytes().splitlines()
    assert [LINE.validate_json(line) for line in lines] == player.told * 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SESSION.encode() not in path.read_bytes()
    with pytest.raises(OSError):
        EventLog(str(tmp_path / "missing" / "events.jsonl"))


def test_every_kind_of_record_is_in_the_schema() -> None:
    kinds = schema()["discriminator"]["mapping"]
    assert set(kinds) == {"violation", "change", "action"}
    assert schema()["$defs"]["Violation"]["properties"]["clause"]["description"]


def test_the_summary_counts_by_rule_and_party() -> None:
    outcome = Outcome()
    for violation in (*told().violations, *told().violations, *told(catalogue()["MCP103"].bad).violations):
        outcome.add(violation)
    first, _, *rows = outcome.summary().splitlines()
    assert first == "3 violations (1 by clients, 2 by servers)"
    assert [row.split() for row in rows] == [
        ["MCP305", "lost-session-not-404", "server", "MUST", "2"],
        ["MCP103", "post-content-type", "client", "PRACTICE", "1"],
        ["by", "times", "rules"],
        ["http://mcp.example:80/mcp", "2", "MCP305"],
        ["client[165]", "1", "MCP103"],
    ]
    assert outcome.fails(Level.MUST)
    assert not outcome.fails(None)
    mild = Outcome()
    for violation in told(catalogue()["MCP103"].bad).violations:
        mild.add(violation)
    assert mild.fails(Level.PRACTICE)
    assert not mild.fails(Level.SHOULD)
    assert Outcome().summary() == ""


def test_who_did_most_is_shown_and_who_is_told_apart_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, [violation] = Outcome(), told().violations
    for number in range(summary.BY_LIMIT + 7):
        by = violation.model_copy(update={"party": "client", "client": f"c[{number}]", "times": 1 + (number < 2)})
        outcome.add(by)
    assert len(outcome.by) == summary.BY_LIMIT + 1
    table = outcome.summary().splitlines()
    rows = [row.split() for row in table[table.index(next(row for row in table if row.startswith("by "))) + 1 :]]
    assert rows[:3] == [["others", "7", "MCP305"], ["c[0]", "2", "MCP305"], ["c[1]", "2", "MCP305"]]
    assert len(rows) == summary.SHOWN + 1
    assert rows[-1] == [str(summary.BY_LIMIT + 1 - summary.SHOWN), "more", str(summary.BY_LIMIT + 1 - summary.SHOWN)]


def test_marks_are_found_by_mitmproxys_filters_and_clobber_nothing() -> None:
    flow = tflow.tflow()
    flow.comment, flow.marked = "kept", ":eyes:"
    mark_rules(flow, ["MCP305", "MCP305"])
    mark_rules(flow, ["MCP305", "MCP311"])
    assert flow.comment == "kept · breaks MCP305 lost-session-not-404, MCP311 delete-answer"
    assert flow.marked == ":eyes:"
    assert flow.metadata["mcp_rules"] == ["MCP305", "MCP311"]
    other = tflow.tflow()
    mark_rules(other, ["MCP305"])
    for wanted in ("~comment lost-session", "~marked", "~meta mcp_rules", "~meta MCP305"):
        assert flowfilter.match(wanted, other)
        assert not flowfilter.match(wanted, tflow.tflow())


def test_the_page_of_rules_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules"]) == 0
    shown = capsys.readouterr().out
    assert shown == page()
    assert (REPOSITORY / "docs" / "rules.md").read_text("utf-8") == shown, (
        "write it anew: mcp-sessions rules > docs/rules.md"
    )


@pytest.mark.parametrize("rule", catalogue().values(), ids=catalogue())
def test_explaining_a_rule(rule: Rule) -> None:
    text = explain(rule)
    for part in (
        rule.id,
        rule.summary,
        rule.why.strip(),
        rule.quote,
        rule.address(),
        written_out(rule.bad),
        written_out(rule.good),
    ):
        assert part in text


def test_sarif_of_something_else_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    other.write_text("{}\n")
    assert main(["sarif", str(other)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"Error: {other}: line 1 is not of mcp_log: Unable to extract tag using discriminator 'kind'"
    ]


def test_a_violation_is_a_plain_line_whatever_came_from_the_wire() -> None:
    player = Player()
    player.play(read(LOST.bad.replace("tools/list", "x\\u001b[31m\\n" + "y" * 9000)))
    for record in player.told:
        assert record.line().isprintable()
        assert len(record.line()) < 500


def test_each_revisions_own_words_are_quoted() -> None:
    rule = catalogue()["MCP503"]
    assert [(wording.quote, wording.revisions) for wording in rule.wordings()] == [
        ("The final JSON-RPC response SHOULD terminate the stream.", ("2026-07-28",)),
        ("After the JSON-RPC response has been sent, the server SHOULD terminate the SSE stream.", ("2025-11-25",)),
        ("After the JSON-RPC response has been sent, the server SHOULD close the SSE stream.", ("2025-06-18",)),
        ("After all JSON-RPC responses have been sent, the server SHOULD close the SSE stream.", ("2025-03-26",)),
    ]
    for wording in rule.wordings():
        assert wording.quote in explain(rule)
        assert wording.address in explain(rule)
        assert wording.quote in page()


@pytest.mark.parametrize("rule", list(catalogue().values()), ids=list(catalogue()))
def test_revisions_that_an_entry_names_are_those_of_its_rule(rule: Rule) -> None:
    for source in (rule, *rule.parts.values()):
        for named in (source.clause_by_revision, source.quote_by_revision):
            assert set(named) <= set(rule.revisions)
    assert set(rule.level_by_revision) <= set(rule.revisions)
    assert bool(rule.quote) or rule.level is Level.PRACTICE


def test_what_stands_elsewhere_is_linked_there() -> None:
    site = "https://modelcontextprotocol.io/specification"
    batch = catalogue()["MCP108"].bad.replace("initialize", "x")
    for inside, clause in (
        ('"method":"tools/list"', "transports#sending-messages-to-the-server"),
        ('"method":"initialize"', "lifecycle#initialization"),
    ):
        player = told(batch.replace('"method":"tools/list"', inside))
        [violation] = [violation for violation in player.violations if violation.rule == "MCP108"]
        assert violation.clause == f"{site}/2025-03-26/basic/{clause}"
    bad = catalogue()["MCP509"].bad
    progress = bad.split("\n")[-5]
    assert progress.startswith("< data:")
    falling = bad.replace('"name":"slow"', '"name":"slow","_meta":{"progressToken":"p1"}')
    falling = falling.replace(progress, f"{progress}\n<\n{progress}")
    for transcript, clause in ((bad, "behavior-requirements"), (falling, "progress-flow")):
        [violation] = told(transcript).violations
        assert violation.clause == f"{site}/2025-11-25/basic/utilities/progress#{clause}"


@pytest.mark.parametrize("rule", list(catalogue().values()), ids=list(catalogue()))
def test_what_is_explained_is_written_out(rule: Rule) -> None:
    text = explain(rule)
    assert not re.search(r"^(> )?%", text, re.M)
    for sign, words in (("@ ", "@ N:"), ("! cut", "! cut:"), ("! left-open", "! left-open:")):
        assert (re.search(f"^{sign}", rule.bad + rule.good, re.M) is not None) is (words in text)


def test_levels_are_those_of_the_clauses() -> None:
    rules = catalogue()
    assert {rules[rule_id].level for rule_id in ("MCP111", "MCP207", "MCP310")} == {Level.PRACTICE}
    assert rules["MCP502"].level_in("2025-11-25") is Level.SHOULD
    assert rules["MCP502"].level_in("2026-07-28") is Level.PRACTICE
    assert rules["MCP502"].level_in(None) is Level.PRACTICE
