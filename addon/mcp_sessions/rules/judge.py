"""The judge: walks the checks that apply to an exchange's revision, and says what was broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from importlib import import_module

from ..exchange import Exchange
from ..ledger import Session
from ..wire import headers as h
from ..wire.jsonrpc import Message
from ..wire.revision import REVISIONS, SESSION_REVISIONS, STATELESS_REVISIONS, Era
from ..wire.sse import Event
from .checks import ON_EVENT, ON_EXCHANGE, ON_SESSION, Moment, OnEvent, OnExchange, OnSession, Verdict
from .entries import FAMILIES, Rule, catalogue

for _family in FAMILIES:
    import_module(f"{__package__}.{_family}")

type Complain = Callable[[Rule, str, str | None, Session | None, Exchange | None], None]
"""Told of each violation: the rule, a detail, the revision it was judged by, the session and the exchange."""


def revision_of(x: Exchange) -> str | None:
    """The revision that an exchange is judged by; None where only its era is known."""
    if x.session is not None and x.session.revision in SESSION_REVISIONS and x.era is Era.SESSION:
        return x.session.revision
    header = x.headers.get(h.PROTOCOL_VERSION)
    if header in REVISIONS:
        return header
    if x.era is Era.STATELESS:
        return STATELESS_REVISIONS[0]
    negotiated = x.facts.get("negotiated")
    return negotiated if negotiated in SESSION_REVISIONS else None


class Judge:
    """Judges by the catalogue, less the rules that are silenced."""

    def __init__(self, complain: Complain, silenced: Collection[str] = ()) -> None:
        self._complain = complain
        self.counts: Counter[str] = Counter()
        rules = [rule for rule in catalogue().values() if rule.id not in silenced]
        self._exchange: dict[tuple[Moment, str | None, Era], tuple[tuple[Rule, OnExchange], ...]] = {}
        self._event: dict[tuple[str | None, Era], tuple[tuple[Rule, OnEvent], ...]] = {}
        self._session: dict[str, tuple[tuple[Rule, OnSession], ...]] = {}
        for era, revisions in ((Era.SESSION, SESSION_REVISIONS), (Era.STATELESS, STATELESS_REVISIONS)):
            for revision in (*revisions, None):
                # Where the revision is not known, only what holds in all of the era's revisions is judged.
                wanted = set(revisions if revision is None else (revision,))
                here = [rule for rule in rules if wanted <= set(rule.revisions)]
                for moment in (Moment.REQUEST, Moment.ANSWER, Moment.FINISH):
                    self._exchange[moment, revision, era] = tuple(
                        (rule, ON_EXCHANGE[rule.id][1])
                        for rule in here
                        if rule.id in ON_EXCHANGE and ON_EXCHANGE[rule.id][0] is moment
                    )
                self._event[revision, era] = tuple((rule, ON_EVENT[rule.id]) for rule in here if rule.id in ON_EVENT)
                if era is Era.SESSION:
                    self._session[revision or ""] = tuple(
                        (rule, ON_SESSION[rule.id]) for rule in here if rule.id in ON_SESSION
                    )

    def request(self, x: Exchange) -> None:
        """The request was read; the ledger still stands as it was before it."""
        self._judge(x, Moment.REQUEST)

    def answer(self, x: Exchange) -> None:
        """The answer was read, or its headers if it is a stream."""
        self._judge(x, Moment.ANSWER)

    def finish(self, x: Exchange) -> None:
        """The exchange is over."""
        self._judge(x, Moment.FINISH)

    def event(self, x: Exchange, event: Event, message: Message | None, at: float) -> None:
        """An event arrived on a stream."""
        revision = revision_of(x)
        for rule, check in self._event[revision, x.era]:
            verdict = check(x, event, message, at)
            if verdict is not None:
                self._found(rule, verdict, revision, x.session, x)

    def abandoned(self, session: Session) -> None:
        """The client of this session is gone, and the session was not ended."""
        revision = session.revision if session.revision in SESSION_REVISIONS else ""
        for rule, check in self._session[revision]:
            verdict = check(session)
            if verdict is not None:
                self._found(rule, verdict, revision or None, session, None)

    def _judge(self, x: Exchange, moment: Moment) -> None:
        revision = revision_of(x)
        for rule, check in self._exchange[moment, revision, x.era]:
            verdict = check(x)
            if verdict is not None:
                self._found(rule, verdict, revision, x.session, x)

    def _found(
        self, rule: Rule, verdict: Verdict, revision: str | None, session: Session | None, x: Exchange | None
    ) -> None:
        for detail in verdict if isinstance(verdict, list) else [verdict or ""]:
            self.counts[rule.id] += 1
            if session is not None:
                session.violations[rule.id] = session.violations.get(rule.id, 0) + 1
            if x is not None:
                x.findings.append(rule.id)
            self._complain(rule, detail, revision, session, x)
