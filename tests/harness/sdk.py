"""Real SDK servers and clients in processes of their own."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from harness.environments import PEERS, interpreter
from harness.process import Process
from harness.waiting import GaveUpError, Growing

Major = Literal[1, 2]
PACKAGES: dict[Major, str] = {1: "mcp==1.30.0", 2: "mcp==2.3.0"}


@dataclass
class Seen:
    """One request as the server saw it, and how it was answered so far."""

    run: int
    number: int
    at: float
    method: str
    path: str
    session: str | None
    headers: dict[str, str]
    body: Any
    peer: str | None
    complete: bool
    http: str
    status: int | None = None
    answered_at: float | None = None
    answer_session: str | None = None
    answer_type: str | None = None
    ended_at: float | None = None
    end: str | None = None

    @property
    def rpc(self) -> str | None:
        """The JSON-RPC method; None for answers, GET and DELETE."""
        method = self.body.get("method") if isinstance(self.body, dict) else None
        return method if isinstance(method, str) else None

    @property
    def tool(self) -> str | None:
        """The tool called, if it is a tool call."""
        if self.rpc != "tools/call":
            return None
        name = self.body.get("params", {}).get("name")
        return name if isinstance(name, str) else None


@dataclass
class Result:
    """What a client answered to a command."""

    ok: bool
    result: Any
    text: str | None
    error: str | None
    code: int | None
    progress: list[tuple[float, float]]
    began: float
    at: float
    raw: dict[str, Any] = field(repr=False)

    @property
    def took(self) -> float:
        return self.at - self.began

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        return cls(
            ok=raw["ok"],
            result=raw.get("result"),
            text=raw.get("text"),
            error=raw.get("error"),
            code=raw.get("code"),
            progress=[(at, done) for at, done in raw.get("progress", [])],
            began=raw["began"],
            at=raw["at"],
            raw=raw,
        )


class SdkServer:
    """A server on the Python SDK; what it saw survives its restarts."""

    def __init__(
        self,
        major: Major = 1,
        *,
        port: int = 0,
        json_response: bool = False,
        no_get: bool = False,
        idle_timeout: float | None = None,
        record: bool = True,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.major = major
        self.port = port
        self.seen: Growing[Seen] = Growing()
        self.runs = 0
        self._args = list(args)
        if json_response:
            self._args.append("--json")
        if no_get:
            self._args.append("--no-get")
        if idle_timeout is not None:
            self._args += ["--idle-timeout", str(idle_timeout)]
        if record:
            self._args += ["--log", "-"]
        self._env = env
        self._process: Process | None = None
        self._by_number: dict[tuple[int, int], Seen] = {}
        self._changes: Growing[Seen] = Growing()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self, within: float = 20.0) -> Self:
        python = await asyncio.to_thread(interpreter, PACKAGES[self.major])
        self.runs += 1
        run = self.runs
        script = PEERS / f"server_v{self.major}.py"
        process = Process(
            [python, script, "--port", str(self.port), "--follow-stdin", *self._args],
            env=self._env,
            stdin=True,
            on_line=lambda line: self._recorded(run, line),
            name=f"{script.name} (run {run})",
        )
        self._process = process
        await process.start()
        try:
            match = await process.wait_line(r"^READY http://127\.0\.0\.1:(\d+)/mcp", within)
        except BaseException:
            await process.kill()
            raise
        self.port = int(match[1])
        return self

    async def restart(self) -> Self:
        """Kill it and start it on the same port: every session is lost."""
        await self.kill()
        return await self.start()

    async def kill(self) -> None:
        if self._process is not None:
            await self._process.kill()

    async def stop(self, within: float = 10.0) -> int:
        """End it by SIGTERM; streams get one second to finish."""
        assert self._process is not None
        return await self._process.terminate(within)

    async def forget(self, session: str | None = None) -> list[str]:
        """Let the running server lose one session or all; returns their ids."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"http://127.0.0.1:{self.port}/control/forget", json={"session": session})
        lost: list[str] = answer.raise_for_status().json()
        return lost

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def requests(
        self,
        method: str | None = None,
        rpc: str | None = None,
        *,
        tool: str | None = None,
        session: str | None = None,
        run: int | None = None,
    ) -> list[Seen]:
        """Requests seen so far, in order of their arrival, narrowed down."""
        return [
            seen
            for seen in self.seen
            if (method is None or seen.method == method)
            and (rpc is None or seen.rpc == rpc)
            and (tool is None or seen.tool == tool)
            and (session is None or seen.session == session)
            and (run is None or seen.run == run)
        ]

    async def wait_for(
        self, wanted: Callable[[Seen], bool], within: float = 10.0, *, start: int = 0, count: int = 1
    ) -> Seen:
        """The `count`-th request (from index `start` on) that is wanted; event-driven, sees past ones too."""
        return await self._reported(self.seen.wait(wanted, within, start=start, count=count, what="request"))

    async def wait_state(self, wanted: Callable[[Seen], bool], within: float = 10.0) -> Seen:
        """A request that is wanted by what became of it: `status`, `end` and so on are known by then."""
        return await self._reported(self._changes.wait(wanted, within, what="request in that state"))

    async def wait_opened(self) -> None:
        """A client has shaken hands and listens: nothing else of its is under way."""
        await self.wait_state(lambda seen: seen.rpc == "notifications/initialized" and seen.ended_at is not None)
        await self.wait_state(lambda seen: seen.method == "GET" and seen.status == 200)

    async def _reported(self, waiting: Any) -> Seen:
        try:
            found: Seen = await waiting
        except GaveUpError as failure:
            listed = "\n".join(
                f"{seen.run}/{seen.number} {seen.method} {seen.rpc} {seen.session} -> {seen.status}"
                for seen in self.seen.items[-30:]
            )
            raise GaveUpError(f"{failure}\nseen:\n{listed}\n{self.process.report()}") from None
        return found

    def _recorded(self, run: int, line: str) -> bool:
        if not line.startswith("LOG "):
            return False
        event: dict[str, Any] = json.loads(line[4:])
        if "of" not in event:
            seen = Seen(
                run=run,
                number=event["n"],
                at=event["at"],
                method=event["method"],
                path=event["path"],
                session=event["session"],
                headers=event["headers"],
                body=event["body"],
                peer=event["peer"],
                complete=event["complete"],
                http=event["http"],
            )
            self._by_number[run, seen.number] = seen
            self.seen.add(seen)
        else:
            seen = self._by_number[run, event["of"]]
            if "answer" in event:
                seen.status = event["answer"]
                seen.answered_at = event["at"]
                seen.answer_session = event["session"]
                seen.answer_type = event["type"]
            else:
                seen.ended_at = event["at"]
                seen.end = event["end"]
        self._changes.add(seen)
        return True


