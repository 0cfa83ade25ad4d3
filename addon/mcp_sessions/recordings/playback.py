"""Flows that were read from a file: judged like live ones, in the order of their own times, and nothing is sent.

What the addon noted on a flow when it recorded it is used: the process behind it, the times of a stream's events, the
session id before it was rewritten. Without such notes a check that needs to know them stays silent. The sessions of the
recording stand in a ledger of their own, with numbers of this run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

from mitmproxy import http

from ..core.core import Core
from ..core.exchange import Exchange, Finish
from ..core.ledger import Ledger
from ..core.policy import Policy
from ..core.records import AnyRecord
from ..core.reporter import Reporter
from ..core.session import Session
from ..core.states import Trigger
from ..proxy.flows import dialled, exchange_of, target_of
from ..proxy.metadata import ARRIVALS, OWN, PRESENTED, PROCESS, REFUSED, SENT_AGAIN
from ..proxy.streams import undone
from ..rules import Judge, Level
from ..wire import headers as h
from ..wire.coding import CodingError
from ..wire.headers import HeaderMap
from ..wire.recognition import is_mcp
from ..wire.sse import Decoder, Event
from ..wire.text import printable
from .notes import Notes
from .soundness import problem
from .vault import PLACEHOLDER

logger = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds without another flow after which those read from a file are judged."""
WINDOW = 5_000
"""Flows that are put in order before they are judged; beyond, the order of the file decides."""


@dataclass(frozen=True, slots=True)
class _Process:
    """The process that a flow was recorded from."""

    name: str
    pid: int
    started: float
    parent: int | None
    above: None = None


class Playback:
    """Judges saved flows. `settled` is told of each flow with the rules that it breaks, `changed` of each session."""

    def __init__(
        self,
        tell: Callable[[AnyRecord], None],
        settled: Callable[[http.HTTPFlow, list[str]], None],
        changed: Callable[[Session], None] = lambda _: None,
    ) -> None:
        reporter = Reporter(tell)
        reporter.followers.append(changed)
        self._judge = Judge(reporter.tell)
        self._core = Core(Policy().passive(), reporter, self._judge)
        self._settled = settled
        self._notes = Notes(self._core.ledger)
        self._flows: list[http.HTTPFlow] = []

    def limit(self, silenced: Collection[str], level: Level) -> None:
        """Judge by these rules from now on."""
        self._judge.limit(silenced, level)

    def beside(self, live: Ledger) -> Ledger:
        """The live ledger, and what was read from files beside it, to look at."""
        read = self._core.ledger
        if not read.sessions:
            return live
        return Ledger(
            {**read.sessions, **live.sessions},
            {**read.clients, **live.clients},
            {**read.connections, **live.connections},
            {**read.endpoints, **live.endpoints},
            replace(
                live.tally,
                states=read.tally.states + live.tally.states,
                ended=read.tally.ended + live.tally.ended,
            ),
            read.recovered + live.recovered,
            read.streams + live.streams,
            read.clients_gone + live.clients_gone,
        )

    def has(self, session: Session) -> bool:
        """Whether this session was read from a file."""
        return session.number in self._core.ledger.sessions

    def add(self, flow: http.HTTPFlow) -> None:
        """A flow was read from a file."""
        if flow.request.method not in ("POST", "GET", "DELETE"):
            return
        self._flows.append(flow)
        if len(self._flows) >= WINDOW:
            self.play()

    def take(self, flow: http.HTTPFlow) -> None:
        """A flow was read from a file: it is judged once nothing more comes for a moment."""
        if wrong := problem(flow):
            logger.warning(f"mcp: a flow that was read is damaged at {printable(wrong)}: nothing is said of it")
            return
        if not self._flows:
            asyncio.get_running_loop().call_later(PAUSE, self._play_unless_more, -1)
        self.add(flow)

    def _play_unless_more(self, before: int) -> None:
        if self._flows and len(self._flows) != before:
            asyncio.get_running_loop().call_later(PAUSE, self._play_unless_more, len(self._flows))
            return
        self.play()

    def play(self) -> None:
        """Judge what was read until now."""
        flows, self._flows = self._flows, []
        steps = [
            (at, number, step)
            for number, flow in enumerate(flows)
            for at, step in (
                _Telling(self._core, self._judge, self._notes, flow, self._settled).steps()
                if flow.metadata.get(OWN, REFUSED) == REFUSED
                else self._notes.steps(flow)
            )
        ]
        for _, _, step in sorted(steps, key=lambda step: step[:2]):
            step()
        self._notes.number(flows)
        if steps:
            self._judge.overdue(max(at for at, _, _ in steps))


