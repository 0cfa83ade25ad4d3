"""What many sessions cost: memory of a session, processor time of an opening and of an exchange, at 10 to 100,000.

    uv run python tests/bench/scale.py

takes about two minutes on two idle cores, and exits with 1 if an aim is missed. The core is driven without a proxy,
with the judge looking on; checks by schema are left out, for they are made elsewhere. Every table is filled in a
process of its own: once by one client that opens all sessions, once by as many processes of this host as there are
sessions, each with a connection of its own, and once by as many clients elsewhere, each with credentials of its own.

    memory     the resident memory of the process after a collection of garbage, less that before the first session,
               by session. A session comes with its client and its connection, where it has any of its own
    opening    `initialize` answered with an id, and `notifications/initialized`
    exchange   `tools/call`, three in a row in each of some sessions that are chosen at random
    pause      the longest full collection of garbage, by which all traffic is held up; it is in neither column before,
               for it comes once in thousands of openings

    uv run python tests/bench/scale.py --where process

prints by type and by line of code what the memory of 20,000 sessions is made of.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import itertools
import json
import linecache
import os
import random
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from core.driver import Driver, FakeProcess
from mcp_sessions.core.client import Connection
from mcp_sessions.core.exchange import Finish
from mcp_sessions.core.session import Endpoint
from mcp_sessions.wire.headers import Fields, header_map

type Clients = Literal["one", "process", "elsewhere"]
KINDS: tuple[Clients, ...] = get_args(Clients.__value__)
CALLED = {
    "one": "One client opens all sessions, over one connection",
    "process": "Each session has a process of this host, with a connection of its own",
    "elsewhere": "Each session has a client elsewhere, with a connection and credentials of its own",
}

SIZES = (10, 1_000, 10_000, 100_000)
MEMORY_AIM = 4 * 1024
"""Bytes of a session, at the largest size."""
FLAT = 2.0
"""How many times the least cost at any size the greatest may be."""

SAMPLE = 1_000
"""Openings, and sessions called in, that are measured at each size."""
BATCH = 50
CALLS = 3
WARM_UP = 1_000
"""Sessions that are opened and forgotten before anything is measured: what is kept once is no session's."""
LOOKED_INTO = 20_000
"""Sessions whose memory is looked into."""
LINES = 30

BEGINNING = 1_800_000_000.0
ENDPOINT = Endpoint("http", "127.0.0.1", 8000, "/mcp")
URL = str(ENDPOINT)

# What SDKs send and answer.
CAN = '{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true}}'
PARAMS = f'{{"protocolVersion":"2025-11-25","capabilities":{CAN},"clientInfo":{{"name":"mcp","version":"0.1.0"}}}}'
OFFERS = '{"experimental":{},"prompts":{"listChanged":false},"resources":{"subscribe":false,"listChanged":false}'
RESULT = (
    f'{{"protocolVersion":"2025-11-25","capabilities":{OFFERS},"tools":{{"listChanged":false}}}},'
    '"serverInfo":{"name":"everything","version":"1.30.0"}}'
)
INITIALIZE = f'{{"method":"initialize","params":{PARAMS},"jsonrpc":"2.0","id":0}}'.encode()
INITIALIZE_RESULT = f'{{"jsonrpc":"2.0","id":0,"result":{RESULT}}}'.encode()
INITIALIZED = b'{"method":"notifications/initialized","jsonrpc":"2.0"}'
CALL = (
    b'{"method":"tools/call","params":{"name":"search_3","arguments":{"query":"all of it","limit":3}},'
    b'"jsonrpc":"2.0","id":NUMBER}'
)
CALL_RESULT = (
    b'{"jsonrpc":"2.0","id":NUMBER,"result":{"content":[{"type":"text","text":"found"}],'
    b'"structuredContent":{"result":"found"},"isError":false}}'
)
FIRST_CALL = 2
"""Request id of the first call in a session."""
LIST = b'{"method":"tools/list","jsonrpc":"2.0","id":1}'


