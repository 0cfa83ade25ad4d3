"""A regular proxy for a command-line agent: `uv run recipes/regular-proxy.py`.

The agent is an unchanged SDK client that is given HTTP_PROXY and nothing else. Its server restarts; then it is killed.
"""

from __future__ import annotations

from staging import Mitmdump, SdkClient, SdkServer, Stage, deleted, logged, perform


async def story(stage: Stage) -> str:
    async with SdkServer(1) as server, Mitmdump() as proxy, SdkClient(1, env={"HTTP_PROXY": proxy.base}) as agent:
        stage.title(f"HTTP_PROXY={proxy.base}, and the agent connects to {server.url}")
        await agent.connect(server.url, name="agent")
        before = await agent.call("echo", text="hello")
        await server.restart()
        after = await agent.call("echo", text="hello again")
        stage.say(f"before the restart: {before.text or before.error}; after it: {after.text or after.error}")
        stage.expect(before.ok and after.ok, "a call failed")
        await agent.kill()
        stage.expect(await deleted(server), "the session was not ended after the agent's death")
        await proxy.wait_log("session .* (closed|ended)")
        await proxy.stop()
        stage.title("What the addon logged")
        for line in logged(proxy, "mcp:|MCP[0-9]"):
            stage.say(line)
        stage.expect(logged(proxy, "recovered"), "the proxy saw nothing of it")
    return "An agent that knows only HTTP_PROXY kept its session through a restart, and left none behind."


if __name__ == "__main__":
    perform(story)
