"""The server that answers 400 for a lost session, where 404 is due: `uv run recipes/400-for-404.py`.

The server is scripted, and says what code copied from old examples says; the client is a real SDK client.
"""

from __future__ import annotations

from staging import MiniMcp, Mitmdump, ScriptedServer, SdkClient, Stage, logged, lost_everything_style, perform


async def played(stage: Stage, recover: str) -> bool:
    """Whether a client's call succeeds after the server has lost its sessions."""
    mini = MiniMcp(lost=lost_everything_style)
    async with (
        ScriptedServer(mini) as server,
        Mitmdump(server.port, options={"mcp_recover": recover, "mcp_recover_dialects": "400"}) as proxy,
        SdkClient(1) as client,
    ):
        await client.connect(proxy.url, name="agent")
        await client.call("echo", text="before")
        mini.forget()
        # The answer names no request, so that this client would wait for another one for good.
        after = await client.call("echo", text="after", limit=3)
        stage.say(f"call after the loss: {after.text if after.ok else 'error: ' + str(after.error)}")
        for line in logged(proxy, "MCP305|recovered"):
            stage.say(line)
        stage.expect(logged(proxy, "MCP305 lost-session-not-404"), "the wrong status was not reported")
        return after.ok


async def story(stage: Stage) -> str:
    stage.title("--set mcp_recover=off: what the server does to its clients")
    alone = await played(stage, "off")
    stage.title("--set mcp_recover_dialects=400, the default")
    helped = await played(stage, "on")
    stage.expect(not alone, "the client needed no help")
    stage.expect(helped, "the session was not brought back")
    return "A 400 that says the session is lost was taken for the 404 it should be, and reported as MCP305."


if __name__ == "__main__":
    perform(story)
