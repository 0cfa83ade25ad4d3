"""The judge: walks the checks that apply to an exchange's revision, and says what was broken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from importlib import import_module
from typing import NamedTuple

from ..core.exchange import Exchange
from ..core.session import Endpoint, Session
from ..wire.jsonrpc import Body, Kind, Message
from ..wire.revision import DISCOVER, SESSION_REVISIONS, Era
from ..wire.sse import Event
from ..wire.text import printable
from . import older, schema
from .checks import Arrival, Left, OnExchange, OnMessage, Said, Verdict
from .complaints import Complaints, Tell
from .entries import FAMILIES, Level, Party, Rule, catalogue
from .facts import Notes, notes, revision_of, valid_key
from .memory import Memory
from .repeats import Key, Repeats, key_of
from .selection import Selection
from .streams import LEFT_OPEN
from .traits import (
    CACHEABLE,
    DELETE,
    DUE,
    EVENT_AGAIN,
    GET,
    METHODS,
    MISMATCHED,
    ON_OPEN,
    POST,
    RESULTED,
    SEVERAL,
    STATELESS,
    STREAMED,
    held,
    of_answer,
    of_request,
    of_talk,
)

for _family in FAMILIES:
    import_module(f"{__package__}.{_family}")

type Finding = Verdict | Exception
"""What came of a check: its verdict, or how it failed itself."""

EXTRAS: dict[str, Callable[[], bool]] = {"schema": schema.available}
"""Whether an extra is installed, by the name that a rule gives it."""

ALONE = frozenset({"MCP901", "MCP910", "MCP917"})
"""Rules by which a message is judged together with what was said before."""

_SAME = POST | GET | DELETE | STATELESS | CACHEABLE | METHODS
"""What matters of a request in the end."""


class Deferred(NamedTuple):
    """A check of a message that is to be made off the request path: `make` it in any thread, then `Judge.settle`."""

    rule: Rule
    check: OnMessage
    message: Message
    revision: str
    answers: str | None
    """The method of the request that a response answers; None if that is not known."""
    x: Exchange
    at: float
    size: int
    """Bytes that the message came in, about."""
    key: Key | None
    """What it has in common with others that are judged alike."""
    repeats: Repeats

    def make(self) -> Finding:
        """Make the check. Never raises."""
        try:
            answers = self.answers
            if self.x.body.batch and self.rule.party == "server":  # looked for here, as there may be many
                answers = _asked_by_client(self.x, self.message)
            finding = self.check(Said(self.message, self.revision, answers, self.x))
        except Exception as e:
            return e
        if finding is None and self.key is not None:
            self.repeats.add(self.key)
        return finding


class Judge:
    """Judges by the catalogue, less the rules that are silenced or below the level that is asked for."""

    def __init__(self, tell: Tell, silenced: Collection[str] = (), level: Level = Level.PRACTICE) -> None:
        """Judge by these rules.

        `tell` gets a record of each violation as it is found, with the time of what broke the rule, and the connection
        that this came over, if it came over any.
        """
        self.complaints = Complaints(tell)
        self.later: Callable[[Deferred], None] = lambda deferred: self.settle(deferred, deferred.make())
        """Sees to it that a check is made; at once, unless somebody knows better."""
        self._memory = Memory()
        self._repeats = Repeats()
        self.limit(silenced, level)

    def limit(self, silenced: Collection[str], level: Level) -> None:
        """Judge by these rules from now on; what is remembered stays."""
        rules = [rule for rule in catalogue().values() if rule.id not in silenced and _can_judge(rule)]
        self._selection = Selection(rules, level)
        self._repeats.clear()

    def request(self, x: Exchange) -> None:
        """The request was read; the ledger still stands as it was before it."""
        if self._memory.lingering:
            self.overdue(x.at)
        kept = self._memory.entered(x)
        kept.traits = of_request(x, kept)
        if _judged(x, kept):
            revision = revision_of(x)
            if x.era is Era.STATELESS:
                kept.revision = revision
            checks = self._selection.request[revision, kept.traits | of_talk(kept.talk)]
            if checks:
                self._judge(x, checks, revision, x.at)
            if x.body.messages:
                self._defer(x, kept, x.body, "client", revision, x.at)
        self._memory.requested(x, kept)

    def answer(self, x: Exchange) -> None:
        """The answer was read, or its headers if it is a stream."""
        kept = notes(x)
        if x.attempts > kept.attempts:
            self._memory.sent_again(x)
        answer = x.answer
        if answer is not None and answer.messages and _tells(x, kept):
            self._memory.learn(kept, answer.messages[0])
        if x.status == 202 and older.accepts(x):
            self._name_older(x, (x.endpoint,), x.answered_at)
        if _judged(x, kept):
            revision = revision_of(x)
            traits = kept.traits | of_talk(kept.talk) | of_answer(x)
            checks = self._selection.answer[revision, traits | ON_OPEN if kept.on_open else traits]
            if checks:
                self._judge(x, checks, revision, x.answered_at)
            if answer is not None and answer.messages:
                self._defer(x, kept, answer, "server", revision, x.answered_at)
        self._memory.answered(x, kept)

    def event(self, x: Exchange, event: Event, body: Body | None, at: float) -> None:
        """An event arrived on a stream."""
        kept = notes(x)
        if body is not None and _tells(x, kept):
            for message in body.messages:
                self._memory.learn(kept, message)
        if event.type == "endpoint":
            self._name_older(x, older.announced(x, event), at)
        if _judged(x, kept):
            revision = revision_of(x)
            checks = self._selection.event[revision, _of_event(kept, event, body)]
            arrival = Arrival(event, body, at) if checks else None
            for rule, check in checks:
                assert arrival is not None
                try:
                    verdict = check(x, arrival)
                except Exception as e:
                    self.complaints.failed(rule, e, x, at)
                    continue
                if verdict is not None:
                    self.complaints.found(rule, verdict, revision, x.session, x, at)
            if body is not None and body.messages:
                self._defer(x, kept, body, "server", revision, at)
        self._memory.arrived(x, kept, event, body, at)

    def finish(self, x: Exchange) -> None:
        """The exchange is over."""
        kept = notes(x)
        kept.unread = x.unread
        if _judged(x, kept):
            revision = revision_of(x)
            checks = self._selection.finish[revision, _at_end(kept)]
            if checks:
                self._judge(x, checks, revision, x.finished_at)
        self._memory.finished(x, kept)
        self.complaints.over(x)

    def told_lost(self, session: Session, at: float) -> None:
        """The client is given the refusal that says that this session is lost."""
        self._memory.told_lost(session, at)

    def never_told(self, session: Session) -> None:
        """The client was not given that refusal after all: the session was brought back."""
        self._memory.talk(session).told_at = None

    def abandoned(self, session: Session, at: float) -> None:
        """The client of this session is gone, and the session was not ended."""
        revision = session.revision if session.revision in SESSION_REVISIONS else ""
        talk = self._memory.talk(session)
        left = Left(session, talk, self._memory.told_at(session, talk), at)
        for rule, check in self._selection.session[revision]:
            try:
                verdict = check(left)
            except Exception as e:
                self.complaints.failed(rule, e, None, at)
                continue
            if verdict is not None:
                self.complaints.found(rule, verdict, revision or None, session, None, at)

    def overdue(self, at: float) -> None:
        """Time has passed: look at the streams that should have been closed by now."""
        self.complaints.rest(at, finished=True)
        lingering = self._memory.lingering
        while lingering:
            x = next(iter(lingering.values()))
            kept = notes(x)
            if kept.responded_at is None or at - kept.responded_at <= LEFT_OPEN:
                break  # the oldest stand first
            lingering.pop(x.id)
            if not _judged(x, kept):
                continue
            finished_at, x.finished_at = x.finished_at, at
            revision = revision_of(x)
            checks = self._selection.finish[revision, _at_end(kept)]
            self._judge(x, [(rule, check) for rule, check in checks if rule.id == "MCP503"], revision, at)
            x.finished_at = finished_at
            kept.left_open_said = True

    def rest(self, at: float) -> None:
        """Tell of exchanges that are not over what would be told at their end."""
        self.complaints.rest(at)

    def settle(self, deferred: Deferred, finding: Finding) -> None:
        """A check that was to be made later has been made."""
        rule = deferred.rule
        if rule.id not in self._selection.message[deferred.revision, rule.party].rules:
            return  # it was silenced meanwhile
        if isinstance(finding, Exception):
            self.complaints.failed(rule, finding, deferred.x, deferred.at)
        elif finding is not None:
            self.complaints.found(rule, finding, deferred.revision, deferred.x.session, deferred.x, deferred.at)

    def _name_older(self, x: Exchange, endpoints: tuple[Endpoint, ...], at: float) -> None:
        """These endpoints have shown that they speak the older transport: said once, of the first."""
        fresh = [endpoint for endpoint in endpoints if not self._memory.place(endpoint).older]
        for endpoint in fresh:
            self._memory.place(endpoint).older = True
        if fresh:
            self.complaints.action(f"{printable(fresh[0], 200)} {older.SPEAKS}", x, at)

    def _defer(self, x: Exchange, kept: Notes, body: Body, party: Party, revision: str | None, at: float) -> None:
        """Have the messages of one side looked at by themselves, later."""
        if revision is None or body.sniffed:
            return
        by_method = self._selection.message[revision, party]
        size = body.size // len(body.messages)
        for message in body.messages:
            answers = None
            if party == "client":
                answers = _asked_by_server(kept, message)
            elif not x.body.batch:
                answers = _asked_by_client(x, message)
            checks = by_method.of(message.method or answers)
            same = key_of(revision, answers, message, size) if checks and not x.body.batch else None
            for rule, check, when in checks:
                if when is not None and not when(x, message):
                    continue
                key = None if same is None or rule.id in ALONE else hash((rule.id, same))
                if key is None or key not in self._repeats:
                    self.later(Deferred(rule, check, message, revision, answers, x, at, size, key, self._repeats))

    def _judge(self, x: Exchange, checks: Iterable[tuple[Rule, OnExchange]], revision: str | None, at: float) -> None:
        for rule, check in checks:
            try:
                verdict = check(x)
            except Exception as e:
                self.complaints.failed(rule, e, x, at)
                continue
            if verdict is not None:
                self.complaints.found(rule, verdict, revision, x.session, x, at)


def _judged(x: Exchange, kept: Notes) -> bool:
    """Whether the rules are for an exchange: what was sent again is not judged again, the server's first answer was."""
    return not x.attempts and not (kept.place.older and older.is_of_it(x, kept))


