"""What a shared ledger costs: `uv run tests/bench/fleet.py`, half a minute; needs redis-server.

Calls a second through one proxy and through two at a time, with the ledger in Redis and bare; what 1,000 steady calls
ask of Redis; and what a recovery takes beyond one with no ledger.
"""

import asyncio
import statistics
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.client import Client
from bench.measures import NullServer, recoveries
from harness.proxy import ADDON, Mitmdump
from harness.redis_server import RedisServer

CALLS, ROUNDS, CONNECTIONS, SAMPLES = 200, 5, 4, 20


def commands(redis: RedisServer) -> int:
    """How many Redis has carried out."""
    with redis.client() as client:
        return int(client.info("stats")["total_commands_processed"])


async def rate(proxies: list[Mitmdump], stack: AsyncExitStack) -> float:
    """Calls a second through all of them together."""
    clients = [await stack.enter_async_context(Client(proxy.port, CONNECTIONS)) for proxy in proxies]
    found = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        await asyncio.gather(*(client.calls(CALLS) for client in clients))
        found.append(CALLS * len(clients) / (time.monotonic() - began))
    return statistics.median(found)


async def main() -> None:
    redis = RedisServer().start()
    shared, own = {"mcp_ledger": redis.url()}, {"mcp_ledger": "off"}
    try:
        async with NullServer() as server:
            for count in (1, 2):
                for label, script, options in (("bare", None, {}), ("shared ledger", ADDON, shared)):
                    async with AsyncExitStack() as stack:
                        proxies = [
                            await stack.enter_async_context(Mitmdump(server.port, script=script, options=options))
                            for _ in range(count)
                        ]
                        print(
                            f"{count} proxies, {label:<14} {await rate(proxies, stack):6.0f} calls a second", flush=True
                        )
            async with Mitmdump(server.port, options=shared) as proxy, Client(proxy.port, CONNECTIONS) as client:
                await client.calls(50)
                await asyncio.sleep(2)
                before, began = commands(redis), time.monotonic()
                await asyncio.sleep(5)
                idle = (commands(redis) - before - 1) / (time.monotonic() - began)
                before, began = commands(redis), time.monotonic()
                await client.calls(1000)
                asked, took = commands(redis) - before - 1, time.monotonic() - began
                print(f"1,000 steady calls in {took:.1f} s: {asked} commands at Redis; idle, {idle:.1f} a second")
            for label, options in (("no ledger", own), ("shared ledger", shared)):
                async with Mitmdump(server.port, options=options) as proxy, Client(proxy.port, CONNECTIONS) as client:
                    found = await recoveries(server, client, SAMPLES)
                    print(f"recovery, {label:<14} {statistics.median(found) * 1000:.2f} ms")
    finally:
        redis.close()


if __name__ == "__main__":
    asyncio.run(main())
