"""A server that can't be reached: whose requests wait for it, for how long, and what they are told in the end.

Theory of operation
-------------------
A request whose connect was refused was never processed: it can wait and be sent later, without any risk. While a
server is down there is one `Outage`, and everybody whose connect was refused waits in it. After each step of the
backoff one of them, in turn, is let go to connect again. Is it refused once more, it waits on, and the next step is
longer. Does it reach the server, the outage is over and all others are let go at once. Whoever has waited too long is
answered in the server's place, and whoever hangs up is taken off the list.

What comes then is no business of this module: if the server has forgotten the session, it says so, and `recovery` knows
what to do.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ...wire.jsonrpc import Kind, dump
from ...wire.revision import Era
from ...wire.text import printable
from ..decisions import HOLD, PASS, Decision, Forward, Reply
from ..exchange import Exchange
from ..outbox import Outbox, sooner
from ..policy import Policy
from ..records import Weight
from ..reporter import Reporter
from ..tally import Tally, Wait

PASSING = re.compile(
    r"\[(Errno (111|61|110|60|113|65|101|51|104|54|-2|-3|-5|8)|WinError (1225|1231|1232|10060|10061|10065))\]"
    r"|refused HTTP CONNECT request: 50[234]"
)
"""What is said of a connect that may work in a while: refused, timed out, no route, no such name yet; by Linux, macOS,
Windows, and by an upstream proxy. A certificate that is not accepted will not be so a moment later, either."""

UNREACHABLE = -32000
"""The JSON-RPC error code of the answer in the server's place: one of those left to implementations."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How requests wait. Times are seconds."""

    steps: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5, 1.0)
    """How long after the n-th refusal in a row the next connect begins; the last one is for all that follow."""
    per_session: int = 1_000
    """Requests of one session that may wait; also `initialize` requests of one client."""
    overall: int = 5_000

    def step(self, failures: int) -> float:
        """How long to wait after so many refusals in a row."""
        return self.steps[min(max(failures, 1), len(self.steps)) - 1]


def may_pass(problem: str) -> bool:
    """Whether what is said of a connect means that the server was not reached, and that it may be in a while."""
    return PASSING.search(problem[:1000]) is not None


@dataclass(slots=True, eq=False)
class Held:
    """A request that waits for its server, or that was let go to connect again."""

    x: Exchange
    until: float
    problem: str
    whose: object
    """The session or client that it counts for."""
    outage: Outage | None = None
    """What it waits in; none while it connects."""


@dataclass(slots=True, eq=False)
class Outage:
    """A server can't be reached at present."""

    failures: int = 0
    due: float | None = None
    """When the next one is to connect; none while one does."""
    probe: str = ""
    """The exchange that connects."""
    waiting: dict[str, Held] = field(default_factory=dict)