def _tells(x: Exchange, kept: Notes) -> bool:
    """Whether an answer may tell more than is known of what its server speaks."""
    return x.era is Era.STATELESS and (not kept.place.modern or not x.ok or x.method == DISCOVER)


def _can_judge(rule: Rule) -> bool:
    """Whether what a rule needs beyond the package is installed."""
    return not rule.extra or EXTRAS[rule.extra]()


def _of_event(kept: Notes, event: Event, body: Body | None) -> int:
    """What an event is like."""
    talk = kept.talk
    found = kept.traits & _SAME | of_talk(talk)
    if body is not None:
        found |= held(body)
    if talk is not None:
        if event.id and talk.event_ids is not None and event.id in talk.event_ids:
            found |= EVENT_AGAIN
        if talk.open is not None and len(talk.open) > 1:
            found |= SEVERAL
    return found


def _at_end(kept: Notes) -> int:
    """What an exchange is like when it is over."""
    found = kept.traits & _SAME | kept.traits & MISMATCHED | of_talk(kept.talk)
    if kept.stream is not None:
        found |= STREAMED
    if kept.resulted:
        found |= RESULTED
    if kept.due:
        found |= DUE
    return found


def _asked_by_client(x: Exchange, response: Message) -> str | None:
    """The method that a response of the server answers; None for one that may be answered with a task instead."""
    if response.kind is not Kind.RESPONSE or not valid_key(response.id):
        return None
    asked = next((m for m in x.body.messages if m.kind is Kind.REQUEST and m.id == response.id), None)
    return asked.method if asked is not None and "task" not in asked.params else None


def _asked_by_server(kept: Notes, response: Message) -> str | None:
    """The same for a response of the client."""
    talk = kept.talk
    if talk is None or talk.shared or talk.server_asked is None:
        return None
    if response.kind is not Kind.RESPONSE or not valid_key(response.id):
        return None
    return talk.server_asked.get(response.id) or None
