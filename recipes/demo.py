"""The main job, shown with real processes: `uv run recipes/demo.py`.

    SDK client (killed at the end)  ->  mitmdump with the addon  ->  SDK server (killed and restarted in between)

All of it runs on loopback. Arguments go to mitmdump: with `--set mcp_recover=off` or `--set mcp_end=off` one sees what
happens without the addon's help. Exits with 1 if the session was not brought back or not ended.
"""

import asyncio
import contextlib
import re
import signal
import sys
import time
from pathlib import Path

RECIPES = Path(__file__).resolve().parent
# The real peers that the tests run against do for a demonstration, too.
sys.path.insert(0, str(RECIPES.parent / "tests"))

from harness.environments import interpreter  # noqa: E402
from harness.proxy import ADDON, Mitmdump  # noqa: E402
from harness.sdk import PACKAGES, Result, SdkClient, SdkServer, Seen  # noqa: E402
from harness.waiting import GaveUpError  # noqa: E402

LIMIT = 60.0
"""Seconds that the whole of it may take, once everything is installed; it takes about ten."""
PATIENCE = 5.0
"""Seconds within which the server must see the DELETE; it takes less than one."""
STAMP = re.compile(r"^\[[\d:.]+\](\[[^]]*\])? ")


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def say(text: str) -> None:
    print(f"   {text}", flush=True)


def short(session: str | None) -> str:
    return f"{session[:8]}..." if session else "-"


def outcome(answer: Result) -> str:
    said = repr(answer.text) if answer.ok else f"error: {answer.error}"
    return f"{said}  ({answer.took * 1000:.0f} ms)"


def in_a_line(seen: Seen) -> str:
    """What the server saw of one request, and its answer."""
    what = " ".join(word for word in (seen.rpc, seen.tool) if word)
    status = seen.status or "unanswered"
    return f"{seen.method:<6} {what:<26} session {short(seen.session):<11} -> {status}"


def logged(proxy: Mitmdump) -> list[str]:
    """The log of mitmdump, without the time."""
    return [STAMP.sub("", line) for line in proxy.log]


async def play(arguments: list[str]) -> list[str]:
    """Run the story; what went wrong comes back."""
    failures: list[str] = []
    scripts = [ADDON, RECIPES / "ledger_at_exit.py"]
    async with (
        SdkServer(1) as server,
        Mitmdump(server.port, script=scripts, args=arguments) as proxy,
        SdkClient(1) as client,
    ):
        title(f"A server (pid {server.pid}), mitmdump with the addon (pid {proxy.pid}), a client (pid {client.pid})")
        say(f"client -> {proxy.url} -> {server.url}")

        title("What the client sees")
        connected = await client.do("connect", url=proxy.url, name="demo-client")
        if not connected.ok:
            return [f"the client could not connect: {connected.error}", *logged(proxy)]
        known = await client.session_id()
        say(f"connected, session {short(known)}")
        say(f"calls a tool:  {outcome(await client.call('echo', text='before the restart'))}")
        await server.restart()
        say(f"-- the server was killed by SIGKILL and started again (pid {server.pid}): it knows no session --")
        after = await client.call("echo", text="after the restart")
        say(f"calls a tool:  {outcome(after)}")
        again = await client.call("echo", text="once more")
        say(f"calls a tool:  {outcome(again)}")
        statuses = [str(status) for _, _, status, _ in (await client.do("http")).result]
        say(f"all HTTP answers it got: {' '.join(statuses)}; its session is still {short(await client.session_id())}")
        if not (after.ok and again.ok):
            failures.append("the session was not brought back: a call failed after the restart")

        killed = time.time()
        await client.kill()
        say("-- the client was killed by SIGKILL: it ends nothing --")
        try:
            delete = await server.wait_state(lambda seen: seen.method == "DELETE" and bool(seen.status), PATIENCE)
            ended = f"DELETE arrived {(delete.at - killed) * 1000:.0f} ms after the kill"
            # Its answer is on the way to the proxy.
            await proxy.wait_log(r"session \w+ (ended|closed)", PATIENCE)
        except GaveUpError:
            ended = f"no DELETE within {PATIENCE:.0f} s"
            failures.append("the session was not ended: the server still holds it")
        await proxy.stop()

        title("What the server saw")
        for seen in server.seen:
            if seen.number == 0:
                say(f"-- run {seen.run} --")
            say(in_a_line(seen))
        say(ended)

        log = logged(proxy)
        table = next((n for n, line in enumerate(log) if line.startswith("session  ")), len(log))
        title("What the addon logged")
        for line in log[:table]:
            if line.startswith("mcp:"):
                say(line)
        title("The ledger (mcp.sessions)")
        for line in log[table:]:
            say(line)
        title("Violations of the specification")
        for line in [line for line in log if re.match(r"MCP\d{3} ", line)] or ["none"]:
            say(line)
    return failures


async def main(arguments: list[str]) -> int:
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    with contextlib.suppress(NotImplementedError):  # Windows knows Ctrl-C only, which ends the processes as well
        loop.add_signal_handler(signal.SIGTERM, this.cancel)
    print("Setting up (the first run installs the MCP SDK into .peers)", flush=True)
    await asyncio.to_thread(interpreter, PACKAGES[1])
    began = time.monotonic()
    try:
        async with asyncio.timeout(LIMIT):
            failures = await play(arguments)
    except TimeoutError:
        failures = [f"not over after {LIMIT:.0f} s"]
    except GaveUpError as gave_up:  # it says what did not come, and what the process said last
        failures = [str(gave_up)]
    title(f"Result, after {time.monotonic() - began:.1f} s")
    for failure in failures:
        say(f"FAILED: {failure}")
    if not failures:
        say("The session was brought back after the restart, and ended after the client's death.")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1:])))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; all processes were ended")
