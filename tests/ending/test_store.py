"""The ledger's file: what goes in comes out, once, and nothing that happens to the file stops a proxy."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.ledger import Ledger
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.core.states import State
from mcp_sessions.processes.place import Place
from mcp_sessions.processes.process import read
from mcp_sessions.store import Database, Row, Unusable, Writer, row_of, session_of
from mcp_sessions.store.database import MIGRATIONS
from mcp_sessions.store.rows import to_be_ended
from mcp_sessions.store.writer import Batch
from mcp_sessions.wire.headers import HeaderMap

PLACE = Place.here()
ENDPOINT = Endpoint("https", "example.com", 443, "/mcp")


def a_session(name: str = "an-id", pid: int | None = None, started: float = 1.0, **more: Any) -> Session:
    client = Client(ClientKey(pid=pid or 0, started=started), "c", "127.0.0.1", 0, 0, pid=pid, started=started)
    session = Session(ENDPOINT, name, name, opened=1e9, last_used=9e9, revision="2025-11-25", **more)
    session.owners[client] = 5.0
    return session


texts = st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace").decode())


@given(
    name=texts.filter(bool),
    initialize=st.none() | st.dictionaries(texts, texts, max_size=3),
    state=st.sampled_from([State.OPEN, State.LOST, State.CLOSED]),
    replaced=st.lists(texts, max_size=20),
    generation=st.integers(0, 1000),
    kept=st.booleans(),
    aborted=st.none() | st.floats(0, 1e10),
)
def test_a_session_survives_the_way_to_the_disk(
    name: str,
    initialize: dict[str, Any] | None,
    state: State,
    replaced: list[str],
    generation: int,
    kept: bool,
    aborted: float | None,
) -> None:
    session = a_session(
        name, initialize=initialize, state=state, generation=generation, kept=kept, stream_aborted_at=aborted
    )
    session.replaced.extend(replaced)
    session.held.level, session.held.subscriptions = "error", {name: None}
    row = row_of(session, PLACE)
    again, gone = session_of(row, Ledger(), PLACE, 7.0)
    assert not gone
    assert row_of(again, PLACE)[:-4] == row[:-4]
    assert again.held == session.held
    assert (again.kept, again.watched_from) == (kept, 7.0)


def test_what_was_under_way_begins_again() -> None:
    for state, then in ((State.ENDING, State.OPEN), (State.RECOVERING, State.LOST), (State.LEAVING, State.OPEN)):
        again, _ = session_of(row_of(a_session(state=state), PLACE), Ledger(), PLACE, 0)
        assert again.state is then
        assert again.left is (state is State.LEAVING)
    stuck = a_session(state=State.STUCK, evidence="process gone; no answer, 7 times")
    assert session_of(row_of(stuck, PLACE), Ledger(), PLACE, 0)[0].state is State.OPEN
    stuck.evidence = "process gone; needs credentials (DELETE answered 401)"
    assert session_of(row_of(stuck, PLACE), Ledger(), PLACE, 0)[0].state is State.STUCK


def test_processes_are_known_again_in_the_same_place_only() -> None:
    me = read(os.getpid())
    assert me is not None
    alive = row_of(a_session(pid=me.pid, started=me.started), PLACE)
    reused = row_of(a_session(pid=me.pid, started=me.started - 1), PLACE)
    session, gone = session_of(alive, Ledger(), PLACE, 0)
    assert session.client is not None
    assert session.client.pid == me.pid
    assert not gone
    session, gone = session_of(reused, Ledger(), PLACE, 0)
    assert gone == [session.client]
    # After a boot every process is gone; of another container nothing is known.
    _, gone = session_of(alive, Ledger(), PLACE._replace(boot="other"), 0)
    assert len(gone) == 1
    session, gone = session_of(alive, Ledger(), PLACE._replace(namespace="pid:[1]"), 0)
    assert session.client is not None
    assert not session.client.is_process
    assert not gone
    assert not to_be_ended(alive, PLACE)
    assert to_be_ended(reused, PLACE)


def test_an_address_that_may_be_the_process_itself_is_no_second_owner() -> None:
    """Or the session of a proxy that was killed at this moment would never again be seen to be left."""
    ledger = Ledger()
    session = a_session(pid=1)
    ledger.open(session)
    connection = ledger.connection("c", ("127.0.0.1", 1), ("127.0.0.1", 2), 0)
    passing = ledger.client_of(connection, HeaderMap(()), 0)
    ledger.own(session, passing, 0)
    ledger.carry(connection, session)

    def owners() -> list[int | None]:
        kept, _ = session_of(row_of(session, PLACE), Ledger(), PLACE, 0)
        kept, _ = session_of(row_of(kept, PLACE), Ledger(), PLACE, 0)
        return [owner.pid for owner in kept.owners]

    assert owners() == [1]
    ledger.identified(connection, None, 0, vanished=True)
    ledger.carry(connection, session)
    assert owners() == [1]
    ledger.own(session, passing, 0)
    ledger.identified(connection, None, 0)
    assert owners() == [1, None]
    passing.vouched.clear()  # as if it used the session for the first time, over a connection that was looked at
    assert owners() == [1]
    ledger.carry(connection, session)
    assert owners() == [1, None]


@pytest.mark.parametrize("owners", ["", "{}", "[1]", '[{"pid": "x"}]', "null"])
def test_a_row_that_makes_no_sense_is_refused(owners: str) -> None:
    row = row_of(a_session(), PLACE)._replace(owners=owners)
    assert not to_be_ended(row, PLACE)
    if owners != "{}":
        with pytest.raises((ValueError, TypeError, KeyError)):
            session_of(row, Ledger(), PLACE, 0)


def opened(path: Path, name: str, **more: Any) -> Database:
    database = Database(path, name, **more)
    database.open()
    return database


def test_rows_pass_from_one_proxy_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    one = opened(path, "one")
    rows = [row_of(a_session(f"session-{n}"), PLACE) for n in range(3)]
    one.write(rows, [])
    one.write([], [rows[2][:5]])
    two = opened(path, "two")
    assert two.take_over() == []  # the other one lives
    one.leave()
    assert two.take_over(lambda row: row.client_id == "session-1") == [rows[1]]
    assert two.take_over() == [rows[0]]
    assert two.take_over() == []
    three = opened(path, "three")
    assert three.claim(rows[0][:5]) == rows[0]
    assert three.claim((*ENDPOINT, "another")) is None


def _race(path: str, name: str, start: Any, results: Any) -> None:
    database = opened(Path(path), name)
    start.wait()
    results.put(len(database.take_over()))
    start.wait()


def test_a_dead_proxy_is_inherited_by_exactly_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    dead = opened(path, "dead")
    dead.write([row_of(a_session(f"session-{n}"), PLACE) for n in range(200)], [])
    dead.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE proxies SET started = started - 1")
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_race, args=(str(path), f"p{n}", start, results)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert sorted(results.get(timeout=5) for _ in processes) == [0, 0, 0, 200]


def test_a_proxy_of_elsewhere_counts_as_gone_when_it_is_silent(tmp_path: Path) -> None:
    one = opened(tmp_path / "ledger", "one")
    one.write([row_of(a_session(), PLACE)], [])
    with sqlite3.connect(one.path) as connection:
        connection.execute("UPDATE proxies SET place = 'elsewhere|boot|ns'")
    two = opened(tmp_path / "ledger", "two")
    assert two.take_over() == []
    with sqlite3.connect(one.path) as connection:
        connection.execute("UPDATE proxies SET seen = seen - 1000 WHERE id = 'one'")
    assert len(two.take_over()) == 1


def test_an_older_file_is_brought_up_to_date_and_a_newer_one_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    old = opened(path, "old")
    old.write([row_of(a_session(), PLACE)], [])
    old.leave()
    steps = (*MIGRATIONS, "ALTER TABLE sessions ADD COLUMN note TEXT NOT NULL DEFAULT ''; CREATE TABLE more (x)")
    new = opened(path, "new", migrations=steps)
    assert len(new.take_over()) == 1
    new.leave()
    before = path.read_bytes()
    with pytest.raises(Unusable, match="written by a newer version"):
        opened(path, "old again")
    assert path.read_bytes() == before


def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    database = opened(path, "one")
    (aside,) = tmp_path.glob("ledger.damaged-*")
    assert aside.read_bytes().endswith(b"x" * 5000)
    assert aside.name in database.notice
    database.write([row_of(a_session(), PLACE)], [])


def spoil(path: Path) -> None:
    for one in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with one.open("r+b") as file:
            file.write(b"nonsense" * 600)


async def test_a_file_that_is_damaged_while_in_use(tmp_path: Path) -> None:
    lines: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    path = tmp_path / "ledger"
    rows: list[Row] = []
    writer = Writer(Database(path, "one"), rows.extend, lambda line, final: lines.put_nowait((line, final)))
    await writer.loaded.wait()
    spoil(path)
    for n in range(3):
        writer.write(Batch([row_of(a_session(f"session-{n}"), PLACE)], []))
    line, final = await asyncio.wait_for(lines.get(), 20)
    assert final
    assert str(path) in line
    assert lines.empty()
    writer.write(Batch([row_of(a_session(), PLACE)], []))
    await writer.ask((*ENDPOINT, "an-id"))


async def test_nothing_is_awaited_of_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    lines: list[str] = []
    writer = Writer(Database(tmp_path, "one"), lambda rows: None, lambda line, final: lines.append(line))
    await asyncio.wait_for(writer.loaded.wait(), 10)
    assert len(lines) == 1
    assert str(tmp_path) in lines[0]


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    database = opened(tmp_path / "new" / "ledger", "one")
    database.write([row_of(a_session(), PLACE)], [])
    modes = {path.name: path.stat().st_mode & 0o777 for path in database.path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes
