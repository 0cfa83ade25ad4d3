"""The judge: walks the checks that apply to an exchange's revision, and says what was broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from importlib import import_module
from itertools import product
from typing import NamedTuple

from ..core.exchange import Exchange
from ..core.records import Action, AnyRecord, Violation, Weight
from ..core.session import Session
from ..wire.jsonrpc import Body, Kind, Message
from ..wire.revision import REVISIONS, SESSION_REVISIONS, STATELESS_REVISIONS, Era
from ..wire.sse import Event
from ..wire.text import printable
from . import schema
from .checks import (
    ON_EVENT,
    ON_EXCHANGE,
    ON_MESSAGE,
    ON_SESSION,
    Arrival,
    Left,
    Moment,
    OnEvent,
    OnExchange,
    OnMessage,
    OnSession,
    Said,
    Verdict,
)
from .entries import FAMILIES, Level, Party, Rule, catalogue
from .facts import Notes, notes, revision_of, valid_key
from .memory import Memory
from .streams import LEFT_OPEN

for _family in FAMILIES:
    import_module(f"{__package__}.{_family}")

type Table = dict[tuple[str | None, bool, str, bool], tuple[tuple[Rule, OnExchange], ...]]
"""Checks by revision, whether the era is the stateless one, verb, and whether the answer is 2xx."""

type Finding = Verdict | Exception
"""What came of a check: its verdict, or how it failed itself."""

EXTRAS: dict[str, Callable[[], bool]] = {"schema": schema.available}
"""Whether an extra is installed, by the name that a rule gives it."""

PARTIES: tuple[Party, ...] = ("client", "server")
VERBS = ("POST", "GET", "DELETE")


class Deferred(NamedTuple):
    """A check of a message that is to be made off the request path: `make` it in any thread, then `Judge.settle`."""

    rule: Rule
    check: OnMessage
    said: Said
    x: Exchange
    at: float
    size: int
    """Bytes that the message came in, about."""

    def make(self) -> Finding:
        """Make the check. Never raises."""
        try:
            return self.check(self.said)
        except Exception as e:
            return e


class Judge:
    """Judges by the catalogue, less the rules that are silenced or below the level that is asked for."""

    def __init__(
        self, tell: Callable[[AnyRecord], None], silenced: Collection[str] = (), level: Level = Level.PRACTICE
    ) -> None:
        """`tell` gets a record of each violation as it is found, with the time of what broke the rule."""
        self.tell = tell
        self.counts: Counter[str] = Counter()
        self.later: Callable[[Deferred], None] = lambda deferred: self.settle(deferred, deferred.make())
        """Sees to it that a check is made; at once, unless somebody knows better."""
        self._memory = Memory()
        self.limit(silenced, level)

    def limit(self, silenced: Collection[str], level: Level) -> None:
        """Judge by these rules from now on; what is remembered stays."""
        rules = [rule for rule in catalogue().values() if rule.id not in silenced and _can_judge(rule)]
        self._on_request: Table = {}
        self._on_answer: Table = {}
        self._on_finish: Table = {}
        self._event: dict[tuple[str | None, bool], tuple[tuple[Rule, OnEvent], ...]] = {}
        self._session: dict[str, tuple[tuple[Rule, OnSession], ...]] = {}
        self._message: dict[tuple[str, Party], tuple[tuple[Rule, OnMessage], ...]] = {}
        for era, revisions in ((Era.SESSION, SESSION_REVISIONS), (Era.STATELESS, STATELESS_REVISIONS)):
            for revision in (*revisions, None):
                # Where the revision is not known, only what holds in all that it may be is judged.
                wanted = {revision} if revision else set(revisions if era is Era.SESSION else REVISIONS)
                here = {
                    rule.id: rule
                    for rule in rules
                    if wanted <= set(rule.revisions) and rule.level_in(revision).weight >= level.weight
                }
                for verb, ok in product(VERBS, (True, False)):
                    chosen = [
                        (check.moment, (here[check.rule_id], check.check))
                        for check in ON_EXCHANGE
                        if check.rule_id in here and check.verb in ("", verb) and check.ok in (None, ok)
                    ]
                    for moment, table in (
                        (Moment.REQUEST, self._on_request),
                        (Moment.ANSWER, self._on_answer),
                        (Moment.FINISH, self._on_finish),
                    ):
                        table[revision, era is Era.STATELESS, verb, ok] = tuple(
                            pair for when, pair in chosen if when is moment
                        )
                self._event[revision, era is Era.STATELESS] = tuple(
                    (here[rule_id], check) for rule_id, check in ON_EVENT if rule_id in here
                )
                if revision is not None:
                    for party in PARTIES:
                        self._message[revision, party] = tuple(
                            (here[rule_id], check)
                            for rule_id, check in ON_MESSAGE
                            if rule_id in here and here[rule_id].party == party
                        )
                if era is Era.SESSION:
                    self._session[revision or ""] = tuple(
                        (here[rule_id], check) for rule_id, check in ON_SESSION if rule_id in here
                    )

    def request(self, x: Exchange) -> None:
        """The request was read; the ledger still stands as it was before it."""
        if self._memory.lingering:
            self.overdue(x.at)
        self._memory.entered(x)
        if not x.attempts:
            revision = revision_of(x)
            self._judge(x, self._on_request, revision, x.at)
            self._defer(x, x.body, "client", revision, x.at)
        self._memory.requested(x)

    def answer(self, x: Exchange) -> None:
        """The answer was read, or its headers if it is a stream."""
        if x.attempts > notes(x).attempts:
            self._memory.sent_again(x)
        if x.answer is not None:
            self._memory.learn(x, x.answer.first)
        # What was sent again is not judged again: the server's own answer was the first.
        if not x.attempts:
            revision = revision_of(x)
            self._judge(x, self._on_answer, revision, x.answered_at)
            if x.answer is not None:
                self._defer(x, x.answer, "server", revision, x.answered_at)
        self._memory.answered(x)

    def event(self, x: Exchange, event: Event, body: Body | None, at: float) -> None:
        """An event arrived on a stream."""
        for message in body.messages if body else ():
            self._memory.learn(x, message)
        if not x.attempts:
            revision = revision_of(x)
            arrival = Arrival(event, body, at)
            for rule, check in self._event[revision, x.era is Era.STATELESS]:
                try:
                    verdict = check(x, arrival)
                except Exception as e:
                    self._failed(rule, e, x, at)
                    continue
                if verdict is not None:
                    self._found(rule, verdict, revision, x.session, x, at)
            if body is not None:
                self._defer(x, body, "server", revision, at)
        self._memory.arrived(x, event, body, at)

    def finish(self, x: Exchange) -> None:
        """The exchange is over."""
        notes(x).unread = x.unread
        if not x.attempts:
            self._judge(x, self._on_finish, revision_of(x), x.finished_at)
        self._memory.finished(x)

    def abandoned(self, session: Session, at: float) -> None:
        """The client of this session is gone, and the session was not ended."""
        revision = session.revision if session.revision in SESSION_REVISIONS else ""
        left = Left(session, self._memory.talk(session), at)
        for rule, check in self._session[revision]:
            try:
                verdict = check(left)
            except Exception as e:
                self._failed(rule, e, None, at)
                continue
            if verdict is not None:
                self._found(rule, verdict, revision or None, session, None, at)

    def overdue(self, at: float) -> None:
        """Time has passed: look at the streams that should have been closed by now."""
        for x in list(self._memory.lingering.values()):
            kept = notes(x)
            if kept.responded_at is None or at - kept.responded_at <= LEFT_OPEN:
                break  # the oldest stand first
            self._memory.lingering.pop(x.id)
            if x.attempts:
                continue
            finished_at, x.finished_at = x.finished_at, at
            self._judge(x, self._on_finish, revision_of(x), at, only="MCP503")
            x.finished_at = finished_at
            kept.left_open_said = True

    def settle(self, deferred: Deferred, finding: Finding) -> None:
        """A check that was to be made later has been made."""
        rule = deferred.rule
        if not any(rule is judged for judged, _ in self._message[deferred.said.revision, rule.party]):
            return  # it was silenced meanwhile
        if isinstance(finding, Exception):
            self._failed(rule, finding, deferred.x, deferred.at)
        elif finding is not None:
            self._found(rule, finding, deferred.said.revision, deferred.x.session, deferred.x, deferred.at)

    def _defer(self, x: Exchange, body: Body, party: Party, revision: str | None, at: float) -> None:
        """Have the messages of one side looked at by themselves, later."""
        if revision is None or body.sniffed:
            return
        checks = self._message[revision, party]
        if not checks:
            return
        for message in body.messages:
            answers = None
            if message.kind is Kind.RESPONSE and valid_key(message.id):
                answers = _asked_by_client(x, message) if party == "server" else _asked_by_server(notes(x), message)
            said = Said(message, revision, answers)
            for rule, check in checks:
                self.later(Deferred(rule, check, said, x, at, body.size // len(body.messages)))

    def _judge(self, x: Exchange, table: Table, revision: str | None, at: float, only: str = "") -> None:
        for rule, check in table.get((revision, x.era is Era.STATELESS, x.verb, x.ok), ()):
            if only and rule.id != only:
                continue
            try:
                verdict = check(x)
            except Exception as e:
                self._failed(rule, e, x, at)
                continue
            if verdict is not None:
                self._found(rule, verdict, revision, x.session, x, at)

    def _failed(self, rule: Rule, error: Exception, x: Exchange | None, at: float) -> None:
        """A check failed itself, through no fault of the traffic's: nothing else comes of that."""
        self.tell(
            Action(
                at=at,
                what=f"could not check {rule.id}, please report it",
                flow=x.id if x else "",
                detail=printable(f"{error!r}", 200),
                weight=Weight.ERROR,
            )
        )

    def _found(
        self, rule: Rule, verdict: Verdict, revision: str | None, session: Session | None, x: Exchange | None, at: float
    ) -> None:
        if session is None and x is not None:
            session = x.opened
        for detail in verdict if isinstance(verdict, list) else [verdict or ""]:
            self.counts[rule.id] += 1
            if session is not None:
                session.violations[rule.id] = session.violations.get(rule.id, 0) + 1
            if x is not None:
                x.findings.append(rule.id)
            endpoint = x.endpoint if x else session.endpoint if session else ""
            self.tell(
                Violation(
                    at=at,
                    client=x.client.label if x else session.client_label if session else "",
                    session=session.label if session else "",
                    endpoint=printable(endpoint, 200),
                    flow=x.id if x else "",
                    rule=rule.id,
                    name=rule.name,
                    party=rule.party,
                    level=rule.level_in(revision),
                    clause=rule.address(revision),
                    detail=detail,
                )
            )


def _can_judge(rule: Rule) -> bool:
    """Whether what a rule needs beyond the package is installed."""
    return not rule.extra or EXTRAS[rule.extra]()


def _asked_by_client(x: Exchange, response: Message) -> str | None:
    """The method that a response of the server answers; None for one that may be answered with a task instead."""
    asked = next((m for m in x.body.messages if m.kind is Kind.REQUEST and m.id == response.id), None)
    return asked.method if asked is not None and "task" not in asked.params else None


def _asked_by_server(kept: Notes, response: Message) -> str | None:
    """The same for a response of the client."""
    talk = kept.talk
    return None if talk is None or talk.shared else talk.server_asked.get(response.id) or None
