"""The rules on real traffic: what is said of the official SDKs, and that a recording is judged as the live run was."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import flowfilter
from mitmproxy.io import FlowReader

from conftest import StartClient, StartProxy, StartRaw, StartScripted, StartServer
from harness.exchange import Answer, Request, error, event, result, sse
from harness.proxy import Mitmdump
from harness.raw import RawClient
from harness.sdk import Major, SdkClient
from mcp_sessions.rules import baseline, schema
from mcp_sessions.views import logged

pytestmark = pytest.mark.real

CLIENTS: list[tuple[Major, str | None]] = [(1, None), (2, "legacy"), (2, "auto")]

FOUND: dict[tuple[int, int, str | None], set[str]] = {}
"""What is reported about an SDK server and an SDK client in a normal run: see docs/findings.md."""


def violations(log: Path) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line["kind"] == "violation"]


async def normal_run(client: SdkClient, url: str, mode: str | None) -> None:
    """Everything that the peers can do, and a clean end."""
    more: dict[str, Any] = {"mode": mode} if mode else {}
    await client.connect(url, elicit="blue", sample="x", **more)
    assert (await client.call("echo", text="x")).text == "x"
    await client.call("progress", steps=3, interval=0.05)
    await client.call("ask", question="?")
    await client.call("sample", prompt="?")
    await client.do("list_tools")
    await client.do("read")
    await client.do("subscribe", uri="test://one")
    await client.call("touch", uri="test://one")
    await client.call("add_tool", name="later")
    if mode != "auto":
        await client.do("ping")
        await client.do("set_level", level="info")
        await client.call("log", level="error", text="t")
    await client.do("unsubscribe", uri="test://one")
    await client.close()


@pytest.mark.parametrize("server_major", [1, 2])
async def test_the_sdks_in_a_normal_run(
    server_major: Major, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy, tmp_path: Path
) -> None:
    server = await sdk_server(server_major)
    for client_major, mode in CLIENTS:
        log, recording = tmp_path / f"{client_major}{mode}.jsonl", tmp_path / f"{client_major}{mode}.mitm"
        proxy = await mitmdump(server.port, options={"mcp_log": log}, write=recording)
        client = await sdk_client(client_major)
        await normal_run(client, proxy.url, mode)
        await proxy.stop()
        live = violations(log)
        expected = FOUND.get((server_major, client_major, mode), set())
        assert {violation["rule"] for violation in live} == expected, live
        assert Counter(v["rule"] for v in await judged_offline(recording, tmp_path)) == Counter(v["rule"] for v in live)


async def judged_offline(recording: Path, tmp_path: Path) -> list[dict[str, str]]:
    log = tmp_path / f"{recording.stem}-offline.jsonl"
    async with Mitmdump(read=recording, options={"mcp_log": log}) as offline:
        assert await offline.finished() == 0
    return violations(log)


ID = "f3c2a5d87b91e4c6a0d2b8e7f6154c39"
CAPABLE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}, "resources": {}},
    "serverInfo": {"name": "s", "version": "1"},
}


def careless(request: Request) -> Answer:
    """A server that breaks a rule or two with each answer."""
    match request.method, request.rpc:
        case "DELETE", _:
            return Answer(
                500, {"content-type": "application/json"}, b'{"jsonrpc":"2.0","error":{"code":1,"message":"no"}}'
            )
        case "GET", _:
            return Answer(200, {"content-type": "text/html"}, b"<html>")
        case _, "initialize":
            return result(request, CAPABLE, session=ID)
        case _, "notifications/initialized":
            return Answer(200)
        case _, "tools/call":
            progress = {"progressToken": request.params.get("_meta", {}).get("progressToken", 0), "progress": 1}
            note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}
            answer = {"jsonrpc": "2.0", "id": request.id, "result": {"content": []}}
            return sse([event(note, id="1"), event("ping"), event(note, id="2"), event(answer, id="1")])
        case _, "resources/list":
            return result(request, {"resources": [{"name": "a", "uri": "a://b"}, {"name": "no uri"}]})
        case _, "prompts/list":
            return error(None, -32000, "Bad Request: No valid session ID provided", 400)
        case _:
            return Answer(202)


async def careless_run(client: RawClient) -> None:
    await client.handshake()
    await client.call("a", progress_token="p")
    await client.call("b")
    await client.request("tools/list", id=2)
    await client.post(b"no JSON")
    await client.request("tools/list", session=None)
    await client.request("prompts/list")
    await client.request("resources/list", {"cursor": 7})
    await client.send("GET")
    await client.delete()


BROKEN = {
    "MCP106": 1,  # no JSON
    "MCP110": 1,  # id 2 twice
    "MCP201": 1,  # initialized answered 200
    "MCP202": 2,  # tools/list answered 202, without and with the session id
    "MCP204": 1,  # GET answered with a page
    "MCP303": 1,  # a request without the session id
    "MCP305": 1,  # 400 for a lost session
    "MCP311": 1,  # DELETE answered 500
    "MCP404": 1,  # prompts/list, which was not declared
    "MCP501": 2,  # ping as an event, in two calls
    "MCP505": 4,  # event ids that start over: one in the first stream, three in the second
    "MCP509": 1,  # progress that stands still; in the second call it may be a replay, by its event ids
}
if schema.available():
    BROKEN |= {
        "MCP111": 1,  # a cursor that is no string
        "MCP207": 1,  # a resource without its uri
    }


async def test_a_recording_is_judged_as_the_live_run_was(
    scripted: StartScripted, raw_client: StartRaw, mitmdump: StartProxy, tmp_path: Path
) -> None:
    server = await scripted(careless)
    log, recording = tmp_path / "live.jsonl", tmp_path / "live.mitm"
    proxy = await mitmdump(
        server.port, options={"mcp_log": log, "mcp_recover": "off", "mcp_end": "off"}, write=recording
    )
    client = await raw_client(proxy.url)
    await careless_run(client)
    await proxy.stop()
    live = violations(log)
    assert Counter(v["rule"] for v in live) == BROKEN
    assert log.stat().st_mode & 0o077 == 0
    assert not [line for line in proxy.log if ID in line]
    assert proxy.logged(f"mcp: {sum(BROKEN.values())} violations ")

    asked = len(server.seen)
    offline = await judged_offline(recording, tmp_path)
    assert Counter((v["rule"], v["detail"]) for v in offline) == Counter((v["rule"], v["detail"]) for v in live)
    assert len(server.seen) == asked

    with recording.open("rb") as file:
        flows = list(FlowReader(file).stream())
    marked = [
        flow for flow in flows if flowfilter.match("~meta MCP305 & ~marked & ~comment lost-session-not-404", flow)
    ]
    assert len(marked) == 1
    assert "MCP305" in marked[0].metadata["mcp_rules"]
    # Checks of messages come to their end before the proxy does.
    if schema.available():
        details = {v["rule"]: v["detail"] for v in live}
        assert details["MCP111"] == "resources/list: params.cursor: Input should be a valid string"
        assert details["MCP207"] == "resources/list result: resources.1.uri: Field required"


async def test_a_recording_made_without_the_addon_is_judged_too(
    scripted: StartScripted, raw_client: StartRaw, mitmdump: StartProxy, tmp_path: Path
) -> None:
    server = await scripted(careless)
    recording = tmp_path / "bare.mitm"
    proxy = await mitmdump(server.port, script=None, write=recording)
    client = await raw_client(proxy.url)
    await careless_run(client)
    await proxy.stop()
    found = Counter(v["rule"] for v in await judged_offline(recording, tmp_path))
    # Who is behind a connection can't be known any more; all here came over one.
    assert found == BROKEN


@pytest.mark.parametrize(("options", "status"), [([], 0), (["mcp_fail_on=must"], 3), (["mcp_silence=MCP999"], 1)])
async def test_the_wrapper_exits_with_a_status_of_its_own(
    options: list[str], status: int, scripted: StartScripted, raw_client: StartRaw, mitmdump: StartProxy, tmp_path: Path
) -> None:
    server = await scripted(careless)
    recording = tmp_path / "live.mitm"
    proxy = await mitmdump(server.port, script=None, write=recording)
    await (await raw_client(proxy.url)).request("initialize", {"protocolVersion": "2025-11-25"}, session=None)
    await (await raw_client(proxy.url)).post(b"no JSON", session=ID)
    await proxy.stop()
    settings = [word for option in (*options, f"confdir={tmp_path}") for word in ("--set", option)]
    wrapper = Path(sys.executable).with_name("mcp-mitmdump")
    run = await asyncio.create_subprocess_exec(
        wrapper, "-nr", recording, *settings, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(run.communicate(), 60)
    assert run.returncode == status, output.decode()
    if status == 1:
        assert "mcp: mcp_silence: there is no rule 'MCP999'" in output.decode()
        assert "Traceback" not in output.decode()
    else:
        assert "MCP106" in output.decode()


async def test_the_wrapper_fails_for_what_is_new_only(
    scripted: StartScripted, raw_client: StartRaw, mitmdump: StartProxy, tmp_path: Path
) -> None:
    server = await scripted(careless)
    log, recording, known = tmp_path / "mcp.jsonl", tmp_path / "live.mitm", tmp_path / "known.json"
    proxy = await mitmdump(server.port, options={"mcp_log": log, "mcp_recover": "off"}, write=recording)
    await careless_run(await raw_client(proxy.url))
    await proxy.stop()
    with log.open("rb") as lines:
        known.write_text(baseline.written(logged.violations(lines)))
    assert ID not in known.read_text()
    places = json.loads(known.read_text())
    entries = places["known"]
    new = next(entry for entry in entries if entry["rule"] == "MCP305")
    gone = {"rule": "MCP104", "call": "tools/call gone", "path": "/mcp"}
    places["known"] = [gone, *(entry for entry in entries if entry != new)]
    for text, status, said in (
        (known.read_text(), 0, []),
        (
            json.dumps(places),
            3,
            [
                "mcp: new: MCP305 prompts/list at /mcp (1)",
                "mcp: stale, take it out of the baseline: MCP104 tools/call gone at /mcp",
                f"mcp: exit status 3: mcp_fail_on is must, and such a violation was seen that is not in {known}",
            ],
        ),
    ):
        known.write_text(text)
        options: dict[str, str | Path] = {"mcp_fail_on": "must", "mcp_baseline": known, "mcp_recover": "off"}
        async with Mitmdump(read=recording, tool="mcp-mitmdump", script=None, options=options) as offline:
            assert await offline.finished() == status, offline.process.report()
        lines_said = [line for line in (*offline.log, *offline.process.errors) if "mcp: " in line]
        told = [line[line.index("mcp: ") :] for line in lines_said]
        assert [line for line in told if re.match(r"mcp: (new|stale|exit)", line)] == said


@pytest.mark.parametrize("major", [1, 2])
async def test_what_the_sdk_clients_do_wrong_when_it_matters(
    major: Major, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy, tmp_path: Path
) -> None:
    server = await sdk_server(1)
    log = tmp_path / "live.jsonl"
    proxy = await mitmdump(server.port, options={"mcp_log": log, "mcp_recover": "off", "mcp_end": "off"})
    keeps, leaves = await sdk_client(major, proxy.url), await sdk_client(major, proxy.url)
    await leaves.call("echo", text="x")
    await leaves.exit()
    await proxy.wait_log("MCP308")
    await keeps.call("echo", text="x")
    await server.restart()
    await keeps.call("echo", text="x")
    await asyncio.sleep(0.6)  # the rule grants half a second
    await keeps.call("echo", text="x")
    await proxy.wait_log("MCP306")
    await keeps.exit()
    await proxy.wait_log("gone", count=2)
    await proxy.stop()
    assert {violation["rule"] for violation in violations(log)} == {"MCP306", "MCP308"}
    assert {violation["party"] for violation in violations(log)} == {"client"}


async def test_a_recording_of_a_recovery_blames_nobody(
    sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy, tmp_path: Path
) -> None:
    server = await sdk_server(1)
    log, recording = tmp_path / "live.jsonl", tmp_path / "live.mitm"
    proxy = await mitmdump(server.port, options={"mcp_log": log}, write=recording)
    client = await sdk_client(1, proxy.url)
    for _ in range(2):
        assert (await client.call("echo", text="x")).text == "x"
        await server.restart()
        assert (await client.call("echo", text="y")).text == "y"
    await client.close()
    await proxy.stop()
    assert len(proxy.logged("recovered")) == 2
    assert violations(log) == []
    assert await judged_offline(recording, tmp_path) == []
