"""A dry run in production, mcp_end=log: `uv run recipes/dry-run.py`.

The proxy says which sessions it would end and why, and what rules are broken, but sends nothing of its own.
"""

from __future__ import annotations

from staging import Mitmdump, SdkClient, SdkServer, Stage, logged, perform

DRY = {"mcp_end": "log", "mcp_recover": "off", "mcp_end_at_exit": "none"}


async def story(stage: Stage) -> str:
    async with (
        SdkServer(1) as server,
        Mitmdump(server.port, options=DRY) as proxy,
        SdkClient(1) as first,
        SdkClient(1) as second,
    ):
        stage.title(" ".join(f"--set {name}={value}" for name, value in DRY.items()))
        await first.connect(proxy.url, name="killed")
        await first.call("echo", text="x")
        await first.kill()
        await proxy.wait_log("would be ended")
        await second.connect(proxy.url, name="unlucky")
        await server.restart()
        lost = await second.call("echo", text="x")
        stage.expect(not lost.ok, "a lost session was brought back in a dry run")
        await second.close()
        await proxy.stop()
        for line in logged(proxy, "would be ended|MCP[0-9]| lost "):
            stage.say(line)
        own = [seen for seen in server.requests("DELETE") if seen.run == 1]
        stage.expect(not own, "a DELETE was sent in a dry run")
        handshakes = len(server.requests(rpc="initialize"))
        stage.expect(handshakes == 2, f"{handshakes} handshakes at the server, but its clients made 2")
    return "One session would have been ended, and a lost one stayed lost; the proxy sent nothing of its own."


if __name__ == "__main__":
    perform(story)
