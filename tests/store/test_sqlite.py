"""The ledger's file: nothing that happens to it stops a proxy, and nobody else reads it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from mcp_sessions.store import Problem, SqliteStore
from mcp_sessions.store.sqlite.file import File, Unusable
from mcp_sessions.store.sqlite.migrations import MIGRATIONS
from mcp_sessions.store.sqlite.thread import Thread

from .backends import a_proxy
from .samples import NOW, a_row

REST = "; sessions are not remembered on disk in this run"


def opened(path: Path, *, dead: bool = False, **more: Any) -> File:
    file = File(path, a_proxy(dead=dead), lambda: NOW, **more)
    assert file.open() == ""
    return file


def _race(path: str, start: Any, results: Any) -> None:
    file = opened(Path(path))
    start.wait()
    results.put(len(file.take_over()))
    start.wait()


def test_a_dead_proxy_is_inherited_by_exactly_one_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    dead = opened(path, dead=True)
    dead.write([a_row(f"session-{n}") for n in range(200)])
    dead.close()
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_race, args=(str(path), start, results)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert sorted(results.get(timeout=5) for _ in processes) == [0, 0, 0, 200]


def test_an_older_file_is_brought_up_to_date_and_a_newer_one_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    old = opened(path)
    old.write([a_row()])
    old.leave()
    steps = (*MIGRATIONS, "ALTER TABLE sessions ADD COLUMN note TEXT NOT NULL DEFAULT ';'; CREATE TABLE more (x)")
    new = opened(path, migrations=steps)
    assert new.take_over() == [a_row()]
    new.leave()
    before = path.read_bytes()
    with pytest.raises(Unusable, match=rf"was written by a newer version \({len(steps)}\): it is left as it is"):
        opened(path)
    assert path.read_bytes() == before


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    old = opened(path)
    old.write([a_row()])
    old.leave()
    with pytest.raises(Unusable):
        opened(path, migrations=(*MIGRATIONS, "DROP TABLE sessions; CREATE TABLE proxies (x)"))
    assert opened(path).take_over() == [a_row()]


def damaged(folder: Path) -> list[Path]:
    return list(folder.glob("ledger.damaged-*"))


async def problem_of(path: Path) -> str:
    store = SqliteStore(path)
    with pytest.raises(Problem) as raised:
        await store.open()
    assert raised.value.final
    with pytest.raises(Problem, match=re.escape(str(raised.value))):
        await store.write([a_row()])
    with pytest.raises(Problem, match=re.escape(str(raised.value))):
        await store.claim(a_row()[:5])
    with pytest.raises(Problem, match=re.escape(str(raised.value))):
        store.leave([a_row()], [], 10)
    return str(raised.value)


async def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    assert await problem_of(path) == f"{path} is not a ledger of this addon: it is left as it is{REST}"
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["ledger"]


async def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    opened(path).leave()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert await problem_of(path) == f"{path} was written by a newer version (99): it is left as it is{REST}"


async def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    assert await problem_of(tmp_path) == f"{tmp_path} can't be used (Is a directory){REST}"
    (tmp_path / "file").touch()
    assert "can't be used" in await problem_of(tmp_path / "file" / "ledger")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to this user")
async def test_a_file_that_may_not_be_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    opened(path).leave()
    path.chmod(0o400)
    assert await problem_of(path) == f"{path} can't be used (Permission denied){REST}"


async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    store = SqliteStore(path)
    notice = await store.open()
    (aside,) = damaged(tmp_path)
    assert aside.read_bytes().endswith(b"x" * 5000)
    assert notice == (f"{path} is damaged (file is not a database) and was renamed to {aside.name}; a new one is begun")
    await store.write([a_row()])
    assert await store.claim(a_row()[:5]) == a_row()


async def test_a_file_that_was_cut_off_at_any_page_or_within_one(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    file = opened(whole, dead=True)
    file.write([a_row(f"session-{n}") for n in range(40)])
    file.close()
    data = whole.read_bytes()
    with sqlite3.connect(whole) as connection:
        (page,) = connection.execute("PRAGMA page_size").fetchone()
    assert len(data) // page > 6
    problems: list[tuple[Problem, Path]] = []
    for end in sorted({*range(0, len(data), page), page // 2, 1, 99, len(data) - 1}):
        folder = tmp_path / f"{end}"
        folder.mkdir()
        path = folder / "ledger"
        path.write_bytes(data[:end])
        store = SqliteStore(path)
        try:
            # Either it is found out now, and said in one line, or what is there is taken over.
            notice = await store.open()
            assert "\n" not in notice
            await store.take_over()
            await store.write([a_row("another")])
            assert await store.claim(a_row("another")[:5])
            store.leave([], [], 5)
        except Problem as e:
            problems.append((e, path))
    for problem, path in problems:
        assert problem.final
        assert f"{path}" in str(problem)
        assert "\n" not in str(problem)


async def test_a_file_that_is_damaged_while_in_use(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    store = SqliteStore(path)
    await store.open()
    for one in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with one.open("r+b") as file:
            file.write(b"nonsense" * 600)

    async def write() -> None:
        for n in range(3):
            await store.write([a_row(f"session-{n}")])

    with pytest.raises(Problem) as raised:
        await write()
    assert raised.value.final
    assert str(path) in str(raised.value)
    with pytest.raises(Problem):
        await store.claim(a_row()[:5])


async def test_an_error_of_this_program_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    store = SqliteStore(path)
    await store.open()
    with pytest.raises(Problem, match="IntegrityError"):
        await store.write([a_row()._replace(server_id=None)])  # type: ignore[arg-type]
    assert not damaged(tmp_path)


async def test_what_is_no_text_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    store = SqliteStore(path)
    await store.open()
    await store.write([a_row()])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE sessions SET revision = CAST(x'ff41' AS TEXT)")
    assert await store.claim(a_row()[:5]) == a_row(revision="\N{REPLACEMENT CHARACTER}A")


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files are Unix")
def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = opened(tmp_path / "new" / "ledger")
    file.write([a_row()])
    modes = {path.name: path.stat().st_mode & 0o777 for path in file.path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_a_disk_that_hangs_holds_nobody_up() -> None:
    thread = Thread("hangs")
    blocked = multiprocessing.Event()
    with pytest.raises(TimeoutError):
        thread.last(blocked.wait, 0.01)
    blocked.set()


async def test_whom_nobody_waits_for_any_more_is_done_all_the_same() -> None:
    thread, done = Thread("goes on"), asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(thread.do(lambda: loop.call_soon_threadsafe(done.set)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait_for(done.wait(), 5)
    assert thread.last(lambda: 3, 5) == 3


async def test_a_file_that_is_locked_for_long_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_sessions.store.sqlite.file.BUSY", 0.05)
    path = tmp_path / "ledger"
    opened(path).close()
    store = SqliteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    for call in (store.open, lambda: store.write([a_row()])):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Problem, match=r"can't be used now .*locked") as raised:
            await call()
        assert not raised.value.final
        other.execute("COMMIT")
        await call()
    assert await store.claim(a_row()[:5]) == a_row()
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Problem, match="the last changes of sessions are not remembered"):
        store.leave([], [], 3.0)
    other.close()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are Unix")
def test_a_full_disk_is_tried_again(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    process = context.Process(target=_fill, args=(str(tmp_path / "ledger"), said))
    process.start()
    process.join(60)
    assert said.get(timeout=5) == [True, False, False, 200]


def _fill(path: str, said: Any) -> None:
    """In a process of its own: what it may write is limited for good, as far as others are concerned."""
    import resource

    async def run() -> list[object]:
        store = SqliteStore(Path(path))
        await store.open()
        await store.write([a_row("before")])
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(f"{path}-wal").st_size + 4096, before[1]))
        found: list[object] = [True]
        for _ in range(2):
            try:
                await store.write([a_row(f"session-{n}") for n in range(200)])
            except Problem as e:
                found.append(e.final)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        await store.write([a_row(f"session-{n}") for n in range(200)])
        keys = [a_row(f"session-{n}")[:5] for n in range(200)]
        found.append(sum([await store.claim(key) is not None for key in keys]))
        return found

    said.put(asyncio.run(run()))


async def test_what_another_proxy_has_is_left_to_it(tmp_path: Path) -> None:
    one, two = SqliteStore(tmp_path / "ledger"), SqliteStore(tmp_path / "ledger")
    await one.open()
    await two.open()
    moved, stayed, new = a_row("moved"), a_row("stayed"), a_row("new")
    await one.write([moved, stayed])
    keys = [row[:5] for row in (moved, stayed, new)]
    assert await one.others(keys) == set()
    assert await two.others(keys) == {moved[:5], stayed[:5]}
    await two.claim(moved[:5])
    assert await one.others(keys) == {moved[:5]}
    # Whatever still changes about it at the first is nobody's business.
    await one.update([moved._replace(server_id="x"), stayed._replace(server_id="y"), new])
    assert await one.claim(stayed[:5]) == stayed._replace(server_id="y")
    assert await one.claim(new[:5]) == new
    assert await two.claim(moved[:5]) == moved
    one.leave([moved._replace(server_id="x"), new._replace(server_id="z")], [stayed[:5]], 10)
    assert await two.claim(moved[:5]) == moved
    assert await two.take_over() == [new._replace(server_id="z")]


async def test_of_a_proxy_that_is_no_more_nothing_is_left_to_it(tmp_path: Path) -> None:
    one, gone = SqliteStore(tmp_path / "ledger"), SqliteStore(tmp_path / "ledger", a_proxy(dead=True))
    await one.open()
    await gone.open()
    rows = [a_row(f"session-{number}") for number in range(2)]
    await one.write(rows)
    for row in rows:
        await gone.claim(row[:5])
    assert await one.take_over(lambda row: False) == []
    assert await one.others([row[:5] for row in rows]) == set()
    await one.update([rows[0]._replace(server_id="x")])
    assert await one.take_over() == [rows[1]]
    assert await one.claim(rows[0][:5]) == rows[0]._replace(server_id="x")
