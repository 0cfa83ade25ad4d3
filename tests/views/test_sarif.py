"""SARIF: as its schema wants it, and as GitHub's code scanning takes it, up to each of its stated limits."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema.validators import validator_for

from harness.schemas import sarif_schema
from mcp_sessions.__main__ import main
from mcp_sessions.core.records import Violation
from mcp_sessions.rules import catalogue
from mcp_sessions.views import sarif as module
from mcp_sessions.views.sarif import LIMITS, sarif
from rules.transcripts import Player, read

ENDPOINT = "http://127.0.0.1:8000/mcp"


def a_violation(rule_id: str = "MCP305", call: str = "tools/call echo", **more: Any) -> Violation:
    rule = catalogue()[rule_id]
    values = {"at": 2e9, "client": "client[165]", "session": "7f3a", "endpoint": ENDPOINT, "flow": "f", "detail": "so"}
    known = {"rule": rule_id, "name": rule.name, "party": rule.party, "level": rule.level, "clause": rule.address()}
    return Violation(**{**values, **known, "call": call, **more})


def of_all_rules() -> Iterator[Violation]:
    """One of each rule of the catalogue, and what the bad examples of some come to."""
    for rule in catalogue().values():
        yield a_violation(rule.id)
    for rule in list(catalogue().values())[:40]:
        player = Player()
        player.play(read(rule.bad))
        yield from player.violations


def made(*violations: Violation, path: str = "mcp.jsonl", **more: Any) -> dict[str, Any]:
    log: dict[str, Any] = json.loads(sarif(enumerate(violations, 1), path, **more).text)
    return log


def valid(log: dict[str, Any]) -> None:
    kind = validator_for(sarif_schema())
    found = list(kind(sarif_schema(), format_checker=kind.FORMAT_CHECKER).iter_errors(log))
    assert found == []


def counted(log: dict[str, Any]) -> dict[str, int]:
    """How much there is of each of what GitHub limits."""
    runs = log["runs"]
    rules = [rule for run in runs for rule in run["tool"]["driver"].get("rules", [])]
    results = [result for run in runs for result in run["results"]]
    texts = [rule[name]["text"] for rule in rules for name in ("shortDescription", "fullDescription")]
    return {
        "runs of a file": len(runs),
        "results of a run": max(len(run["results"]) for run in runs),
        "rules of a run": max(len(run["tool"]["driver"].get("rules", [])) for run in runs),
        "extensions of a run": max(len(run["tool"].get("extensions", [])) for run in runs),
        "locations of a result": max((len(result["locations"]) for result in results), default=0),
        "steps of a result's thread flows": sum(len(result.get("codeFlows", [])) for result in results),
        "tags of a rule": max((len(rule["properties"]["tags"]) for rule in rules), default=0),
        "characters of a rule's name": max((len(rule["name"]) for rule in rules), default=0),
        "characters of a rule's description": max(map(len, texts), default=0),
        "bytes of a file, compressed": len(gzip.compress(json.dumps(log).encode())),
    }


def many(number: int, **more: Any) -> list[Violation]:
    """As many places."""
    return [a_violation(call=f"tools/call t{letters(n)}", **more) for n in range(number)]


def letters(number: int) -> str:
    """A name for each number, in which nothing looks like an id."""
    found = ""
    while number or not found:
        number, digit = divmod(number, 26)
        found += chr(97 + digit)
    return found


def test_every_rule_is_written_as_the_schema_wants_it() -> None:
    log = made(*of_all_rules())
    assert {rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]} == set(catalogue())
    valid(log)


def test_nothing_broken_is_a_file_too() -> None:
    log = made()
    assert log["runs"][0]["results"] == []
    valid(log)


def test_what_github_needs_of_each_result_and_rule() -> None:
    log = made(*of_all_rules())
    [run] = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    for rule in rules:
        assert rule["shortDescription"]["text"]
        assert rule["fullDescription"]["text"]
        assert rule["help"]["text"]
        assert urlsplit(rule["helpUri"]).scheme == "https" if "helpUri" in rule else True
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        [location] = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "mcp.jsonl"
        assert place["region"]["startLine"] >= 1
        assert result["partialFingerprints"]["primaryLocationLineHash"]


def test_a_result_names_rule_level_and_clause() -> None:
    log = made(a_violation())
    [result] = log["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("MCP305", "error")
    assert result["message"]["text"] == a_violation().said()
    [rule] = log["runs"][0]["tool"]["driver"]["rules"]
    assert rule["helpUri"] == catalogue()["MCP305"].address()


def test_the_same_at_the_same_place_is_one_result_that_is_known_again() -> None:
    first = made(a_violation(), a_violation(session="other", times=3), a_violation("MCP101"))
    [one, other] = first["runs"][0]["results"]
    assert one["occurrenceCount"] == 4
    assert one["message"]["text"].endswith("(4 times)")
    later = made(a_violation("MCP101"), a_violation(session="later", client="x[1]", at=2.1e9))
    names = {result["ruleId"]: result["partialFingerprints"] for result in later["runs"][0]["results"]}
    assert names == {"MCP305": one["partialFingerprints"], "MCP101": other["partialFingerprints"]}
    assert one["partialFingerprints"] != other["partialFingerprints"]


def test_the_line_of_the_log_or_a_file_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [(3, a_violation()), (7, a_violation("MCP101"))]

    def places(path: str, *, at: bool = False) -> list[tuple[str, int]]:
        found = [
            result["locations"][0]["physicalLocation"]
            for result in json.loads(sarif(lines, path, at=at).text)["runs"][0]["results"]
        ]
        return [(place["artifactLocation"]["uri"], place["region"]["startLine"]) for place in found]

    monkeypatch.chdir(tmp_path)
    assert places("logs/m p.jsonl") == [("logs/m%20p.jsonl", 3), ("logs/m%20p.jsonl", 7)]
    assert places(str(tmp_path / "in" / "here.jsonl")) == [("in/here.jsonl", 3), ("in/here.jsonl", 7)]
    assert places("/elsewhere/mcp.jsonl") == [("mcp.jsonl", 3), ("mcp.jsonl", 7)]
    assert places(os.path.join("src", "server.py"), at=True) == [("src/server.py", 1)] * 2


def runs_limit(_: pytest.MonkeyPatch) -> dict[str, Any]:
    return made(*many(50))


def results_limit(_: pytest.MonkeyPatch) -> dict[str, Any]:
    written = sarif(enumerate([*many(25_001, detail=""), a_violation("MCP311", detail="")], 1), "mcp.jsonl")
    log: dict[str, Any] = json.loads(written.text)
    assert written.note == "2 results left out, the mildest: GitHub takes no more"
    assert {result["level"] for result in log["runs"][0]["results"]} == {"error"}  # the mildest goes first
    return log


def every_rule(_: pytest.MonkeyPatch) -> dict[str, Any]:
    return made(*of_all_rules())


def long_descriptions(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    rule = catalogue()["MCP305"]
    wordy = rule.model_copy(update={"summary": "s" * 3000, "why": "w" * 3000, "name": "n" * 300})
    monkeypatch.setattr(module, "catalogue", lambda: {"MCP305": wordy})
    return made(a_violation())


def many_of_one(_: pytest.MonkeyPatch) -> dict[str, Any]:
    return made(*(a_violation(session=f"s{number}") for number in range(1_500)))


def too_large(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What can't be compressed, and a limit that is reached sooner, for a test has no time for 10 MB of it."""
    monkeypatch.setattr(module, "SIZE", 200_000)
    violations = [a_violation(call=f"tools/call t{letters(n)}", detail=os.urandom(400).hex()) for n in range(1_000)]
    written = sarif(enumerate(violations, 1), "mcp.jsonl")
    assert written.note.endswith("results left out, the mildest: GitHub takes no more")
    assert len(gzip.compress(written.text.encode(), 6)) <= 200_000
    log: dict[str, Any] = json.loads(written.text)
    assert len(log["runs"][0]["results"]) > 200
    return log


