"""Reverse mode leaves a server its protection: it sees whom a request names, and the proxy names nobody foreign."""

from __future__ import annotations

import httpx
import pytest

from conftest import StartProxy, StartScripted, StartServer
from harness.environments import PEERS
from harness.exchange import Answer, Request
from harness.mini_mcp import MiniMcp
from harness.proxy import ADDON, Mitmdump
from harness.scripted import ScriptedServer

pytestmark = pytest.mark.real

FOREIGN = "rebound.example:8000"
PAGE, OTHER_PAGE = "http://localhost:5173", "https://other.example"


class Guarded(MiniMcp):
    """Answers only who names its own address, and only pages of its own."""

    port: int = 0

    def __call__(self, request: Request) -> Answer:
        if request.headers["host"] != f"127.0.0.1:{self.port}":
            return Answer(421, {}, b"Invalid Host header")
        if request.headers.get("origin", PAGE) != PAGE:
            return Answer(403, {}, b"Invalid Origin header")
        return super().__call__(request)


@pytest.fixture
def guarded() -> Guarded:
    return Guarded(prefix="a-session-of-a-guarded-server")


async def started(guarded: Guarded, scripted: StartScripted) -> ScriptedServer:
    server = await scripted(guarded)
    guarded.port = server.port
    return server


async def initialize(url: str, **headers: str) -> httpx.Response:
    said = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
    }
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.post(url, json=said, headers={"accept": "application/json, text/event-stream"} | headers)


async def test_a_foreign_name_reaches_the_server_and_its_own_stays_its_own(
    guarded: Guarded, scripted: StartScripted, mitmdump: StartProxy
) -> None:
    server = await started(guarded, scripted)
    proxy = await mitmdump(server.port)
    assert await proxy.wait_log("keep_host_header=true")
    for name in (f"127.0.0.1:{proxy.port}", f"localhost:{proxy.port}", "localhost", "127.0.0.1:9"):
        assert (await initialize(proxy.url, host=name)).status_code == 200, name
    for name in (FOREIGN, f"127.0.0.1.nip.example:{proxy.port}", "0.0.0.0", "192.0.2.7:80", "[", "\xff", "x" * 5000):
        assert (await initialize(proxy.url, host=name.encode("latin-1"))).status_code == 421, name  # type: ignore[arg-type]
        assert server.seen.items[-1].headers["host"] == name


async def test_what_the_user_has_chosen_stays(guarded: Guarded, scripted: StartScripted, mitmdump: StartProxy) -> None:
    server = await started(guarded, scripted)
    proxy = await mitmdump(server.port, options={"keep_host_header": False})
    assert (await initialize(proxy.url, host=FOREIGN)).status_code == 200


@pytest.mark.parametrize("major", [1, 2])
async def test_the_sdks_server_refuses_through_the_proxy_whom_it_refuses_directly(
    major: int, sdk_server: StartServer, mitmdump: StartProxy
) -> None:
    server = await sdk_server(major, env={"PEER_GUARDED": "1"})
    proxy = await mitmdump(server.port)
    for name in ("127.0.0.1:8000", FOREIGN):
        directly, through = [(await initialize(url, host=name)).status_code for url in (server.url, proxy.url)]
        assert directly == through == (421 if name == FOREIGN else 200)


async def test_the_proxy_names_the_page_that_opened_the_session_and_no_other(
    guarded: Guarded, scripted: StartScripted, mitmdump: StartProxy
) -> None:
    server = await started(guarded, scripted)
    proxy = await mitmdump(server.port, script=[ADDON, PEERS / "run_commands.py"])
    for origin in (PAGE, ""):
        opened = await initialize(proxy.url, **({"origin": origin} if origin else {}))
        session = opened.headers["mcp-session-id"]
        refused = await initialize(proxy.url, **{"origin": OTHER_PAGE, "mcp-session-id": session, "x-late": "1"})
        assert refused.status_code == 403
        await end(proxy, session)
        sent = await server.wait_for(lambda seen, ended=session: seen.method == "DELETE" and seen.session == ended)  # type: ignore[misc]
        assert sent.headers.get("origin", "") == origin
        assert sent.headers["host"] == f"127.0.0.1:{server.port}"
        assert sent.headers["x-late"] == "1"
        await server.wait_ended(lambda seen, sent=sent: seen is sent)  # type: ignore[misc]
        assert sent.status == 200


async def end(proxy: Mitmdump, session: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{proxy.base}/commands", content=f"mcp.end {session}")
    assert answer.status_code == 200, answer.text
