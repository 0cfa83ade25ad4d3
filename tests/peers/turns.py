"""Two tests of which `test_harness.py` looks at what is printed: one holds up mitmproxy's event loop."""

import pytest

from conftest import StartProxy, StartRaw, StartScripted
from harness.environments import PEERS
from harness.mini_mcp import MiniMcp


@pytest.mark.parametrize("path", ["/slow", "/quick"])
async def test_turn(path: str, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw) -> None:
    server = await scripted(MiniMcp())
    proxy = await mitmdump(server.port, script=PEERS / "slow_turn.py")
    client = await raw_client(proxy.url)
    await client.http.get(f"{proxy.base}{path}")
