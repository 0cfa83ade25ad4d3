"""mitmweb for a team, with a password and a listening address: `uv run recipes/team-web.py`.

The traffic's port and the page's port are two; the page asks for the password, of which mitmweb is given a hash only.
"""

from __future__ import annotations

import socket

import argon2
import httpx
from staging import Mitmdump, SdkClient, SdkServer, Stage, perform

PASSWORD = "a long sentence for the team"


def free_port() -> int:
    """A port that nobody listens on at this moment; mitmweb does not say which one it chose itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def story(stage: Stage) -> str:
    port = free_port()
    # As `python -c 'import argon2; print(argon2.PasswordHasher().hash(input()))'` prints it.
    options: dict[str, str | int] = {
        "web_host": "127.0.0.1",  # for a team: an address of this host that it can reach
        "web_port": port,
        "web_password": argon2.PasswordHasher().hash(PASSWORD),
        "web_open_browser": False,
    }
    async with (
        SdkServer(1) as server,
        Mitmdump(server.port, tool="mitmweb", options=options) as proxy,
        SdkClient(1) as client,
    ):
        await proxy.wait_log("Web server listening")
        page = f"http://127.0.0.1:{port}"
        stage.title(f"Clients go to {proxy.url}, people to {page}/mcp")
        await client.connect(proxy.url, name="agent")
        await client.call("echo", text="x")
        async with httpx.AsyncClient(base_url=page, trust_env=False) as person:
            stranger = await person.get("/mcp")
            wrong = await person.get("/mcp", params={"token": "guessed"})
            welcome = await person.get("/mcp", params={"token": PASSWORD})
        for who, answer in (("without a password", stranger), ("wrong one", wrong), ("the password", welcome)):
            stage.say(f"{who}: {answer.status_code}")
        stage.expect(stranger.status_code == wrong.status_code == 403, "the page is open to everybody")
        stage.expect(welcome.is_success and "MCP sessions" in welcome.text, "the page is closed to the team")
    return "The page of sessions is there for whoever has the password, and for nobody else."


if __name__ == "__main__":
    perform(story)