def _tool(number: int) -> dict[str, Any]:
    asked = {
        "query": {"title": "Query", "type": "string"},
        "limit": {"default": 10, "title": "Limit", "type": "integer"},
    }
    given = {"result": {"title": "Result", "type": "string"}}
    return {
        "name": f"search_{number}",
        "description": f"Search collection {number} and give back what was found, the best first.",
        "inputSchema": {"properties": asked, "required": ["query"], "title": "searchArguments", "type": "object"},
        "outputSchema": {"properties": given, "required": ["result"], "title": "searchOutput", "type": "object"},
    }


TOOLS = json.dumps([_tool(number) for number in range(10)], separators=(",", ":"))
LIST_RESULT = f'{{"jsonrpc":"2.0","id":1,"result":{{"tools":{TOOLS}}}}}'.encode()


@lru_cache(maxsize=4)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


_numbers = itertools.count()


class Traffic:
    """Sessions by their number, of which nothing is kept here: what remains in memory is the core's and the judge's."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.driver = Driver()
        self.driver.judge.later = lambda _: None  # elsewhere, and not before the request goes on
        self.driver.reporter.sink = lambda _: None  # the driver keeps what it is told, for tests to look at
        self.now = BEGINNING
        self.count = 0
        self._salt = b"%d" % next(_numbers)
        self._called: dict[int, int] = {}
        """Request id of the next call in those sessions that were called in again."""

    def grow(self, count: int) -> None:
        """Open sessions, and use each, until there are so many."""
        while self.count < count:
            self.open()
            self.use(self.count - 1)

    def open(self) -> None:
        """Open one session more."""
        number = self.count
        self.count += 1
        session_id = self._id(number)
        self._exchange(number, None, INITIALIZE, INITIALIZE_RESULT, assigned=session_id)
        self._exchange(number, session_id, INITIALIZED, b"", status=202)
        self._settle()

    def use(self, number: int) -> None:
        """What a client does first in its new session."""
        self._exchange(number, self._id(number), LIST, LIST_RESULT)
        self.call(number, FIRST_CALL)

    def call(self, number: int, request_id: int) -> None:
        """Some calls in a session, from this request id on."""
        session_id = self._id(number)
        for one in range(request_id, request_id + CALLS):
            ask = CALL.replace(b"NUMBER", b"%d" % one)
            self._exchange(number, session_id, ask, CALL_RESULT.replace(b"NUMBER", b"%d" % one))
        self._settle()

    def call_on(self, number: int) -> None:
        """Some calls more in a session. Request ids go on from the last one, as those of whoever counts do."""
        request_id = self._called.get(number, FIRST_CALL + CALLS)
        self._called[number] = request_id + CALLS
        self.call(number, request_id)

    def _settle(self) -> None:
        """What a shell does besides: timers that are due, and the sessions that were used are written to the store."""
        self.driver.pass_time(self.now, self.now)
        self.driver.core.ledger.touched.clear()

    def _id(self, number: int) -> bytes:
        return hashlib.blake2b(b"%d" % number, digest_size=16, salt=self._salt).hexdigest().encode()

    def _exchange(
        self,
        number: int,
        session_id: bytes | None,
        content: bytes,
        answer: bytes,
        *,
        status: int = 200,
        assigned: bytes | None = None,
    ) -> None:
        self.now = at = self.now + 0.001
        asking = header_map(self._asking(number, session_id, len(content)))
        x, _ = self.driver.request("POST", URL, ENDPOINT, asking, content, self._connection(number), at, f"{at:.3f}")
        self.driver.head(x, status, header_map(self._answering(len(answer), assigned)), at)
        self.driver.answered(x, answer, at)
        self.driver.finished(x, Finish.COMPLETE, at)

    def _connection(self, number: int) -> Connection:
        mine = 0 if self.clients == "one" else number
        name = f"{mine:032x}"
        found = self.driver.core.ledger.connections.get(name)
        if found is not None:
            return found
        # Ports may come again after a while; a process or an address that does so is another client.
        host, port = "127.0.0.1", 1_024 + mine % 60_000
        if self.clients == "elsewhere":
            host = f"10.{mine >> 16 & 255}.{mine >> 8 & 255}.{mine & 255}"
        process = FakeProcess(10_000 + mine, name="python3") if self.clients != "elsewhere" else None
        return self.driver.connect(name, process, self.now, peer=(host, port))

    def _asking(self, number: int, session_id: bytes | None, length: int) -> Fields:
        mine = 0 if self.clients == "one" else number
        secret = b"Bearer the-same-for-all-" if self.clients != "elsewhere" else b"Bearer %024d" % mine
        general = (
            (b"host", b"127.0.0.1:8000"),
            (b"accept", b"application/json, text/event-stream"),
            (b"accept-encoding", b"gzip, deflate"),
            (b"connection", b"keep-alive"),
            (b"user-agent", b"python-httpx/0.28.1"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % length),
            (b"authorization", secret),
        )
        if session_id is None:
            return general
        return (*general, (b"mcp-session-id", session_id), (b"mcp-protocol-version", b"2025-11-25"))

    def _answering(self, length: int, assigned: bytes | None) -> Fields:
        general = (
            (b"date", _date(int(self.now))),
            (b"server", b"uvicorn"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % length),
        )
        return general if assigned is None else (*general, (b"mcp-session-id", assigned))


@dataclass(frozen=True)
class Figures:
    """What was measured at one size: bytes, microseconds, and of the longest pause milliseconds."""

    size: int
    memory: float
    opening: float
    exchange: float
    pause: float


class Collections:
    """Times the full collections of garbage, during which all traffic stands still."""

    def __init__(self) -> None:
        self.seconds = self.longest = 0.0
        self._began = 0.0
        gc.callbacks.append(self._told)

    def _told(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] < 2:
            return
        if phase == "start":
            self._began = time.process_time()
            return
        took = time.process_time() - self._began
        self.seconds += took
        self.longest = max(self.longest, took)


class Clock:
    """Processor time of this process, less that of full collections: what other processes take is no cost of ours."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections
        self._began = 0.0
        self._batches: list[float] = []

    def now(self) -> float:
        """Seconds."""
        return time.process_time() - self._collections.seconds

    @contextmanager
    def batch(self, count: int) -> Iterator[None]:
        """Time so many of something. One by one they could not be timed: to ask for the time may cost as much."""
        began = self.now()
        yield
        self._batches.append((self.now() - began) / count)

    def each(self) -> float:
        """Microseconds of one, since this was asked last: the median of batches, which bursts of other load spare."""
        taken, self._batches = self._batches, []
        return statistics.median(taken) * 1e6


