"""Tables that are bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.client import Client

IDS_LIMIT = 10_000
"""Request ids that are remembered of a session."""
LONG = 64
"""Characters beyond which a request id is remembered as a hash."""
SHORT_RUN = 4
"""Ids in a row up to which another row may take the place of theirs."""


class Recent[K, V](dict[K, V]):
    """A table of the latest entries; `overflowed` once one was pushed out."""

    __slots__ = ("limit", "overflowed")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.overflowed = False

    def put(self, key: K, value: V) -> None:
        """Enter it as the latest; the oldest goes if there is no room."""
        if key in self:
            del self[key]
        elif len(self) >= self.limit:
            del self[next(iter(self))]
            self.overflowed = True
        self[key] = value


@dataclass(slots=True, eq=False)
class Asked:
    """A request id that was used, by whom, and what became of the request."""

    client: Client
    refused: int | None = None
    """Hash of the message, once it was refused unprocessed or cut off: the same may be sent again."""


class Ids:
    """The request ids of a session. Most clients count: a row of numbers takes no more room than its two ends.

    Once there are more than `IDS_LIMIT` it has `overflowed` and forgets them all, for no id can be called new any more.
    """

    __slots__ = ("_asker", "_count", "_first", "_last", "_others", "overflowed")

    def __init__(self) -> None:
        self._asker: Client | None = None
        """Who has asked all that has no entry of another."""
        self._count = 0
        self._first = 0
        self._last = -1
        self._others: dict[Any, Asked | None] | None = None
        """Ids beside the row, and those of which there is more to be said; None for one that the asker has asked."""
        self.overflowed = False

    def __len__(self) -> int:
        return self._count

    def add(self, request_id: Any, client: Client) -> None:
        """An id is used, be it again."""
        if self.overflowed:
            return
        if (
            client is self._asker
            and self._others is None
            and type(request_id) is int
            and request_id == self._last + 1 > self._first
        ):
            self._last = request_id
            self._count += 1
        else:
            self._add(_key(request_id), client)
        if self._count > IDS_LIMIT:
            self.overflowed = True
            self._count, self._first, self._last, self._others = 0, 0, -1, None

    def find(self, request_id: Any) -> Asked | None:
        """What is known of an id; None if it is new."""
        key = _key(request_id)
        if self._others is not None and key in self._others:
            found = self._others[key]
            if found is not None:
                return found
        elif not self._in_row(key):
            return None
        assert self._asker is not None
        return Asked(self._asker)

    def refuse(self, request_id: Any, message: int) -> None:
        """The request of that id was not processed; `message` is the hash of what was sent."""
        asked = self.find(request_id)
        if asked is not None:
            asked.refused = message
            self._enter(_key(request_id), asked)

    def _in_row(self, key: Any) -> bool:
        return type(key) is int and self._first <= key <= self._last

    def _add(self, key: Any, client: Client) -> None:
        new = not self._in_row(key) and (self._others is None or key not in self._others)
        if client is not self._asker and self._count <= 1:
            # Whoever opens a session may be known by its address alone, until its process is found.
            for other in (self._first, *(self._others or ())):
                before = self.find(other)
                if before is not None:
                    self._enter(other, before)
            self._asker, self._first, self._last = client, 0, -1
        self._count += new
        if client is not self._asker:
            self._enter(key, Asked(client))
            return
        if type(key) is int:
            if new and key != self._last + 1 and self._last - self._first < SHORT_RUN:
                for number in range(self._first, self._last + 1):
                    if self._others is None or number not in self._others:
                        self._enter(number, None)
                self._first, self._last = key, key - 1
            if key == self._last + 1:
                self._last = key
            if self._in_row(key):
                if self._others is not None:
                    self._others.pop(key, None)
                return
        self._enter(key, None)

    def _enter(self, key: Any, asked: Asked | None) -> None:
        if self._others is None:
            self._others = {}
        self._others[key] = asked


def _key(request_id: Any) -> Any:
    """What an id is remembered by: `10.0` is `10`, and a long one takes too much room."""
    if type(request_id) is float:
        return int(request_id)
    return (hash(request_id),) if type(request_id) is str and len(request_id) > LONG else request_id
