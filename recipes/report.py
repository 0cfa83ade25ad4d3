"""A redacted report for an issue: `uv run recipes/report.py`.

A run is saved with -w, secrets and all, and exported; the report can be pasted, and no secret is in any file of it.
"""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path

from staging import Mitmdump, SdkClient, SdkServer, Stage, deleted, perform, tool

TOKEN = "tok-4f9a1c7e55d0b2c81736"


async def story(stage: Stage) -> str:
    with tempfile.TemporaryDirectory() as folder:
        saved, out = Path(folder) / "saved.mitm", Path(folder) / "report"
        stage.title("mitmdump -w saved.mitm")
        async with (
            SdkServer(1) as server,
            Mitmdump(server.port, write=saved) as proxy,
            SdkClient(1) as client,
        ):
            await client.connect(proxy.url, name="agent", headers={"Authorization": f"Bearer {TOKEN}"})
            session = await client.session_id() or ""
            await client.call("echo", text="what went wrong")
            await server.restart()
            await client.call("echo", text="and after")
            await client.kill()
            stage.expect(await deleted(server), "the session was not ended")
            await proxy.stop()
        secrets = [TOKEN.encode(), base64.b64encode(TOKEN.encode()).rstrip(b"="), session.encode()]
        stage.expect(secrets[0] in saved.read_bytes(), "the secret was never in the traffic")

        stage.title("mcp-sessions export saved.mitm report")
        status, said = await tool("export", saved, out)
        stage.expect(status == 0, f"not exported: {said}")
        files = sorted(path for path in out.rglob("*") if path.is_file())
        stage.say(", ".join(f"{path.name} ({path.stat().st_size} bytes)" for path in files))
        for path in files:
            leaked = [secret for secret in secrets if secret and secret in path.read_bytes()]
            stage.expect(not leaked, f"{path.name} holds a secret")
        report = (out / "report.md").read_text("utf-8")
        stage.expect("sequenceDiagram" in report and "echo" in report, "the report does not tell what happened")
        told_as_one = report.count("\n## Session ") == 1 and re.search(r"S-->>P: \d+\. result", report)
        stage.expect(told_as_one, "the handshake in the client's place is not told with its session")
        issue = (out / "issue.md").read_text("utf-8")
        for said in ("MCP308 session-not-deleted", "the proxy brought it back"):
            stage.expect(said in report and said in issue, f"a report does not say: {said}")
        stage.say("\n".join(issue.splitlines()[:25]))
    return f"{len(files)} files for an issue, and none of the planted secrets in them."


if __name__ == "__main__":
    perform(story)
