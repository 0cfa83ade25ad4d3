"""What a backend of the ledger must do: rows in, rows out, and which of several proxies each row belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from .rows import Key, Row

FORGET_AFTER = 14 * 86400.0
"""Seconds after its last use that a row is forgotten: no server keeps a session for so long."""

type Wanted = Callable[[Row], bool]
"""Whether a row is wanted. It may be called in any thread, looks at nothing but the row, and may take milliseconds."""


class Problem(Exception):
    """Something can't be remembered. Its text is one line for the user that says what, and what was done about it."""

    def __init__(self, line: str, *, final: bool) -> None:
        """`final`: nothing can be remembered from now on. Otherwise the same may be tried again after a while."""
        super().__init__(line)
        self.final = final


class Store(Protocol):
    """One proxy's way to rows that outlive it, and that other proxies may see.

    A row belongs to the proxy that wrote or claimed it last, and only that one sees to the end of its session. Where
    proxies are many, each row of one that has left, or that is dead, goes to exactly one of those that ask for it. Text
    may hold any code point, lone surrogates too.

    All methods are called in one event loop, `open` before all others and `leave` last. None but `leave` may block. A
    call may be cancelled at any time, after which it is not known whether it was done. Calls may overlap; what one
    call was told before another began is done before it.
    """

    silence: float
    """Seconds after which a proxy that can't be looked up counts as dead."""

    shared: bool
    """Whether proxies of several hosts use it: what one has left, another takes, for no successor may ever come."""

    @property
    def credentials_key(self) -> bytes:
        """The key of what is written down of credentials: one for all that share the rows; known once it is open."""

    async def open(self) -> str:
        """Make ready, and enter this proxy. One line for the user about how that went, empty if it went as always.

        Raises:
            Problem: it can't be made ready.
        """

    async def take_over(self, wanted: Wanted | None = None) -> list[Row]:
        """The rows of proxies that have left or are dead: from now on they are this one's, and no other's.

        Also tells the other proxies that this one lives: to be called at least every `silence / 4` seconds.
        Rows that nobody has used for `FORGET_AFTER` are forgotten.

        With `wanted`, only those rows for which it is true; the others stay free.

        Raises:
            Problem: it can't be known what there is.
        """

    async def claim(self, key: Key) -> Row | None:
        """The row of this session, whoever has it, which is this proxy's from now on; None if there is none.

        Raises:
            Problem: it can't be known.
        """

    async def others(self, keys: Iterable[Key]) -> set[Key]:
        """Those of these sessions whose end is the matter of another proxy, which is neither dead nor has left.

        Empty where the proxies consult each other about it.

        Raises:
            Problem: it can't be known.
        """

    async def absent(self, keys: Iterable[Key]) -> set[Key]:
        """Those of these sessions that are not written down, or not any more, since whoever had them has ended them.

        Empty where the proxies consult each other about it.

        Raises:
            Problem: it can't be known.
        """

    async def write(self, rows: Iterable[Row]) -> None:
        """Remember these rows, in the place of those with the same keys, as this proxy's, whoever had them.

        Raises:
            Problem: they are not remembered, or not all.
        """

    async def update(self, rows: Iterable[Row]) -> None:
        """The same, but of `others` nothing is changed.

        Raises:
            Problem: they are not remembered, or not all.
        """

    async def forget(self, keys: Iterable[Key]) -> None:
        """Forget the rows with these keys, whoever has them; keys that are not known mean nothing.

        Raises:
            Problem: they are not forgotten, or not all.
        """

    async def drop(self, keys: Iterable[Key]) -> None:
        """Forget those of these rows that are this proxy's: it has no room for their sessions, which may live on.

        Raises:
            Problem: they are not forgotten, or not all.
        """

    def leave(self, rows: Iterable[Row], keys: Iterable[Key], within: float) -> None:
        """`update` these rows, `forget` these keys, and let go of all that is this proxy's: others may take it over.

        Not a coroutine, as the event loop may not go on: blocks, for `within` seconds at most.

        Raises:
            Problem: not all of this was done.
        """
