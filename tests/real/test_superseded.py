# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""What a living client has left behind is ended where the user wants it, and brought back if it is used after all."""

from __future__ import annotations

import asyncio

import pytest

from harness.mini_mcp import MiniMcp
from harness.session_client import SessionClient

pytestmark = pytest.mark.real

WANTED = {"mcp_end_superseded": "on", "mcp_end_after_superseded": 2}


@pytest.fixture
def client_of(started):
    async def start(url, **more):
        return await started.enter_async_context(SessionClient(url, **more))

    return start


@pytest.mark.parametrize("seen", ["on", "off"])
async def test_a_client_that_opens_many_and_uses_few(seen, scripted, mitmdump, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options=WANTED | {"mcp_identify": seen})
    client, other = await client_of(proxy.url, token="one"), await client_of(proxy.url, token="two")
    alone = await other.open()
    listening = await client.open()
    await client.do("stream")
    opened = (await client.do("many 40")).split()
    used, latest = opened[3], opened[-1]
    for _ in range(12):
        await client.do(f"use {used}")
        assert (await client.do("call x")).startswith("200")
        await asyncio.sleep(0.5)
    await server.wait_for(lambda seen: seen.method == "DELETE", count=38, within=20)
    await asyncio.sleep(1)
    assert set(mini.ended) == set(opened) - {used, latest}
    assert set(mini.sessions) == {used, latest, alone, listening}
    assert len(mini.ended) == 38
    # Used after all, as the client knows it.
    before = len(server.requests(rpc="initialize"))
    await client.do(f"use {opened[7]}")
    assert (await client.do("call again")).startswith("200")
    assert len(server.requests(rpc="initialize")) == before + 1
    await proxy.wait_log("recovered|brought back", 10)


async def test_nothing_is_ended_of_a_living_client_unless_that_is_wanted(scripted, mitmdump, client_of):
    mini = MiniMcp()
    server = await scripted(mini)
    proxy = await mitmdump(server.port, options={"mcp_end_after_superseded": 1})
    client = await client_of(proxy.url)
    await client.do("many 5")
    await asyncio.sleep(4)
    assert not mini.ended
    assert not proxy.logged("closed")
