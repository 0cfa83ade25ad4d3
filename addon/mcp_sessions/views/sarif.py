"""Violations as SARIF 2.1.0, for the annotations of a CI; made from the lines of `mcp_log`, so that GitHub takes it.

Violations of one rule at one place are one result, known again in the next run by its fingerprint. Its location is the
line of the log that tells of the first; or a file of the user's own, such as the server's source.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import quote

from .. import __version__
from ..core.records import Violation
from ..rules import Level, Rule, catalogue
from ..rules.baseline import Place
from ..rules.pages import explain
from ..wire.text import counted, printable


class Limit(NamedTuple):
    """What GitHub's code scanning takes, and what it shows of that."""

    most: int
    shown: int | None
    """None if that is all."""
    here: int
    """The most that stands in a file that is written here."""


RESULTS = 25_000
TAGS = 3
TEXT = 1_024
NAME = 255
SIZE = 10 * 1024 * 1024

LIMITS: dict[str, Limit] = {
    "runs of a file": Limit(20, None, 1),
    "results of a run": Limit(25_000, 5_000, RESULTS),
    "rules of a run": Limit(25_000, None, RESULTS),
    "extensions of a run": Limit(100, None, 0),
    "locations of a result": Limit(1_000, 100, 1),
    "steps of a result's thread flows": Limit(10_000, 1_000, 0),
    "tags of a rule": Limit(20, 10, TAGS),
    "characters of a rule's name": Limit(255, None, NAME),
    "characters of a rule's description": Limit(1_024, None, TEXT),
    "bytes of a file, compressed": Limit(10 * 1024 * 1024, None, SIZE),
}
"""docs.github.com, "SARIF results exceed one or more limits" and "SARIF support for code scanning"."""

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
HOME = "https://modelcontextprotocol.io/specification"
ROOT = "%SRCROOT%"
"""What a path is relative to: the root of the repository, by convention."""
MESSAGE = 1_000
"""Characters of a message."""
PLACES = 4 * RESULTS
"""Places that are told apart."""

_SEVERITY = {
    Level.MUST: ("error", "error"),
    Level.SHOULD: ("warning", "warning"),
    Level.PRACTICE: ("note", "recommendation"),
}
"""By level: SARIF's own, and the one that GitHub shows."""


class Written(NamedTuple):
    """A SARIF file."""

    text: str
    note: str
    """What was left out and why, in a line; empty if nothing was."""


class _Found:
    """Violations of one rule at one place."""

    def __init__(self, line: int, first: Violation) -> None:
        self.line, self.first, self.times = line, first, 0


def sarif(violations: Iterable[tuple[int, Violation]], path: str, *, at: bool = False) -> Written:
    """Violations, each with its line in the log, as one SARIF run.

    Args:
        violations: with the number of the line that told of it.
        path: what they are located in.
        at: whether that is a file of the user's, of which no line is known; else it is the log.
    """
    places: dict[Place, _Found] = {}
    beyond = 0
    for line, violation in violations:
        place = Place.of(violation)
        if place not in places and len(places) >= PLACES:
            beyond += 1
            continue
        found = places.setdefault(place, _Found(1 if at else line, violation))
        found.times += violation.times
    # The gravest first: that is what is shown where not all is, and what is kept.
    kept = sorted(places.items(), key=lambda item: -Level(item[1].first.level).weight)[:RESULTS]
    uri = _relative(path)
    while True:
        text = json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(kept, uri)]}, indent=1)
        if len(gzip.compress(text.encode(), 6)) <= SIZE:
            break
        kept = kept[: len(kept) * 3 // 4]
    left = len(places) - len(kept) + beyond
    return Written(text, f"{counted(left, 'result')} left out, the mildest: GitHub takes no more" if left else "")


def _run(kept: list[tuple[Place, _Found]], uri: str) -> dict[str, Any]:
    rules = sorted({place.rule for place, _ in kept if place.rule in catalogue()})
    index = {rule_id: number for number, rule_id in enumerate(rules)}
    driver: dict[str, Any] = {
        "name": "mitmproxy-mcp-sessions",
        "version": __version__,
        "informationUri": HOME,
        "rules": [_rule(catalogue()[rule_id]) for rule_id in rules],
    }
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": "mcp-sessions/"},
        "results": [_result(place, found, uri, index) for place, found in kept],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    level, severity = _SEVERITY[rule.level]
    text = explain(rule)
    described: dict[str, Any] = {
        "id": rule.id,
        "name": rule.name[:NAME],
        "shortDescription": {"text": _short(rule.summary)},
        "fullDescription": {"text": _short(rule.why.strip())},
        "defaultConfiguration": {"level": level},
        "help": {"text": text, "markdown": f"```text\n{text}\n```"},
        "properties": {
            "tags": ["mcp", str(rule.party), str(rule.level).lower()][:TAGS],
            "precision": "high",
            "problem.severity": severity,
        },
    }
    if rule.address():
        described["helpUri"] = rule.address()
    return described


def _result(place: Place, found: _Found, uri: str, index: dict[str, int]) -> dict[str, Any]:
    said = printable(found.first.said(), MESSAGE)
    times = f" ({found.times} times)" if found.times > 1 else ""
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": uri, "uriBaseId": ROOT},
            "region": {"startLine": found.line, "startColumn": 1, "endLine": found.line, "endColumn": 2},
        }
    }
    if found.first.endpoint:
        location["logicalLocations"] = [{"name": printable(found.first.endpoint, 200), "kind": "resource"}]
    result: dict[str, Any] = {
        "ruleId": place.rule,
        "level": _SEVERITY[Level(found.first.level)][0],
        "message": {"text": f"{said}{times}"},
        "locations": [location],
        "occurrenceCount": found.times,
        # By this name GitHub knows a result again in the next run, whatever line it then stands in.
        "partialFingerprints": {"primaryLocationLineHash": f"{_fingerprint(place)}:1"},
    }
    if place.rule in index:
        result["ruleIndex"] = index[place.rule]
    return result


def _fingerprint(place: Place) -> str:
    return hashlib.blake2b("\0".join(place).encode("utf-8", "replace"), digest_size=8).hexdigest()


def _relative(path: str) -> str:
    """A path as a URI that is relative to the folder in which the command runs; outside of it, its last part."""
    relative = os.path.relpath(path)
    if relative.startswith(os.pardir) or os.path.isabs(relative):
        relative = os.path.basename(path)
    return quote(relative.replace(os.sep, "/"), errors="surrogateescape")


def _short(text: str) -> str:
    return text if len(text) <= TEXT else text[: TEXT - 1] + "…"
