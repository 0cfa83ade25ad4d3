"""What the core wants done besides the exchange at hand, until the shell fetches it."""

from __future__ import annotations

from collections.abc import Sequence

from .decisions import Conclude, Consult, Decision, Effect, Release, Request, Send, Tag, Watch
from .exchange import Exchange

NOTHING: Sequence[Effect] = ()


def sooner(one: float | None, other: float | None) -> float | None:
    """The earlier of two times, either of which may be none."""
    if one is None:
        return other
    return one if other is None or one <= other else other


class Outbox:
    """Effects, in the order in which they came about."""

    def __init__(self) -> None:
        self._effects: list[Effect] = []

    @property
    def empty(self) -> bool:
        """Whether nothing is to be fetched."""
        return not self._effects

    def send(self, request: Request, tag: Tag) -> None:
        """Have a request sent in a client's place."""
        self._effects.append(Send(request, tag))

    def put(self, effect: Consult | Conclude | Watch) -> None:
        """Have other proxies asked or told, or a process watched."""
        self._effects.append(effect)

    def release(self, x: Exchange, decision: Decision) -> None:
        """Let an exchange go on that was kept waiting."""
        self._effects.append(Release(x, decision))

    def fetch(self) -> Sequence[Effect]:
        """All that there is by now; each is given out once."""
        if not self._effects:
            return NOTHING
        effects, self._effects = self._effects, []
        return effects

    def drop_releases(self) -> None:
        """Nobody waits any more: who did was let go."""
        self._effects = [effect for effect in self._effects if not isinstance(effect, Release)]
