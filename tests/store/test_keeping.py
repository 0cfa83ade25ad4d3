"""Core and store in step: what changes is written soon, once, and what others left comes back."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest

from mcp_sessions.core import ledger
from mcp_sessions.core.client import Client
from mcp_sessions.core.core import Core
from mcp_sessions.core.credentials import Fingerprints
from mcp_sessions.core.decisions import Send
from mcp_sessions.core.policy import Policy
from mcp_sessions.core.reporter import Reporter
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import ClientSide, Reason, ServerSide, State, Trigger, Why
from mcp_sessions.processes.place import Place
from mcp_sessions.processes.process import read
from mcp_sessions.store import Keeping, Key, Problem, Row, SqliteStore, Store, due, rows
from mcp_sessions.store import keeping as module
from mcp_sessions.store.proxies import SILENCE
from mcp_sessions.store.store import Wanted

from .backends import a_proxy
from .samples import ENDPOINT, NOW, a_client, a_row, a_session

C, S = ClientSide, ServerSide


class Fake:
    """A store in memory, shared by all that are given the same rows; it fails when told to."""

    silence = SILENCE
    shared = False
    credentials_key = b"of all"

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.free = {row[:5]: row for row in rows}
        self.rows: dict[Key, Row] = {}
        self.said: list[str] = []
        self.problem: Exception | None = None
        self.moved: set[Key] = set()
        """What another proxy has."""
        self.claimed: list[Key] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def _say(self, what: str) -> None:
        self.said.append(what)
        if self.problem is None:
            await self.gate.wait()
            await asyncio.sleep(0)
        if self.problem is not None:
            raise self.problem

    async def open(self) -> str:
        await self._say("open")
        return ""

    async def take_over(self, wanted: Wanted | None = None) -> list[Row]:
        await self._say("take over")
        rows = [row for row in self.free.values() if wanted is None or wanted(row)]
        for row in rows:
            self.rows[row[:5]] = self.free.pop(row[:5])
        return rows

    async def claim(self, key: Key) -> Row | None:
        await self._say("claim")
        self.claimed.append(key)
        self.moved.discard(key)
        return self.free.get(key)

    async def others(self, keys: Iterable[Key]) -> set[Key]:
        await self._say("others")
        return self.moved.intersection(keys)

    async def absent(self, keys: Iterable[Key]) -> set[Key]:
        if self.problem is not None:
            raise self.problem
        return {key for key in keys if key not in self.rows and key not in self.moved}

    async def write(self, rows: Iterable[Row]) -> None:
        found = list(rows)
        await self._say(f"write {len(found)}")
        self.moved.difference_update(row[:5] for row in found)
        self.rows.update((row[:5], row) for row in found)

    async def update(self, rows: Iterable[Row]) -> None:
        found = list(rows)
        await self._say(f"update {len(found)}")
        self._change(found, ())

    async def forget(self, keys: Iterable[Key]) -> None:
        found = list(keys)
        await self._say(f"forget {len(found)}")
        self._change((), found)

    async def drop(self, keys: Iterable[Key]) -> None:
        found = list(keys)
        await self._say(f"drop {len(found)}")
        self._change((), set(found) - self.moved)

    def leave(self, rows: Iterable[Row], keys: Iterable[Key], within: float) -> None:
        self.said.append("leave")
        self._change(rows, keys)

    def _change(self, rows: Iterable[Row], keys: Iterable[Key]) -> None:
        self.rows.update((row[:5], row) for row in rows if row[:5] not in self.moved)
        for key in keys:
            self.rows.pop(key, None)

    @property
    def ids(self) -> dict[str, str]:
        return {row.client_id: row.server_id for row in self.rows.values()}


class Shell:
    """What `addon.py` is to a `Keeping`."""

    def __init__(self, store: Store) -> None:
        self.now = NOW
        self.core = Core(Policy(), Reporter(lambda record: None))
        self.taken: list[Client] = []
        self.woken = 0
        self.keeping = Keeping(self.core, store, lambda: self.now, self.taken.extend, self.wake)

    def wake(self) -> None:
        self.woken += 1

    def enter(self, session: Session) -> Session:
        self.core.ledger.open(session, self.now)
        self.core.reporter.changed(session)
        return session


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[Shell]:
    shell = Shell(store)
    try:
        await asyncio.wait_for(shell.keeping.loaded(), 5)
        yield shell
    finally:
        shell.keeping.close()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY", 0.01)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  # a store tells nobody
            await asyncio.sleep(0.002)


async def test_what_changes_is_written_soon_and_at_once() -> None:
    store = Fake()
    async with running(store) as shell:
        session = shell.enter(a_session("one"))
        await asyncio.sleep(0.002)
        shell.enter(a_session("two"))
        shell.core.ledger.remap(session, "one-1")
        await until(lambda: store.rows)
        assert store.ids == {"one": "one-1", "two": "two"}
        assert store.said == ["open", "take over", "update 2"]
        shell.core.ledger.fire(session, Trigger.DELETE_DONE, NOW)
        shell.core.reporter.changed(session)
        await until(lambda: store.ids == {"two": "two"})
        assert store.said[3:] == ["forget 1"]


async def test_many_are_written_in_slices() -> None:
    store = Fake()
    async with running(store) as shell:
        for number in range(450):
            shell.enter(a_session(str(number)))
        await until(lambda: len(store.rows) == 450)
        assert store.said[2:] == ["update 200", "update 200", "update 50"]


async def test_sessions_that_are_older_than_the_store_are_written(tmp_path: Path) -> None:
    store = Fake()
    shell = Shell(store)
    shell.keeping.close()
    shell.enter(a_session("one"))
    again = Fake()
    keeping = Keeping(shell.core, again, lambda: NOW, shell.taken.extend, shell.wake)
    await until(lambda: again.ids == {"one": "one"})
    keeping.close()


async def test_uses_are_noted_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATER", 0.05)
    store = Fake()
    async with running(store) as shell:
        session = shell.enter(a_session("one"))
        await until(lambda: store.rows)
        session.last_used = NOW + 7
        shell.core.ledger.touched[session] = None
        await until(lambda: next(iter(store.rows.values())).last_used == NOW + 7)
        assert not shell.core.ledger.touched


async def test_only_what_is_used_is_taken_from_another_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATER", 0.05)
    store = Fake()
    async with running(store) as shell:
        session = shell.enter(a_session("one"))
        await until(lambda: store.rows)
        store.moved = set(store.rows)
        shell.core.ledger.remap(session, "one-1")
        shell.core.reporter.changed(session)
        await until(lambda: store.said.count("update 1") == 2)
        assert store.ids == {"one": "one"}
        assert await shell.keeping.elsewhere(session)
        shell.core.ledger.touched[session] = None
        store.problem = Problem("not now", final=False)
        await until(lambda: "write 1" in store.said)
        with pytest.raises(Problem):
            await shell.keeping.elsewhere(session)
        store.problem = None
        await until(lambda: store.ids == {"one": "one-1"})
        assert not await shell.keeping.elsewhere(session)


async def test_what_another_proxy_has_ended_is_neither_ended_again_nor_remembered_again_unless_it_is_used() -> None:
    """Its row is no more: who ends it now may end what the server has given to somebody else meanwhile."""
    store = Fake()
    async with running(store) as shell:
        session, new = shell.enter(a_session("one")), a_session("new")
        shell.core.ledger.open(new, NOW)
        await until(lambda: store.ids == {"one": "one"})
        assert not await shell.keeping.elsewhere(session)
        assert not await shell.keeping.elsewhere(new), "it is not written down yet"
        store.rows.clear()
        assert await shell.keeping.elsewhere(session)
        for changed in (session, new):
            shell.core.reporter.changed(changed)
        await until(lambda: store.ids)
        assert store.ids == {"new": "new"}
        shell.core.ledger.touched[session] = None
        shell.core.reporter.changed(session)
        await until(lambda: len(store.ids) == 2)
        assert not await shell.keeping.elsewhere(session)


async def test_a_session_whose_client_is_connected_here_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another proxy may have it for its client's requests: that one does not see that the client listens here."""
    monkeypatch.setattr(module, "ROUND", 0.02)
    store = Fake()
    async with running(store) as shell:
        listening, left = shell.enter(a_session("listening")), shell.enter(a_session("left"))
        connection = shell.core.connected("c", ("10.0.0.9", 1), ("127.0.0.1", 2), NOW)
        for session in (listening, left):
            shell.core.ledger.carry(connection, session)
        await until(lambda: len(store.rows) == 2)
        connection.sessions.pop(left)
        store.moved = set(store.rows)
        store.free = dict(store.rows)
        before = store.said.count("claim")
        await until(lambda: store.said.count("claim") > before)
        assert store.claimed == [(*ENDPOINT, "listening")]


