"""Which checks are asked: of the rules that are judged, those that can find anything in an exchange like this one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ..wire.revision import REVISIONS, SESSION_REVISIONS, STATELESS_REVISIONS
from .checks import (
    ON_ANSWER,
    ON_EVENT,
    ON_FINISH,
    ON_MESSAGE,
    ON_REQUEST,
    ON_SESSION,
    Check,
    MessageCheck,
    OnEvent,
    OnExchange,
    OnMessage,
    OnSession,
    When,
)
from .entries import Level, Party, Rule
from .traits import STATELESS

PICKS_LIMIT = 4_096
"""Sorts of exchanges, by moment, of which it is remembered which checks are asked: real traffic has some dozens."""

type Asked[F] = tuple[tuple[Rule, F], ...]
"""Checks with the rules that they are for, in their order."""

PARTIES: tuple[Party, ...] = ("client", "server")


class Picked[F](dict[tuple[str | None, int], Asked[F]]):
    """The checks of one moment, by revision and traits: picked when a sort of exchange is first seen."""

    __slots__ = ("_here", "_rows")

    def __init__(self, rows: Sequence[Check[F]], here: dict[tuple[str | None, bool], dict[str, Rule]]) -> None:
        super().__init__()
        self._rows = rows
        self._here = here

    def __missing__(self, key: tuple[str | None, int]) -> Asked[F]:
        revision, traits = key
        here = self._here.get((revision, bool(traits & STATELESS)), {})
        if len(self) >= PICKS_LIMIT:
            self.clear()
        found = self[key] = tuple(
            (here[row.rule_id], row.check) for row in self._rows if row.rule_id in here and row.fits(traits)
        )
        return found


type AskedOfMessage = tuple[tuple[Rule, OnMessage, When | None], ...]


class ByMethod(dict[str | None, AskedOfMessage]):
    """The checks of messages by the method that they are of, or answer; under None those of any other."""

    def __init__(self, rows: Iterable[tuple[Rule, MessageCheck]]) -> None:
        rows = list(rows)
        self.rules = frozenset(rule.id for rule, _ in rows)
        for method in {None, *(method for _, row in rows for method in row.about)}:
            fitting = [(rule, row) for rule, row in rows if not row.about or method in row.about]
            self[method] = tuple((rule, row.check, row.when) for rule, row in fitting)

    def of(self, method: str | None) -> AskedOfMessage:
        """The checks of a message of this method, or of the response to it."""
        return self[method] if method in self else self[None]


class Selection:
    """The checks of these rules from a level on, for each moment."""

    def __init__(self, rules: Collection[Rule], level: Level) -> None:
        here: dict[tuple[str | None, bool], dict[str, Rule]] = {}
        for stateless, revisions in ((False, SESSION_REVISIONS), (True, STATELESS_REVISIONS)):
            for revision in (*revisions, None):
                # Where the revision is not known, only what holds in all of them is judged.
                wanted = {revision} if revision else set(REVISIONS)
                here[revision, stateless] = {
                    rule.id: rule
                    for rule in rules
                    if wanted <= set(rule.revisions) and rule.level_in(revision).weight >= level.weight
                }
        self.request: Picked[OnExchange] = Picked(ON_REQUEST, here)
        self.answer: Picked[OnExchange] = Picked(ON_ANSWER, here)
        self.finish: Picked[OnExchange] = Picked(ON_FINISH, here)
        self.event: Picked[OnEvent] = Picked(ON_EVENT, here)
        self.session: dict[str, Asked[OnSession]] = {
            revision or "": tuple((rules[rule_id], check) for rule_id, check in ON_SESSION if rule_id in rules)
            for (revision, stateless), rules in here.items()
            if not stateless
        }
        """By revision, empty where that is not known."""
        self.message: dict[tuple[str, Party], ByMethod] = {
            (revision, party): ByMethod(
                (rules[row.rule_id], row)
                for row in ON_MESSAGE
                if row.rule_id in rules and rules[row.rule_id].party == party
            )
            for (revision, _), rules in here.items()
            if revision is not None
            for party in PARTIES
        }