class _Telling:
    """Tells the core of one flow, step by step."""

    def __init__(
        self,
        core: Core,
        judge: Judge,
        notes: Notes,
        flow: http.HTTPFlow,
        settled: Callable[[http.HTTPFlow, list[str]], None],
    ) -> None:
        self._core = core
        self._judge = judge
        self._notes = notes
        self._flow = flow
        self._settled = settled
        self._x: Exchange | None = None
        self._streamed = False
        self._content = _body(flow.response) if flow.response is not None else None

    def steps(self) -> Iterator[tuple[float, Callable[[], None]]]:
        """What happened, and when."""
        flow, response = self._flow, self._flow.response
        began = flow.request.timestamp_end or flow.request.timestamp_start
        yield began, lambda: self._request(began)
        ended = began
        if response is not None:
            answered = max(response.timestamp_start or began, began)
            ended = max(response.timestamp_end or (flow.error.timestamp if flow.error else answered), answered)
            yield answered, lambda: self._head(answered)
            if HeaderMap(response.headers.fields).content_type == h.SSE and self._content:
                events = Decoder().feed(self._content)
                times = self._times(len(events))
                for event, at in zip(events, times or [ended] * len(events), strict=True):
                    yield min(max(at, answered), ended), lambda e=event, t=at: self._event(e, t)  # type: ignore[misc]
        elif flow.error is not None:
            ended = max(flow.error.timestamp, began)
        yield ended, lambda: self._end(ended)

    def _times(self, events: int) -> list[float] | None:
        times = self._flow.metadata.get(ARRIVALS)
        fits = isinstance(times, list) and len(times) == events and all(isinstance(at, float) for at in times)
        return times if fits else None

    def _request(self, at: float) -> None:
        core, flow = self._core, self._flow
        request = flow.request
        presented = flow.metadata.get(PRESENTED)
        headers = self._headers(request, presented if isinstance(presented, str) else None)
        endpoint, url = target_of(request)
        if not is_mcp(request.method, endpoint.path, headers, request.raw_content, core.ledger.knows(endpoint)):
            return
        peer, local = (_address(address) for address in (flow.client_conn.peername, flow.client_conn.sockname))
        connection = core.connected(flow.client_conn.id, peer, local, at)
        connection.dialled = dialled(flow.client_conn)
        if not connection.identified:
            core.identified(connection, _process(flow), at)
        x = exchange_of(flow.id, request.method, endpoint, url, headers, request.raw_content, connection)
        again = flow.metadata.get(SENT_AGAIN, 0)
        x.attempts = again if isinstance(again, int) else 0
        streams = flow.response is not None and HeaderMap(flow.response.headers.fields).content_type == h.SSE
        if streams and not isinstance(flow.metadata.get(ARRIVALS), list):
            x.untimed = True
        if self._content is None:
            x.unread = True
        self._x = x
        core.arrived(x, at)
        core.requested(x, at)

    def _headers(self, message: http.Message, session_id: str | None = None) -> HeaderMap:
        """The headers of a message, with this session id, or one that is like one in the place of a placeholder."""
        there = message.headers.get(h.SESSION_ID) if session_id is None else session_id
        if there is not None and PLACEHOLDER.fullmatch(there):
            session_id = self._notes.stand_in(self._flow, there)
        fields = message.headers.fields
        if session_id is not None:
            fields = tuple((n, v) for n, v in fields if n.decode("latin-1").lower() != h.SESSION_ID)
            fields = (*fields, (h.SESSION_ID.encode(), session_id.encode("utf-8", "surrogateescape")))
        return HeaderMap(fields)

    def _head(self, at: float) -> None:
        x, response = self._x, self._flow.response
        if x is not None and response is not None:
            self._streamed = self._core.head(x, response.status_code, self._headers(response), at).stream

    def _event(self, event: Event, at: float) -> None:
        if self._x is not None and self._streamed:
            self._core.event(self._x, event, at)

    def _end(self, at: float) -> None:
        x, flow = self._x, self._flow
        if x is None:
            return
        broken = flow.error is not None
        if flow.response is not None and not self._streamed and not broken:
            self._core.answered(x, self._content, at)
        by_client = broken and flow.error is not None and "lient disconnected" in flow.error.msg
        self._core.finished(x, Finish.CLIENT if by_client else Finish.SERVER if broken else Finish.COMPLETE, at)
        if flow.metadata.get(OWN) == REFUSED and x.session is not None:
            # The proxy brought the session back; its client never learnt of the loss.
            self._judge.never_told(x.session)
            x.session.generation += 1
            self._core.ledger.fire(x.session, Trigger.SUCCEEDED, at)
        self._settled(flow, x.findings)
        session = x.session or x.opened
        if session is not None:
            self._notes.note(flow, session)


def _body(response: http.Response) -> bytes | None:
    """An answer's body, read where a live one would be; None where it can't be."""
    try:
        return None if response.raw_content is None else undone(response)
    except CodingError:
        return None


def _address(address: object) -> tuple[str, int]:
    if isinstance(address, (tuple, list)) and len(address) >= 2 and isinstance(address[1], int):
        return str(address[0]), address[1]
    return "unknown", 0


def _process(flow: http.HTTPFlow) -> _Process | None:
    match flow.metadata.get(PROCESS):
        case [str(name), int(pid), float(started), int(parent)]:
            return _Process(name, pid, started, parent or None)
        case _:
            return None
