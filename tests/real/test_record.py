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
from mcp_sessions.recordings.reading import exchanges_in, flows_in

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


# As they are said on the wire, so that none of these stands in a file by any other way.
PLANTED = {
    "header": "hdr-7d1f09b2c4e8",
    "cookie": "kek-55aa17d09c3f",
    "query": "qry-e41c8b7a2d90",
    "json": "jsn-0b9f3d6a8c21",
    "sse": "sse-c2d5e8f1a3b4",
}


def spelled(secret: str) -> set[bytes]:
    raw = secret.encode()
    cores = {base64.b64encode(b"x" * n + raw)[-(-n * 8 // 6) : (n + len(raw)) * 8 // 6] for n in range(3)}
    return {raw, quote(secret, safe="").encode(), "".join(f"%{b:02X}" for b in raw).encode(), *cores}


async def test_no_planted_secret_is_in_any_exported_file(
    tmp_path: Path, scripted: StartScripted, raw_client: StartRaw, mitmdump: StartProxy
) -> None:
    session = "5e55-10f0-aa17-c0ffee-9d8e7f"

    def answer(request: Request) -> Answer:
        secret = PLANTED["sse"]
        if request.rpc == "initialize":
            made = exchange.result(request, {"protocolVersion": "2025-11-25", "capabilities": {}}, session=session)
            made.headers = {**dict(made.header_list()), "set-cookie": f"sid={PLANTED['cookie']}; HttpOnly"}
            return made
        wrapped = base64.b64encode(f"xy{PLANTED['json']}:z".encode()).decode()
        every = "".join(f"%{b:02x}" for b in PLANTED["header"].encode())
        text = json.dumps({"access_token": secret, "wrapped": wrapped, "url": f"/?x={every}", "s": session})
        message = {"jsonrpc": "2.0", "id": request.id, "result": {"content": [{"type": "text", "text": text}]}}
        return exchange.sse([exchange.event(message, id=f"{session}/1")], session=session)

    server = await scripted(answer)
    path = tmp_path / "recorded.mitm"
    proxy = await mitmdump(server.port, write=path)
    client = await raw_client(f"{proxy.url}?api_key={PLANTED['query']}")
    headers = {
        "authorization": f"Bearer {PLANTED['header']}",
        "cookie": f"sid={PLANTED['cookie']}",
        "accept": "application/json, text/event-stream",
    }
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    basic = base64.b64encode(f"me:{PLANTED['query']}".encode()).decode()
    for number, (method, params) in enumerate(
        [
            ("initialize", hello),
            ("tools/call", {"name": "x", "arguments": {"password": PLANTED["json"], "basic": basic}}),
        ]
    ):
        said = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        given = {**headers, "content-type": "application/json"} | ({"mcp-session-id": session} if number else {})
        response = await client.http.post(client.url, json=said, headers=given)
        assert response.status_code == 200
    await proxy.stop()

    for name, secret in {**PLANTED, "session": session}.items():
        assert secret.encode() in path.read_bytes(), name  # else nothing is shown by its absence
    for out in ("folder", "single.mitm", "single.har", "single.md", "all.zip"):
        status, told = await ran("export", path, tmp_path / out)
        assert status == 0, told
    for out in ("folder", "single.mitm", "single.har", "single.md", "all.zip"):
        place = tmp_path / out
        files = [file.read_bytes() for file in (place.iterdir() if place.is_dir() else [place])]
        if out == "all.zip":
            with zipfile.ZipFile(place) as archive:
                files = [archive.read(entry) for entry in archive.namelist()]
        assert files
        for content in files:
            for name, secret in {**PLANTED, "session": session}.items():
                for spelling in spelled(secret):
                    assert spelling.lower() not in content.lower(), (out, name, spelling)
    assert (tmp_path / "single.mitm").stat().st_mode & 0o077 == 0

    status, told = await ran("export", path, tmp_path / "kept.mitm", "--keep-sec")
    assert status == 2
    assert not (tmp_path / "kept.mitm").exists()
    status, told = await ran("export", path, tmp_path / "kept.mitm", "--keep-secrets")
    assert status == 0
    assert PLANTED["header"].encode() in (tmp_path / "kept.mitm").read_bytes()


async def test_a_recording_stands_in_for_the_server_within_mitmdump(
    tmp_path: Path, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    original = tmp_path / "recorded.mitm"
    await recorded(original, 1, sdk_server, sdk_client, mitmdump)
    flows = list(flows_in(original))
    assert {flow.request.method for flow in flows} == {"POST", "GET", "DELETE"}
    streams = [one for one in exchanges_in(flows) if one.streams and one.arrivals]
    assert streams
    assert all(one.timed and one.client and one.number is not None for one in streams if one.session)
    stepped = next(one for one in streams if one.what == "tools/call progress")
    assert stepped.arrivals[-1].at - stepped.arrivals[0].at > 0.3

    proxy = await mitmdump("http://127.0.0.1:9", options={"mcp_replay": original})
    client = await sdk_client(1, proxy.url, elicit="blue")
    stepped_now = await client.do("call", tool="progress", args={"steps": 3, "interval": 0.2})
    at = [moment for moment, _ in stepped_now.progress]
    assert at[-1] - at[0] > 0.3


async def test_a_recording_loads_without_the_addon(
    tmp_path: Path, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    original, copied = tmp_path / "recorded.mitm", tmp_path / "copied.mitm"
    await recorded(original, 1, sdk_server, sdk_client, mitmdump)
    async with Mitmdump(script=None, read=original, write=copied) as plain:
        assert await plain.finished() == 0

    def bodies(path: Path) -> list[tuple[str, bytes | None]]:
        with path.open("rb") as file:
            flows = [flow for flow in io.FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]
        return [(flow.id, flow.response.raw_content if flow.response else None) for flow in flows]

    # mitmproxy writes a flow with an answer and an error, such as a stream that was hung up, once for each.
    assert dict(bodies(copied)) == dict(bodies(original))
    assert bodies(original)
