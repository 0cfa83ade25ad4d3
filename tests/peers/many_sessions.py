"""A client with many sessions: does to all of them what stdin says, over a few connections, and can be killed.

`open N`, `call` (one in each), `delete N` (end the first so many itself). Each answer is one line on stdout.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.client import INITIALIZE, INITIALIZED, Line, request

LINES = 4
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}}}'


class Many:
    def __init__(self, port: int, lines: Sequence[Line]) -> None:
        self.port, self.lines = port, lines
        self.sessions: list[bytes] = []

    async def ask(self, line: Line, data: bytes, expected: bytes) -> bytes:
        answer = await line.ask(data)
        assert expected in answer[:20], answer
        return answer

    async def open(self, line: Line, _: object) -> None:
        answer = await self.ask(line, request(self.port, INITIALIZE), b" 200 ")
        session = answer.lower().partition(b"mcp-session-id: ")[2].partition(b"\r\n")[0]
        await self.ask(line, request(self.port, INITIALIZED, session), b" 202 ")
        self.sessions.append(session)

    async def call(self, line: Line, session: bytes) -> None:
        await self.ask(line, request(self.port, CALL, session), b" 200 ")

    async def delete(self, line: Line, session: bytes) -> None:
        head = b"DELETE /mcp HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nmcp-session-id: %s\r\n\r\n" % (self.port, session)
        await self.ask(line, head, b" 200 ")

    async def carry_out(self, command: str, *rest: str) -> int:
        """Shared out among the connections; how many there were."""
        things: list[bytes] = (
            [b""] * int(rest[0]) if command == "open" else self.sessions[: int(rest[0]) if rest else None]
        )
        left = iter(things)

        async def some(line: Line) -> None:
            for thing in left:
                await getattr(self, command)(line, thing)

        await asyncio.gather(*(some(line) for line in self.lines))
        if command == "delete":
            del self.sessions[: len(things)]
        return len(things)


async def main() -> None:
    loop, port = asyncio.get_running_loop(), int(sys.argv[1])
    lines = [(await loop.create_connection(Line, "127.0.0.1", port))[1] for _ in range(LINES)]
    many = Many(port, lines)
    print("READY", flush=True)
    while words := (await asyncio.to_thread(sys.stdin.readline)).split():
        print(f"= {await many.carry_out(*words)}", flush=True)


asyncio.run(main())
