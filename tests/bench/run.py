"""What the addon costs: `uv run tests/bench/run.py`, about two minutes on an otherwise idle machine.

Mitmdumps in front of one null server: bare, with a script that only streams SSE, with the addon, one that also checks
messages by schema, and one that sends a span of each call. They take turns, so ratios hold on a noisy machine even
where the absolute figures do not.
"""

import argparse
import asyncio
import math
import statistics
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.client import Client
from bench.measures import NullServer, Round, Variant, delays, endings, recoveries, throughput
from harness.environments import PEERS
from harness.proxy import ADDON, Mitmdump

BARE, SCRIPT, ADDED, CHECKED = "bare mitmdump", "script that streams SSE", "addon", "addon with the extra schema"
TELLING = "addon with figures and spans"
SCRIPTS = {BARE: None, SCRIPT: PEERS / "stream_sse.py", ADDED: ADDON, CHECKED: ADDON, TELLING: ADDON}
WITHOUT = {"mcp_silence": "MCP111,MCP207"}
"""What the extra `schema` is for is not judged."""
CONNECTIONS = 4
"""Kept connections of a client, each with one call under way."""
STREAMS, EVENTS, INTERVAL = 5, 100, 0.005
"""Streams after each start, the events of each, and the seconds between them."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratio(these: Sequence[float], those: Sequence[float]) -> str:
    """The median of the rounds' ratios, and how far the middle half of them spreads."""
    ratios = [this / that for this, that in zip(these, those, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f}  ({low:.3f} to {high:.3f})"


def line(label: str, value: str, aim: str = "") -> None:
    print(f"  {label:<46} {value:<28} {f'aim: {aim}' if aim else ''}".rstrip(), flush=True)


def milliseconds(values: Sequence[float]) -> str:
    middle, most = statistics.median(values) * 1000, percentile(values, 0.95) * 1000
    return f"{middle:.2f} ms (p95 {most:.2f} ms)"


def print_throughput(rounds: dict[str, list[Round]]) -> None:
    print(f"\nSmall POSTs (tools/call in a session, {CONNECTIONS} kept connections), {len(rounds[BARE])} rounds each")
    rates = {name: [one.rate for one in found] for name, found in rounds.items()}
    cpu = {name: [one.cpu for one in found] for name, found in rounds.items()}
    for name in SCRIPTS:
        used = statistics.median(cpu[name]) * 1000
        line(name, f"{statistics.median(rates[name]):.0f} a second, {used:.3f} ms of processor time each")
    line("throughput: script / bare", ratio(rates[SCRIPT], rates[BARE]))
    line("throughput: addon / bare", ratio(rates[ADDED], rates[BARE]), "0.95")
    line("throughput: addon with the extra schema / bare", ratio(rates[CHECKED], rates[BARE]))
    line("throughput: addon / script", ratio(rates[ADDED], rates[SCRIPT]))
    line("processor time: bare / addon", ratio(cpu[BARE], cpu[ADDED]))
    line(f"processor time: bare / {TELLING}", ratio(cpu[BARE], cpu[TELLING]), "0.93")
    line("processor time: addon / the same", ratio(cpu[ADDED], cpu[TELLING]))
    beside = statistics.median(one.beside for one in rounds[TELLING]) * 1000
    line("beside it, in the process that sends spans", f"{beside:.3f} ms a call")
    costs = [(ours - bare) * 1000 for ours, bare in zip(cpu[ADDED], cpu[BARE], strict=True)]
    line("processor time that the addon adds", f"{statistics.median(costs):.3f} ms a call")


def print_delays(late: dict[str, list[float]]) -> None:
    print(f"\nDelay of an SSE event, {len(late[SCRIPT])} streams of {EVENTS} events each")
    for name in (SCRIPT, ADDED):
        line(name, f"{statistics.median(late[name]) * 1000:.3f} ms")
    beyond = [ours - script for ours, script in zip(late[ADDED], late[SCRIPT], strict=True)]
    line("beyond the script", f"{statistics.median(beyond) * 1000:.3f} ms", "1 ms")


async def start_all(stack: AsyncExitStack, server: NullServer) -> list[Variant]:
    variants = []
    told = {"mcp_metrics": "127.0.0.1:0", "mcp_otel": f"http://127.0.0.1:{server.port}"}
    options = {ADDED: WITHOUT, TELLING: WITHOUT | told}
    for name, script in SCRIPTS.items():
        proxy = await stack.enter_async_context(Mitmdump(server.port, script=script, options=options.get(name, {})))
        variants.append(Variant(name, proxy, await stack.enter_async_context(Client(proxy.port, CONNECTIONS))))
    return variants


async def main(options: argparse.Namespace) -> None:
    rounds: dict[str, list[Round]] = {name: [] for name in SCRIPTS}
    late: dict[str, list[float]] = {name: [] for name in SCRIPTS}
    async with NullServer() as server:
        # Two processes of one program differ by a few percent for as long as they run: several of each are measured.
        for _ in range(options.starts):
            async with AsyncExitStack() as stack:
                variants = await start_all(stack, server)
                for name, done in (await throughput(variants, options.rounds, options.calls)).items():
                    rounds[name] += done
                for name, seconds in (await delays(variants[1:3], STREAMS, EVENTS, INTERVAL)).items():
                    late[name] += seconds
        print_throughput(rounds)
        print_delays(late)
        async with Mitmdump(server.port) as proxy, Client(proxy.port, CONNECTIONS) as client:
            print(f"\nWhat a recovery adds to a call, beyond the server's own time ({options.samples} recoveries)")
            line("recovery", milliseconds(await recoveries(server, client, options.samples)), "15 ms")
            print(f"\nSIGKILL of a client to DELETE at the server ({options.samples} clients of each kind)")
            for label, stream in (("client with an open GET stream", True), ("client without any connection", False)):
                found = await endings(server, proxy.port, options.samples, stream=stream)
                line(label, milliseconds(found), "p95 250 ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=3, help="how often the three mitmdumps are started anew")
    parser.add_argument("--rounds", type=int, default=25, help="rounds of each after each start")
    parser.add_argument(
        "--calls", type=int, default=100, help="calls in a round; short rounds share out bursts of other load"
    )
    parser.add_argument("--samples", type=int, default=20, help="recoveries, and clients killed")
    asyncio.run(main(parser.parse_args()))
