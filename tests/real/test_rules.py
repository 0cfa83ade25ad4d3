"""The rules on real traffic: what is said of the official SDKs, and that a recording is judged as the live run was."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from harness.proxy import Mitmdump
from harness.sdk import SdkClient

pytestmark = pytest.mark.real

CLIENTS = [(1, None), (2, "legacy"), (2, "auto")]

FOUND: dict[tuple[int, int, str | None], set[str]] = {}
"""What is reported about an SDK server and an SDK client in a normal run: see docs/findings.md."""


def violations(log: Path) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line["kind"] == "violation"]


async def normal_run(client: SdkClient, url: str, mode: str | None) -> None:
    """Everything that the peers can do, and a clean end."""
    more = {"mode": mode} if mode else {}
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
async def test_the_sdks_in_a_normal_run(server_major, sdk_server, sdk_client, mitmdump, tmp_path):
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
