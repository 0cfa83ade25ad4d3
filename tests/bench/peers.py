"""The addon beside other proxies of MCP: `uv run tests/bench/peers.py`, some minutes on an otherwise idle machine.

A small call answered by a server on the Python SDK, as JSON and as SSE, by each way in turn, one call at a time; then
the server loses the session, and the next two calls show what the client is given.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.ways import DIRECT, STREAMS, WAYS, Came, Speaker
from harness.sdk import SdkServer

BURST = 5
"""Calls that one way makes before it is the next one's turn."""
KINDS = ("JSON", "SSE")


@dataclass
class Measured:
    """One way before one server."""

    name: str
    speaker: Speaker
    seconds: list[float] = field(default_factory=list)
    lost: list[tuple[Came, Came]] = field(default_factory=list)
    """After each loss, what the first call and the next were given."""

    @property
    def typical(self) -> float:
        """Milliseconds of a call, the median."""
        return statistics.median(self.seconds) * 1000


async def measure(kind: str, wanted: list[str], rounds: int, losses: int) -> dict[str, Measured | str]:
    """Each way before a server that answers in this way; of one that can't be had, why not."""
    found: dict[str, Measured | str] = {}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SdkServer(1, json_response=kind == "JSON", record=False))
        for way in WAYS:
            if wanted and way.name not in wanted:
                continue
            try:
                found[way.name] = Measured(way.name, await way.start(stack, server.port))
            except Exception as e:  # it can't be installed here, or does not start
                found[way.name] = f"not to be had: {str(e).splitlines()[0][:100] if str(e) else type(e).__name__}"
        ways = [one for one in found.values() if isinstance(one, Measured)]
        for one in ways:
            for _ in range(2 * BURST):  # everything is imported by then
                await one.speaker.call()
        for number in range(rounds):
            for one in ways if number % 2 == 0 else reversed(ways):
                for _ in range(BURST):
                    came = await one.speaker.call()
                    if came.kind != "result":
                        raise RuntimeError(f"{one.name}: {came}")
                    one.seconds.append(came.seconds)
        for _ in range(losses):
            await server.forget()
            for one in ways:
                one.lost.append((await one.speaker.call(), await one.speaker.call()))
    return found


def print_calls(found: dict[str, dict[str, Measured | str]]) -> None:
    """A call, in milliseconds, and beyond the direct one."""
    print("\n| a small call | " + " | ".join(f"{kind} ms | beyond direct" for kind in KINDS) + " |")
    print("|---|" + "---|" * 2 * len(KINDS))
    for way in WAYS:
        cells = []
        for kind in KINDS:
            one, direct = found[kind].get(way.name), found[kind].get(DIRECT)
            if isinstance(one, Measured):
                beyond = f"{one.typical - direct.typical:+.2f}" if isinstance(direct, Measured) else ""
                cells += [f"{one.typical:.2f}", beyond]
            else:
                cells += [one or "not measured", ""]
        print(f"| {way.name} | {' | '.join(cells)} |")
    for kind in KINDS:
        ours, plain = found[kind].get("addon"), found[kind].get(STREAMS)
        if isinstance(ours, Measured) and isinstance(plain, Measured):
            print(f"\n{kind}: the addon beyond {STREAMS}: {ours.typical - plain.typical:+.2f} ms (aim: 0.3)")


def print_losses(found: dict[str, dict[str, Measured | str]]) -> None:
    """Who recovers, and what the client is given."""
    print("\n| after a lost session | the call itself | ms | the next call |\n|---|---|---|---|")
    for way in WAYS:
        lost = [pair for kind in KINDS if isinstance(one := found[kind].get(way.name), Measured) for pair in one.lost]
        if lost:
            firsts = ", ".join(dict.fromkeys(_said(first) for first, _ in lost))
            nexts = ", ".join(dict.fromkeys(_said(second) for _, second in lost))
            took = statistics.median(first.seconds for first, _ in lost) * 1000
            print(f"| {way.name} | {firsts} | {took:.1f} | {nexts} |")


def _said(came: Came) -> str:
    words = came.words.replace("|", "/").replace("\n", " ")[:60]
    return came.kind if came.kind == "result" or not words else f"{came.kind}: {words}"


async def main(options: argparse.Namespace) -> None:
    """Measure, and print."""
    found = {kind: await measure(kind, options.only, options.rounds, options.losses) for kind in KINDS}
    print_calls(found)
    print_losses(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help=f"rounds of {BURST} calls of each way")
    parser.add_argument("--losses", type=int, default=5, help="how often the server loses its sessions")
    parser.add_argument("--only", action="append", default=[], help="one of the ways, by its name; may be repeated")
    asyncio.run(main(parser.parse_args()))
