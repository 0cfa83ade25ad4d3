"""Near misses of what belongs together: whom these rules must not blame."""

from __future__ import annotations

from mcp_sessions.rules import catalogue
from rules.transcripts import broken_by


def changed(rule: str, before: str, after: str, times: int = -1) -> list[str]:
    """What the bad transcript of a rule breaks once something in it is otherwise."""
    bad = catalogue()[rule].bad
    assert before in bad
    return broken_by(bad.replace(before, after, times))


def test_a_server_without_sessions_may_count_anew() -> None:
    assert changed("MCP513", "%init 2025-11-25", "%init 2025-11-25 nosession") == []


def test_a_null_id_is_no_id_of_a_request() -> None:
    assert set(changed("MCP513", '"id":1,"method":"roots/list"}', '"id":null,"method":"roots/list"}')) == {
        "MCP513",
        "MCP119",
    }


def test_a_token_of_a_request_that_was_given_up_may_come_again() -> None:
    bad = catalogue()["MCP112"].bad
    given_up = bad.replace("@ 5.0\n", "! cut\n", 1).replace(
        bad[bad.index("< data") : bad.index("### client A at 2.0")], "", 1
    )
    assert "! cut" in given_up
    assert broken_by(given_up) == []


def test_a_cursor_is_unknown_only_where_all_lists_were_read() -> None:
    assert changed("MCP116", '"nextCursor":"page-2"', '"nextCursor":"page-3"') == []
    assert changed("MCP116", "%init", "%init 2025-11-25 nosession") == []
    unread = '< {"jsonrpc":"2.0","id":10,"result":{"tools":[],"nextCursor":"page-2"}}'
    assert changed("MCP116", unread, "< " + '{"jsonrpc":"2.0","id":10,"result":{"x":"' + "y" * 5_000_000 + '"}}') == []


def test_a_cursor_of_another_list_is_unknown() -> None:
    other = changed(
        "MCP116",
        '"method":"tools/list","params":{"cursor":"page-3"}',
        '"method":"prompts/list","params":{"cursor":"page-2"}',
    )
    assert other == ["MCP116"]


def test_a_ping_that_waits_is_held_against_the_client_only_in_time() -> None:
    assert changed("MCP117", "### client A at 60.0", "### client A at 20.0") == []


def test_a_response_on_a_stream_that_resumes_is_asked_for() -> None:
    resumed = catalogue()["MCP504"].good
    assert broken_by(resumed) == []


def test_a_response_to_a_request_on_another_stream_is_asked_for() -> None:
    bad = catalogue()["MCP510"].bad
    other = bad.replace('"id":"10","result"', '"id":1,"result"').replace(
        '< data: {"jsonrpc":"2.0","id":10,"result":{"content":[{"type":"text","text":"done"}]}}\n<\n', "", 1
    )
    assert broken_by(other) == []


def test_an_old_event_is_no_second_response() -> None:
    assert broken_by(catalogue()["MCP505"].good) == []
