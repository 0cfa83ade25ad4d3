"""The figures, as rows: what each is called, what it means, and where it is read. No label is of anybody's making.

A label is a member of an enumeration, a row of a table or a rule of the catalogue, so that there are never more series
than these; no session, client, endpoint or tool is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from ... import __version__
from ...core.ending.evidence import CERTAIN, WEIGHED
from ...core.ledger import Ledger
from ...core.recovery.dialects import ROWS
from ...core.states import DeleteState, State, Why, WhyNot
from ...core.tally import BY_STATUS, ENDED_TOO_SOON, Found, Spread, Wait
from ...rules import catalogue
from ..journal import Journal


class Kind(StrEnum):
    """What kind of metric it is, as Prometheus has them."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Figures:
    """What is read."""

    ledger: Ledger
    journal: Journal
    waiting: int
    """Calls that wait at present."""
    lag: Spread


type Sample = tuple[tuple[str, ...], float | Spread]
"""The values of the labels, and the figure."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    """Without the endings that Prometheus adds to counters and histograms."""
    kind: Kind
    text: str
    read: Callable[[Figures], Iterable[Sample]]
    labels: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The name by which it is asked for."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


def word(member: Enum) -> str:
    """A member of an enumeration as a label."""
    return member.name.lower()


def _by[E: Enum](kinds: Iterable[E], counts: Mapping[E, int]) -> Iterator[Sample]:
    """Each kind, be it 0: a rate can only be taken of what was there before."""
    for kind in kinds:
        yield (word(kind),), counts.get(kind, 0)


def _one(value: float | Spread) -> Iterable[Sample]:
    return [((), value)]


DIALECTS = (BY_STATUS, *dict.fromkeys(f"{row.status}-for-404" for row in ROWS if row.optional), ENDED_TOO_SOON)

REASONS = (
    *sorted(CERTAIN | WEIGHED, key=list(Why).index),
    Why.CLIENT_DELETE,
    Why.BY_HAND,
    Why.PROXY_ENDS,
    Why.UNKNOWN,
)
"""Why a session may have been ended."""

STUCK = (Why.NEEDS_CREDENTIALS, Why.REFUSED, Why.NO_ANSWER)


def evidence(why: Why) -> str:
    """What a session was ended by: `certain` or `weighed` evidence, or nothing of the kind."""
    if why in CERTAIN:
        return "certain"
    return "weighed" if why in WEIGHED else "none"


def _lost(seen: Figures) -> Iterator[Sample]:
    for dialect in DIALECTS:
        yield (dialect,), seen.ledger.tally.lost.get(dialect, 0)


def _ended(seen: Figures) -> Iterator[Sample]:
    for why in REASONS:
        yield (evidence(why), word(why)), seen.ledger.tally.ended.get(why, 0)


def _violations(seen: Figures) -> Iterator[Sample]:
    for rule, broken in sorted(seen.journal.rules.items()):
        if rule in catalogue():
            yield (rule, catalogue()[rule].name), broken.times


def _entries(seen: Figures) -> Iterator[Sample]:
    ledger = seen.ledger
    for name, table in (
        ("sessions", ledger.sessions),
        ("clients", ledger.clients),
        ("connections", ledger.connections),
        ("endpoints", ledger.endpoints),
    ):
        yield (name,), len(table)


_ANSWERED = (
    DeleteState.DONE,
    DeleteState.UNSUPPORTED,
    DeleteState.NEEDS_CREDENTIALS,
    DeleteState.REFUSED,
    DeleteState.BACKOFF,
    DeleteState.GIVEN_UP,
)

METRICS = (
    Metric(
        "mcp_sessions",
        Kind.GAUGE,
        "Sessions that the ledger knows, by how they stand.",
        lambda seen: _by(State, seen.ledger.tally.states),
        ("state",),
    ),
    Metric(
        "mcp_sessions_opened",
        Kind.COUNTER,
        "Sessions that the ledger has come by: opened through the proxy, seen first in use, or adopted from another "
        "run or proxy.",
        lambda seen: _by(Found, seen.ledger.tally.found),
        ("how",),
    ),
    Metric(
        "mcp_sessions_lost",
        Kind.COUNTER,
        "Sessions that their server did not know any more, by the dialect in which it said so.",
        _lost,
        ("dialect",),
    ),
    Metric(
        "mcp_sessions_recovered",
        Kind.COUNTER,
        "Recoveries: handshakes in a client's place that have worked.",
        lambda seen: _one(seen.ledger.tally.recovery.count),
    ),
    Metric(
        "mcp_sessions_not_recovered",
        Kind.COUNTER,
        "Handshakes that have failed, and refused calls for which none was begun.",
        lambda seen: _by(WhyNot, seen.ledger.tally.not_recovered),
        ("why",),
    ),
    Metric(
        "mcp_sessions_ended",
        Kind.COUNTER,
        "Sessions that are over at their server, by what showed that their client is gone, and why.",
        _ended,
        ("evidence", "why"),
    ),
    Metric(
        "mcp_sessions_stuck",
        Kind.COUNTER,
        "Times that a session was to be ended and could not be.",
        lambda seen: _by(STUCK, seen.ledger.tally.stuck),
        ("why",),
    ),
    Metric(
        "mcp_sessions_returned",
        Kind.COUNTER,
        "Sessions whose client turned up after it was taken for gone.",
        lambda seen: _one(seen.ledger.tally.returned),
    ),
    Metric(
        "mcp_deletes",
        Kind.COUNTER,
        "DELETEs of the proxy's own, by what came of them; sessions that were recovered have several.",
        lambda seen: _by(_ANSWERED, seen.ledger.tally.deletes),
        ("result",),
    ),
    Metric(
        "mcp_calls_held",
        Kind.COUNTER,
        "Calls that were kept waiting: for a recovery, or for a server that can't be reached.",
        lambda seen: _by(Wait, seen.ledger.tally.held),
        ("why",),
    ),
    Metric(
        "mcp_calls_waiting",
        Kind.GAUGE,
        "Calls that are kept waiting at present.",
        lambda seen: _one(seen.waiting),
    ),
    Metric(
        "mcp_violations",
        Kind.COUNTER,
        "Violations, by rule. A rule has no series until it is broken.",
        _violations,
        ("rule", "name"),
    ),
    Metric(
        "mcp_recovery_seconds",
        Kind.HISTOGRAM,
        "From the refusal until the session was brought back.",
        lambda seen: _one(seen.ledger.tally.recovery),
    ),
    Metric(
        "mcp_exit_to_delete_seconds",
        Kind.HISTOGRAM,
        "From the end of a session's last process, as the proxy saw it, until its DELETE went out.",
        lambda seen: _one(seen.ledger.tally.exit),
    ),
    Metric(
        "mcp_streams",
        Kind.GAUGE,
        "Open GET streams.",
        lambda seen: _one(seen.ledger.streams),
    ),
    Metric(
        "mcp_ledger_entries",
        Kind.GAUGE,
        "Size of the ledger's tables.",
        _entries,
        ("table",),
    ),
    Metric(
        "mcp_ledger_dropped",
        Kind.COUNTER,
        "Entries that a limit has pushed out of the ledger.",
        lambda seen: _one(seen.ledger.dropped),
    ),
    Metric(
        "mcp_event_loop_lag_seconds",
        Kind.HISTOGRAM,
        "How late what was due has run, looked at four times a second.",
        lambda seen: _one(seen.lag),
    ),
    Metric(
        "mcp_addon_info",
        Kind.GAUGE,
        "Always 1; which version runs.",
        lambda _: [((__version__,), 1)],
        ("version",),
    ),
)


def table() -> str:
    """The metrics as Markdown."""
    rows = [
        f"| `{metric.shown}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.text} |"
        for metric in METRICS
    ]
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows]) + "\n"
