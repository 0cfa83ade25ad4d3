"""A growing list whose readers wait for an item instead of polling."""

import asyncio
from collections.abc import Callable, Iterator


class GaveUpError(AssertionError):
    """What was waited for did not come."""


class Growing[T]:
    """Items in the order of their arrival; `wait` sees those that came before, too."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self._ended = False
        self._waiters: set[asyncio.Future[None]] = set()

    def __iter__(self) -> Iterator[T]:
        return iter(list(self.items))

    def __len__(self) -> int:
        return len(self.items)

    def add(self, item: T) -> None:
        self.items.append(item)
        self._wake()

    def end(self) -> None:
        """No more items: whoever waits gives up at once."""
        self._ended = True
        self._wake()

    def reopen(self) -> None:
        """Items come again."""
        self._ended = False

    async def wait(
        self, wanted: Callable[[T], bool], within: float = 10.0, *, start: int = 0, count: int = 1, what: str = "item"
    ) -> T:
        """The `count`-th item from index `start` on that is wanted."""
        position, found = start, 0
        try:
            async with asyncio.timeout(within):
                while True:
                    while position < len(self.items):
                        item = self.items[position]
                        position += 1
                        if wanted(item):
                            found += 1
                            if found == count:
                                return item
                    if self._ended:
                        raise GaveUpError(f"ended before {what} came ({found} of {count})")
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
        except TimeoutError:
            raise GaveUpError(f"{what} did not come within {within} s ({found} of {count})") from None

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
