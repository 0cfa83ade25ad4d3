"""A session is recorded, exported without its secrets, replayed to a fresh server and served to a fresh client."""

import base64
import json
import re
import sys
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest
from mitmproxy import http, io

from conftest import StartClient, StartProxy, StartRaw, StartScripted, StartServer
from harness import exchange
from harness.exchange import Answer, Request
from harness.process import Process
from harness.proxy import Mitmdump
from harness.sdk import Major
from mcp_sessions.record.export import Export
from mcp_sessions.record.reading import chosen, exchanges_in, flows_in
from mcp_sessions.record.replay_client import replay

pytestmark = pytest.mark.real

TOKEN = "tok-4f9a1c7e55d0b2"
NOTE = "correct horse battery"


def command(*arguments: str | Path) -> Process:
    return Process([sys.executable, "-m", "mcp_sessions", *arguments], name=f"mcp_sessions {arguments[0]}")


async def ran(*arguments: str | Path) -> tuple[int, str]:
    async with command(*arguments) as process:
        status = await process.wait(60)
        return status, "\n".join([*process.lines, *process.errors])


async def recorded(
    path: Path, major: Major, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    """A session with progress, a question to the user, an error, and a notification, from its opening to its DELETE."""
    server = await sdk_server(major)
    proxy = await mitmdump(server.port, write=path)
    client = await sdk_client(major, proxy.url, headers={"Authorization": f"Bearer {TOKEN}"}, elicit="blue")
    await use(client)
    await client.close()
    await proxy.stop()
    await server.kill()


async def use(client: object, secret: str = NOTE) -> None:
    do = client.do  # type: ignore[attr-defined]
    listed = await do("list_tools")
    assert "echo" in listed.result
    echoed = await do("call", tool="echo", args={"text": f"password={secret.split()[0]}-{secret.split()[1]}"})
    assert echoed.text == f"password={secret.split()[0]}-{secret.split()[1]}", echoed.raw
    added = await do("call", tool="add", args={"a": 1, "b": 2})
    assert added.text == "3"
    stepped = await do("call", tool="progress", args={"steps": 3, "interval": 0.2})
    assert [done for _, done in stepped.progress] == [1, 2, 3], stepped.raw
    asked = await do("call", tool="ask", args={"question": "Which colour?"})
    assert asked.text == "blue", asked.raw


@pytest.mark.parametrize("major", [1, 2])
async def test_the_same_file_replays_to_a_fresh_server_and_serves_a_fresh_client(
    major: Major, tmp_path: Path, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    original, exported = tmp_path / "recorded.mitm", tmp_path / "exported"
    await recorded(original, major, sdk_server, sdk_client, mitmdump)
    status, said = await ran("export", original, exported)
    assert status == 0, said
    file = exported / "flows.mitm"
    assert TOKEN.encode() not in file.read_bytes()

    fresh = await sdk_server(major)
    status, said = await ran("replay", file, "--to", fresh.url, "--header", f"Authorization: Bearer {TOKEN}")
    assert status == 0, said
    assert "no differences" in said
    assert {seen.headers["authorization"] for seen in fresh.seen} == {f"Bearer {TOKEN}"}
    assert len(fresh.requests(method="DELETE")) == 1

    changed = await sdk_server(major, env={"PEER_ADDS": "40"})
    status, said = await ran("replay", file, "--to", changed.url)
    assert status == 1, said
    assert ": 1 difference\n" in said
    assert re.search(r'tools/call add +result\.content\[0\]\.text +"3" +"43"', said), said

    async with command("serve", file) as serving:
        port = (await serving.wait_line(r"http://127\.0\.0\.1:(\d+)/mcp"))[1]
        client = await sdk_client(major, f"http://127.0.0.1:{port}/mcp", elicit="blue")
        await use(client, "another one")
        assert (await client.session_id()) not in (None, "<session-1>")
        await client.close()
        await serving.interrupt()
        assert not [line for line in serving.lines if "no answer" in line]
