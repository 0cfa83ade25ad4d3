"""After a recovery: answers to what went out before it."""

import asyncio

import pytest

from conftest import StartBetween, StartScripted
from harness.exchange import Answer, Request
from harness.mini_mcp import MiniMcp

pytestmark = pytest.mark.real

both_https = pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])


# A slow answer of an older generation


@both_https
@pytest.mark.parametrize("kind", ["json", "sse", "error"])
async def test_a_late_answer_shows_no_id_of_the_servers(
    kind: str, http2: bool, scripted: StartScripted, between_tls: StartBetween
) -> None:
    mini = MiniMcp(stream=kind == "sse")
    let_go = asyncio.Event()

    async def handler(request: Request) -> Answer:
        answer = mini(request)  # while the session is known still
        if b'"slow"' in request.body:
            await let_go.wait()
            if kind == "error":
                answer.status = 500
        return answer

    server = await scripted(handler, tls=True, http2=http2)
    _, client = await between_tls(server, "reverse", http2=http2)
    await client.handshake()
    known = client.session
    mini.forget()
    assert (await client.call("echo", {"text": "x"})).text == "x"

    slow = asyncio.create_task(client.call("echo", {"text": "slow"}))
    await server.wait_for(lambda request: b'"slow"' in request.body)
    mini.forget()
    assert (await client.call("echo", {"text": "y"})).text == "y"
    assert len(server.requests(rpc="initialize")) == 3
    let_go.set()

    answer = await slow
    assert answer.status == (500 if kind == "error" else 200)
    assert answer.session == known
