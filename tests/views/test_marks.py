"""Comments and markers in the flow list."""

from __future__ import annotations

from mitmproxy import flowfilter
from mitmproxy.test import taddons, tflow
from mitmproxy.utils.emoji import emoji

from mcp_sessions.addon import McpSessions
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.proxy import marks
from mcp_sessions.proxy.metadata import CLIENT, NUMBER, OWN, RULES
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import parse

from .flows import ANSWER, CALL, open_session, pass_through, post

SESSION = "7f3a9c1e5b2d4680aa"


async def test_a_flow_says_what_it_is_and_whose() -> None:
    addon = McpSessions()
    with taddons.context(addon):
        opened = await open_session(addon, SESSION)
        assert opened.comment == "initialize · session 7f3a9c"
        flow = await pass_through(addon, post(CALL, SESSION, **{"mcp-protocol-version": "2025-06-18"}), ANSWER)
        assert flow.comment == "tools/call echo · session 7f3a9c"
        assert flow.metadata[CLIENT]
        assert flow.marked == ""
        assert SESSION not in str(flow.metadata)
        assert flowfilter.match('~meta "mcp_session: 7f3a9c"', flow)
        addon.done()


async def test_a_violation_is_named_and_marked() -> None:
    addon = McpSessions()
    with taddons.context(addon):
        await open_session(addon, SESSION)
        flow = await pass_through(addon, post(CALL, SESSION), ANSWER)
        assert "breaks MCP104" in flow.comment
        assert flow.marked == marks.VIOLATION
        addon.done()


async def test_other_traffic_is_not_touched() -> None:
    addon = McpSessions()
    with taddons.context(addon):
        flow = tflow.tflow(resp=True)
        addon.request(flow)
        addon.response(flow)
        assert flow.comment == ""
        assert not flow.metadata
        addon.done()


def test_a_users_comment_and_marker_stay() -> None:
    flow = tflow.tflow()
    flow.comment, flow.marked = "look at this", ":fire:"
    marks.write(flow, "tools/call echo")
    marks.mark(flow, marks.RECOVERY)
    assert flow.comment == "look at this · tools/call echo"
    assert flow.marked == ":fire:"
    marks.write(flow, "tools/call echo · session 7f3a")
    assert flow.comment == "look at this · tools/call echo · session 7f3a"
    flow.comment = "my own words"
    marks.write(flow, "something new")
    assert flow.comment == "my own words"
    flow.comment = ""
    marks.write(flow, "again")
    assert flow.comment == ""


def test_the_more_important_marker_stays() -> None:
    flow = tflow.tflow()
    marks.mark(flow, marks.ENDING)
    assert flow.marked == marks.ENDING
    marks.mark(flow, marks.VIOLATION)
    marks.mark(flow, marks.RECOVERY)
    assert flow.marked == marks.VIOLATION


def test_rules_are_named_once_each_and_added_to_what_is_there() -> None:
    flow = tflow.tflow()
    marks.mark_rules(flow, ["MCP101"])
    assert flow.comment == "breaks MCP101 post-accept"
    marks.write(flow, "GET stream")
    marks.mark_rules(flow, ["MCP101", "MCP102", "MCP101"])
    assert flow.comment == "GET stream · breaks MCP101 post-accept, MCP102 get-accept"
    marks.mark_rules(flow, ["MCP103"])
    assert flow.comment == "GET stream · breaks MCP101 post-accept, MCP102 get-accept, MCP103 post-content-type"


async def test_a_flow_of_a_file_that_has_half_of_what_is_noted_is_marked_all_the_same() -> None:
    addon = McpSessions()
    with taddons.context(addon):
        await open_session(addon, SESSION)
        session = next(iter(addon.core.ledger.sessions.values()))
        flow = post(CALL)
        flow.metadata[NUMBER] = session.number
        assert marks.belongs_to(flow, session) == "7f3a9c"
        addon.done()


def test_the_markers_are_mitmproxys() -> None:
    assert {marks.REFUSED, marks.VIOLATION, marks.RECOVERY, marks.ENDING} <= set(emoji)


async def test_own_and_refused_flows_are_told_apart() -> None:
    addon = McpSessions()
    with taddons.context(addon):
        await open_session(addon, SESSION)
        session = next(iter(addon.core.ledger.sessions.values()))
        own = post(CALL)
        own.metadata[OWN] = "DELETE session"
        marks.own(own, session, "DELETE session", ending=True)
        assert own.comment == "by the proxy: DELETE session · session 7f3a9c"
        assert own.marked == marks.ENDING
        # What its client has left undone, and nothing else that it did, is shown by the request that makes up for it.
        session.violations |= {"MCP104": 1, "MCP308": 1}
        left = post(CALL)
        marks.own(left, session, "DELETE session", ending=True)
        assert left.comment.endswith("breaks MCP308 session-not-deleted")
        assert left.metadata[RULES] == ["MCP308"]
        client = await pass_through(addon, post(CALL, SESSION), ANSWER)
        copy = client.copy()
        connection = addon.core.connected("c", ("127.0.0.1", 1), ("127.0.0.1", 2), 1.0)
        url = "http://127.0.0.1:9/mcp"
        x = Exchange("id", 1.0, "POST", session.endpoint, url, HeaderMap(), parse(b"{}"), connection)
        marks.refused(copy, x, 404, "abcdefgh-1234")
        assert copy.comment.startswith("refused 404: ")
        assert copy.comment.endswith("sent again as abcdefgh")
        assert copy.marked == marks.REFUSED
        assert marks.flows_of([own, client, copy, tflow.tflow()], [session]) == [own, client, copy]
        addon.done()
