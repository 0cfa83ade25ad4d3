"""Local capture, where no client has to be told of the proxy: `uv run recipes/local-capture.py`.

mitmproxy takes the connections of one process from the operating system. That needs root, and on Linux cgroup v2.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from staging import GaveUpError, Impossible, Mitmdump, SdkClient, SdkServer, Stage, deleted, logged, perform


def missing() -> str:
    """Why local capture can't work here; empty if it may."""
    if not sys.platform.startswith("linux"):
        return "on macOS and Windows mitmproxy asks a person for the permission; start it by hand as the page says"
    # The redirector is always started by sudo, also by root.
    if shutil.which("sudo") is None:
        return "mitmproxy starts its redirector with sudo, and there is none"
    if os.geteuid() != 0:
        return "it needs root: without, sudo would ask for a password"
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "the redirector needs cgroup v2 at /sys/fs/cgroup"
    return ""


async def story(stage: Stage) -> str:
    if why := missing():
        raise Impossible(why)
    async with SdkServer(1) as server, SdkClient(1) as agent:
        # One process by its pid: others on this machine are left alone.
        proxy = Mitmdump(mode=f"local:{agent.pid}")
        try:
            await proxy.process.start()
            await proxy.wait_log("Local redirector started|[Rr]edirect", 15)
        except GaveUpError as e:
            await proxy.kill()
            raise Impossible(f"mitmproxy's redirector does not start: {e}") from None
        try:
            stage.title(f"The agent, pid {agent.pid}, connects to {server.url} and knows no proxy")
            await agent.connect(server.url, name="agent")
            await server.restart()
            after = await agent.call("echo", text="after the restart")
            stage.expect(after.ok, f"the call after the restart failed: {after.error}")
            await agent.kill()
            stage.expect(await deleted(server), "the session was not ended after the agent's death")
            for line in logged(proxy, "mcp:"):
                stage.say(line)
            await proxy.stop()
        finally:
            await proxy.kill()
    return "A process that knows nothing of the proxy kept its session through a restart, and left none behind."


if __name__ == "__main__":
    perform(story)