async def test_what_is_pushed_out_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SESSION_LIMIT", 3)
    store = Fake()
    async with running(store) as shell:
        for number in range(3):
            shell.enter(a_session(f"{number}"))
        await until(lambda: len(store.rows) == 3)
        for number in range(3, 6):
            shell.enter(a_session(f"{number}"))
        await until(lambda: set(store.ids) == {"3", "4", "5"})


async def test_a_session_that_may_return_is_remembered() -> None:
    store = Fake()
    async with running(store) as shell:
        over = a_session("over", C.GONE, S.DELETED, reason=Reason(Why.PROXY_ENDS, "in other words"))
        shell.enter(over)
        shell.enter(a_session("dead", C.GONE, S.DELETED, reason=Reason(Why.IDLE, "the proxy ends")))
        await until(lambda: store.rows)
        assert store.ids == {"over": "over"}
    assert over.standing.client is C.GONE
    async with running(Fake(store.rows.values())) as shell:
        found = shell.core.ledger.find(ENDPOINT, "over")
        assert found is not None
        assert shell.core.ending.may_return(found)


async def test_who_waits_for_a_session_to_be_written_does_not_wait_for_long() -> None:
    store = Fake()
    async with running(store) as shell:
        session = shell.enter(a_session("one"))
        async with asyncio.timeout(module.SOON):
            await shell.keeping.kept(session)
        assert store.ids == {"one": "one"}
        store.gate.clear()
        shell.core.reporter.changed(session)
        waiting = asyncio.create_task(shell.keeping.kept(session))
        await until(lambda: store.said.count("update 1") + store.said.count("write 1") == 2)
        shell.core.reporter.changed(session)  # what changes meanwhile is waited for, too
        assert not waiting.done()
        store.gate.set()
        await waiting
        assert store.said.count("update 1") + store.said.count("write 1") == 3