class Unreachable:
    """Who waits for a server. The time is the reporter's."""

    def __init__(
        self, policy: Policy, reporter: Reporter, outbox: Outbox, tally: Tally, patience: Patience | None = None
    ) -> None:
        self.patience = patience or Patience()
        self.policy = policy
        self._reporter = reporter
        self._outbox = outbox
        self._tally = tally
        self._outages: dict[tuple[str, int], Outage] = {}
        self._held: dict[str, Held] = {}  # the first that came is the first whose time is over
        self._late: dict[str, Held] = {}
        """Those whose time was over while they were connecting."""
        self._counts: Counter[object] = Counter()
        self._full_said = False

    def refused(self, x: Exchange, problem: str) -> Decision:
        """The connect for a request was refused: wait, be answered in the server's place, or go mitmproxy's way."""
        if x.hung_up or not self._concerns(x, problem):
            if self._forget(x) is not None:
                self._reporter.action(
                    "waits no longer: something else is wrong with its server", x, Weight.WARNING, lost=True
                )
            return PASS
        held = self._held.get(x.id) or self._late.get(x.id)
        if held is None:
            held = self._begin(x, problem)
            if held is None:
                return self._answer(x, problem, 0.0)
        held.problem = problem
        if x.id in self._late or held.until <= self._reporter.now:
            return self._give_up(held)
        server = _server(x)
        outage = self._outages.get(server)
        if outage is None:
            outage = self._outages[server] = Outage()
        held.outage = outage
        outage.waiting[x.id] = held
        if outage.probe in ("", x.id) and outage.due is None:
            outage.probe = ""
            outage.failures += 1
            outage.due = self._reporter.now + self.patience.step(outage.failures)
        return HOLD

    def reached(self, x: Exchange) -> Decision:
        """A request that has waited has reached its server: with which session id it goes out."""
        held = self._forget(x)
        if held is not None:
            self._reporter.action("waits no longer: its server is reached again", x)
        outage = self._outages.pop(_server(x), None)
        for other in outage.waiting.values() if outage is not None else ():
            other.outage = None
            self._outbox.release(other.x, PASS)
        session = x.session
        if session is None or x.stranger or x.is_initialize or not session.mapped:
            return PASS
        return Forward(session.server_id)

    def over(self, x: Exchange) -> None:
        """The exchange is over, or its client has hung up: it waits no more."""
        if self._forget(x) is not None:
            self._reporter.action("waits no longer: its client has hung up", x)

    @property
    def next_timer(self) -> float | None:
        """When the next one connects, or the time of the first is over."""
        if not self._held:
            return None
        first: float | None = next(iter(self._held.values())).until
        for outage in self._outages.values():
            first = sooner(first, outage.due)
        return first

    def timer(self) -> None:
        """Answer those whose time is over, and let the next one connect."""
        now = self._reporter.now
        while self._held and (held := next(iter(self._held.values()))).until <= now:
            if held.outage is not None:
                self._outbox.release(held.x, self._give_up(held))
            else:
                self._late[held.x.id] = self._held.pop(held.x.id)
        for outage in self._outages.values():
            if outage.due is not None and outage.due <= now:
                held = outage.waiting.pop(next(iter(outage.waiting)))
                held.outage, outage.due, outage.probe = None, None, held.x.id
                self._outbox.release(held.x, PASS)

    # Who waits

    def _concerns(self, x: Exchange, problem: str) -> bool:
        if self.policy.recover == "off" or x.era is Era.STATELESS or x.attempts or x.verb not in ("GET", "POST"):
            return False
        # Who comes with renewed credentials for a session that was brought back is not taken for its client yet.
        known = x.session is not None or x.akin is not None
        return (known or x.is_initialize) and may_pass(problem)

    def _begin(self, x: Exchange, problem: str) -> Held | None:
        """One more that waits; none if too many do."""
        whose: object = x.client if x.session is None or x.stranger else x.session
        overall = len(self._held) + len(self._late)
        if overall >= self.patience.overall or self._counts[whose] >= self.patience.per_session:
            if not self._full_said:
                self._full_said = True
                self._reporter.action("does not wait: too many wait already for a server", x, Weight.WARNING, lost=True)
            return None
        self._counts[whose] += 1
        self._tally.held[Wait.UNREACHABLE] += 1
        held = self._held[x.id] = Held(x, self._reporter.now + self.policy.recover_timeout, problem, whose)
        self._reporter.action("waits: its server can't be reached", x, Weight.WARNING)
        return held

    def _forget(self, x: Exchange) -> Held | None:
        held = self._held.pop(x.id, None) or self._late.pop(x.id, None)
        if held is None:
            return None
        self._counts[held.whose] -= 1
        if not self._counts[held.whose]:
            del self._counts[held.whose]
        self._full_said = self._full_said and bool(self._held)
        server = _server(x)
        outage = self._outages.get(server)
        if outage is None:
            return held
        outage.waiting.pop(x.id, None)
        if outage.probe == x.id:  # the next one is to try
            outage.probe, outage.due = "", self._reporter.now
        if not outage.waiting and not outage.probe:
            del self._outages[server]
        return held

    # What they are told in the end

    def _give_up(self, held: Held) -> Decision:
        self._forget(held.x)
        self._reporter.action("waits no longer: its server was not reached in time", held.x, Weight.WARNING, lost=True)
        return self._answer(held.x, held.problem, self.policy.recover_timeout)

    def _answer(self, x: Exchange, problem: str, waited: float) -> Reply:
        tried = f", and was not within {waited:g} s" if waited else ", and too many requests wait for it already"
        message = (
            f"The MCP server can't be reached ({printable(problem, 200)}){tried}. The request was not sent, so that it "
            "may safely be sent again."
        )
        error = {"code": UNREACHABLE, "message": message}
        asked = [one.id for one in x.body.messages if one.kind is Kind.REQUEST]
        answers: list[dict[str, Any]] = [{"jsonrpc": "2.0", "id": one, "error": error} for one in asked]
        if x.body.batch and answers:
            return Reply(502, dump(answers))
        return Reply(502, dump(answers[0] if answers else {"jsonrpc": "2.0", "error": error}))


def _server(x: Exchange) -> tuple[str, int]:
    return x.endpoint.host, x.endpoint.port
