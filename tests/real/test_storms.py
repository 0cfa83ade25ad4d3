"""A server that restarts under many sessions of one address: all are brought back, some at a time."""

import asyncio
from collections import Counter

import pytest

from conftest import StartProxy, StartRaw, StartScripted
from harness.exchange import Answer, Request, json_answer
from harness.mini_mcp import MiniMcp
from harness.raw import RawAnswer, RawClient

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow_turns("Python looks through what 200 connections at once are made of for garbage: 30 to 75 ms"),
]

SESSIONS = 200


async def sessions_of(client: RawClient, count: int = SESSIONS) -> list[str]:
    """The ids of so many sessions of one client."""
    found = []
    for _ in range(count):
        await client.handshake()
        assert client.session is not None
        found.append(client.session)
    return found


async def call_all(client: RawClient, sessions: list[str]) -> list[RawAnswer]:
    """A call in each session, all at once."""
    return await asyncio.gather(*(client.call("echo", {"text": one}, session=one) for one in sessions))


@pytest.mark.parametrize("identify", ["on", "off"])
async def test_every_session_of_a_gateway_is_brought_back(
    identify: str, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_identify": identify})
    client = await raw_client(proxy.url, timeout=40)
    sessions = await sessions_of(client)
    await server.stop()
    mini.forget()
    await server.start()

    under_way, most = 0, 0

    async def slowly(request: Request) -> Answer:
        nonlocal under_way, most
        if request.rpc == "initialize":
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.1)
            under_way -= 1
        return mini(request)

    server.handler = slowly
    answers = await call_all(client, sessions)

    assert Counter(answer.status for answer in answers) == {200: SESSIONS}
    assert [answer.text for answer in answers] == sessions
    assert len(server.requests(rpc="initialize")) == 2 * SESSIONS
    assert most <= 64, "not all at once"
    assert len(proxy.logged(r"recovered .* in [0-9.]+ s")) == SESSIONS


async def test_a_server_that_knows_nobody_is_not_hammered(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    """A page in the server's place: handshakes become few, and everybody has the server's answer in time."""
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_recover_timeout": 5})
    client = await raw_client(proxy.url, timeout=40)
    sessions = await sessions_of(client)
    server.handler = lambda _: Answer(404, {"content-type": "text/html"}, b"<html>deploying</html>")

    before = len(server.requests(rpc="initialize"))
    answers = await call_all(client, sessions)

    assert {(answer.status, answer.body) for answer in answers} == {(404, b"<html>deploying</html>")}
    assert max(answer.ended_at - answer.began for answer in answers) < 12  # 5, and what a busy machine takes
    assert len(server.requests(rpc="initialize")) - before <= 20

    server.handler = mini
    mini.forget()
    answers = await call_all(client, sessions)
    assert Counter(answer.status for answer in answers) == {200: SESSIONS}


async def test_a_server_that_loses_every_new_session_is_not_hammered(
    scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw
) -> None:
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_recover_timeout": 5})
    client = await raw_client(proxy.url, timeout=40)
    sessions = await sessions_of(client)

    def forgetful(request: Request) -> Answer:
        if request.rpc in ("initialize", "notifications/initialized"):
            return mini(request)
        return json_answer(
            {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}, 404
        )

    server.handler = forgetful
    before = len(server.requests(rpc="initialize"))
    answers = await call_all(client, sessions)

    assert {answer.status for answer in answers} == {404}
    assert len(server.requests(rpc="initialize")) - before <= 40
