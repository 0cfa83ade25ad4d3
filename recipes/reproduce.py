"""Reproduce from a recording on both sides: `uv run recipes/reproduce.py`.

One exported file is replayed to a fresh server and to a changed one, and then answers a client in a server's place.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from staging import Mitmdump, Process, SdkClient, SdkServer, Stage, perform, tool


async def used(stage: Stage, client: SdkClient, url: str) -> None:
    await client.connect(url, name="agent")
    echoed = await client.call("echo", text="x")
    added = await client.call("add", a=1, b=2)
    stage.say(f"echo: {echoed.text or echoed.error}; 1 + 2: {added.text or added.error}")
    stage.expect((echoed.text, added.text) == ("x", "3"), "the calls were not answered as recorded")
    await client.close()


async def story(stage: Stage) -> str:
    with tempfile.TemporaryDirectory() as folder:
        saved, out = Path(folder) / "saved.mitm", Path(folder) / "out"
        stage.title("A session is recorded and exported")
        async with SdkServer(1) as server:
            async with Mitmdump(server.port, write=saved) as proxy, SdkClient(1) as client:
                await used(stage, client, proxy.url)
                await proxy.stop()
            status, said = await tool("export", saved, out)
            stage.expect(status == 0, f"not exported: {said}")
            file = out / "flows.mitm"

            stage.title("Replayed to a fresh server")
            await server.restart()
            same, said = await tool("replay", file, "--to", server.url)
            stage.say(said)
            stage.expect(same == 0, f"differences at an unchanged server: exit status {same}")

        stage.title("Replayed to a server whose tool `add` was changed")
        async with SdkServer(1, env={"PEER_ADDS": "40"}) as changed:
            different, said = await tool("replay", file, "--to", changed.url)
            stage.say(said)
            stage.expect(different == 1 and '"43"' in said, f"the change was not found: exit status {different}")

        stage.title("Served to a fresh client, without any server")
        command: list[str | Path] = [sys.executable, "-m", "mcp_sessions", "serve", file]
        async with Process(command, name="mcp_sessions serve") as serving, SdkClient(1) as client:
            port = (await serving.wait_line(r"http://127\.0\.0\.1:(\d+)/mcp", 20))[1]
            await used(stage, client, f"http://127.0.0.1:{port}/mcp")
            await serving.interrupt()
    return "From one file: no difference at the same server, the one difference at a changed one, and a client served."


if __name__ == "__main__":
    perform(story)
