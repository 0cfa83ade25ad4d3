# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Whose a session is, through a real mitmdump: renewed credentials, and those of somebody else.

The server of these tests tells users by their token: what stands before the dash is the user, what follows changes with
each renewal. Like servers do that bind a session to its user, it answers 404 to anybody else.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from dataclasses import dataclass, field

import pytest

from harness.exchange import error
from harness.mini_mcp import MiniMcp
from harness.session_client import SessionClient

pytestmark = pytest.mark.real


@dataclass
class Users(MiniMcp):
    """Each session is its user's; `tokens` are those that are accepted, all of them if there are none."""

    tokens: set[str] = field(default_factory=set)
    users: dict[str, str] = field(default_factory=dict)
    """Of each session, also of those that are forgotten."""

    def default(self, request):
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens and token not in self.tokens:
            return error(request, -32001, "Unauthorized", 401)
        user = token.partition("-")[0]
        if request.session in self.sessions and self.users[request.session] != user:
            return self.lost(request)
        answer = super().default(request)
        if request.rpc == "initialize" and answer.status == 200:
            self.users[dict(answer.headers)["mcp-session-id"]] = user
        return answer


def bearer(token, **more):
    return {"authorization": f"Bearer {token}", **more}


async def opened(raw_client, proxy, token, **more):
    client = await raw_client(proxy.url)
    client.http.headers.update(bearer(token, **more))
    await client.handshake()
    return client


async def another(raw_client, client, token, **more):
    """A new connection that uses the session of another one."""
    made = await raw_client(client.url)
    made.http.headers.update(bearer(token, **more))
    made.session = client.session
    return made


async def says(client, text):
    return (await client.call("echo", {"text": text})).text


def executed(server):
    """The calls that were executed: user, session, text."""
    return [
        (
            request.headers["authorization"].removeprefix("Bearer ").partition("-")[0],
            request.session,
            request.params["arguments"]["text"],
        )
        for request in server.requests(rpc="tools/call")
        if request.status == 200
    ]


IDENTIFY = pytest.mark.parametrize("identify", ["on", "off"], ids=["local", "remote"])
"""With `off` no process is known, as of a client on another host: only its address, and what it sends."""


# Renewed credentials


@IDENTIFY
async def test_token_and_session_expire_overnight(identify, scripted, mitmdump, raw_client):
    """The common case: a new bearer over a new connection, for a session that the server has lost."""
    mini = Users()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_identify": identify})
    client = await opened(raw_client, proxy, "a-1")
    assert await says(client, "evening") == "evening"
    mini.forget()
    mini.tokens = {"a-2"}

    assert (await client.call("echo", {"text": "old"})).status == 401
    renewed = await another(raw_client, client, "a-2")
    answers = await asyncio.gather(*(says(renewed, f"morning {n}") for n in range(5)))

    assert answers == [f"morning {n}" for n in range(5)]
    assert [r.headers["authorization"] for r in server.requests(rpc="initialize")] == ["Bearer a-1", "Bearer a-2"]
    assert server.requests(rpc="notifications/initialized")[1].headers["authorization"] == "Bearer a-2"
    # And again, and on the same connection.
    mini.tokens = {"a-3"}
    renewed.http.headers.update(bearer("a-3"))
    assert await says(renewed, "noon") == "noon"
    assert await says(renewed, "later") == "later"
    assert len(server.requests(rpc="initialize")) == 3
    assert not proxy.logged("Bearer|a-[123]")


@IDENTIFY
async def test_a_token_that_is_renewed_while_the_session_lives(identify, scripted, mitmdump, raw_client):
    mini = Users()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_identify": identify})
    client = await opened(raw_client, proxy, "a-1")
    renewed = await another(raw_client, client, "a-2")
    assert await says(renewed, "one") == "one"
    assert len(server.requests(rpc="initialize")) == 1
    mini.forget()
    assert await says(renewed, "two") == "two"
    assert await says(renewed, "three") == "three"
    assert len(server.requests(rpc="initialize")) == 2