@pytest.mark.parametrize("trouble", ["slow", "fails", "over"])
async def test_nobody_waits_for_a_store_that_does_not_write(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 0.1 if trouble == "slow" else 60.0)
    store = Fake()
    async with running(store) as shell:
        await shell.keeping.loaded()
        store.gate.clear() if trouble == "slow" else None
        store.problem = Problem("no room", final=False) if trouble == "fails" else None
        session = shell.enter(a_session("one"))
        if trouble == "over":
            shell.keeping.close()
        async with asyncio.timeout(5):
            await shell.keeping.kept(session)
        store.gate.set()


async def test_who_waits_is_let_go_where_nothing_is_written_any_more_or_yet() -> None:
    store = Fake()
    async with running(store) as shell:
        store.gate.clear()
        session = shell.enter(a_session("one"))
        waiting = asyncio.create_task(shell.keeping.kept(session))
        await until(lambda: "update 1" in store.said)
        shell.keeping.close()
        async with asyncio.timeout(module.KEPT / 2):
            await waiting
    store = Fake()
    store.gate.clear()
    shell = Shell(store)
    session = shell.enter(a_session("one"))
    await until(lambda: bool(store.said))  # it is being read
    async with asyncio.timeout(module.KEPT / 2):
        await shell.keeping.kept(session)
    shell.keeping.close()


