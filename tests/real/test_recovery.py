"""A server that loses its sessions: the client goes on as if nothing had happened."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.real

MAJORS = [1, 2]


@pytest.mark.parametrize("major", MAJORS)
async def test_a_restarted_server_costs_no_call(major, sdk_server, sdk_client, mitmdump):
    server = await sdk_server(major)
    proxy = await mitmdump(server.port)
    client = await sdk_client(major, proxy.url, name="the-client", elicit="blue", sample="x")
    assert (await client.call("echo", text="before")).text == "before"
    known = await client.session_id()

    await server.restart()
    assert (await client.call("echo", text="after")).text == "after"
    assert (await client.call("echo", text="again")).text == "again"

    again = server.requests(rpc="initialize", run=2)
    assert len(again) == 1
    first = server.requests(rpc="initialize", run=1)[0]
    assert again[0].session is None
    assert again[0].body["params"] == first.body["params"]
    assert again[0].body["params"]["clientInfo"]["name"] == "the-client"
    assert await client.session_id() == known
    calls = server.requests(tool="echo", run=2)
    assert [call.body["params"]["arguments"]["text"] for call in calls if call.status == 200] == ["after", "again"]
    assert [call.status for call in calls] == [404, 200, 200]
    await proxy.wait_log("recovered")
    assert not proxy.logged(known)