class SdkClient:
    """A process with clients on the Python SDK, several if named (`as_`)."""

    def __init__(self, major: Major = 1, *, env: Mapping[str, str] | None = None) -> None:
        self.major = major
        self._env = env
        self._process: Process | None = None
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def start(self, within: float = 20.0) -> Self:
        python = await asyncio.to_thread(interpreter, PACKAGES[self.major])
        script = PEERS / f"client_v{self.major}.py"
        self._process = Process([python, script], env=self._env, stdin=True, on_line=self._answered, name=script.name)
        await self._process.start()
        await self._process.wait_line("^READY", within)
        return self

    async def do(self, command: str, *, as_: str = "", wait: float = 60.0, **fields: Any) -> Result:
        """Carry out a command and wait for its answer; a failed command is a Result with ok=False."""
        return await self.result(await self.begin(command, as_=as_, **fields), wait)

    async def begin(self, command: str, *, as_: str = "", **fields: Any) -> int:
        """Send a command without waiting; its number goes to `result` or to do("abandon", of=number)."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self.process.write(json.dumps({"do": command, "as": as_, "id": number, **fields}))
        return number

    async def result(self, number: int, wait: float = 60.0) -> Result:
        try:
            async with asyncio.timeout(wait):
                raw = await asyncio.shield(self._answers[number])
        except TimeoutError:
            raise GaveUpError(f"no answer within {wait} s\n{self.process.report()}") from None
        return Result.of(raw)

    async def connect(self, url: str, *, as_: str = "", wait: float = 60.0, **fields: Any) -> Result:
        """Connect and fail loudly if that does not work. Version 2 speaks `mode` legacy unless told otherwise."""
        if self.major == 2:
            fields = {"mode": "legacy", **fields}
        result = await self.do("connect", as_=as_, wait=wait, url=url, **fields)
        assert result.ok, f"{result.raw}\n{self.process.report()}"
        return result

    async def call(self, tool: str, *, as_: str = "", limit: float | None = None, **given: Any) -> Result:
        """Call a tool; `limit` is the SDK's own read timeout."""
        return await self.do("call", as_=as_, tool=tool, args=given, timeout=limit)

    async def calls(
        self, tool: str, count: int, *, as_: str = "", parallel: int | None = None, **given: Any
    ) -> list[Result]:
        """Call a tool many times at once; {i} in a text argument is the number of the call."""
        fields: dict[str, Any] = {"tool": tool, "n": count, "args": given}
        if parallel is not None:
            fields["parallel"] = parallel
        answer = await self.do("calls", as_=as_, wait=120, **fields)
        assert answer.ok, answer.raw
        return [Result.of(raw) for raw in answer.result]

    async def session_id(self, as_: str = "") -> str | None:
        session: str | None = (await self.do("session_id", as_=as_)).result
        return session

    async def close(self, as_: str = "") -> Result:
        """Leave as the SDK leaves: with DELETE."""
        return await self.do("close", as_=as_)

    async def exit(self) -> int:
        """End the process at once, without DELETE."""
        with contextlib.suppress(ConnectionError):
            await self.begin("exit")
        return await self.process.wait()

    async def kill(self) -> None:
        if self._process is not None:
            await self._process.kill()
            self._fail()

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def _answered(self, line: str) -> bool:
        if not line.startswith("{"):
            return False
        raw: dict[str, Any] = json.loads(line)
        answer = self._answers.get(raw.get("id", 0))
        if answer is not None and not answer.done():
            answer.set_result(raw)
        return True

    def _fail(self) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result({"ok": False, "error": "the client's process ended", "began": 0.0, "at": 0.0})
