"""Many questions answered by one look: those that are asked before it begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor


class Together[K, V]:
    """Asks a look that costs about the same whatever it is asked, off the event loop. Belongs to one event loop."""

    def __init__(self, executor: Executor, look: Callable[[tuple[K, ...]], Mapping[K, V]], name: str) -> None:
        """`look` is called in a thread with all that was asked, and may leave out what it has no answer to."""
        self._executor = executor
        self._look = look
        self._name = name
        self._asked: dict[K, V | None] | None = None
        """What the next look is for; None if none is about to be."""
        self._next: asyncio.Task[None] | None = None

    async def ask(self, key: K) -> V | None:
        """The answer; None if there is none. Raises what the look does."""
        if self._asked is None:
            self._asked = {}
            self._next = asyncio.create_task(self._go(), name=self._name)
        following, asked = self._next, self._asked
        asked[key] = None
        assert following is not None
        await asyncio.shield(following)
        return asked[key]

    async def _go(self) -> None:
        await asyncio.sleep(0)  # what is asked at the same moment comes along
        asked, self._asked = self._asked or {}, None
        asked.update(await asyncio.get_running_loop().run_in_executor(self._executor, self._look, tuple(asked)))