@IDENTIFY
async def test_what_rotates_with_every_answer(identify, scripted, mitmdump, raw_client):
    """A balancer's cookie and a DPoP proof, each call over a connection of its own."""
    mini = Users()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_identify": identify})
    client = await opened(raw_client, proxy, "a", cookie="AWSALB=0; AWSALBCORS=0", dpop="proof-0")
    mini.forget()
    for n in range(1, 4):
        rotated = await another(
            raw_client, client, "a", cookie=f"AWSALB={n}; AWSALBCORS={n}; XSRF-TOKEN={n}", dpop=f"proof-{n}"
        )
        assert await says(rotated, str(n)) == str(n)
    assert len(server.requests(rpc="initialize")) == 2
    recovered = server.requests(rpc="initialize")[1].headers
    assert (recovered["cookie"], recovered["dpop"]) == ("AWSALB=1; AWSALBCORS=1; XSRF-TOKEN=1", "proof-1")


async def test_a_process_that_comes_from_another_address(scripted, mitmdump, raw_client):
    """Its identity decides: it is waited for until it is known."""
    mini = Users()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, args=["--listen-host", "0.0.0.0"])
    client = await opened(raw_client, proxy, "a")
    mini.forget()
    assert await says(client, "here") == "here"
    other = await raw_client(proxy.url)
    other.http._transport = type(other.http._transport)(local_address="127.0.0.7")
    other.http.headers.update(bearer("a"))
    other.session = client.session
    assert await says(other, "there") == "there"
    assert len(server.requests(rpc="initialize")) == 2


async def test_a_stream_of_calls_by_processes_that_keep_the_session_in_a_file(scripted, mitmdump, started, tmp_path):
    """A script: each call its own process, with the token of the hour."""
    mini = Users()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    file = tmp_path / "session"
    first = await started.enter_async_context(SessionClient(proxy.url, file=file, token="a-1"))
    await first.open()
    assert (await first.do("call x")).startswith("200")
    mini.forget()
    second = await started.enter_async_context(SessionClient(proxy.url, file=file, token="a-2"))
    assert (await second.do("call y")).startswith("200")
    assert (await second.do("call z")).startswith("200")
    assert len(server.requests(rpc="initialize")) == 2


# Somebody else's


@IDENTIFY
@pytest.mark.parametrize("bound", [True, False], ids=["bound", "unbound"])
async def test_nobody_gets_into_the_session_of_another(bound, identify, scripted, mitmdump, raw_client):
    """Also where the server would let anybody in who knows its id: that id was never given to him."""
    mini = Users() if bound else MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_identify": identify})
    alice = await opened(raw_client, proxy, "alice-1")
    mini.forget()
    assert await says(alice, "a0") == "a0"
    bob = await another(raw_client, alice, "bob-1")

    for n in range(3):
        assert await says(bob, f"b{n}") == f"b{n}"
        assert await says(alice, f"a{n}") == f"a{n}"

    sessions = {user: {session for who, session, _ in executed(server) if who == user} for user in ("alice", "bob")}
    assert len(sessions["alice"]) == len(sessions["bob"]) == 1
    assert sessions["alice"] != sessions["bob"]
    opened_by = [request.headers["authorization"] for request in server.requests(rpc="initialize")]
    assert opened_by == ["Bearer alice-1", "Bearer alice-1", "Bearer bob-1"]


@IDENTIFY
async def test_who_comes_first_after_a_loss_takes_nobody_along(identify, scripted, mitmdump, raw_client):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_identify": identify})
    alice = await opened(raw_client, proxy, "alice-1")
    mini.forget()
    bob = await another(raw_client, alice, "bob-1")
    assert await says(bob, "b") == "b"
    assert await says(alice, "a") == "a"
    (_, of_bob, _), (_, of_alice, _) = executed(server)
    assert of_bob != of_alice


