"""Which checks are asked: of the rules that are judged, those that can find anything in an exchange like this one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..wire.revision import REVISIONS, SESSION_REVISIONS, STATELESS_REVISIONS
from .checks import (
    ON_ANSWER,
    ON_EVENT,
    ON_FINISH,
    ON_MESSAGE,
    ON_REQUEST,
    ON_SESSION,
    Check,
    OnEvent,
    OnExchange,
    OnMessage,
    OnSession,
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
        self.message: dict[tuple[str, Party], Asked[OnMessage]] = {
            (revision, party): tuple(
                (rules[rule_id], check)
                for rule_id, check in ON_MESSAGE
                if rule_id in rules and rules[rule_id].party == party
            )
            for (revision, _), rules in here.items()
            if revision is not None
            for party in PARTIES
        }
