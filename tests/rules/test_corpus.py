"""Recordings of real clients and servers in `tests/corpus`: no MUST is reported of them without a reason."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from mitmproxy import http
from mitmproxy.io import FlowReader

from mcp_sessions.core.records import AnyRecord, Violation
from mcp_sessions.recordings.export import Export
from mcp_sessions.recordings.playback import Playback

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
RECORDINGS = sorted(path.stem for path in CORPUS.glob("*.mitm"))
EXPECTED: list[dict[str, str]] = tomllib.loads((CORPUS / "expected.toml").read_text("utf-8"))["expected"]


def recorded(name: str) -> list[http.HTTPFlow]:
    with (CORPUS / f"{name}.mitm").open("rb") as file:
        return [flow for flow in FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]


def musts(flows: Sequence[http.HTTPFlow]) -> dict[str, set[str]]:
    """The rules of level MUST that are broken, with what is said of it."""
    told: list[AnyRecord] = []
    playback = Playback(told.append, lambda *_: None)
    for flow in flows:
        playback.add(flow)
    playback.play()
    found: dict[str, set[str]] = {}
    for record in told:
        if isinstance(record, Violation) and record.level == "MUST":
            found.setdefault(record.rule, set()).add(f"{record.party}: {record.detail}")
    return found


@pytest.mark.parametrize("name", RECORDINGS)
def test_no_must_is_reported_without_a_reason_and_no_reason_is_stale(name: str) -> None:
    found = musts(recorded(name))
    expected = {one["rule"] for one in EXPECTED if one["file"] == name}
    assert set(found) == expected, {rule: found.get(rule, "not reported any more") for rule in set(found) ^ expected}


def test_every_reason_is_given_once_for_a_recording_that_is_there() -> None:
    places = [(one["file"], one["rule"]) for one in EXPECTED]
    assert len(set(places)) == len(places)
    assert {file for file, _ in places} <= set(RECORDINGS)
    assert all(one["reason"].strip() for one in EXPECTED)


@pytest.mark.parametrize("name", RECORDINGS)
def test_each_recording_is_judged(name: str) -> None:
    """What is not understood would break no rule either."""
    flows = recorded(name)
    asked = [flow for flow in flows if flow.request.method == "POST" and b'"method"' in (flow.request.content or b"")]
    assert len(asked) > 2
    for flow in asked:
        flow.request.headers["accept"] = "text/plain"
    assert "MCP101" in musts(flows)


@pytest.mark.parametrize("name", RECORDINGS)
def test_nothing_secret_is_in_it(name: str) -> None:
    """Redaction, as it is today, finds nothing more."""
    assert Export(recorded(name)).redactor.vault.used == 0


def test_it_stays_small() -> None:
    sizes = [(CORPUS / f"{name}.mitm").stat().st_size for name in RECORDINGS]
    assert max(sizes) < 300_000
    assert sum(sizes) < 2_000_000


def test_at_least_three_sdks_and_both_eras_are_in_it() -> None:
    revisions = {flow.request.headers.get("mcp-protocol-version", "") for name in RECORDINGS for flow in recorded(name)}
    assert {"2025-11-25", "2026-07-28"} <= revisions
    agents = {flow.request.headers.get("user-agent", "").partition("/")[0] for n in RECORDINGS for flow in recorded(n)}
    assert {"python-httpx", "node"} <= agents