async def test_what_is_over_and_known_no_more_is_none_of_this_proxys_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client may have gone on with it by another proxy."""
    monkeypatch.setattr(ledger, "OVER_LIMIT", 1)
    store = Fake()
    async with running(store) as shell:
        first, second = shell.enter(a_session("first")), shell.enter(a_session("second"))
        await until(lambda: len(store.rows) == 2)
        row = store.rows[shell.keeping._key(first)]
        shell.core.ledger.fire(first, Trigger.DELETE_DONE, NOW)
        shell.core.reporter.changed(first)
        await until(lambda: len(store.rows) == 1)
        store.rows[row[:5]] = row  # it was brought back there
        shell.core.ledger.fire(second, Trigger.DELETE_DONE, NOW)
        shell.core.reporter.changed(second)
        await until(lambda: "second" not in store.ids)
        assert first.number not in shell.core.ledger.sessions
        shell.enter(a_session("third"))
        await until(lambda: "third" in store.ids)
        assert set(store.ids) == {"first", "third"}


async def test_all_that_may_return_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "OVER_LIMIT", 2)
    store = Fake()
    async with running(store) as shell:
        for number in range(5):
            shell.enter(a_session(f"{number}", C.GONE, S.DELETED, reason=Reason(Why.PROXY_ENDS, "it ends")))
        await until(lambda: len(store.rows) == 5)


async def test_one_id_used_for_another_session() -> None:
    """What then still changes about the first is not written over the second."""
    store = Fake()
    async with running(store) as shell:
        first = shell.enter(a_session("one", server_id="first"))
        shell.enter(a_session("one", server_id="second"))
        shell.core.reporter.changed(first)
        await until(lambda: store.rows)
        shell.core.ledger.fire(first, Trigger.DELETE_DONE, NOW)
        shell.core.reporter.changed(first)
        shell.enter(a_session("other"))
        await until(lambda: len(store.rows) == 2)
        assert store.ids["one"] == "second"
        assert not any("forget" in said for said in store.said)


async def test_the_rest_is_written_at_the_end_also_what_was_under_way() -> None:
    store = Fake()
    async with running(store) as shell:
        shell.enter(a_session("under way"))
        store.gate.clear()
        await until(lambda: "update 1" in store.said)
        shell.enter(a_session("noted"))
        touched = a_session("touched")
        shell.core.ledger.open(touched, NOW)
        shell.core.ledger.touched[touched] = None
        assert not store.rows
    assert set(store.ids) == {"under way", "noted", "touched"}
    assert store.said[-1] == "leave"
    shell.enter(a_session("late"))
    shell.keeping.close()
    await asyncio.sleep(0.05)
    assert store.said.count("leave") == 1
    assert "late" not in store.ids


async def test_the_rest_of_many_is_written_some_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    store = Fake()
    shell = Shell(store)
    await shell.keeping.loaded()
    for number in range(5_000):
        shell.core.ledger.open(a_session(f"{number}"), NOW)
    shell.core.ledger.touched.update(dict.fromkeys(shell.core.ledger.sessions.values()))
    await shell.keeping.finish()
    assert len(store.rows) == 5_000
    assert max(int(said.split()[1]) for said in store.said if said.startswith("write")) <= module.ROWS_AT_ONCE
    shell.keeping.close()
    assert not caplog.records


@pytest.mark.usefixtures("timed")
async def test_a_close_that_nobody_can_wait_for_is_short(caplog: pytest.LogCaptureFixture) -> None:
    store = Fake()
    shell = Shell(store)
    await shell.keeping.loaded()
    for number in range(20_000):
        shell.enter(a_session(f"{number}"))
    before = time.thread_time()
    shell.keeping.close()
    took = time.thread_time() - before
    assert took < 0.1  # a fifth of it here; all of them would take twice that
    assert len(store.rows) == module.LAST_ROWS
    assert [record.getMessage() for record in caplog.records] == [
        f"mcp: the last changes of {20_000 - module.LAST_ROWS} sessions are not remembered"
    ]


async def test_what_an_earlier_run_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    me = read(os.getpid())
    assert me is not None
    living, dead = a_client(me.pid, me.started), a_client(me.pid, me.started - 1)
    store = Fake(
        [
            a_row("living", owners=(living,)),
            a_row("living-too", owners=(living,)),
            a_row("dead", owners=(dead,)),
            a_row("left", C.LEFT, owners=(living,)),
            a_row("stuck", C.GONE, S.STUCK, outcome=Reason(Why.NEEDS_CREDENTIALS, "x"), owners=(dead,)),
            a_row("wrong")._replace(client="dancing"),
            a_row("strange")._replace(owners="{"),
        ]
    )
    async with running(store) as shell:
        ledger = shell.core.ledger
        states = {session.client_id: session.state for session in ledger.sessions.values()}
        assert states == {
            "living": State.OPEN,
            "living-too": State.OPEN,
            "dead": State.OPEN,
            "left": State.ABANDONED,
            "stuck": State.STUCK,
        }
        assert [client.pid for client in shell.taken] == [me.pid]
        assert shell.woken == 1
        ended = {effect.request.session.client_id for effect in shell.core.effects() if isinstance(effect, Send)}
        assert ended == {"dead", "left"}
    lines = [record.getMessage() for record in caplog.records]
    assert "mcp: 5 sessions known from an earlier run; 1 of them could not be ended, see mcp.sessions" in lines
    assert lines.count("mcp: a row of the stored ledger can't be read: ValueError") == 1
    assert lines.count("mcp: a row of the stored ledger can't be read: ValidationError") == 1


async def test_its_client_was_faster() -> None:
    store = Fake([a_row("one", server_id="stored", owners=(a_client(1),))])
    store.gate.clear()
    shell = Shell(store)
    mine = shell.enter(a_session("one", server_id="mine"))
    store.gate.set()
    await shell.keeping.loaded()
    assert shell.core.ledger.find(ENDPOINT, "one") is mine
    assert not shell.core.ledger.clients
    assert (shell.taken, shell.woken) == ([], 0)
    shell.keeping.close()
    assert store.ids == {"one": "mine"}


async def test_an_id_that_another_proxy_knows() -> None:
    store = Fake()
    async with running(store) as shell:
        store.free = {row[:5]: row for row in [a_row("theirs", server_id="theirs-2")]}
        store.gate.clear()
        asked = [asyncio.create_task(shell.keeping.recall(ENDPOINT, "theirs")) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in asked)  # all wait for the one answer
        store.gate.set()
        await asyncio.gather(*asked)
        found = shell.core.ledger.find(ENDPOINT, "theirs")
        assert found is not None
        assert found.server_id == "theirs-2"
        assert store.said.count("claim") == 1
        assert shell.woken == 1
        for _ in range(3):
            await shell.keeping.recall(ENDPOINT, "nobody's")
        assert store.said.count("claim") == 2
        store.problem = Problem("no answer", final=False)
        await shell.keeping.recall(ENDPOINT, "perhaps")
        store.problem = None
        await shell.keeping.recall(ENDPOINT, "perhaps")  # that it is not known was not known
        assert store.said.count("claim") == 4


async def test_what_a_proxy_that_died_meanwhile_left_to_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUND", 0.02)
    store = Fake()
    async with running(store) as shell:
        dead, unknown = a_row("dead", owners=(a_client(2**22 - 1),)), a_row("unknown")
        store.free = {row[:5]: row for row in (dead, unknown)}
        await until(lambda: shell.core.ledger.find(ENDPOINT, "dead"))
        assert shell.core.ledger.find(ENDPOINT, "unknown") is None
        assert [effect.request.verb for effect in shell.core.effects() if isinstance(effect, Send)] == ["DELETE"]


async def test_what_a_proxy_that_died_meanwhile_left_and_nobody_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clients can't be seen: from now on it is counted how long they are silent."""
    monkeypatch.setattr(module, "ROUND", 0.02)
    store = Fake()
    async with running(store) as shell:
        idle, used = a_row("idle", last_used=NOW - 1801), a_row("used", last_used=NOW - 1799)
        store.free = {row[:5]: row for row in (idle, used)}
        await until(lambda: shell.core.ledger.find(ENDPOINT, "idle"))
        assert shell.core.ledger.find(ENDPOINT, "used") is None
        shell.core.timer(NOW + 1799)
        assert not shell.core.effects()
        shell.core.timer(NOW + 1801)
        assert [effect.request.verb for effect in shell.core.effects() if isinstance(effect, Send)] == ["DELETE"]


