"""A file that the first version wrote: every session in it means what it meant.

`ledger-v1.sqlite` was written by that version's own `Database` and `row_of`, two proxies having been there: `one` was
killed, `two` has left. It holds a session in every state that there was, each named for it, opened 3600 s before `NOW`
and used 60 s later, by the process 100 (started at 10.0) of a place `old-host|boot-1|pid:[1]` unless `OWNERS` says
otherwise. Flags and evidence are what that version gave sessions in that state; `closed` and `closed-left` are such as
it never wrote, `forgotten` was not used for 15 days, and `stuck-name` was used by a program called `needs credentials`.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from mcp_sessions.core.ledger import Ledger
from mcp_sessions.core.session import UNKNOWN_CREDENTIALS, Session
from mcp_sessions.core.states import ClientSide, ServerSide, State, Why
from mcp_sessions.store import Row, SqliteStore
from mcp_sessions.store.rows import session_of
from mcp_sessions.store.sqlite.migrations import MIGRATIONS, statements

from .samples import ENDPOINT, NOW

FIXTURE = Path(__file__).parent / "ledger-v1.sqlite"
OLD_PLACE = "old-host|boot-1|pid:[1]"
AT = NOW - 3600
ODD = "odd-éÿ\0-\U0001f600'\";--"

C, S = ClientSide, ServerSide

# What the row says, and how the session goes on.
SIDES: dict[str, tuple[ClientSide, ServerSide, ClientSide, ServerSide]] = {
    "open": (C.USING, S.ALIVE, C.USING, S.ALIVE),
    "open-left": (C.LEFT, S.ALIVE, C.LEFT, S.ALIVE),
    "lost": (C.USING, S.LOST, C.USING, S.LOST),
    "lost-left": (C.LEFT, S.LOST, C.LEFT, S.LOST),
    "recovering": (C.USING, S.RECOVERING, C.USING, S.LOST),
    "recovering-left": (C.LEFT, S.RECOVERING, C.LEFT, S.LOST),
    "leaving": (C.LEAVING, S.ALIVE, C.LEFT, S.ALIVE),
    "abandoned": (C.GONE, S.ALIVE, C.USING, S.ALIVE),
    "abandoned-stream": (C.GONE, S.ALIVE, C.USING, S.ALIVE),
    "abandoned-left": (C.LEFT, S.ALIVE, C.LEFT, S.ALIVE),
    "ending": (C.GONE, S.DELETING, C.USING, S.ALIVE),
    "ending-left": (C.LEFT, S.DELETING, C.LEFT, S.ALIVE),
    "ending-by-hand": (C.LEFT, S.DELETING, C.LEFT, S.ALIVE),
    "ending-at-exit": (C.GONE, S.DELETING, C.USING, S.ALIVE),
    "ending-other": (C.GONE, S.DELETING, C.USING, S.ALIVE),
    "stuck-credentials": (C.GONE, S.STUCK, C.GONE, S.STUCK),
    "stuck-credentials-left": (C.LEFT, S.STUCK, C.LEFT, S.STUCK),
    "stuck-silent": (C.GONE, S.STUCK, C.USING, S.ALIVE),
    "stuck-refused": (C.GONE, S.STUCK, C.USING, S.ALIVE),
    "stuck-refused-left": (C.LEFT, S.STUCK, C.LEFT, S.ALIVE),
    "stuck-name": (C.GONE, S.STUCK, C.USING, S.ALIVE),
    "closed-at-exit": (C.GONE, S.DELETED, C.GONE, S.DELETED),
    "closed-left": (C.LEFT, S.DELETED, C.LEFT, S.DELETED),
    "closed": (C.LEFT, S.DELETED, C.LEFT, S.DELETED),
    "kept": (C.USING, S.ALIVE, C.USING, S.ALIVE),
    "kept-abandoned": (C.GONE, S.ALIVE, C.USING, S.ALIVE),
    "mapped": (C.USING, S.ALIVE, C.USING, S.ALIVE),
    "held": (C.USING, S.ALIVE, C.USING, S.ALIVE),
    "owners": (C.USING, S.ALIVE, C.USING, S.ALIVE),
    "unseen": (C.USING, S.ALIVE, C.USING, S.ALIVE),
    "nobody": (C.USING, S.ALIVE, C.USING, S.ALIVE),
    ODD: (C.USING, S.ALIVE, C.USING, S.ALIVE),
}

GONE = "process gone: agent[100]"
CUT = "its client's DELETE was cut off"
REASONS: dict[str, tuple[Why, str, Why | None, str]] = {
    "abandoned": (Why.IDLE, "no connection and no request for 1800 s", None, ""),
    "abandoned-stream": (
        Why.STREAM_ABORTED,
        "stream aborted by its client, and no connection left for 60 s",
        None,
        "",
    ),
    "abandoned-left": (Why.DELETE_CUT, CUT, None, ""),
    "ending": (Why.PROCESS_GONE, GONE, None, ""),
    "ending-left": (Why.DELETE_CUT, "its client's DELETE was not answered", None, ""),
    "ending-by-hand": (Why.BY_HAND, "by hand", None, ""),
    "ending-at-exit": (Why.PROXY_ENDS, "the proxy ends", None, ""),
    "ending-other": (Why.UNKNOWN, "a reason of a later kind", None, ""),
    "stuck-credentials": (Why.PROCESS_GONE, GONE, Why.NEEDS_CREDENTIALS, "needs credentials (DELETE answered 401)"),
    "stuck-credentials-left": (Why.DELETE_CUT, CUT, Why.NEEDS_CREDENTIALS, "needs credentials (DELETE answered 403)"),
    "stuck-silent": (Why.PROCESS_GONE, GONE, Why.NO_ANSWER, "DELETE answered 503, 7 times"),
    "stuck-refused": (Why.PROCESS_GONE, GONE, Why.REFUSED, "DELETE answered 400"),
    "stuck-refused-left": (Why.DELETE_CUT, CUT, Why.REFUSED, "DELETE answered 400"),
    "stuck-name": (Why.PROCESS_GONE, "process gone: needs credentials[101]", Why.REFUSED, "DELETE answered 400"),
    "closed-at-exit": (Why.PROXY_ENDS, "the proxy ends", None, ""),
    "closed-left": (Why.PROXY_ENDS, "the proxy ends", None, ""),
    "closed": (Why.PROCESS_GONE, GONE, None, ""),
    "kept-abandoned": (Why.PROCESS_GONE, GONE, None, ""),
}

OWNERS: dict[str, list[tuple[int | None, str]]] = {
    "abandoned": [(None, "192.0.2.7")],
    "abandoned-stream": [(None, "192.0.2.8")],
    "stuck-name": [(101, "127.0.0.1")],
    "owners": [(None, "192.0.2.9"), (102, "127.0.0.1"), (100, "127.0.0.1")],
    "nobody": [],
}
MAPPED: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "recovering": ("recovering-1", 1, ("recovering",)),
    "closed-at-exit": ("closed-at-exit-1", 1, ()),
    "mapped": ("mapped-3", 3, ("mapped", "mapped-1", "mapped-2")),
}


def alive(place: str, pid: int, started: float) -> bool:
    """The place is ours, and of its processes only 102 is gone."""
    assert (place, started) == (OLD_PLACE, pid / 10)
    return pid == 102


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    path = tmp_path_factory.mktemp("migrated") / "ledger"
    shutil.copy(FIXTURE, path)

    async def migrated() -> list[Row]:
        store = SqliteStore(path, clock=lambda: NOW)
        assert await store.open() == ""
        rows = await store.take_over()
        store.leave([], [], 10)
        again = SqliteStore(path, clock=lambda: NOW)
        assert await again.open() == ""
        assert sorted(await again.take_over()) == sorted(rows)
        again.leave([], [], 10)
        return rows

    return {row.client_id: row for row in asyncio.run(migrated())}


def session(row: Row) -> Session:
    return session_of(row, Ledger(), alive, NOW)[0]


def test_nothing_is_lost(rows: dict[str, Row]) -> None:
    assert set(rows) == set(SIDES)


@pytest.mark.parametrize("name", SIDES)
def test_both_sides(name: str, rows: dict[str, Row]) -> None:
    row = rows[name]
    again = session(row)
    assert (row.client, row.server, again.standing.client, again.standing.server) == SIDES[name]
    assert again.kept is name.startswith("kept")


@pytest.mark.parametrize("name", SIDES)
def test_reasons(name: str, rows: dict[str, Row]) -> None:
    row = rows[name]
    expected: tuple[Why | None, str, Why | None, str] = REASONS.get(name, (None, "", None, ""))
    assert (row.reason, row.reason_text, row.outcome, row.outcome_text) == expected
    again = session(row)
    # Whoever is believed to use it is judged anew, and what could not be done is tried anew.
    assert again.reason == (None if again.standing.client is C.USING or expected[0] is None else expected[:2])
    assert again.outcome == (expected[2:] if again.state is State.STUCK else None)


@pytest.mark.parametrize("name", SIDES)
def test_all_else(name: str, rows: dict[str, Row]) -> None:
    row = rows[name]
    again, gone = session_of(row, Ledger(), alive, NOW)
    server_id, generation, replaced = MAPPED.get(name, (name, 0, ()))
    assert (again.endpoint, again.client_id, again.server_id) == (ENDPOINT, name, server_id)
    assert (again.generation, again.recoveries, again.replaced) == (generation, generation, replaced)
    assert (again.opened, again.last_used, again.watched_from) == (AT, AT + 60, NOW)
    assert again.stream_aborted_at == (AT + 30 if name == "lost" else None)
    assert (again.requests, again.answered, again.answered_before) == (3, 2, 2)
    assert again.revision == "2025-11-25"
    assert again.opened_by == ("unknown" if name == "unseen" else "client")
    assert again.credentials == UNKNOWN_CREDENTIALS
    if name == "unseen":
        assert (again.initialize, again.answer) == (None, None)
    else:
        assert again.initialize is not None
        assert again.answer is not None
        assert again.initialize["clientInfo"] == {"name": "träger", "version": "1"}
        assert again.answer["serverInfo"] == {"name": "s", "version": "1"}
    if name == "held":
        assert again.held is not None
        assert again.held.level == "warning"
        assert list(again.held.subscriptions) == ["file:///a", "file:///ü b"]
    else:
        assert again.held is None
    assert [(owner.pid, owner.host) for owner in again.owners] == OWNERS.get(name, [(100, "127.0.0.1")])
    assert set(again.owners.values()) <= {AT + 60}
    # 102 is gone by now; 100 was seen to be gone by the time that `ending` was written.
    assert [client.pid for client in gone] == {"owners": [102], "ending": [100]}.get(name, [])
    assert again.vouched == tuple(owner for owner in again.owners if not owner.is_process)


async def test_a_state_that_never_was_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    shutil.copy(FIXTURE, path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE sessions SET state = 'dancing' WHERE client_id = 'open'")
    store = SqliteStore(path, clock=lambda: NOW)
    await store.open()
    row = await store.claim((*ENDPOINT, "open"))
    assert row is not None
    with pytest.raises(ValueError, match="dancing"):
        session(row)
    store.leave([], [], 10)


def test_the_fixture_is_of_the_first_version_and_holds_nothing_secret() -> None:
    with sqlite3.connect(f"file:{FIXTURE}?mode=ro&immutable=1", uri=True) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT id FROM proxies").fetchall() == [("one",)]
    assert b"SECRET" not in FIXTURE.read_bytes()


def test_a_semicolon_in_a_text_ends_no_statement() -> None:
    assert list(statements("SELECT '; ';\n  SELECT 1;\n  ")) == ["SELECT '; ';", "\n  SELECT 1;"]
    assert len(list(statements(MIGRATIONS[0]))) == 3
    assert len(list(statements(MIGRATIONS[1]))) == 6
