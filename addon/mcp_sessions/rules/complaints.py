"""What the judge has found, told: a record for each violation, limited for one rule in one exchange."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ..core.client import Connection
from ..core.exchange import Exchange
from ..core.records import Action, AnyRecord, Violation, Weight
from ..core.session import Session
from ..wire.text import printable
from .checks import Part, Verdict
from .entries import Rule, catalogue
from .facts import notes, revision_of

COMPLAINTS = 10
"""Lines about one rule in one exchange; what comes beyond is counted, and told in one line at the exchange's end."""

type Tell = Callable[[AnyRecord, Connection | None], object]


class Complaints:
    """Tells what is found, and how often."""

    def __init__(self, tell: Tell) -> None:
        """`tell` gets each record, and the connection that it is about, if it is about any."""
        self.tell = tell
        self.counts: Counter[str] = Counter()
        """How often each rule was broken."""
        self._withheld: dict[Exchange, None] = {}
        """Exchanges that have broken a rule more often than was told."""

    def failed(self, rule: Rule, error: Exception, x: Exchange | None, at: float) -> None:
        """A check failed itself, through no fault of the traffic's: nothing else comes of that."""
        detail = printable(f"{error!r}", 200)
        self.action(f"could not check {rule.id}, please report it", x, at, detail, Weight.ERROR)

    def action(self, what: str, x: Exchange | None, at: float, detail: str = "", weight: Weight = Weight.INFO) -> None:
        """Tell of something that is no violation."""
        client, flow = (x.client.label, x.id) if x else ("", "")
        record = Action(at=at, what=what, client=client, flow=flow, detail=detail, weight=weight)
        self.tell(record, x.connection if x else None)

    def found(
        self, rule: Rule, verdict: Verdict, revision: str | None, session: Session | None, x: Exchange | None, at: float
    ) -> None:
        """A rule is broken, as often as the verdict has details."""
        if session is None and x is not None:
            session = x.opened
        for detail in verdict if isinstance(verdict, list) else [verdict or ""]:
            self.counts[rule.id] += 1
            if session is not None:
                session.violations[rule.id] = session.violations.get(rule.id, 0) + 1
            if x is not None:
                kept = notes(x)
                broken = kept.broken = kept.broken if kept.broken is not None else {}
                times = broken[rule.id] = broken.get(rule.id, 0) + 1
                if times > COMPLAINTS:
                    self._withheld[x] = None
                    continue
                x.findings.append(rule.id)
            self._tell(rule, detail, revision, session, x, at)

    def over(self, x: Exchange) -> None:
        """An exchange is over: tell what was withheld of it."""
        if x in self._withheld:
            self._tell_rest(x, x.finished_at)

    def rest(self, at: float, *, finished: bool = False) -> None:
        """Tell what was withheld of all exchanges; of those that are `finished`, as something was found after that."""
        for x in [x for x in self._withheld if x.finish is not None or not finished]:
            self._tell_rest(x, at)

    def _tell_rest(self, x: Exchange, at: float) -> None:
        """Say how often an exchange has broken a rule beyond what was told."""
        self._withheld.pop(x, None)
        broken = notes(x).broken or {}
        for rule_id, times in broken.items():
            if times > COMPLAINTS:
                broken[rule_id] = COMPLAINTS
                more, rule = times - COMPLAINTS, catalogue()[rule_id]
                self._tell(rule, f"and {more} times more", revision_of(x), x.session or x.opened, x, at, more)

    def _tell(
        self,
        rule: Rule,
        detail: str,
        revision: str | None,
        session: Session | None,
        x: Exchange | None,
        at: float,
        times: int = 1,
    ) -> None:
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
                clause=rule.address(revision, detail.name if isinstance(detail, Part) else ""),
                call=printable(x.what.partition("?")[0]) if x else "",
                detail=detail,
                times=times,
            ),
            x.connection if x else None,
        )
