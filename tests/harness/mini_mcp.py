"""A small MCP server for ScriptedServer: sane by default, deviating by rules."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.exchange import Answer, Request, error, event, json_answer, result, sse


@dataclass
class Rule:
    """Requests to treat differently, at most `times` of them.

    `when` may name: method, rpc, tool, path, and session ("known", "unknown", "none", or an id).
    `answer` may name: status, headers, json, body, sse (list of messages or texts), interval, delay, hang, cut, raw,
    and lose (forget all sessions first). In json and sse, the text "{id}" becomes the request's id.
    """

    when: dict[str, str] = field(default_factory=dict)
    answer: dict[str, Any] | Callable[[Request], Answer] = field(default_factory=dict)
    times: int | None = None


@dataclass
class MiniMcp:
    """Callable as a handler. Tools: echo(text), progress(steps, interval); anything else gets an empty result."""

    rules: list[Rule] = field(default_factory=list)
    get: Literal["stream", 405] = "stream"
    stream: bool = False
    """Answer calls as event streams instead of JSON."""
    lost: Callable[[Request], Answer] = field(
        default=lambda request: error(None, -32600, "Session not found", 404, id="server-error")
    )
    delete_status: int = 200
    version: str | None = None
    """The revision to answer; None echoes the client's."""
    prefix: str = "session"
    names: Callable[[int], str] | None = None
    """The id of the n-th session, if not `prefix` and n."""
    sessions: dict[str, Request] = field(default_factory=dict)
    """Live sessions, each with the initialize that made it."""
    ready: set[str] = field(default_factory=set)
    """Sessions whose client sent notifications/initialized."""
    ended: list[str] = field(default_factory=list)
    """Sessions ended by DELETE."""
    executed: Counter[str] = field(default_factory=Counter)
    """How often `echo` was called with each text, in a session that is known."""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _pushes: dict[str, list["asyncio.Queue[bytes | None]"]] = field(default_factory=dict)

    @classmethod
    def of(cls, given: dict[str, Any]) -> "MiniMcp":
        """From plain data, as in a JSON file; `lost` is the `answer` part of a rule there."""
        given = dict(given)
        rules = [Rule(**rule) for rule in given.pop("rules", [])]
        lost = given.pop("lost", None)
        made = cls(rules=rules, **given)
        if lost is not None:
            made.lost = lambda request: made.planned(request, lost)
        return made

    def __call__(self, request: Request) -> Answer:
        for rule in self.rules:
            if (rule.times is None or rule.times > 0) and self._matches(rule.when, request):
                if rule.times is not None:
                    rule.times -= 1
                return rule.answer(request) if callable(rule.answer) else self.planned(request, rule.answer)
        return self.default(request)

    def forget(self, session: str | None = None) -> None:
        """Lose one session or all."""
        for one in [session] if session is not None else list(self.sessions):
            self.sessions.pop(one, None)
            self.ready.discard(one)
            for queue in self._pushes.pop(one, []):
                queue.put_nowait(None)

    def push(self, session: str, message: Any) -> int:
        """Send a message on the session's GET streams; returns how many there are."""
        queues = self._pushes.get(session, [])
        for queue in queues:
            queue.put_nowait(event(message))
        return len(queues)

    def default(self, request: Request) -> Answer:
        """What a well-behaved server answers."""
        session = request.session
        if session is not None and session not in self.sessions:
            return self.lost(request)
        if request.rpc == "initialize":
            return self._initialize(request)
        if session is None:
            return error(request, -32600, "Bad Request: Missing session ID", 400)
        if request.method == "DELETE":
            self.ended.append(session)
            self.forget(session)
            return Answer(self.delete_status)
        if request.method == "GET":
            return sse(self._pushed(session), session=session) if self.get == "stream" else Answer(405)
        if request.id is None or request.rpc is None:
            if request.rpc == "notifications/initialized":
                self.ready.add(session)
            return Answer(202)
        return self._call(request, session)

    def planned(self, request: Request, plan: dict[str, Any]) -> Answer:
        """An answer from plain data."""
        if plan.get("lose"):
            self.forget()
        if not {"status", "headers", "json", "body", "sse", "raw"} & plan.keys():
            answer = self.default(request)
        else:
            headers = dict(plan.get("headers", {}))
            body: bytes | AsyncIterator[bytes] = plan.get("body", "").encode("latin-1")
            if "json" in plan:
                body = json.dumps(_filled(plan["json"], request.id)).encode()
                headers = {"content-type": "application/json", **headers}
            if "sse" in plan:
                body = _paced([event(_filled(item, request.id)) for item in plan["sse"]], plan.get("interval", 0.0))
                headers = {"content-type": "text/event-stream", **headers}
            answer = Answer(plan.get("status", 200), headers, body)
            if "raw" in plan:
                answer.raw = plan["raw"].encode("latin-1")
        answer.delay = plan.get("delay", answer.delay)
        answer.hang = plan.get("hang", answer.hang)
        answer.cut = plan.get("cut", answer.cut)
        return answer

    def _initialize(self, request: Request) -> Answer:
        number = next(self._numbers)
        session = f"{self.prefix}-{number}" if self.names is None else self.names(number)
        self.sessions[session] = request
        value = {
            "protocolVersion": self.version or request.params.get("protocolVersion", "2025-11-25"),
            "capabilities": {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}},
            "serverInfo": {"name": "mini", "version": "1"},
        }
        return self._answered(request, value, session)

    def _call(self, request: Request, session: str) -> Answer:
        if request.rpc == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "progress")]
            return self._answered(request, {"tools": tools}, session)
        if request.rpc != "tools/call":
            return self._answered(request, {}, session)
        given, tool = request.params.get("arguments") or {}, request.params.get("name")
        if tool == "progress":
            return sse(self._progress(request, given), session=session)
        text = str(given.get("text", ""))
        if tool == "echo":
            self.executed[text] += 1
        return self._answered(request, {"content": [{"type": "text", "text": text}]}, session)

    def _answered(self, request: Request, value: Any, session: str) -> Answer:
        if self.stream:
            return sse([event({"jsonrpc": "2.0", "id": request.id, "result": value})], session=session)
        return result(request, value, session=session)

    async def _progress(self, request: Request, given: dict[str, Any]) -> AsyncIterator[bytes]:
        token = (request.params.get("_meta") or {}).get("progressToken")
        for step in range(1, given.get("steps", 3) + 1):
            await asyncio.sleep(given.get("interval", 0.0))
            params = {"progressToken": token, "progress": step}
            yield event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        value = {"content": [{"type": "text", "text": "done"}]}
        yield event({"jsonrpc": "2.0", "id": request.id, "result": value})

    async def _pushed(self, session: str) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._pushes.setdefault(session, []).append(queue)
        try:
            # A comment first, so that the client sees the stream open.
            yield b": open\r\n\r\n"
            while (piece := await queue.get()) is not None:
                yield piece
        finally:
            if queue in self._pushes.get(session, []):
                self._pushes[session].remove(queue)

    def _matches(self, when: dict[str, str], request: Request) -> bool:
        actual = {
            "method": request.method,
            "rpc": request.rpc,
            "path": request.path,
            "tool": request.params.get("name") if request.rpc == "tools/call" else None,
        }
        for key, wanted in when.items():
            if key == "session":
                state = (
                    "none" if request.session is None else "known" if request.session in self.sessions else "unknown"
                )
                if wanted not in (state, request.session):
                    return False
            elif actual[key] != wanted:
                return False
        return True


def lost_everything_style(request: Request) -> Answer:
    """How much code copied from old examples says that a session is lost: 400 and no id."""
    message = "Bad Request: No valid session ID provided"
    return json_answer({"jsonrpc": "2.0", "error": {"code": -32000, "message": message}}, 400)


def _filled(value: Any, id: Any) -> Any:
    if value == "{id}":
        return id
    if isinstance(value, dict):
        return {key: _filled(item, id) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, id) for item in value]
    return value


async def _paced(pieces: list[bytes], interval: float) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(interval)
        yield piece
