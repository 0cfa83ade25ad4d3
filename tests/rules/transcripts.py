"""The catalogue's transcripts, read as exchanges with their times and played through a real core without a proxy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from core.driver import Driver
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.records import Violation
from mcp_sessions.core.session import Endpoint
from mcp_sessions.rules.examples import REVISION as REVISION
from mcp_sessions.rules.examples import SESSION as SESSION
from mcp_sessions.rules.examples import written_out
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.recognition import is_mcp
from mcp_sessions.wire.sse import Decoder

STEP = 0.02
"""Seconds between exchanges that have no time of their own."""
EPOCH = 1_800_000_000.0


@dataclass(frozen=True)
class Process:
    pid: int
    started: float = 1.0
    name: str = "client"
    parent: int | None = 1
    above: None = None


@dataclass
class Scene:
    """One exchange of a transcript."""

    client: str
    at: float
    verb: str = "POST"
    url: str = "http://mcp.example:80/mcp"
    headers: list[tuple[str, str]] = field(default_factory=list)
    content: bytes = b""
    status: int | None = None
    answer_headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    finish: Finish = Finish.COMPLETE
    ended: float | None = None
    """When it was over; None if it stays open."""


@dataclass
class Gone:
    client: str
    at: float


def read(transcript: str, revision: str | None = None) -> list[Scene | Gone]:
    """The exchanges of a transcript, with `revision` in the place of the usual one."""
    if revision is not None:
        transcript = re.sub(
            rf"(%init)(?= *$)|{REVISION}", lambda m: f"{m[1]} {revision}" if m[1] else revision, transcript, flags=re.M
        )
    found: list[Scene | Gone] = []
    now = 0.0
    lines = written_out(transcript).split("\n")
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if found_gone := re.fullmatch(r"### client (\w+) gone at ([\d.]+)", line):
            now = max(now, float(found_gone[2]))
            found.append(Gone(found_gone[1], float(found_gone[2])))
        elif head := re.fullmatch(r"### client (\w+)(?: at ([\d.]+))?", line):
            block = []
            while position < len(lines) and not lines[position].startswith("###"):
                block.append(lines[position])
                position += 1
            at = float(head[2]) if head[2] else now
            scene = _scene(head[1], at, block)
            found.append(scene)
            # Whoever gives no time comes after what stands before it.
            now = max(now, scene.at + STEP, (scene.ended or 0.0) + STEP if head[2] is None else 0.0)
        elif line.strip():
            raise ValueError(f"not understood: {line!r}")
    return found


def _scene(client: str, at: float, block: list[str]) -> Scene:
    asked = [line[2:] for line in block if line.startswith(">")]
    verb, target = asked[0].split(" ", 1)
    scene = Scene(client, at, verb)
    scene.url = target if "://" in target else f"http://mcp.example:80{target}"
    body_at = asked.index("") if "" in asked else len(asked)
    for line in asked[1:body_at]:
        name, _, value = line.partition(": ")
        scene.headers = [(n, v) for n, v in scene.headers if n.lower() != name.lower()]
        scene.headers.append((name, value))
    scene.content = "\n".join(asked[body_at + 1 :]).encode()
    _answer(scene, [line for line in block if not line.startswith(">")])
    return scene


def _answer(scene: Scene, lines: list[str]) -> None:
    answered = scene.at + STEP / 2
    clock = answered
    in_body = False
    pieces: list[tuple[float, list[str]]] = []
    left_open = False
    for line in lines:
        if line.startswith("@ "):
            clock = float(line[2:])
            pieces.append((clock, []))
        elif line == "! cut":
            scene.finish = Finish.CLIENT
        elif line == "! left-open":
            left_open = True
        elif line.startswith("! server-breaks "):
            scene.finish, clock = Finish.SERVER, float(line.split()[2])
        elif scene.status is None:
            scene.status = int(line[2:])
        elif not in_body and line.strip() == "<":
            in_body = True
        elif not in_body:
            name, _, value = line[2:].partition(": ")
            scene.answer_headers.append((name, value))
        else:
            if not pieces:
                pieces.append((clock, []))
            pieces[-1][1].append(line[2:])
    scene.chunks = [(at, "\n".join(text).encode()) for at, text in pieces]
    if ("content-type", "text/event-stream") in [(n.lower(), v) for n, v in scene.answer_headers]:
        scene.chunks = [(at, chunk + b"\n\n") for at, chunk in scene.chunks]
    scene.ended = None if left_open else clock


AMBIENT = frozenset({"MCP632", "MCP633", "MCP634", "MCP705", "MCP706"})
"""What every transcript breaks that is not about it: told once for whoever leaves something out."""


class Player(Driver):
    """Plays scenes through a core and keeps what it tells."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("mcp_silence", ",".join(AMBIENT))
        super().__init__(mcp_recover="off", mcp_end="off", **settings)
        self._live: dict[int, tuple[Scene, Exchange]] = {}
        self._decoders: dict[int, Decoder] = {}
        self.dialled = ""
        """The address of the proxy's that clients dial in the place of the server's."""

    @property
    def violations(self) -> list[Violation]:
        return [record for record in self.told if isinstance(record, Violation)]

    @property
    def rules(self) -> list[str]:
        return [violation.rule for violation in self.violations]

    def play(self, scenes: list[Scene | Gone]) -> None:
        """Everything in the order of its time, however the exchanges overlap."""
        steps: list[tuple[float, int, Any]] = []
        for number, scene in enumerate(scenes):
            if isinstance(scene, Gone):
                steps.append((scene.at, number, lambda s=scene: self._gone(s)))
                continue
            steps.append((scene.at, number, lambda n=number, s=scene: self._request(n, s)))
            if scene.status is not None:
                steps.append((scene.at + STEP / 2, number, lambda n=number: self._head(n)))
                steps += [
                    (at, number, lambda n=number, a=at, c=chunk: self._chunk(n, a, c)) for at, chunk in scene.chunks
                ]
            if scene.ended is not None:
                steps.append((scene.ended, number, lambda n=number: self._end(n)))
        for _, _, step in sorted(steps, key=lambda step: step[:2]):
            step()

    def _request(self, number: int, scene: Scene) -> None:
        pid, at = 100 + ord(scene.client), EPOCH + scene.at
        connection = self.connect(scene.client, Process(pid), at, peer=("127.0.0.1", pid))
        connection.dialled = self.dialled
        scheme, _, rest = scene.url.partition("://")
        authority, _, path = rest.partition("/")
        host, _, port = authority.partition(":")
        endpoint = Endpoint(scheme, host, int(port), "/" + path.partition("?")[0])
        headers = _fields(scene.headers)
        if not is_mcp(scene.verb, "/" + path, headers, scene.content, self.core.ledger.knows(endpoint)):
            return
        x, _ = self.request(scene.verb, scene.url, endpoint, headers, scene.content, connection, at, f"x{number}")
        self._live[number] = (scene, x)

    def _head(self, number: int) -> None:
        if number not in self._live:
            return
        scene, x = self._live[number]
        assert scene.status is not None
        if self.head(x, scene.status, _fields(scene.answer_headers), EPOCH + scene.at + STEP / 2).stream:
            self._decoders[number] = Decoder()

    def _chunk(self, number: int, at: float, chunk: bytes) -> None:
        if number in self._decoders:
            _, x = self._live[number]
            for event in self._decoders[number].feed(chunk):
                self.event(x, event, EPOCH + at)

    def _end(self, number: int) -> None:
        if number not in self._live:
            return
        scene, x = self._live.pop(number)
        if number not in self._decoders and scene.status is not None:
            self.answered(x, b"".join(chunk for _, chunk in scene.chunks), EPOCH + (scene.ended or 0))
        self.finished(x, scene.finish, EPOCH + (scene.ended or 0))

    def _gone(self, scene: Gone) -> None:
        self.gone(Process(100 + ord(scene.client)), EPOCH + scene.at)
        while self.core.ending.busy:  # a few are decided upon at a time
            self.fetch()


def _fields(headers: list[tuple[str, str]]) -> HeaderMap:
    return HeaderMap((name.encode(), value.encode()) for name, value in headers)


def broken_by(transcript: str, revision: str | None = None, about: str = "") -> list[str]:
    """The rules that a transcript breaks, in order, with repetitions; the ambient ones only if it is `about` them."""
    player = Player(mcp_silence=",".join(AMBIENT - {about}))
    player.play(read(transcript, revision))
    assert not [record for record in player.told if getattr(record, "what", "").startswith("could not check")]
    return player.rules
