"""A server that loses its sessions: the client goes on as if nothing had happened."""

from itertools import pairwise

import pytest

from conftest import StartClient, StartProxy, StartServer
from harness.sdk import Major, SdkClient, SdkServer

pytestmark = pytest.mark.real


async def listening(server: SdkServer, client: SdkClient) -> None:
    """The client is done with its handshake: an SDK that loses its server in the middle of one gives up by itself."""
    assert (await client.call("echo", text="shaken hands")).ok  # what it sends, it sends in turn
    await server.wait_state(lambda seen: seen.method == "GET" and seen.status == 200)


@pytest.mark.parametrize("major", [1, 2])
async def test_a_restarted_server_costs_no_call(
    major: Major, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    server = await sdk_server(major)
    proxy = await mitmdump(server.port)
    client = await sdk_client(major, proxy.url, name="the-client", elicit="blue", sample="x")
    assert (await client.call("echo", text="before")).text == "before"
    known = await client.session_id() or ""

    await server.restart()
    assert (await client.call("echo", text="after")).text == "after"
    assert (await client.call("echo", text="again")).text == "again"

    again = server.requests(rpc="initialize", run=2)
    first = server.requests(rpc="initialize", run=1)[0]
    assert len(again) == 1
    assert again[0].session is None
    assert again[0].body["params"] == first.body["params"]
    assert again[0].body["params"]["clientInfo"]["name"] == "the-client"
    assert again[0].body["params"]["capabilities"].keys() >= {"elicitation", "sampling"}
    assert len(server.requests(rpc="notifications/initialized", run=2)) == 1
    assert await client.session_id() == known
    calls = server.requests(tool="echo", run=2)
    assert [(call.body["params"]["arguments"]["text"], call.status) for call in calls] == [
        ("after", 404),
        ("after", 200),
        ("again", 200),
    ]
    await proxy.wait_log("recovered")
    assert not proxy.logged(known)


@pytest.mark.parametrize("major", [1, 2])
async def test_a_resent_call_streams_its_progress(
    major: Major, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    server = await sdk_server(major)
    proxy = await mitmdump(server.port)
    client = await sdk_client(major, proxy.url)
    await listening(server, client)
    await server.restart()

    result = await client.call("progress", steps=4, interval=0.4)

    assert result.ok
    times = [at for at, _ in result.progress]
    assert len(times) == 4
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(0.3 < gap < 0.6 for gap in gaps), gaps


@pytest.mark.parametrize("major", [1, 2])
async def test_an_elicitation_inside_a_resent_call_is_answered(
    major: Major, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    server = await sdk_server(major)
    proxy = await mitmdump(server.port)
    client = await sdk_client(major, proxy.url, elicit="forty-two", sample="a sample")
    await listening(server, client)
    await server.restart()

    asked = await client.call("ask", question="how many?")
    sampled = await client.call("sample", prompt="go on")

    assert "forty-two" in (asked.text or "")
    assert "a sample" in (sampled.text or "")


async def test_200_calls_at_once_share_one_handshake(
    sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    server = await sdk_server(1)
    proxy = await mitmdump(server.port)
    client = await sdk_client(1, proxy.url, connections=200)
    await client.call("echo", text="before")
    await server.forget()
    before = len(server.requests())

    results = await client.calls("echo", 200, text="call {i}")

    assert [result.text for result in results] == [f"call {i}" for i in range(200)]
    since = server.requests()[before:]
    assert len([seen for seen in since if seen.rpc == "initialize"]) == 1
    executed = [
        seen.body["params"]["arguments"]["text"] for seen in since if seen.tool == "echo" and seen.status == 200
    ]
    assert sorted(executed) == sorted(f"call {i}" for i in range(200))


async def test_the_listening_stream_is_brought_back_as_well(
    sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    """The client reopens its GET stream with the id that it knows, and hears of the new session on it."""
    server = await sdk_server(1)
    proxy = await mitmdump(server.port)
    client = await sdk_client(1, proxy.url)
    await listening(server, client)
    old = await client.session_id()

    await server.forget()
    reopened = await server.wait_state(lambda seen: seen.method == "GET" and seen.status == 200 and seen.session != old)
    assert (await client.call("add_tool", name="new")).ok

    again = server.requests(rpc="initialize")
    assert len(again) == 2
    assert reopened.session == again[1].answer_session
    assert (await client.do("wait_notification", method="notifications/tools/list_changed", timeout=5)).ok
