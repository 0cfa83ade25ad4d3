"""The scripted server as a process: behaviour from a JSON file, requests as JSON lines on stdout."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.exchange import Answer, Request
from harness.mini_mcp import MiniMcp
from harness.scripted import ScriptedServer


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rules", type=Path, nargs="?", help="fields of MiniMcp as JSON")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--http2", action="store_true")
    parser.add_argument("--quiet", action="store_true", help="no line per request")
    options = parser.parse_args()
    rules = await asyncio.to_thread(options.rules.read_text) if options.rules else "{}"
    mini = MiniMcp.of(json.loads(rules))

    def handler(request: Request) -> Answer:
        if not options.quiet:
            seen = {"at": request.at, "method": request.method, "path": request.path, "session": request.session}
            print(json.dumps(seen | {"headers": request.headers, "body": request.json}), flush=True)
        return mini(request)

    async with ScriptedServer(handler, tls=options.tls, http2=options.http2, port=options.port) as server:
        print(f"READY {server.url}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