def resident() -> int:
    """Bytes of memory that this process has, once garbage is collected."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def measure(clients: Clients, sizes: Sequence[int]) -> list[Figures]:
    """Let one table grow from size to size."""
    warm = Traffic(clients)
    warm.grow(WARM_UP)
    del warm
    before = resident()
    chosen = random.Random(1)
    collections = Collections()
    clock = Clock(collections)
    traffic = Traffic(clients)
    measured = []
    for size in sizes:
        collections.longest = 0.0
        # What is too small for a sample is filled several times.
        for number in range(max(1, SAMPLE // size)):
            filled = traffic if number == 0 else Traffic(clients)
            filled.grow(size - min(size, SAMPLE))
            while filled.count < size:
                _open(filled, min(BATCH, size - filled.count), clock)
        opening = clock.each()
        for _ in range(0, SAMPLE, BATCH):
            numbers = [chosen.randrange(size) for _ in range(BATCH)]
            with clock.batch(BATCH * CALLS):
                for number in numbers:
                    traffic.call_on(number)
        exchange, longest = clock.each(), collections.longest
        measured.append(Figures(size, (resident() - before) / size, opening, exchange, longest * 1e3))
    return measured


def _open(traffic: Traffic, count: int, clock: Clock) -> None:
    first = traffic.count
    with clock.batch(count):
        for _ in range(count):
            traffic.open()
    for number in range(first, first + count):
        traffic.use(number)


def look_into(clients: Clients) -> None:
    """Print what the memory of a session is made of."""
    warm = Traffic(clients)
    warm.grow(WARM_UP)
    del warm
    types_before = _types()
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    traffic = Traffic(clients)
    traffic.grow(LOOKED_INTO)
    types = _types()
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    found = [one for one in after.compare_to(before, "lineno") if one.size_diff > 0]
    total = sum(one.size_diff for one in found) / LOOKED_INTO
    print(f"{CALLED[clients]}: {total:.0f} bytes a session, by the line that asked for them")
    for one in found[:LINES]:
        frame = one.traceback[0]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        line(place, f"{one.size_diff / LOOKED_INTO:7.1f}  in {one.count_diff / LOOKED_INTO:.2f}", _source(frame))
    print("\nObjects that the collector walks, by type: how many a session, and bytes without what they refer to")
    for name, (count, size) in sorted(types.items(), key=lambda item: -item[1][1])[:LINES]:
        count_before, size_before = types_before.get(name, (0, 0))
        if count - count_before > LOOKED_INTO / 20:
            each = (size - size_before) / LOOKED_INTO
            line(name, f"{each:7.1f}  in {(count - count_before) / LOOKED_INTO:.2f}")
    assert traffic.count == LOOKED_INTO


def _types() -> dict[str, tuple[int, int]]:
    counted: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    gc.collect()
    for one in gc.get_objects():
        name = type(one).__qualname__
        counted[name] += 1
        sizes[name] += sys.getsizeof(one)
    return {name: (counted[name], sizes[name]) for name in counted}


def _source(frame: tracemalloc.Frame) -> str:
    return linecache.getline(frame.filename, frame.lineno).strip()[:60]


def line(label: str, value: str, more: str = "") -> None:
    print(f"  {label:<24} {value:<20} {more}".rstrip(), flush=True)


def show(clients: Clients, measured: list[Figures]) -> bool:
    """Print what was measured; whether all aims are met."""
    print(f"\n{CALLED[clients]}")
    print(f"  {'sessions':>8} {'memory':>9} {'opening':>9} {'exchange':>9} {'pause':>9}")
    for one in measured:
        # Of few sessions the memory can't be told from that of a page here and there.
        memory = f"{one.memory / 1024:.2f} KiB" if one.size >= 10_000 else "-"
        print(
            f"  {one.size:>8,} {memory:>9} {one.opening:>6.0f} µs {one.exchange:>6.0f} µs {one.pause:>6.0f} ms",
            flush=True,
        )
    last = measured[-1]
    opening, exchange = spread([one.opening for one in measured]), spread([one.exchange for one in measured])
    print(f"  {last.memory / 1024:.2f} KiB a session at {last.size:,}, aim: {MEMORY_AIM / 1024:g} KiB")
    print(f"  dearest size / cheapest: opening {opening:.2f}, exchange {exchange:.2f}, aim: {FLAT:g}", flush=True)
    return last.memory <= MEMORY_AIM and opening <= FLAT and exchange <= FLAT


def spread(costs: list[float]) -> float:
    """How many times the least the greatest is."""
    return max(costs) / min(costs)


def main(options: argparse.Namespace) -> int:
    """Measure, each in a process of its own; the exit status."""
    if options.where:
        look_into(options.where)
        return 0
    if options.only:
        print(json.dumps([asdict(one) for one in measure(options.only, options.sizes)]))
        return 0

    def elsewhere(clients: Clients) -> list[Figures]:
        command = [sys.executable, __file__, "--only", clients, "--sizes", *map(str, options.sizes)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        return [Figures(**one) for one in json.loads(told)]

    good = True
    with ThreadPoolExecutor(os.cpu_count()) as several:
        for clients, measured in zip(KINDS, several.map(elsewhere, KINDS), strict=True):
            good &= show(clients, measured)
    print("\nall aims are met" if good else "\nan aim is missed")
    return 0 if good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of sessions, rising")
    parser.add_argument("--where", choices=KINDS, help="print what the memory is made of, with clients of this kind")
    parser.add_argument("--only", choices=KINDS, help="measure with clients of this kind alone, and print JSON")
    sys.exit(main(parser.parse_args()))
