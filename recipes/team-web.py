"""mitmweb for a team, with a password and a listening address: `uv run recipes/team-web.py`.

The traffic's port and the page's port are two; the page asks for the password, of which mitmweb is given a hash only.
"""

from __future__ import annotations

import argon2
import httpx

from staging import Mitmdump, SdkClient, SdkServer, Stage, perform

PASSWORD = "a long sentence for the team"


async def story(stage: Stage) -> str:
    # As `python -c 'import argon2; print(argon2.PasswordHasher().hash(input()))'` prints it.
    options = {
        "web_host": "127.0.0.1",  # for a team: an address of this host that it can reach
        "web_port": 0,
        "web_password": argon2.PasswordHasher().hash(PASSWORD),
        "web_open_browser": False,
    }
    async with (
        SdkServer(1) as server,
        Mitmdump(server.port, tool="mitmweb", options=options) as proxy,
        SdkClient(1) as client,
    ):
        page = (await proxy.wait_log(r"Web server listening at (http://[^/\s]+)"))[1]
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
