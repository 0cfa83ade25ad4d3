"""Violations as JUnit XML, for the test reports of a CI; made from the lines of `mcp_log`.

A suite for each endpoint, by its path, with a test case for each rule: the same in every run, so that a CI can show
since when one fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from ..core.records import Violation
from ..rules import Level, Rule, catalogue
from ..rules.baseline import Baseline, Place, path_of
from ..wire.text import counted, printable
from .logged import records

SUITES = 100
"""Endpoints that are told apart; what is beyond is counted under one name."""
OTHERS = "other endpoints"
SHOWN = 20
"""Violations of one rule at one endpoint that are written out."""
LINE_LIMIT = 500
"""Characters of one of them."""


@dataclass
class _Case:
    """A rule at an endpoint."""

    failing: int = 0
    milder: int = 0
    """Violations below the level that fails."""
    known: int = 0
    lines: list[str] = field(default_factory=list)
    """What fails, written out."""

    def add(self, violation: Violation, *, known: bool, fails: bool) -> None:
        """One more."""
        if known:
            self.known += violation.times
        elif not fails:
            self.milder += violation.times
        else:
            self.failing += violation.times
            if len(self.lines) < SHOWN:
                self.lines.append(printable(f"{violation.time} {violation.said()} {violation.call}", LINE_LIMIT))


def junit(lines: Iterable[bytes], known: Baseline, fail_on: Level) -> str:
    """The violations among these lines as JUnit XML; what is known, or milder than `fail_on`, is no failure.

    Raises:
        ValueError: when a line is not of the log.
    """
    suites: dict[str, dict[str, _Case]] = {}
    for record in records(lines):
        path = path_of(record.endpoint)
        if not path:
            if not isinstance(record, Violation):
                continue
            path = OTHERS
        if path not in suites and len(suites) >= SUITES:
            path = OTHERS
        cases = suites.setdefault(path, {})
        if isinstance(record, Violation):
            fails = Level(record.level).weight >= fail_on.weight
            cases.setdefault(printable(record.rule), _Case()).add(record, known=known.knows(record), fails=fails)
    stale: dict[tuple[str, str], list[Place]] = {}
    for place in known.stale:
        stale.setdefault((place.path, place.rule), []).append(place)
        suites.setdefault(place.path or OTHERS, {})
    root = ET.Element("testsuites", name="mitmproxy-mcp-sessions")
    for path, cases in sorted(suites.items()):
        suite = ET.SubElement(root, "testsuite", name=path)
        rules = [*catalogue(), *sorted(cases.keys() - catalogue().keys())]
        for rule_id in rules:
            _case(suite, rule_id, cases.get(rule_id, _Case()), fail_on, stale.get((path, rule_id), []))
        _sum(suite, len(rules))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text.decode()


def _case(suite: ET.Element, rule_id: str, case: _Case, fail_on: Level, stale: list[Place]) -> None:
    rule: Rule | None = catalogue().get(rule_id)
    made = ET.SubElement(
        suite,
        "testcase",
        classname=f"mcp.{rule.party if rule else 'unknown'}",
        name=f"{rule_id} {rule.name}" if rule else rule_id,
        time="0",
    )
    if case.failing:
        what = rule.summary if rule else rule_id
        failure = ET.SubElement(made, "failure", type=rule_id, message=f"{counted(case.failing, 'time')}: {what}")
        more = case.failing - len(case.lines)
        failure.text = "\n".join([*case.lines, *([f"and {more} more"] if more > 0 else [])])
    elif case.known or case.milder:
        said = [f"{case.known} in the baseline"] if case.known else []
        said += [f"{case.milder} below {fail_on}"] if case.milder else []
        ET.SubElement(made, "skipped", message=", ".join(said))
    if stale:
        told = [f"stale, take it out of the baseline: {place}" for place in stale[:SHOWN]]
        ET.SubElement(made, "system-out").text = "\n".join(told)


def _sum(suite: ET.Element, tests: int) -> None:
    counts = {"tests": tests, "failures": len(suite.findall("*/failure")), "errors": 0}
    counts |= {"skipped": len(suite.findall("*/skipped"))}
    for name, count in counts.items():
        suite.set(name, str(count))
    suite.set("time", "0")
