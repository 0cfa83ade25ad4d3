"""Clients that end, well or badly, and what the server gets to see of it."""

import os
import signal

import pytest

from conftest import StartClient, StartProxy, StartServer
from harness.sdk import Major, Seen

pytestmark = pytest.mark.real


def is_delete(seen: Seen) -> bool:
    return seen.method == "DELETE" and seen.status is not None


@pytest.mark.parametrize("major", [1, 2])
async def test_a_killed_clients_session_is_deleted_within_a_second(
    major: Major, sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    server = await sdk_server(major)
    proxy = await mitmdump(server.port)
    client = await sdk_client(major, proxy.url, headers={"Authorization": "Bearer secret-token", "X-Team": "blue"})
    await client.call("echo", text="x")
    session = await client.session_id() or ""
    opened = server.requests(rpc="initialize")[0]

    await client.kill()
    delete = await server.wait_state(is_delete, 1.0)

    assert delete.session == session
    assert delete.status == 200
    assert delete.headers["mcp-protocol-version"] == opened.body["params"]["protocolVersion"]
    assert delete.headers["authorization"] == "Bearer secret-token"
    assert delete.headers["x-team"] == "blue"
    await proxy.wait_log("closed")
    assert proxy.logged("MCP308 session-not-deleted client=.* session=")
    assert not proxy.logged("secret-token")
    assert not proxy.logged(session)


async def test_a_client_that_deletes_its_session_is_left_alone(
    sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    server = await sdk_server(1)
    proxy = await mitmdump(server.port)
    client = await sdk_client(1, proxy.url)
    await client.call("echo", text="x")

    await client.close()
    await server.wait_state(is_delete)
    await client.kill()
    await proxy.wait_log(r"client gone client=")
    await proxy.stop()

    assert len(server.requests(method="DELETE")) == 1
    assert not proxy.logged("MCP308")


async def test_a_client_that_deletes_after_a_recovery_ends_the_new_session(
    sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    server = await sdk_server(1)
    proxy = await mitmdump(server.port)
    client = await sdk_client(1, proxy.url)
    await server.wait_opened()
    await server.restart()
    await client.call("echo", text="x")

    await client.close()
    delete = await server.wait_state(is_delete)

    assert delete.status == 200
    assert delete.session == server.requests(rpc="initialize", run=2)[0].answer_session


async def test_every_session_of_a_client_is_ended(
    sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    server = await sdk_server(1)
    proxy = await mitmdump(server.port)
    client = await sdk_client(1)
    for name in ("a", "b", "c"):
        await client.connect(proxy.url, as_=name)
        await client.call("echo", as_=name, text=name)

    await client.exit()
    await server.wait_state(is_delete, 2.0)
    await proxy.wait_log("closed", count=3)

    ended = {seen.session for seen in server.requests(method="DELETE") if seen.status == 200}
    assert ended == {seen.answer_session for seen in server.requests(rpc="initialize")}


async def test_a_terminated_client_is_gone_as_well(
    sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy
) -> None:
    server = await sdk_server(1)
    proxy = await mitmdump(server.port)
    client = await sdk_client(1, proxy.url)
    await server.wait_state(lambda seen: seen.rpc == "notifications/initialized")  # before, it would prove nothing

    os.kill(client.process.pid, signal.SIGTERM)

    delete = await server.wait_state(is_delete, 2.0)
    assert delete.status == 200
    await proxy.wait_log("closed .*process gone")