async def test_a_store_that_fails_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    store = Fake([a_row("theirs")])
    store.problem = Problem("it does not answer", final=False)
    async with running(store) as shell:  # nobody is kept waiting
        shell.enter(a_session("mine"))
        await until(lambda: store.said.count("open") > 3)
        store.problem = None
        await until(lambda: len(store.rows) == 2)
        assert shell.core.ledger.find(ENDPOINT, "theirs") is not None
        store.problem = Problem("it does not answer", final=False)
        session = shell.enter(a_session("later"))
        await until(lambda: store.said.count("update 1") > 2)
        shell.core.ledger.remap(session, "later-1")
        store.problem = None
        await until(lambda: "later" in store.ids)
        assert store.ids["later"] == "later-1"
    assert [record.getMessage() for record in caplog.records] == ["mcp: it does not answer"] * 2


async def test_that_a_store_works_again_is_said_once_all_that_waited_is_written(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "ROUND", 0.02)
    store = Fake()

    async def update(rows: Iterable[Row]) -> None:
        if full:
            raise Problem("the disk is full", final=False)
        await updated(rows)

    full, updated = True, store.update
    monkeypatch.setattr(store, "update", update)
    async with running(store) as shell:
        shell.enter(a_session("one"))
        await until(lambda: caplog.records)
        before = store.said.count("take over")
        await until(lambda: store.said.count("take over") > before + 2)  # that works, but what waits is not written yet
        await shell.keeping.recall(ENDPOINT, "nobody's")
        full = False
        await until(lambda: store.rows)
        before = store.said.count("take over")
        await until(lambda: store.said.count("take over") > before + 2)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["mcp: the disk is full", "mcp: the ledger can be written again: sessions are remembered"]


