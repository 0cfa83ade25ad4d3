# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""What the tests of several proxies have in common."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from harness.haproxy import HaProxy
from harness.redis_server import RedisServer, running
from harness.session_client import SessionClient

FAST = {"mcp_identify": "off", "mcp_end_after_stream": 1, "mcp_end_after_idle": 3}
"""Nobody is seen, so that evidence decides, and soon."""


@pytest.fixture
def client_of(started):
    async def start(url, **more):
        return await started.enter_async_context(SessionClient(url, **more))

    return start


@pytest.fixture
def redis_server():
    """One of the test's own, to be maltreated."""
    server = RedisServer("--appendonly", "yes", "--appendfsync", "always").start()
    yield server
    server.close()


@pytest.fixture
def fleet(mitmdump):
    """`one, two = await fleet(server, 2)`: proxies with a ledger of their own in Redis."""

    async def start(server, count, *, redis=None, **options):
        ledger = (redis or running()).url(prefix=f"t{secrets.token_hex(5)}")
        return [await mitmdump(server.port, options={"mcp_ledger": ledger, **options}) for _ in range(count)]

    return start


@pytest.fixture
def balanced(started):
    async def start(proxies):
        return await started.enter_async_context(HaProxy([proxy.port for proxy in proxies]))

    return start


def deletes(server):
    return [seen.session for seen in server.requests("DELETE")]


def initializes(server):
    return len(server.requests(rpc="initialize"))


async def until(true, within=10.0):
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.02)
