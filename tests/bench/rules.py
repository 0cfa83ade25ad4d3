"""What the checks cost: microseconds an exchange for the judge alone, by kind of exchange. Run by hand:

    uv run python tests/bench/rules.py

At most 100 µs are allowed; it exits with 1 beyond that.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.driver import Driver
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.session import Endpoint
from mcp_sessions.rules import Judge
from mcp_sessions.wire.headers import header_map
from mcp_sessions.wire.jsonrpc import Body
from mcp_sessions.wire.sse import Decoder, Event
from rules.transcripts import SESSION, Process

ALLOWED = 100.0
ROUNDS = 5
EXCHANGES = 2_000

AT = 1_800_000_000.0
PLACE = Endpoint("http", "mcp.example", 80, "/mcp")
USUAL = (
    (b"Accept", b"application/json, text/event-stream"),
    (b"Content-Type", b"application/json"),
    (b"User-Agent", b"python-httpx/0.28.1"),
)
IN_SESSION = (*USUAL, (b"Mcp-Session-Id", SESSION.encode()), (b"MCP-Protocol-Version", b"2025-11-25"))
MODERN = (
    *USUAL,
    (b"MCP-Protocol-Version", b"2026-07-28"),
    (b"Mcp-Method", b"tools/call"),
    (b"Mcp-Name", b"echo"),
)
JSON = ((b"Content-Type", b"application/json"),)
SSE = ((b"Content-Type", b"text/event-stream"),)
META = '"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}'


class Silent(Judge):
    """A judge that does nothing, to be measured against."""

    def request(self, x: Exchange) -> None:
        """Nothing."""

    def answer(self, x: Exchange) -> None:
        """Nothing."""

    def event(self, x: Exchange, event: Event, body: Body | None, at: float) -> None:
        """Nothing."""

    def finish(self, x: Exchange) -> None:
        """Nothing."""


class Bench(Driver):
    """A core with one open session."""

    def __init__(self, judge: type[Judge]) -> None:
        watching = judge(lambda *_: None)
        watching.later = lambda _: None  # elsewhere, and not before the request goes on
        super().__init__(observer=watching)
        self.connection = self.connect("c", Process(7), AT)
        self.number = 0
        ask = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}'
        result = b'{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}}}}'
        self.json(USUAL, ask, result, ((b"Mcp-Session-Id", SESSION.encode()),))
        self.json(IN_SESSION, b'{"jsonrpc":"2.0","method":"notifications/initialized"}', b"", status=202)

    def _asked(self, fields: tuple[tuple[bytes, bytes], ...], content: bytes) -> Exchange:
        self.number += 1
        at = AT + self.number
        headers = header_map(fields)
        return self.request("POST", str(PLACE), PLACE, headers, content, self.connection, at, str(self.number))[0]

    def json(
        self,
        fields: tuple[tuple[bytes, bytes], ...],
        content: bytes,
        answer: bytes,
        more: tuple[tuple[bytes, bytes], ...] = (),
        status: int = 200,
    ) -> None:
        x = self._asked(fields, content)
        self.head(x, status, header_map((*JSON, *more)), x.at + 0.01)
        self.answered(x, answer, x.at + 0.02)
        self.finished(x, Finish.COMPLETE, x.at + 0.02)

    def stream(self, content: bytes, events: bytes) -> None:
        x = self._asked(IN_SESSION, content)
        assert self.head(x, 200, header_map(SSE), x.at + 0.01).stream
        for event in Decoder().feed(events):
            self.event(x, event, x.at + 0.02)
        self.finished(x, Finish.COMPLETE, x.at + 0.03)

    def session_call(self, n: int) -> None:
        ask = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}}}' % n
        self.json(IN_SESSION, ask, b'{"jsonrpc":"2.0","id":%d,"result":{"content":[]}}' % n)

    def session_stream(self, n: int) -> None:
        ask = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":%d}}}' % (
            n,
            n,
        )
        progress = b'"method":"notifications/progress","params":{"progressToken":%d,"progress":1}' % n
        events = b'id: e%d\ndata: {"jsonrpc":"2.0",%b}\n\n' % (n, progress)
        self.stream(ask, events + b'id: r%d\ndata: {"jsonrpc":"2.0","id":%d,"result":{"content":[]}}\n\n' % (n, n))

    def modern_call(self, n: int) -> None:
        params = f'{{"name":"echo","arguments":{{"text":"x"}},"_meta":{{{META}}}}}'
        ask = f'{{"jsonrpc":"2.0","id":{n},"method":"tools/call","params":{params}}}'
        result = '"result":{"resultType":"complete","content":[]}'
        self.json(MODERN, ask.encode(), f'{{"jsonrpc":"2.0","id":{n},{result}}}'.encode())


def main() -> int:
    """Measure; the exit status."""
    worst = 0.0
    for name in ("session_call", "session_stream", "modern_call"):
        best = {Judge: float("inf"), Silent: float("inf")}
        for _ in range(ROUNDS):
            for judge in best:
                bench = Bench(judge)
                run = getattr(bench, name)
                # The time of this process, for other processes are no cost of the checks.
                began = time.process_time()
                for n in range(1, EXCHANGES + 1):
                    run(n)
                best[judge] = min(best[judge], (time.process_time() - began) / EXCHANGES * 1e6)
        cost = best[Judge] - best[Silent]
        print(f"{name:15} {cost:6.1f} µs of checks an exchange (the core without them: {best[Silent]:.1f} µs)")
        worst = max(worst, cost)
    print(f"worst {worst:.1f} µs, allowed {ALLOWED:.0f} µs")
    return worst > ALLOWED


if __name__ == "__main__":
    sys.exit(main())
