"""Violations as a CI check: `uv run recipes/violations-check.py`.

mcp-mitmdump with mcp_fail_on exits with status 3 if the specification was broken; the log becomes SARIF.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from staging import Mitmdump, RawClient, SdkClient, SdkServer, Stage, perform, tool


def checking(server: SdkServer, log: Path) -> Mitmdump:
    """What a CI starts in front of the server under test."""
    options: dict[str, str | Path] = {"mcp_fail_on": "should", "mcp_log": log}
    # The command loads the addon by itself.
    return Mitmdump(server.port, tool="mcp-mitmdump", script=None, options=options)


async def story(stage: Stage) -> str:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "mcp.jsonl"
        async with SdkServer(1) as server:
            stage.title("A client that keeps to the specification")
            async with checking(server, log) as proxy, SdkClient(1) as client:
                await client.connect(proxy.url, name="careful")
                await client.call("echo", text="x")
                await client.close()
                kept = await proxy.stop()
            stage.say(f"exit status {kept}")

            stage.title("A client that sends no Accept header")
            async with checking(server, log) as proxy, RawClient(proxy.url) as rough:
                await rough.handshake()
                await rough.request("tools/list", headers={"accept": "*/*"})
                await rough.delete()
                broken = await proxy.stop()
            stage.say(f"exit status {broken}")
            for line in proxy.process.errors:
                stage.say(line)

        stage.title("SARIF: mcp-sessions sarif mcp.jsonl")
        status, text = await tool("sarif", log)
        stage.expect(status == 0, f"no SARIF: {text}")
        found = json.loads(text)["runs"][0]["results"]
        for one in found:
            stage.say(f"{one['level']}: {one['ruleId']}")
        stage.expect(kept == 0, f"the careful client was blamed: exit status {kept}")
        stage.expect(broken == 3, f"the rough client was not: exit status {broken}")
        stage.expect({one["ruleId"] for one in found} == {"MCP101"}, f"unexpected in SARIF: {found}")
    return f"Exit status 0 for a client that keeps to the specification, {broken} for one that breaks it, and SARIF."


if __name__ == "__main__":
    perform(story)
