"""What other proxies hold, in the tables and on the page."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mitmproxy import exceptions
from mitmproxy.addons import view
from mitmproxy.test import taddons

from harness.redis_server import running
from mcp_sessions.addon import McpSessions
from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.core import Core
from mcp_sessions.core.policy import Policy
from mcp_sessions.core.reporter import Reporter
from mcp_sessions.store.redis import Address, RedisStore
from mcp_sessions.store.redis.overview import Lookout
from mcp_sessions.store.rows import row_of
from mcp_sessions.views import elsewhere
from mcp_sessions.views.commands import Commands
from store.backends import a_proxy
from store.samples import PLACE, a_session

from .flows import open_session

HERE = "7f3a9c1e5b2d4680aa"
THERE = "abcdef0123456789ab"
HOSTILE = "\x1b[31m<b>evil</b>" + "x" * 200


class Fleet:
    """A proxy with the addon, of which nothing listens, and another one that holds a session."""

    def __init__(self, addon: McpSessions, context: Any, other: RedisStore, lookout: Lookout) -> None:
        self.addon, self.context, self.other, self.lookout = addon, context, other, lookout

    def run(self, line: str) -> Any:
        return self.context.master.commands.execute(line)

    async def looked(self, line: str, caplog: pytest.LogCaptureFixture) -> str:
        """What a command says once the others were looked up."""
        self.run(line)
        task = next(one for one in self.addon.views if isinstance(one, Commands))._looking
        assert task is not None
        before = len(caplog.messages)
        await task
        return "\n".join(caplog.messages[before:])

    async def holds(self, session_id: str, name: str = "agent") -> None:
        owner = Client(ClientKey(pid=4711, started=1.0), name, "127.0.0.1", 0, 0, pid=4711, started=1.0)
        parameters = json.dumps({"clientInfo": {"name": name, "version": "1"}}).encode()
        session = a_session(session_id, owners=(owner,), parameters=parameters)
        await self.other.write([row_of(session, PLACE)])

    @property
    def there(self) -> str:
        return self.lookout.latest.members[self.other.proxy.id].name


@pytest_asyncio.fixture
async def fleet(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Fleet]:
    caplog.set_level(logging.INFO)
    address = Address.parse(running().url(prefix=f"t{secrets.token_hex(5)}"))
    mine, other = RedisStore(address, a_proxy()), RedisStore(address, a_proxy())
    for store in (mine, other):
        await store.open()
    addon = McpSessions()
    lookout = Lookout(addon.core, mine)
    addon.shown.lookout = lambda: lookout
    with taddons.context(view.View(), addon) as context:
        for one in addon.views:
            if isinstance(one, Commands):
                one.running()
        made = Fleet(addon, context, other, lookout)
        flow = await open_session(addon, HERE, "client")
        context.master.addons.get("view").add([flow])
        await made.holds(THERE)
        yield made
        for one in addon.views:
            one.done()
        addon.done()
    for store in (mine, other):
        await store.close()
    await lookout._ask.close()


async def test_sessions_of_all_are_listed_with_who_holds_them(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    said = await fleet.looked("mcp.sessions", caplog)
    assert [line.split()[1] for line in said.split("\n")] == ["session", "abcdef", "7f3a9c"]
    rows = fleet.run("mcp.sessions")
    assert rows[0] == ["session", "client", "server", "held by"]
    assert [(row[0].split()[0], row[1], row[3]) for row in rows[1:]] == [
        ("abcdef", "agent[4711]", fleet.there),
        ("7f3a9c", "127.0.0.1", "here"),
    ]
    assert THERE not in str(rows)
    assert max(len(row) for row in rows) <= 4  # what 80 columns have room for


async def test_a_session_of_another_proxy_is_shown_and_left_to_it(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    said = await fleet.looked("mcp.session abcdef", caplog)
    assert f"held by    {fleet.there}" in said
    assert "agent[4711]" in said
    assert THERE not in said
    with pytest.raises(exceptions.CommandError, match=r"^session abcdef is held by \S+\[\d+\]$"):
        fleet.run("mcp.end abcdef")
    assert ["held by", "here", ""] in fleet.run("mcp.session 7f3a9c")
    assert "no session is named 'nobody'" in await fleet.looked("mcp.session nobody", caplog)
    names = elsewhere.named(fleet.lookout.latest, THERE[:9])
    assert [elsewhere.label(one) for one in names] == ["abcdef"]


async def test_clients_and_proxies(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    await fleet.looked("mcp.clients", caplog)
    rows = fleet.run("mcp.clients")
    assert rows[1][:3] == ["agent[4711]", "agent 1", "1, 1 open"]
    assert rows[1][3].startswith(f"at {fleet.there} ")
    proxies = fleet.run("mcp.fleet")
    assert [(row[0] == fleet.there, row[1] == "here", row[2]) for row in proxies[1:]] == [
        (proxies[1][0] == fleet.there, True, "0 sessions"),
        (True, False, "1 session"),
    ]


async def test_what_comes_from_the_wire_is_bounded_and_printable(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    await fleet.holds("hostile-0123456789abcdef", HOSTILE)
    await fleet.lookout.look()
    rows = fleet.run("mcp.sessions")
    assert "\x1b" not in str(rows)
    assert max(len(cell) for row in rows for cell in row) < 120
    told = elsewhere.page(fleet.lookout.latest)
    json.dumps(told)
    assert "hostile-0123456789abcdef" not in str(told)
    assert {one["n"] < 0 and one["client"] < 0 for one in told["sessions"]} == {True}


async def test_numbers_on_the_page_stay(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_sessions.store.redis.overview.FRESH", 0.0)
    one, two = elsewhere.page(await fleet.lookout.look()), elsewhere.page(await fleet.lookout.look())
    assert [each["n"] for each in one["sessions"]] == [each["n"] for each in two["sessions"]]
    assert [each["holder"] for each in one["sessions"]] == [fleet.there]
    assert [(each["here"], each["dead"]) for each in one["members"]] == [(True, False), (False, False)]


async def test_without_a_shared_ledger_nothing_is_said_of_it(fleet: Fleet) -> None:
    fleet.addon.shown.lookout = lambda: None
    assert fleet.run("mcp.sessions")[0] == ["session", "client", "server"]
    with pytest.raises(exceptions.CommandError, match="the ledger is not shared"):
        fleet.run("mcp.fleet")
    with pytest.raises(exceptions.CommandError, match="no session is named 'abcdef'"):
        fleet.run("mcp.session abcdef")


async def test_an_export_says_which_proxy_recorded_it(fleet: Fleet, tmp_path: Path) -> None:
    await fleet.addon.shown.export(list(fleet.context.master.addons.get("view")), str(tmp_path / "x.zip"))
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        report, issue = archive.read("report.md").decode(), archive.read("issue.md").decode()
    me = fleet.lookout.latest.members[fleet.lookout.latest.me].name
    line = f"{me} of 2 proxies that share a ledger; what passed through another one is not in it"
    assert f"| proxy | `{line}` |" in report
    assert f"proxy {line}" in issue


def test_who_looks_before_the_ledger_is_open_waits_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_sessions.store.redis.overview.PATIENCE", 0.1)
    store = RedisStore(Address.parse("redis://127.0.0.1:1/0?prefix=x"))
    overview = asyncio.run(Lookout(Core(Policy(), Reporter(lambda _: None)), store).look())
    assert overview.problem == "redis://127.0.0.1:1/0 is not shared yet"
