"""The judge beyond the catalogue's transcripts: near misses, what time brings, hostile traffic, bounded memory."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from mcp_sessions.rules import catalogue
from mcp_sessions.rules.tables import Recent
from mcp_sessions.wire.headers import HeaderMap
from rules.transcripts import EPOCH, SESSION, STEP, Gone, Player, Scene, broken_by, read

CALL = """
### client A{at}
> POST /mcp
> %headers
>
> {{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}
< {status}
< Content-Type: application/json
<
< {{"jsonrpc":"2.0","id":{id},{answer}}}
"""
RESULT = '"result":{"tools":[]}'
LOST = '"error":{"code":-32600,"message":"Session not found"}'


def call(id: int, at: str = "", status: int = 200, answer: str = RESULT) -> str:
    return CALL.format(id=id, at=f" at {at}" if at else "", status=status, answer=answer).strip()


def lines(*parts: str) -> str:
    return "\n".join(parts)


def test_a_client_that_leaves_after_a_404_has_not_started_anew() -> None:
    start = lines("%init", call(9), call(10, status=404, answer=LOST))
    assert broken_by(lines(start, "### client A gone at 5.0")) == ["MCP306"]
    assert broken_by(lines(start, "### client A gone at 1.0")) == []


def test_the_dead_id_is_complained_of_once() -> None:
    again = [call(n, at=f"{n}.0", status=404, answer=LOST) for n in (11, 12, 13)]
    assert broken_by(lines("%init", call(9), call(10, status=404, answer=LOST), *again)) == ["MCP306"]


def test_a_client_that_does_not_pause_has_not_started_anew_either() -> None:
    again = [call(n, at=f"{(n - 10) * 0.3:.1f}", status=404, answer=LOST) for n in range(11, 15)]
    assert broken_by(lines("%init", call(9), call(10, status=404, answer=LOST), *again[:1])) == []
    assert broken_by(lines("%init", call(9), call(10, status=404, answer=LOST), *again)) == ["MCP306"]


def test_a_stream_that_stays_open_is_seen_when_time_passes() -> None:
    scenes = read(catalogue()["MCP503"].bad)
    player = Player()
    player.play(scenes[:-1])
    assert player.rules == []
    player.judge.overdue(EPOCH + 6.4)
    assert player.rules == []
    player.judge.overdue(EPOCH + 6.6)
    player.judge.overdue(EPOCH + 20)
    assert player.rules == ["MCP503"]


def test_credentials_that_alternate_are_two_users() -> None:
    def using(token: str, id: int, at: str) -> str:
        return call(id, at).replace("> %headers", f"> %headers\n> Authorization: Bearer {token}")

    there_and_back = lines("%init", using("a", 10, "1.0"), using("b", 11, "2.0"), using("a", 12, "9.0"))
    assert broken_by(there_and_back) == ["MCP313"]
    assert broken_by(there_and_back.replace("9.0", "6.0")) == []


def test_a_parent_and_its_child_are_one_client() -> None:
    import rules.transcripts as transcripts

    scenes = read(catalogue()["MCP313"].bad)

    class Child(transcripts.Process):
        pass

    player = Player()
    usual = transcripts.Process
    try:
        transcripts.Process = lambda pid: usual(pid, parent=165 if pid == 166 else 1)  # type: ignore[assignment,misc]
        player.play(scenes)
    finally:
        transcripts.Process = usual  # type: ignore[misc]
    assert player.rules == []


def test_a_repeated_request_that_was_refused_is_no_reuse() -> None:
    refused = '"error":{"code":1,"message":"busy"}'
    assert broken_by(lines("%init", call(10, status=503, answer=refused), call(10))) == []
    assert broken_by(lines("%init", call(10), call(10))) == ["MCP110"]


def test_unknown_history_is_not_judged() -> None:
    one = call(10).replace("> %headers", f"> %headers\n> Mcp-Session-Id: {SESSION}\n> MCP-Protocol-Version: 2025-11-25")
    assert broken_by(lines(one, one)) == []


def test_both_eras_on_one_connection() -> None:
    session, stateless = catalogue()["MCP305"].bad, catalogue()["MCP603"].bad
    assert sorted(broken_by(lines(session.strip(), stateless.strip()))) == ["MCP305", "MCP603"]


REFUSED = ["MCP628"]
"""What the server of that transcript breaks where the header is right: it refuses the call all the same."""


@pytest.mark.parametrize(
    ("header", "arguments", "found"),
    [
        (None, {"region": "us"}, ["MCP612"]),
        ("us", {"region": "us"}, REFUSED),
        ("=?base64?dXM=?=", {"region": "us"}, REFUSED),
        ("=?base64?%%%?=", {"region": "us"}, ["MCP612"]),
        ("us", {"region": None}, ["MCP612"]),
        ("us", {}, ["MCP612"]),
        (None, {}, REFUSED),
        ("eu", {"region": "us"}, ["MCP612"]),
    ],
)
def test_mirrored_parameters(header: str | None, arguments: dict[str, Any], found: list[str]) -> None:
    bad = catalogue()["MCP612"].bad.replace(
        '{"region":"us-west1","query":"SELECT 1"}', json.dumps(arguments, separators=(",", ":"))
    )
    if header is not None:
        bad = bad.replace("> %modern tools/call sql", f"> %modern tools/call sql\n> Mcp-Param-Region: {header}")
    assert broken_by(bad) == found


def test_weight_zero_excludes_a_media_type() -> None:
    assert HeaderMap([(b"accept", b"application/json, text/event-stream")]).lists("text/event-stream")
    assert not HeaderMap([(b"accept", b"application/json, text/event-stream;q=0")]).lists("text/event-stream")
    assert not HeaderMap([(b"accept", b"a/b, text/event-stream; q=0.000")]).lists("text/event-stream")
    assert HeaderMap([(b"accept", b"a/b;q=0, text/event-stream;q=0.01")]).lists("text/event-stream")
    assert not HeaderMap([(b"accept", b"*/*")]).lists("text/event-stream")


def test_memory_is_bounded() -> None:
    table: Recent[int, int] = Recent(3)
    for n in range(5):
        table.put(n, n)
    table.put(3, 33)
    assert dict(table) == {2: 2, 4: 4, 3: 33}
    assert list(table) == [2, 4, 3]
    assert table.overflowed


SCENES = [scene for rule in catalogue().values() for text in (rule.bad, rule.good) for scene in read(text)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["jsonrpc", "id", "method", "params", "result", "error", "code", "message", "_meta", "progressToken", "tools",
         "name", "inputSchema", "properties", "inputRequests", "capabilities", "protocolVersion", "requestId"]
    ), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@st.composite
def strange(draw: st.DrawFn) -> Scene | Gone:
    """A scene out of its transcript, with anything in the place of anything."""
    scene = draw(st.sampled_from(SCENES))
    at = draw(st.floats(0, 30))
    if isinstance(scene, Gone):
        return Gone(scene.client, at)
    shift = at - scene.at
    moved = replace(
        scene,
        at=at,
        chunks=[(when + shift, chunk) for when, chunk in scene.chunks],
        ended=None if scene.ended is None else max(scene.ended + shift, at + STEP),
    )
    if draw(st.booleans()):
        moved.content = json.dumps(draw(JSON)).encode()
    if draw(st.booleans()):
        moved.chunks = [
            (when, b"data: " * draw(st.booleans()) + json.dumps(draw(JSON)).encode() + b"\n\n")
            for when, _ in moved.chunks
        ]
    if draw(st.booleans()) and moved.status is not None:
        moved.status = draw(st.sampled_from([200, 202, 204, 400, 401, 404, 405, 500, 503]))
    return moved


@pytest.mark.long
@how(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(strange(), max_size=12))
def test_no_check_fails_whatever_comes(scenes: list[Scene | Gone]) -> None:
    player = Player()
    player.play(scenes)
    assert not [record.line() for record in player.told if "could not check" in record.line()]


def test_a_stream_that_was_there_before_the_loss_says_nothing_of_it() -> None:
    """Its session was not known when it began; that it ends is no sign that the session works again."""
    stream = (
        "### client A at 0\n> GET /mcp\n> %headers\n< 200\n< Content-Type: text/event-stream\n<\n! server-breaks 10\n"
    )
    lost = "### client A at 5\n> POST /mcp\n> %headers\n>\n> {}\n< 404\n< Content-Type: application/json\n<\n< {}\n"
    again = "### client A at 40\n> POST /mcp\n> %headers\n>\n> {}\n< 404\n"
    call = '{"jsonrpc":"2.0","id":%d,"method":"ping"}'
    error = '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Session not found"}}'
    scenes = stream + lost.format(call % 1, error) + again.format(call % 2)
    assert "MCP306" in broken_by(scenes)


def test_complaints_of_one_rule_in_one_exchange_are_limited_and_counted() -> None:
    events = "\n<\n".join(["< data: x"] * 2_000)
    stream = lines(
        "### client A", "> GET /mcp", "> %headers", "> Accept: text/event-stream", "< 200",
        "< Content-Type: text/event-stream", "<", events,
    )  # fmt: skip
    player = Player()
    player.play(read(lines("%init", stream)))
    complaints = [violation for violation in player.violations if violation.rule == "MCP501"]
    assert len(complaints) == 11
    assert complaints[-1].detail == "and 1990 times more"
    assert sum(violation.times for violation in complaints) == player.judge.complaints.counts["MCP501"] == 2_000
    assert next(iter(player.core.ledger.sessions.values())).violations["MCP501"] == 2_000
