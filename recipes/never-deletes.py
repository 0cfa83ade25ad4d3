"""The client that never sends DELETE, counted at the server: `uv run recipes/never-deletes.py`.

A command-line agent connects, calls a tool, and exits. Three runs of it without the addon, and three with it.
"""

from __future__ import annotations

from staging import ADDON, PATIENCE, Mitmdump, SdkClient, SdkServer, Stage, logged, perform

RUNS = 3


def held(server: SdkServer) -> int:
    """Sessions that the server still holds."""
    opened = {seen.answer_session for seen in server.requests(rpc="initialize") if seen.answer_session}
    return len(opened - {seen.session for seen in server.requests("DELETE") if seen.status == 200})


async def runs(stage: Stage, server: SdkServer, proxy: Mitmdump, *, ended: bool) -> None:
    for run in range(1, RUNS + 1):
        async with SdkClient(1) as agent:
            await agent.connect(proxy.url, name="agent")
            answer = await agent.call("echo", text="hello")
            stage.expect(answer.ok, f"the agent's call failed: {answer.error}")
            await agent.exit()
        if ended:
            await server.wait_state(lambda _: held(server) == 0, PATIENCE)
        stage.say(f"after run {run}: {held(server)} sessions held")


async def story(stage: Stage) -> str:
    counts: list[int] = []
    for title, script in (("Without the addon", None), ("With the addon", ADDON)):
        stage.title(title)
        async with SdkServer(1) as server, Mitmdump(server.port, script=script) as proxy:
            await runs(stage, server, proxy, ended=script is not None)
            await proxy.stop()
            counts.append(held(server))
            for line in logged(proxy, "MCP308|mcp: session .* closed"):
                stage.say(line)
    without, with_addon = counts
    stage.expect(without == RUNS, f"without the addon {without} sessions were left, not {RUNS}")
    stage.expect(with_addon == 0, f"with the addon {with_addon} sessions were left")
    return f"Sessions left at the server after {RUNS} runs: {without} without the addon, {with_addon} with it."


if __name__ == "__main__":
    perform(story)
