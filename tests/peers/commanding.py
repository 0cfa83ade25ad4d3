# mypy: ignore-errors
"""JSON-line commands to a peer client: read from stdin, carried out side by side, answered on stdout."""

import asyncio
import json
import os
import sys
import threading
import time
import traceback


class Inbox:
    """What one connection was told without asking."""

    def __init__(self) -> None:
        self.items: list = []
        self.http: list = []
        self.sent_session: str | None = None
        self._changed = asyncio.Condition()

    async def add(self, method: str, params) -> None:
        async with self._changed:
            self.items.append([time.time(), method, params])
            self._changed.notify_all()

    async def wait(self, method: str, after: int, within: float):
        async with asyncio.timeout(within), self._changed:
            while True:
                for index, item in enumerate(self.items):
                    if index >= after and item[1] == method:
                        return index, item
                await self._changed.wait()


class Connection:
    """One session of the SDK, held open by a task of its own because its scopes end in the task they began in."""

    def __init__(self, opener, command: dict) -> None:
        self.inbox = Inbox()
        self._opener = opener
        self._command = command
        self._closing = asyncio.Event()
        self._opened: asyncio.Future = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold())

    async def _hold(self) -> None:
        try:
            async with self._opener(self._command, self.inbox) as actions:
                self._opened.set_result(actions)
                await self._closing.wait()
        except BaseException as failure:
            if self._opened.done():
                raise
            self._opened.set_exception(failure if isinstance(failure, Exception) else RuntimeError(repr(failure)))

    async def actions(self):
        return await asyncio.shield(self._opened)

    async def close(self) -> None:
        self._closing.set()
        await self._task


def described(failure: BaseException) -> dict:
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    answer = {"ok": False, "error": str(failure) or repr(failure), "type": type(failure).__name__}
    error = getattr(failure, "error", None)
    if error is not None:
        answer["code"] = error.code
        answer["data"] = error.data
    else:
        answer["trace"] = "".join(traceback.format_exception(failure))[-4000:]
    return answer


def filled(value, number: int):
    """Arguments with {i} replaced by the number of the call."""
    if isinstance(value, str):
        return value.replace("{i}", str(number))
    if isinstance(value, dict):
        return {key: filled(item, number) for key, item in value.items()}
    return value


class Commander:
    """Carries commands out."""

    def __init__(self, opener) -> None:
        self._opener = opener
        self._connections: dict[str, Connection] = {}
        self._running: dict = {}

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        lines: asyncio.Queue = asyncio.Queue()

        def read() -> None:
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            # The test is gone: leave at once, as a killed client would.
            os._exit(0)

        threading.Thread(target=read, daemon=True).start()
        print("READY", flush=True)
        while True:
            command = json.loads(await lines.get())
            if command["do"] == "exit":
                os._exit(command.get("code", 0))
            self._running[command.get("id")] = asyncio.create_task(self._answer(command))

    async def _answer(self, command: dict) -> None:
        began = time.time()
        try:
            answer = {"ok": True, **await self._carry_out(command)}
        except asyncio.CancelledError:
            answer = {"ok": False, "error": "abandoned", "type": "CancelledError"}
        except BaseException as failure:
            answer = described(failure)
        answer |= {"id": command.get("id"), "began": began, "at": time.time()}
        self._running.pop(command.get("id"), None)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    async def _carry_out(self, command: dict) -> dict:
        name = command.get("as", "")
        if command["do"] == "abandon":
            task = self._running.get(command["of"])
            if task is not None:
                task.cancel()
            return {"result": task is not None}
        if command["do"] == "connect":
            connection = Connection(self._opener, command)
            self._connections[name] = connection
            return await (await connection.actions()).connected()
        connection = self._connections[name]
        inbox = connection.inbox
        match command["do"]:
            case "close":
                del self._connections[name]
                await connection.close()
                return {"result": None, "http": inbox.http}
            case "session_id":
                return {"result": (await connection.actions()).session_id() or inbox.sent_session}
            case "notifications":
                return {"result": list(inbox.items)}
            case "http":
                return {"result": list(inbox.http)}
            case "wait_notification":
                index, item = await inbox.wait(command["method"], command.get("after", 0), command.get("timeout", 10))
                return {"result": item, "index": index}
        actions = await connection.actions()
        match command["do"]:
            case "call":
                return await self._call(actions, command["tool"], command.get("args", {}), command)
            case "calls":
                return {"result": await self._calls(actions, command)}
            case "list_tools":
                return {"result": await actions.list_tools()}
            case "read":
                return {"result": await actions.read(command.get("uri", "test://one"))}
            case "subscribe":
                return {"result": await actions.subscribe(command["uri"])}
            case "unsubscribe":
                return {"result": await actions.unsubscribe(command["uri"])}
            case "set_level":
                return {"result": await actions.set_level(command["level"])}
            case "ping":
                return {"result": await actions.ping()}
        raise ValueError(f"unknown command {command['do']}")

    async def _call(self, actions, tool: str, given: dict, command: dict) -> dict:
        progress: list = []

        async def report(done, total, message) -> None:
            progress.append([time.time(), done])

        try:
            result = await actions.call(
                tool, given, report if command.get("progress", True) else None, command.get("timeout")
            )
        except Exception as failure:
            return described(failure) | {"progress": progress}
        text = next((block.get("text") for block in result.get("content", []) if block.get("type") == "text"), None)
        return {"result": result, "text": text, "progress": progress}

    async def _calls(self, actions, command: dict) -> list:
        room = asyncio.Semaphore(command.get("parallel", command["n"]))

        async def one(number: int) -> dict:
            async with room:
                began = time.time()
                answer = await self._call(actions, command["tool"], filled(command.get("args", {}), number), command)
                return {"ok": True, **answer, "began": began, "at": time.time()}

        return await asyncio.gather(*(one(number) for number in range(command["n"])))


def http_hooks(inbox: Inbox) -> dict:
    """Hooks for the HTTP client under the SDK: what the client really sent and got."""

    async def sent(request) -> None:
        inbox.sent_session = request.headers.get("mcp-session-id") or inbox.sent_session

    async def got(response) -> None:
        session = response.headers.get("mcp-session-id")
        inbox.sent_session = inbox.sent_session or (session if response.status_code < 300 else None)
        inbox.http.append([time.time(), response.request.method, response.status_code, session])

    return {"request": [sent], "response": [got]}
