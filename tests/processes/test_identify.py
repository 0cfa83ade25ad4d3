"""One look-up a connection, off the event loop."""

import asyncio
import threading

import pytest

from mcp_sessions.processes import Identifier, Process, Unknown, lookup
from mcp_sessions.processes.identify import CROWD
from mcp_sessions.processes.lookup import Address

from .conftest import Connect

PEER: Address = ("127.0.0.1", 1000)
LOCAL: Address = ("127.0.0.1", 8080)


class Finder:
    """Answers with a process whose pid is the port, when it is let."""

    def __init__(self) -> None:
        self.calls: list[tuple[Address, tuple[Process, ...]]] = []
        self.threads: set[threading.Thread] = set()
        self.may = threading.Event()
        self.may.set()

    def __call__(self, peer: Address, local: Address, known: tuple[Process, ...]) -> Process | Unknown:
        self.calls.append((peer, known))
        self.threads.add(threading.current_thread())
        assert self.may.wait(10)
        return Process(peer[1], 1.0, "p")


async def test_real(connect: Connect) -> None:
    identifier = Identifier()
    first, second = connect(), connect("::1")
    one, two = await asyncio.gather(
        identifier.identify("1", first.peer, first.local), identifier.identify("2", second.peer, second.local)
    )
    assert isinstance(one, Process)
    assert isinstance(two, Process)
    assert (one.pid, two.pid) == (first.child.pid, second.child.pid)
    first.child.kill()
    assert await identifier.identify("1", first.peer, first.local) == one
    identifier.forget("1")
    assert await identifier.identify("1", first.peer, first.local) == Unknown("gone")
    identifier.close()


async def test_concurrent_callers_share_a_look_up() -> None:
    find = Finder()
    find.may.clear()
    identifier = Identifier(find=find)
    callers = [asyncio.create_task(identifier.identify("a", PEER, LOCAL)) for _ in range(50)]
    await asyncio.sleep(0)
    callers[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    # The loop is free while the look-up runs, and one caller's cancellation is his alone.
    find.may.set()
    answers = await asyncio.gather(*callers[1:])
    assert answers == [Process(1000, 1.0, "p")] * 49
    assert await identifier.identify("a", PEER, LOCAL) == answers[0]
    assert len(find.calls) == 1
    assert threading.main_thread() not in find.threads
    identifier.close()


async def test_a_crowd_is_looked_for_together(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    first: dict[Address, int | None] = {}

    def look(pairs: tuple[tuple[Address, Address], ...]) -> dict[tuple[Address, Address], Process]:
        looks.append(len(pairs))
        return lookup.holders(pairs)

    def find(peer: Address, local: Address, known: tuple[Process, ...]) -> Process | Unknown:
        first[peer] = known[0].pid if known else None
        return lookup.find(peer, local, known)

    monkeypatch.setattr("mcp_sessions.processes.identify.holders", look)
    identifier = Identifier(find=find)
    few = [connect() for _ in range(CROWD)]
    await asyncio.gather(*(identifier.identify(str(one.peer), one.peer, one.local) for one in few))
    assert looks == [], "a few are looked for one by one, and mostly found at once"
    many = [connect() for _ in range(CROWD + 3)]
    gone = ("127.0.0.1", 1), many[0].local
    answers = await asyncio.gather(
        *(identifier.identify(str(one.peer), one.peer, one.local) for one in many), identifier.identify("gone", *gone)
    )
    assert [one.pid for one in answers[:-1] if isinstance(one, Process)] == [one.child.pid for one in many]
    assert answers[-1] == Unknown("gone")
    assert looks == [4]
    assert [first[one.peer] for one in many[CROWD:]] == [one.child.pid for one in many[CROWD:]]
    identifier.close()


async def test_known_are_passed_on_latest_first() -> None:
    find = Finder()
    identifier = Identifier(find=find, max_known=2)
    for port in (1, 2, 3, 4):
        await identifier.identify(str(port), ("127.0.0.1", port), LOCAL)
    assert [p.pid for p in find.calls[-1][1]] == [3, 2]
    identifier.close()


async def test_who_is_likely_is_looked_at_before_all_others() -> None:
    find = Finder()
    identifier = Identifier(find=find)
    await identifier.identify("a", PEER, LOCAL)
    likely = Process(7, 1.0, "p"), Process(8, 1.0, "p")
    await identifier.identify("b", ("127.0.0.1", 1001), LOCAL, likely)
    assert find.calls[1] == (("127.0.0.1", 1001), (*likely, Process(1000, 1.0, "p")))
    identifier.close()


async def test_bounded_and_forgotten() -> None:
    find = Finder()
    identifier = Identifier(find=find, max_connections=2)
    for name in ("a", "b", "c", "c", "b"):
        await identifier.identify(name, PEER, LOCAL)
    assert len(find.calls) == 3
    await identifier.identify("a", PEER, LOCAL)
    assert len(find.calls) == 4
    identifier.forget("a")
    identifier.forget("never seen")
    await identifier.identify("a", PEER, LOCAL)
    assert len(find.calls) == 5
    identifier.close()


async def test_disabled() -> None:
    find = Finder()
    identifier = Identifier(enabled=False, find=find)
    assert await identifier.identify("a", PEER, LOCAL) == Unknown("off")
    assert not find.calls
    identifier.close()


async def test_close_releases_the_waiting() -> None:
    find = Finder()
    find.may.clear()
    identifier = Identifier(find=find)
    callers = [asyncio.create_task(identifier.identify(str(n), PEER, LOCAL)) for n in range(8)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    identifier.close()
    assert await asyncio.gather(*callers) == [Unknown("off")] * 8
    assert await identifier.identify("x", PEER, LOCAL) == Unknown("off")
    identifier.close()
    find.may.set()


async def test_an_error_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> Process:
        raise KeyError("what")

    identifier = Identifier(find=broken)
    assert await identifier.identify("a", PEER, LOCAL) == Unknown("denied")
    assert "KeyError" in caplog.text
    identifier.close()
