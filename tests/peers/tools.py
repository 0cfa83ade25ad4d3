# mypy: ignore-errors
"""The tools every peer server offers, written against a small link to the client instead of one SDK."""

import asyncio
import json
import os

LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
RESOURCES = ("test://one", "test://two")


def _schema(**properties: str) -> dict:
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }


TOOLS: dict[str, tuple[str, dict]] = {
    "echo": ("Returns the text.", _schema(text="string")),
    "add": ("Returns the sum.", _schema(a="number", b="number")),
    "progress": ("Reports progress, interval seconds apart.", _schema(steps="integer", interval="number")),
    "ask": ("Asks the user and returns the answer.", _schema(question="string")),
    "sample": ("Asks the client's model and returns the answer.", _schema(prompt="string")),
    "slow": ("Returns after some seconds.", _schema(seconds="number")),
    "whoami": ("Tells who calls whom, as JSON.", _schema()),
    "touch": ("Tells subscribers that a resource changed.", _schema(uri="string")),
    "add_tool": ("Adds a tool.", _schema(name="string")),
    "log": ("Logs, if the session's level allows it.", _schema(level="string", text="string")),
}
QUESTION_SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


class Memory:
    """What the server process remembers about its sessions."""

    def __init__(self) -> None:
        self.added: dict[str, tuple[str, dict]] = {}
        self.levels: dict[str | None, str] = {}
        # uri -> session id -> link to that session's client
        self.subscribers: dict[str, dict] = {}

    def tools(self) -> dict[str, tuple[str, dict]]:
        return TOOLS | self.added

    def allows(self, session: str | None, level: str) -> bool:
        return LEVELS.index(level) >= LEVELS.index(self.levels.get(session, "debug"))


async def run_tool(name: str, given: dict, link, memory: Memory) -> str:
    """Run one tool. `link` reaches the client: progress, ask, sample, updated, tools_changed, log."""
    match name:
        case "echo":
            return given["text"]
        case "add":
            # A server that was changed on purpose differs in this, and in nothing else.
            return str(given["a"] + given["b"] + int(os.environ.get("PEER_ADDS", "0")))
        case "progress":
            for step in range(1, given["steps"] + 1):
                await asyncio.sleep(given["interval"])
                await link.progress(step, given["steps"])
            return f"{given['steps']} steps"
        case "ask":
            return await link.ask(given["question"])
        case "sample":
            return await link.sample(given["prompt"])
        case "slow":
            await asyncio.sleep(given["seconds"])
            return f"{given['seconds']} seconds"
        case "whoami":
            return json.dumps(
                {
                    "client": link.client_name,
                    "pid": os.getpid(),
                    "session": link.session_id,
                    "level": memory.levels.get(link.session_id),
                    "subscriptions": sorted(uri for uri, who in memory.subscribers.items() if link.session_id in who),
                }
            )
        case "touch":
            told = 0
            for session, subscriber in list(memory.subscribers.get(given["uri"], {}).items()):
                try:
                    await subscriber.updated(given["uri"])
                    told += 1
                except Exception:
                    # That session is over; the SDKs say so by various errors.
                    memory.subscribers[given["uri"]].pop(session, None)
            await link.publish_updated(given["uri"])
            return f"{told} told"
        case "add_tool":
            memory.added[given["name"]] = ("Added later.", _schema())
            await link.tools_changed()
            return f"added {given['name']}"
        case "log":
            if not memory.allows(link.session_id, given["level"]):
                return "below the level"
            await link.log(given["level"], given["text"])
            return "logged"
    if name in memory.added:
        return f"this is {name}"
    raise ValueError(f"no tool {name}")
