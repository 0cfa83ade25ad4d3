"""JUnit XML and baselines: what is known, new and stale, and that hostile text stays text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from mitmproxy.exceptions import OptionsError

from mcp_sessions.__main__ import main
from mcp_sessions.core.records import Violation
from mcp_sessions.rules import Level, catalogue
from mcp_sessions.rules.baseline import Baseline, Place, written
from mcp_sessions.views.junit import SHOWN, junit
from mcp_sessions.views.reporting import Reporting
from mcp_sessions.views.summary import Outcome
from rules.transcripts import SESSION, Player, read

LOST = catalogue()["MCP305"]


def told(rule: str = "MCP305", **changes: object) -> Violation:
    """A violation as the judge tells of it."""
    player = Player()
    player.play(read(catalogue()[rule].bad))
    found = next(violation for violation in player.violations if violation.rule == rule)
    return found.model_copy(update=changes)


def lines(violations: Iterable[Violation]) -> list[bytes]:
    return [violation.model_dump_json().encode() for violation in violations]


def log(path: Path, *violations: Violation) -> Path:
    path.write_bytes(b"\n".join(lines(violations)))
    return path


def test_a_place_is_what_was_called_and_where() -> None:
    assert Place.of(told()) == ("MCP305", "tools/list", "/mcp")
    assert str(Place.of(told())) == "MCP305 tools/list at /mcp"
    assert Place.of(told("MCP308")) == ("MCP308", "", "/mcp"), "found when its client was gone: in no request"


@pytest.mark.parametrize(
    ("call", "steady"),
    [
        ("tools/call get_weather_2", "tools/call get_weather_2"),
        ("tools/call listAllAvailableResources", "tools/call listAllAvailableResources"),
        (f"resources/read s://{SESSION}", "resources/read s://*"),
        ("resources/read s://7b0e2c1a-9d40-4f6e-8a51-0c3f2b1d9e77/x", "resources/read s://*/x"),
        ("tools/call sk-proj-a1b2c3d4e5f6g7h8", "tools/call sk-proj-*"),
        ("tools/call AbCdEfGhIjKlMnOpQrSt1", "tools/call *"),
        ("resources/read user://8675309", "resources/read user://*"),
        ("tools/call \x1b[31m\n\ud800", "tools/call \N{REPLACEMENT CHARACTER}[31m" + "\N{REPLACEMENT CHARACTER}" * 2),
    ],
)
def test_what_differs_from_run_to_run_is_no_part_of_a_place(call: str, steady: str) -> None:
    assert Place.of(told(call=call)).call == steady
    place = Place.of(told(endpoint=f"http://127.0.0.1:4711/{SESSION}/mcp"))
    assert place.path == "/*/mcp"
    assert Place.of(told(endpoint="http://[/mcp")).path == ""


def test_the_judge_says_what_was_called_without_its_query() -> None:
    player = Player()
    player.play(
        read(LOST.bad.replace('"method":"tools/list"', '"method":"resources/read","params":{"uri":"a://b?k=1"}'))
    )
    assert {violation.call for violation in player.violations if violation.rule == "MCP305"} == {"resources/read a://b"}


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = log(tmp_path / "log", told(), told(), told("MCP103", call=f"tools/call {SESSION}"))
    assert main(["baseline", str(file)]) == 0
    text = capsys.readouterr().out
    assert SESSION not in text
    assert json.loads(text) == {
        "version": 1,
        "known": [
            {"rule": "MCP103", "call": "tools/call *", "path": "/mcp"},
            {"rule": "MCP305", "call": "tools/list", "path": "/mcp"},
        ],
    }
    known = tmp_path / "known.json"
    known.write_text(text)
    assert written([told(), told("MCP103", call="tools/call *")]) == text
    baseline = Baseline.read(str(known))
    assert baseline.knows(told())
    assert not baseline.knows(told(call="tools/call other"))
    assert baseline.stale == [("MCP103", "tools/call *", "/mcp")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "EOF while parsing"),
        ("[]", "Input should be an object"),
        ('{"version": 2}', "version: Input should be 1"),
        ('{"known": [{"rule": "MCP305", "tool": "x"}]}', "known.0.tool: Extra inputs are not permitted"),
        ('{"known": [{"rule": "x"}]}', "known.0.rule: String should match pattern"),
    ],
)
def test_what_is_no_baseline_is_refused_in_one_line(
    text: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known.json"
    known.write_text(text)
    for command in ("junit", "sarif"):
        assert main([command, str(log(tmp_path / "log", told())), "--baseline", str(known)]) == 2
        [said] = capsys.readouterr().err.splitlines()
        assert said.startswith(f"Error: {known} is no baseline")
        assert complaint in said
    with pytest.raises(ValueError, match="No such file"):
        Baseline.read(str(tmp_path / "none"))
    reporting = Reporting()
    with pytest.raises(OptionsError, match=r"^mcp_baseline: .* is no baseline"):
        reporting.expect(str(known))
    reporting.expect("")


def test_only_what_is_new_fails_and_what_is_gone_is_named() -> None:
    known = written([told(), told("MCP103")])
    outcome = Outcome(baseline=Baseline(Place(**one) for one in json.loads(known)["known"]))
    outcome.add(told())
    assert not outcome.fails(Level.PRACTICE)
    assert list(outcome.compared()) == [f"stale, take it out of the baseline: {Place.of(told('MCP103'))}"]
    outcome.add(told("MCP103"))
    assert list(outcome.compared()) == []
    outcome.add(told("MCP103", call="tools/call new"))
    assert outcome.fails(Level.PRACTICE)
    assert not outcome.fails(Level.SHOULD)
    outcome.add(told(call="tools/call new", times=3))
    assert outcome.fails(Level.MUST)
    assert list(outcome.compared()) == [
        "new: MCP305 tools/call new at /mcp (3)",
        "new: MCP103 tools/call new at /mcp (1)",
    ]
    without = Outcome()
    without.add(told())
    assert without.fails(Level.MUST)
    assert list(without.compared()) == []


def suites(text: str) -> dict[str, dict[str, ET.Element]]:
    return {
        suite.attrib["name"]: {case.attrib["name"].split()[0]: case for case in suite.iter("testcase")}
        for suite in ET.fromstring(text.encode()).iter("testsuite")
    }


def test_a_test_case_for_each_rule_and_endpoint() -> None:
    elsewhere = told(endpoint="http://127.0.0.1:1/other")
    text = junit(lines([told(), told(), told("MCP103"), elsewhere]), Baseline(), Level.SHOULD)
    found = suites(text)
    assert set(found) == {"/mcp", "/other"}
    assert all(set(cases) == set(catalogue()) for cases in found.values())
    case = found["/mcp"]["MCP305"]
    assert case.attrib["classname"] == "mcp.server"
    [failure] = case
    assert failure.tag == "failure"
    assert failure.attrib["message"].startswith("2 times: ")
    assert "tools/list" in (failure.text or "")
    assert len((failure.text or "").splitlines()) == 2
    assert [one.attrib for one in found["/mcp"]["MCP103"]] == [{"message": "1 below SHOULD"}]
    assert list(found["/other"]["MCP103"]) == []
    root = ET.fromstring(text.encode())
    counts = {"tests": str(len(catalogue())), "failures": "1", "errors": "0", "time": "0"}
    assert [suite.attrib for suite in root] == [
        {"name": "/mcp", **counts, "skipped": "1"},
        {"name": "/other", **counts, "skipped": "0"},
    ]


def test_what_is_known_does_not_fail_and_what_is_stale_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known.json"
    known.write_text(written([told(), told("MCP103", endpoint="http://h/gone")]))
    file = log(tmp_path / "log", told(), told(call="tools/call new"))
    assert main(["junit", str(file), "--baseline", str(known)]) == 0
    said = capsys.readouterr()
    stale = "stale, take it out of the baseline: MCP103 tools/list at /gone"
    assert said.err.splitlines() == [stale]
    found = suites(said.out)
    assert [one.attrib.get("message", "")[:7] for one in found["/mcp"]["MCP305"]] == ["1 time:"]
    assert [one.text for one in found["/gone"]["MCP103"]] == [stale]
    assert main(["junit", str(log(file, told())), "--baseline", str(known)]) == 0
    found = suites(capsys.readouterr().out)
    assert [one.attrib for one in found["/mcp"]["MCP305"]] == [{"message": "1 in the baseline"}]
    assert main(["sarif", str(log(file, told(), told("MCP103"))), "--baseline", str(known)]) == 0
    [run] = json.loads(capsys.readouterr().out)["runs"]
    assert [one["ruleId"] for one in run["results"]] == ["MCP103"]


def test_hostile_text_is_text_and_bounded() -> None:
    wire = {"call": "<x a='\x00\x1b]]>&\uffff" + "y" * 100, "detail": "]]><failure/>\r\n" + "z" * 100_000}
    hostile = told(**wire).model_copy(update={"rule": "MCP<\x00", "endpoint": "http://h/<&\x01>"})
    text = junit(lines([hostile] * (SHOWN + 5)), Baseline(), Level.PRACTICE)
    root = ET.fromstring(text.encode())
    assert len(root.findall(".//failure")) == 1
    assert len(text) < 100_000
    [failure] = root.iter("failure")
    assert (failure.text or "").splitlines()[-1] == "and 5 more"
    many = [told(endpoint=f"http://h/{'x' * number}") for number in range(120)]
    assert len(suites(junit(lines(many), Baseline(), Level.MUST))) == 101


ORDER = ("properties", "testcase", "system-out", "system-err")
IN_A_CASE = ("skipped", "error", "failure", "system-out", "system-err")


def test_it_keeps_to_the_schema_that_servers_read() -> None:
    """What Jenkins' junit-10.xsd, GitLab and others have in common: names, attributes, and numbers that add up."""
    known = Baseline([Place.of(told("MCP103")), Place("MCP308", "", "/mcp")])
    root = ET.fromstring(junit(lines([told(), told("MCP103")]), known, Level.MUST).encode())
    assert root.tag == "testsuites"
    assert {child.tag for child in root} == {"testsuite"}
    for suite in root:
        assert set(suite.attrib) >= {"name", "tests", "failures", "errors"}
        assert {child.tag for child in suite} <= set(ORDER)
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
        for case in suite.findall("testcase"):
            assert set(case.attrib) == {"classname", "name", "time"}
            tags = [child.tag for child in case]
            assert tags == sorted(tags, key=IN_A_CASE.index)
            assert all(set(child.attrib) <= {"message", "type"} for child in case)
    assert junit([], Baseline(), Level.MUST).splitlines()[1:] == ['<testsuites name="mitmproxy-mcp-sessions" />']