AT_THE_LIMIT: dict[str, Callable[[pytest.MonkeyPatch], dict[str, Any]]] = {
    "runs of a file": runs_limit,
    "results of a run": results_limit,
    "rules of a run": every_rule,
    "extensions of a run": every_rule,
    "locations of a result": many_of_one,
    "steps of a result's thread flows": every_rule,
    "tags of a rule": every_rule,
    "characters of a rule's name": long_descriptions,
    "characters of a rule's description": long_descriptions,
    "bytes of a file, compressed": too_large,
}


@pytest.mark.parametrize("name", LIMITS)
def test_no_limit_of_githubs_is_passed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AT_THE_LIMIT[name](monkeypatch)
    limit = LIMITS[name]
    found = counted(log)
    assert found[name] <= limit.here <= limit.most
    if limit.shown is not None and name != "results of a run":
        assert limit.here <= limit.shown  # all of it is seen
    assert all(found[each] <= LIMITS[each].most for each in LIMITS)


def test_the_file_with_the_most_results_is_as_the_schema_wants_it() -> None:
    valid(made(*many(300)))


def test_more_places_than_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLACES", 10)
    written = sarif(enumerate(many(12), 1), "mcp.jsonl")
    assert len(json.loads(written.text)["runs"][0]["results"]) == 10
    assert written.note.startswith("2 results left out")


@pytest.mark.parametrize("at", ["", "src/server.py"])
def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], at: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mcp.jsonl").write_text("\n\n" + a_violation().model_dump_json() + "\n")
    assert main(["sarif", "mcp.jsonl", *(["--at", at] if at else [])]) == 0
    out = capsys.readouterr()
    [result] = json.loads(out.out)["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == at or "mcp.jsonl"
    assert place["region"]["startLine"] == (1 if at else 3)
    assert out.err == ""


def test_what_came_from_the_wire_is_bounded_and_valid() -> None:
    hostile = a_violation(
        call="tools/call \x00\u202e" + "x" * 5000, detail="\x1b[31m" + "y" * 9000, endpoint="http://[" + "z" * 900
    )
    log = made(hostile)
    [result] = log["runs"][0]["results"]
    assert len(result["message"]["text"]) <= 1_100
    assert "\x1b" not in json.dumps(log)
    valid(log)