async def test_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As SQLite sees it: there is no room for another page."""
    caplog.set_level(logging.INFO)
    store = SqliteStore(tmp_path / "ledger")

    async def pages(count: int) -> None:
        connection = store._file._connection
        assert connection is not None
        await store._thread.do(lambda: connection.execute(f"PRAGMA max_page_count = {count}"))

    async with running(store) as shell:
        shell.enter(a_session("first"))
        await pages(1)
        for number in range(200):
            shell.enter(a_session(f"{number}", parameters=b'{"x":"' + b"y" * 1000 + b'"}'))
        await until(lambda: "can't be used now (database or disk is full)" in caplog.text)
        await pages(2**30)
        await until(lambda: "can be written again" in caplog.text)
        with closing(sqlite3.connect(tmp_path / "ledger")) as connection:
            assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (201,)
    assert len([record for record in caplog.records if "full" in record.getMessage()]) == 1


async def test_a_store_that_fails_for_good(caplog: pytest.LogCaptureFixture) -> None:
    store = Fake()
    async with running(store) as shell:
        store.problem = Problem("it is broken", final=True)
        shell.enter(a_session("one"))
        await until(lambda: caplog.records)
        said = len(store.said)
        shell.enter(a_session("two"))
        await shell.keeping.recall(ENDPOINT, "three")
        await asyncio.sleep(0.05)
        assert len(store.said) == said
        assert not shell.core.reporter.followers
    assert [record.getMessage() for record in caplog.records] == ["mcp: it is broken"]
    assert "leave" not in store.said


async def test_an_error_in_here_is_told_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Fake()

    def row_of(session: Session, place: Place, fingerprints: Fingerprints) -> Row:
        if session.client_id == "bad":
            raise AttributeError
        return rows.row_of(session, place, fingerprints)

    monkeypatch.setattr(due, "row_of", row_of)
    async with running(store) as shell:
        bad = shell.enter(a_session("bad"))
        shell.enter(a_session("one"))
        await until(lambda: store.rows)
        store.problem = ValueError("in the store")
        shell.enter(a_session("two"))
        await until(lambda: len(caplog.records) == 2)
        store.problem = None
        shell.enter(a_session("three"))
        await until(lambda: "three" in store.ids)
        shell.core.reporter.changed(bad)
    assert {"one", "three"} <= set(store.ids)
    assert store.said[-1] == "leave"
    lines = {record.getMessage() for record in caplog.records}
    assert lines == {f"{module.ERROR}: AttributeError", f"{module.ERROR}: ValueError"}


async def test_too_many_wait(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NOTED_LIMIT", 3)
    store = Fake()
    async with running(store) as shell:
        for number in range(6):
            shell.enter(a_session(str(number)))
        await until(lambda: store.rows)
        assert set(store.ids) == {"3", "4", "5"}
    assert len(caplog.records) == 1


async def test_one_proxy_after_the_other(tmp_path: Path) -> None:
    """Through a file: killed, started again, and a third beside it."""
    path = tmp_path / "ledger"
    async with running(SqliteStore(path, a_proxy(dead=True), lambda: NOW)) as killed:
        killed.enter(a_session("one", server_id="one-1", generation=1))
        await asyncio.sleep(0.1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(killed.keeping, "close", lambda: None)
            async with running(SqliteStore(path, clock=lambda: NOW)) as two:
                found = two.core.ledger.find(ENDPOINT, "one")
                assert found is not None
                assert (found.server_id, found.generation) == ("one-1", 1)
                async with running(SqliteStore(path, clock=lambda: NOW)) as three:
                    assert not three.core.ledger.sessions
                    await three.keeping.recall(ENDPOINT, "one")
                    assert three.core.ledger.find(ENDPOINT, "one") is not None


async def test_a_file_that_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(SqliteStore(tmp_path)) as shell:
        shell.enter(a_session("one"))
        await asyncio.sleep(0.05)
    assert [record.getMessage() for record in caplog.records] == [
        f"mcp: {tmp_path} can't be used (Is a directory); sessions are not remembered on disk in this run"
    ]


async def test_closed_before_it_has_begun(tmp_path: Path) -> None:
    shell = Shell(SqliteStore(tmp_path / "ledger", clock=lambda: NOW))
    shell.enter(a_session("one"))
    shell.keeping.close()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(shell.keeping.loaded(), 5)
    async with running(SqliteStore(tmp_path / "ledger", clock=lambda: NOW)) as again:
        assert again.core.ledger.find(ENDPOINT, "one") is not None


async def test_a_ledger_that_is_locked_for_a_while_is_kept_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mcp_sessions.store.sqlite.file.BUSY", 0.05)
    path = tmp_path / "ledger"

    def stored() -> int:
        with closing(sqlite3.connect(path)) as connection:
            return int(connection.execute("SELECT count(*) FROM sessions").fetchone()[0])

    async with running(SqliteStore(path)) as shell:
        shell.enter(a_session("first"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        shell.enter(a_session("second"))
        await until(lambda: "can't be used now (database is locked)" in caplog.text)
        shell.enter(a_session("third"))
        other.execute("COMMIT")
        other.close()
        await until(lambda: stored() == 3)