@IDENTIFY
async def test_a_living_session_stays_with_its_client(identify, scripted, mitmdump, raw_client):
    """The server refuses the other one: the session is not lost, and nobody is moved."""
    mini = Users()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_identify": identify})
    alice = await opened(raw_client, proxy, "alice-1")
    bob = await another(raw_client, alice, "bob-1")
    assert await says(bob, "b") == "b"
    assert await says(alice, "a") == "a"
    assert executed(server) == [("bob", "session-2", "b"), ("alice", "session-1", "a")]
    # What he does to that id is done to his own.
    assert (await bob.delete()).status == 200
    assert mini.ended == ["session-2"]
    assert await says(alice, "still") == "still"


async def test_who_is_not_accepted_gets_what_the_server_says(scripted, mitmdump, raw_client):
    mini = Users()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    alice = await opened(raw_client, proxy, "alice-1")
    mini.forget()
    assert await says(alice, "a") == "a"
    mini.tokens = {"alice-1"}
    mallory = await another(raw_client, alice, "mallory-1")
    assert (await mallory.call("echo", {"text": "m"})).status == 401
    mini.tokens = set()
    mini.rules.append(_refusing_mallory())
    answer = await mallory.call("echo", {"text": "m"})
    assert (answer.status, answer.error["message"]) == (404, "Session not found")
    assert await says(alice, "again") == "again"
    assert {user for user, _, _ in executed(server)} == {"alice"}


def _refusing_mallory():
    from harness.mini_mcp import Rule

    return Rule({"rpc": "initialize"}, {"status": 403, "body": "no"})


# After a restart of the proxy


@IDENTIFY
@pytest.mark.parametrize("bound", [True, False], ids=["bound", "unbound"])
async def test_a_restart_of_the_proxy_lets_nobody_in(bound, identify, scripted, mitmdump, raw_client, tmp_path):
    mini = Users() if bound else MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, confdir=tmp_path, options={"mcp_identify": identify})
    alice = await opened(raw_client, proxy, "alice-1")
    mini.forget()
    assert await says(alice, "a0") == "a0"
    bob = await another(raw_client, alice, "bob-1")
    assert await says(bob, "b0") == "b0"
    await _until_stored(tmp_path, 2)
    await proxy.kill()
    await proxy.start()

    # Each goes on with his own, and whoever comes new has nothing of theirs.
    for name in ("bob", "cecil", "alice"):
        again = await another(raw_client, alice, f"{name}-1")
        assert await says(again, name) == name

    sessions = {
        user: {session for who, session, _ in executed(server) if who == user} for user in ("alice", "bob", "cecil")
    }
    assert [len(one) for one in sessions.values()] == [1, 1, 1]
    assert len(set.union(*sessions.values())) == 3
    assert len(server.requests(rpc="initialize")) == 4
    content = b"".join(path.read_bytes() for path in tmp_path.glob("mcp-sessions.sqlite*"))
    assert b"alice-1" not in content
    assert b"bob-1" not in content


async def _until_stored(folder, count):
    def stored():
        with sqlite3.connect(folder / "mcp-sessions.sqlite") as connection:
            query = "SELECT count(*) FROM sessions WHERE credentials <> '' AND generation = 1"
            return connection.execute(query).fetchone()[0]

    async with asyncio.timeout(10):
        while stored() != count:  # noqa: ASYNC110  # a file tells nobody when it changes
            await asyncio.sleep(0.02)


# One id for everyone


class OneForAll(MiniMcp):
    """Gives the same id to everybody."""

    def _initialize(self, request):
        self.sessions.clear()
        self._numbers = itertools.count(1)
        return super()._initialize(request)


async def test_one_id_for_everyone_ends_with_the_last_client(scripted, mitmdump, started):
    mini = OneForAll()
    server = await scripted(mini)
    proxy = await mitmdump(server.port)
    one = await started.enter_async_context(SessionClient(proxy.url, token="one"))
    two = await started.enter_async_context(SessionClient(proxy.url, token="two"))
    assert await one.open() == await two.open() == "session-1"
    await two.process.kill()
    await proxy.wait_log("closed .*another client's session")
    assert (await one.do("call x")).startswith("200")
    assert not server.requests("DELETE")
    await one.process.kill()
    gone = await server.wait_for(lambda seen: seen.method == "DELETE")
    assert gone.headers["authorization"] == "Bearer one"
