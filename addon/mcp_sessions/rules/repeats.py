"""Messages that come again: what was found to be in order once need not be looked at a second time."""

from __future__ import annotations

from ..wire.jsonrpc import Message, dump
from .tables import Recent

KEPT = 20_000
"""Messages of which it is known that they are in order, the latest ones: a number each."""
SMALL = 4 * 1024
"""Bytes up to which a message is worth comparing: a larger one hardly comes again."""

type Key = int


class Repeats:
    """Knows messages again, whatever their id. It may be asked in one thread and told in another."""

    def __init__(self) -> None:
        self._fine: Recent[Key, None] = Recent(KEPT)

    def __contains__(self, key: Key) -> bool:
        return key in self._fine

    def add(self, key: Key) -> None:
        """A message was looked at, and nothing was wrong with it."""
        self._fine.put(key, None)

    def clear(self) -> None:
        """It is looked at in another way from now on."""
        self._fine.clear()


def key_of(revision: str, answers: str | None, message: Message, size: int) -> Key | None:
    """What is the same of messages that are judged alike; None for one that is not worth it."""
    raw = message.raw
    if size > SMALL or not isinstance(raw, dict):
        return None
    try:
        same = dump({name: value for name, value in raw.items() if name != "id"})
    except ValueError:
        return None
    return hash((revision, answers, "id" in raw, same))
