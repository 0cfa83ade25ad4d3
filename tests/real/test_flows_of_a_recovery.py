"""What a saved file holds of a recovery: the refused exchange, the handshake, and the answer the client got."""

from pathlib import Path

import pytest
from mitmproxy import http, io

from conftest import StartProxy, StartRaw, StartScripted
from harness.mini_mcp import MiniMcp

pytestmark = pytest.mark.real


@pytest.mark.parametrize("stream", [False, True], ids=["json", "event-stream"])
async def test_every_exchange_is_saved_once(
    stream: bool, scripted: StartScripted, mitmdump: StartProxy, raw_client: StartRaw, tmp_path: Path
) -> None:
    mini = MiniMcp(stream=stream)
    server = await scripted(mini)
    path = tmp_path / "flows.mitm"
    proxy = await mitmdump(server.port, write=path)
    client = await raw_client(proxy.url)
    await client.handshake()
    mini.forget()
    answer = await client.call("echo", {"text": "x"})
    await proxy.stop()

    with path.open("rb") as file:
        saved = [flow for flow in io.FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]
    # At its end the proxy deletes the sessions that nobody else knows of: the new one, and the one that was replaced.
    assert {flow.metadata["mcp_own"] for flow in saved if flow.request.method == "DELETE"} == {"DELETE session"}
    flows = [flow for flow in saved if flow.request.method == "POST"]
    assert len({flow.id for flow in flows}) == len(flows)
    summary = sorted(
        (
            str(flow.metadata.get("mcp_own", "-")),
            flow.request.json()["method"],
            flow.response.status_code if flow.response else 0,
        )
        for flow in flows
    )
    assert summary == [
        ("-", "initialize", 200),
        ("-", "notifications/initialized", 202),
        ("-", "tools/call", 200),
        ("initialize", "initialize", 200),
        ("notifications/initialized", "notifications/initialized", 202),
        ("refused", "tools/call", 404),
    ]
    delivered = next(
        flow for flow in flows if flow.request.json()["method"] == "tools/call" and "mcp_own" not in flow.metadata
    )
    assert delivered.response is not None
    assert delivered.response.raw_content == answer.body
