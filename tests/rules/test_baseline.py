"""Baselines: which place is the same in every run, and how a file of them is read and written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcp_sessions.core.records import Violation
from mcp_sessions.rules import baseline
from mcp_sessions.rules.baseline import KNOWN_LIMIT, PATH_LIMIT, Baseline, Place, path_of, written
from mcp_sessions.wire.text import NAME_LIMIT


def violation(rule: str = "MCP305", call: str = "tools/list", endpoint: str = "http://h:80/mcp") -> Violation:
    return Violation(at=0.0, rule=rule, name="n", party="server", level="MUST", clause="", call=call, endpoint=endpoint)


def test_a_place_is_the_rule_the_call_and_the_path() -> None:
    assert Place.of(violation()) == Place("MCP305", "tools/list", "/mcp")
    long = Place.of(violation(call="x" * 100, endpoint="http://h/" + "y" * 300))
    assert long == Place("MCP305", "x" * (NAME_LIMIT - 1) + "…", "/" + "y" * (PATH_LIMIT - 2) + "…")
    fits = Place.of(violation(call="x" * NAME_LIMIT, endpoint="http://h/" + "y" * (PATH_LIMIT - 1)))
    assert fits == Place("MCP305", "x" * NAME_LIMIT, "/" + "y" * (PATH_LIMIT - 1))


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("http://h/mcp", "/mcp"),
        ("http://h/mcp?token=1#x", "/mcp"),
        ("http://h/123456/mcp", "/*/mcp"),
        ("http://h/1234/mcp", "/1234/mcp"),
        ("http://h", ""),
        ("http://[h/mcp", ""),
        ("", ""),
    ],
)
def test_the_path_of_an_endpoint(endpoint: str, path: str) -> None:
    assert path_of(endpoint) == path


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        (Place("MCP308", "tools/call echo", "/mcp"), "MCP308 tools/call echo at /mcp"),
        (Place("MCP308", "", "/mcp"), "MCP308 at /mcp"),
        (Place("MCP308", "GET stream", ""), "MCP308 GET stream"),
    ],
)
def test_how_a_place_is_shown(place: Place, shown: str) -> None:
    assert str(place) == shown


def test_what_was_seen_is_not_stale() -> None:
    first, second, other = Place("MCP101", "", "/a"), Place("MCP305", "tools/list", "/mcp"), Place("MCP305", "", "/a")
    known = Baseline([second, first])
    assert known.stale == [first, second]
    assert not known.has(other)
    assert not known.knows(violation(call="ping"))
    assert known.stale == [first, second]
    assert known.knows(violation())
    assert known.stale == [first]
    assert known.has(first)
    assert known.has(first)
    assert known.stale == []
    assert Baseline().stale == []
    assert not Baseline().knows(violation())


WRITTEN = """\
{
  "version": 1,
  "known": [
    {
      "rule": "MCP101",
      "call": "ü *",
      "path": "/mcp"
    },
    {
      "rule": "MCP305",
      "call": "tools/list",
      "path": "/mcp"
    }
  ]
}
"""


def test_a_baseline_is_read_as_it_is_written(tmp_path: Path) -> None:
    assert written([violation(), violation("MCP101", "ü 1234567"), violation()]) == WRITTEN
    assert written([]) == '{\n  "version": 1,\n  "known": []\n}\n'
    file = tmp_path / "known.json"
    file.write_text(WRITTEN, "utf-8")
    assert Baseline.read(str(file)).known == {Place("MCP101", "ü *", "/mcp"), Place("MCP305", "tools/list", "/mcp")}
    file.write_text('{"known": [{"rule": "MCP101"}]}')
    assert Baseline.read(str(file)).known == {Place("MCP101", "", "")}
    file.write_text("{}")
    assert Baseline.read(str(file)).known == set()


def test_how_many_places_a_baseline_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "KNOWN_LIMIT", 2)
    three = [violation(call=f"call {one}") for one in "abc"]
    assert written([*three[:2], *three[:2]]).count("rule") == 2
    with pytest.raises(ValueError, match=r"^3 places: a baseline holds 2$"):
        written(three)


ENTRY = '{"rule": "MCP101"}'
NONE = "{file} is no baseline (mcp-sessions baseline writes one): "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ("[]", "Input should be an object"),
        ('{"version": 2}', "version: Input should be 1"),
        ('{"known": 7}', "known: Input should be a valid array"),
        ('{"known": [{}]}', "known.0.rule: Field required"),
        ('{"known": [{"rule": "MCP1"}]}', r"known.0.rule: String should match pattern '^MCP\d{3}$'"),
        ('{"known": [{"rule": "MCP101", "x": 1}]}', "known.0.x: Extra inputs are not permitted"),
        ('{"x\\u001b": 1}', "x\N{REPLACEMENT CHARACTER}: Extra inputs are not permitted"),
        (f'{{"{"x" * 300}": 1}}', "x" * 199 + "…"),
        (
            f'{{"known": [{{"rule": "MCP101", "call": "{"x" * (NAME_LIMIT + 1)}"}}]}}',
            f"known.0.call: String should have at most {NAME_LIMIT} characters",
        ),
        (
            f'{{"known": [{{"rule": "MCP101", "path": "{"x" * (PATH_LIMIT + 1)}"}}]}}',
            f"known.0.path: String should have at most {PATH_LIMIT} characters",
        ),
    ],
)
def test_what_is_wrong_with_a_file(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "known.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="^" + re.escape(NONE.format(file=file) + said) + "$") as caught:
        Baseline.read(str(file))
    assert caught.value.__cause__ is None


def test_how_large_a_file_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "known.json"
    monkeypatch.setattr(baseline, "SIZE_LIMIT", 10)
    file.write_text("{}".ljust(10))
    assert Baseline.read(str(file)).known == set()
    file.write_text("{}".ljust(11))
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))}: larger than 10 bytes$"):
        Baseline.read(str(file))
    file.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="is no baseline"):
        Baseline.read(str(file))
    many = f'{{"known": [{",".join([ENTRY] * (KNOWN_LIMIT + 1))}]}}'
    file.write_text(many)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=f"Tuple should have at most {KNOWN_LIMIT} items"):
        Baseline.read(str(file))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / 'none'))}: No such file or directory$"):
        Baseline.read(str(tmp_path / "none"))
