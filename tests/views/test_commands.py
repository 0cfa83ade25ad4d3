"""The commands, through mitmproxy's own command manager."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import mitmproxy.types
import pytest
import pytest_asyncio
from mitmproxy import exceptions
from mitmproxy.addons import view
from mitmproxy.test import taddons

from mcp_sessions.addon import McpSessions
from mcp_sessions.core.states import STANDINGS, ClientSide, ServerSide
from mcp_sessions.views.commands import Commands, RuleId, SessionName

from .flows import ANSWER, CALL, open_session, pass_through, post

FIRST, SECOND, TWIN = "7f3a9c1e5b2d4680aa", "c0ffee1234567890bb", "7f3a9c1e5b2d4680zz"


def commands(addon: McpSessions) -> Commands:
    return next(view for view in addon.views if isinstance(view, Commands))


class Console:
    """A proxy with the addon and a view, of which nothing listens."""

    def __init__(self, addon: McpSessions, context: Any) -> None:
        self.addon = addon
        self.context = context
        self.view: view.View = context.master.addons.get("view")

    def run(self, line: str) -> Any:
        return self.context.master.commands.execute(line)

    async def traffic(self) -> None:
        for session_id in (FIRST, SECOND):
            flow = await open_session(self.addon, session_id, f"client of {session_id[:4]}")
            self.view.add([flow])
        self.view.add([await pass_through(self.addon, post(CALL, FIRST), ANSWER)])
        self.view.add([await pass_through(self.addon, post(CALL), ANSWER)])


@pytest_asyncio.fixture
async def console() -> AsyncIterator[Console]:
    addon = McpSessions()
    with taddons.context(view.View(), addon) as context:
        commands(addon).running()
        made = Console(addon, context)
        await made.traffic()
        yield made
        commands(addon).done()
        addon.done()


def column(rows: list[list[str]], name: str) -> list[str]:
    return [row[rows[0].index(name)] for row in rows[1:]]


async def test_sessions_are_listed(console: Console) -> None:
    rows = console.run("mcp.sessions")
    assert [re.sub(r"#\d+", "#", said) for said in column(rows, "session")] == [
        "7f3a9c # open 0s !1",
        "c0ffee # open 0s",
    ]
    assert column(rows, "server") == ["127.0.0.1:9/mcp"] * 2
    assert FIRST not in str(rows)


@pytest.mark.parametrize("name", ["7f3a9c", "7f3", FIRST])
async def test_a_session_is_named_by_label_or_by_the_beginning_of_its_id(console: Console, name: str) -> None:
    rows = console.run(f"mcp.session {name}")
    assert rows[0][1].startswith("7f3a9c (#")
    assert any(row[1] == "opened" for row in rows)
    assert FIRST not in str(rows)


async def test_a_number_tells_apart_what_a_label_does_not(console: Console) -> None:
    await open_session(console.addon, TWIN)
    with pytest.raises(exceptions.CommandError, match=r"^'7f3a9c' names 2 sessions \(#\d+, #\d+\); take one"):
        console.run("mcp.session 7f3a9c")
    number = console.addon.core.ledger.named(TWIN)[0].number
    assert console.run(f"mcp.session #{number}")[0][1] == f"7f3a9c (#{number})"
    assert f"#{number}" in console.run("mcp.sessions.names")


async def test_clients_and_violations_are_listed(console: Console) -> None:
    clients = console.run("mcp.clients")
    assert len(clients) == 2  # one address, one set of credentials
    assert column(clients, "sessions") == ["2, 2 open"]
    violations = console.run("mcp.violations")
    assert column(violations, "rule") == ["MCP104 client MUST ×1"]
    assert column(violations, "last") == ["0s 127.0.0.1 7f3a9c"]
    assert column(violations, "what") == [
        "version-header-missing: tools/call echo without MCP-Protocol-Version: 2025-06-18"
    ]


@pytest.mark.parametrize("name", ["mcp.sessions", "mcp.clients", "mcp.violations", "mcp.messages 7f3a"])
async def test_a_table_has_no_more_columns_than_80_characters_have_room_for(console: Console, name: str) -> None:
    rows = console.run(name)
    assert len(rows) > 1
    assert max(len(row) for row in rows) <= 4
    assert max(len(row[0]) for row in rows) <= 30


async def test_the_messages_of_a_session_and_those_that_contain_words(console: Console) -> None:
    rows = console.run("mcp.messages 7f3a")
    said = [f"{after.partition(' ')[2]} {re.sub(r'[0-9]+ (ms|B)', r'\1', what)}" for after, what in rows[1:]]
    assert said == [
        "→ #0 initialize · B",
        "← #0 response to initialize · ms · B",
        "→ #7 tools/call echo · B · MCP104",
        "← #7 response to tools/call echo · ms · B",
    ]
    found = console.run("mcp.messages 7f3a 'ECHO response'")
    assert [row[1].partition(" · ")[0] for row in found[1:]] == ["response to tools/call echo"]
    assert console.run("mcp.messages 7f3a nothing") == []


async def test_help_names_commands_markers_and_filters(console: Console) -> None:
    rows = {row[0]: row[1] for row in console.run("mcp.help")}
    assert rows["mcp.session session"] == "Show one session and its history."
    assert "breaks a rule" in rows["mark :warning:"]
    assert rows["keys"].endswith("recipes/keys.yaml offers F2 to F6")
    assert 'filter ~meta "mcp_session: LABEL"' in rows


async def test_ids_of_rules_are_completed_and_checked(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    kind = mitmproxy.types.CommandTypes.get(RuleId)
    assert kind is not None
    assert "MCP104" in kind.completion(console.context.master.commands, RuleId, "")
    assert console.run("mcp.explain mcp104")[0][0].startswith("MCP104 version-header-missing")
    with pytest.raises(exceptions.CommandError, match=r"^there is no rule 'MCP1'; they are listed in docs/rules\.md$"):
        console.run("mcp.explain MCP1")


async def test_flows_of_a_session(console: Console) -> None:
    console.run("mcp.flows 7f3a")
    assert [flow.comment.partition(" · ")[0] for flow in console.view] == ["initialize", "tools/call echo"]
    console.run("set view_filter=")
    assert len(console.view) == 4


async def test_a_session_is_a_flow_specification(console: Console) -> None:
    flows = console.run("view.flows.resolve @mcp:7f3a")
    assert [flow.comment.partition(" · ")[0] for flow in flows] == ["initialize", "tools/call echo"]
    assert len(console.run("view.flows.resolve @all")) == 4
    console.run("view.settings.setval @mcp:7f3a seen yes")
    with pytest.raises(exceptions.CommandError, match="no session is named 'nobody'"):
        console.run("view.settings.setval @mcp:nobody seen yes")


async def test_flow_specifications_are_as_before_once_the_addon_is_gone(console: Console) -> None:
    commands(console.addon).done()
    assert console.run("view.flows.resolve @mcp:7f3a") == []  # an expression that matches nothing
    commands(console.addon).running()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("mcp.session nobody", "no session is named 'nobody'; mcp.sessions lists them"),
        ("mcp.session ''", "name a session by its label"),
        ("mcp.flows #999999", "no session is named '#999999'"),
        ("mcp.reinit nobody", "no session is named"),
        ("mcp.session '\x1b[31m'", "no session is named"),
    ],
)
async def test_a_wrong_name_gives_one_clear_line(console: Console, line: str, says: str) -> None:
    with pytest.raises(exceptions.CommandError) as refused:
        console.run(line)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


async def test_a_session_that_is_over_cannot_be_initialized_anew(console: Console) -> None:
    session = console.addon.core.ledger.named(FIRST)[0]
    session.standing = STANDINGS[ClientSide.LEFT, ServerSide.DELETED, False]
    with pytest.raises(exceptions.CommandError, match=r"^mcp\.reinit: session 7f3a9c is closed$"):
        console.run("mcp.reinit 7f3a")


async def test_names_are_completed(console: Console) -> None:
    kind = mitmproxy.types.CommandTypes.get(SessionName)
    assert kind is not None
    assert kind.completion(console.context.master.commands, SessionName, "") == ["c0ffee", "7f3a9c"]
    parsed, _ = console.context.master.commands.parse_partial("mcp.session 7f3a")
    assert parsed[-1].valid
    parsed, _ = console.context.master.commands.parse_partial("mcp.session nobody")
    assert not parsed[-1].valid
    assert console.context.master.commands.commands["mcp.session"].signature_help() == "mcp.session session -> data[][]"


async def test_without_a_console_a_table_is_said_in_the_log(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        console.run("mcp.sessions")
    assert re.search(r"session +client +server", caplog.text)
    assert "7f3a9c" in caplog.text


async def test_without_flows_the_command_says_what_to_do() -> None:
    addon = McpSessions()
    with taddons.context(addon) as context:
        commands(addon).running()
        await open_session(addon, FIRST)
        with pytest.raises(exceptions.CommandError, match="mitmdump keeps no flows"):
            context.master.commands.execute("mcp.flows 7f3a")
        addon.done()
