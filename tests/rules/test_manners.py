"""Near misses of tokens, tasks and manners: whom these rules must not blame."""

from __future__ import annotations

import pytest

from mcp_sessions.rules import catalogue
from rules.transcripts import Player, broken_by, read


def changed(rule: str, before: str, after: str) -> list[str]:
    """What the bad transcript of a rule breaks once something in it is otherwise."""
    bad = catalogue()[rule].bad
    assert before in bad
    return broken_by(bad.replace(before, after), about=rule)


def test_how_a_reverse_proxy_goes_on_is_not_its_clients_doing() -> None:
    player = Player(mcp_silence="")
    player.dialled = "127.0.0.1"
    player.play(read(catalogue()["MCP705"].bad))
    assert player.rules == []
    assert broken_by(catalogue()["MCP705"].bad, about="MCP705") == ["MCP705"]


@pytest.mark.parametrize("url", ["http://localhost:80/mcp", "http://127.0.0.1:80/mcp", "https://mcp.example:443/mcp"])
def test_a_token_may_stay_on_the_host_or_go_over_tls(url: str) -> None:
    bad = catalogue()["MCP705"].bad.replace("%init", "").replace("POST /mcp", f"POST {url}")
    assert "MCP705" not in broken_by(bad.replace("> %headers", "> Accept: */*"), about="MCP705")


def test_a_session_without_tokens_owes_none() -> None:
    assert changed("MCP703", "> Authorization: Bearer 2YotnFZFEjr1zCsicMWpAA\n", "") == []


def test_another_refusal_is_no_challenge() -> None:
    assert changed("MCP704", '< WWW-Authenticate: Bearer error="invalid_token"', "< X-Reason: policy") == []
    assert changed("MCP704", 'Bearer error="invalid_token"', 'Bearer error="insufficient_scope"') == ["MCP707"]


def test_a_change_of_tools_is_judged_where_it_could_be_told_of() -> None:
    bad = catalogue()["MCP909"].bad
    assert broken_by(bad) == ["MCP909"]
    assert broken_by(bad.replace("@ 20.0\n", "@ 4.0\n")) == [], "the stream was over"
    quiet = '%init 2025-11-25 server={"tools":{}}'
    assert broken_by(bad.replace("%init", quiet)) == [], "nothing was promised"


def test_a_result_that_crossed_the_question_is_not_early() -> None:
    bad = catalogue()["MCP809"].bad
    assert broken_by(bad) == ["MCP809"]
    assert (
        broken_by(bad.replace('"status":"working"', '"status":"completed"').replace('"completed"', '"working"', 1))
        == []
    )


def test_a_task_of_another_id_begins_anew() -> None:
    bad = catalogue()["MCP806"].bad
    other = bad.rindex("### client A")
    assert broken_by(bad[:other] + bad[other:].replace('"t1"', '"t2"')) == []


def test_few_sessions_that_are_not_used_are_let_pass() -> None:
    bad = catalogue()["MCP317"].bad
    assert broken_by(bad) == ["MCP317"]
    first = bad.index("%init", 1)
    assert broken_by(bad[first:]) == []
    assert broken_by(bad.replace("at 90.0", "at 30.0")) == []
