"""What every backend of the ledger does: rows come back whole, and each belongs to one proxy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from mcp_sessions.core.credentials import Fingerprints
from mcp_sessions.core.recovery.server_state import SUBSCRIPTION_LIMIT, URI_LIMIT, Held
from mcp_sessions.core.session import PARAMETERS_LIMIT
from mcp_sessions.core.states import ClientSide, Reason, ServerSide, Why
from mcp_sessions.store import Store
from mcp_sessions.store.rows import Row, row_of
from mcp_sessions.store.store import FORGET_AFTER
from mcp_sessions.wire.headers import HeaderMap

from .backends import BACKENDS, Backend
from .samples import ENDPOINT, NOW, PLACE, a_client, a_row, a_session

WITHIN = 10.0


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return BACKENDS[request.param](tmp_path)


async def opened(backend: Backend, *, dead: bool = False, elsewhere: bool = False) -> Store:
    store = backend.proxy(dead=dead, elsewhere=elsewhere)
    assert await store.open() == ""
    return store


def by_id(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.client_id)


async def test_a_row_comes_back_as_it_was(backend: Backend) -> None:
    one = await opened(backend)
    rows = [
        row_of(
            a_session(
                "full",
                ClientSide.GONE,
                ServerSide.STUCK,
                kept=True,
                server_id="full-3",
                parameters=b'{"clientInfo":{"name":"tr\xc3\xa4ger"}}',
                result=b"{}",
                generation=3,
                recoveries=2,
                requests=5,
                answered=4,
                replaced=("full", "full-1"),
                stream_aborted_at=NOW - 0.125,
                held=Held("error", {"file:///ü": None}),
                reason=Reason(Why.IDLE, "no connection"),
                outcome=Reason(Why.NEEDS_CREDENTIALS, "DELETE answered 401"),
                owners=(a_client(7, 1.25), a_client(host="192.0.2.7")),
                opened_by="unknown",
            ),
            PLACE,
        ),
        a_row("plain"),
        a_row("nobody", owners=()),
    ]
    await one.write(rows)
    one.leave([], [], WITHIN)
    two = await opened(backend)
    found = await two.take_over()
    assert by_id(found) == by_id(rows)
    assert {type(value) for row in found for value in row} == {str, int, float, bool, type(None)}


@pytest.mark.parametrize(
    "name",
    [
        "é",
        "\U0001f600",
        "\0",
        "a\0b",
        "\udc80",
        "\x7f\x85\u2028",
        "'; DROP TABLE sessions; --",
        "%_*",
        " ",
        "1",
        "a:b|c",
    ],
)
async def test_an_id_may_be_any_text(name: str, backend: Backend) -> None:
    one, two = await opened(backend), await opened(backend)
    others = [a_row(f"{name}x"), a_row(f"x{name}"), a_row("other")]
    await one.write([a_row(name), *others])
    assert await two.claim((*ENDPOINT, name)) == a_row(name)
    await two.forget([(*ENDPOINT, name)])
    assert await two.claim((*ENDPOINT, name)) is None
    one.leave([], [], WITHIN)
    assert by_id(await two.take_over()) == by_id(others)


async def test_sessions_are_told_apart_by_endpoint_too(backend: Backend) -> None:
    one = await opened(backend)
    rows = [
        a_row()._replace(**change)
        for change in ({}, {"scheme": "http"}, {"host": "other"}, {"port": 1}, {"path": "/mcp/"}, {"path": "/MCP"})
    ]
    await one.write(rows)
    for row in rows:
        assert await one.claim(row[:5]) == row
    one.leave([], [], WITHIN)
    assert len(await (await opened(backend)).take_over()) == len(rows)


async def test_the_latest_word_counts(backend: Backend) -> None:
    one = await opened(backend)
    await one.write([a_row(server_id="a"), a_row("second")])
    await one.write([a_row(server_id="b")])
    await one.write([])
    await one.forget([])
    assert await one.claim(a_row()[:5]) == a_row(server_id="b")
    await asyncio.gather(*(one.write([a_row(server_id=str(number))]) for number in range(20)))
    assert await one.claim(a_row()[:5]) == a_row(server_id="19")


async def test_what_is_said_last_is_kept(backend: Backend) -> None:
    one = await opened(backend)
    await one.write([a_row("first"), a_row("second"), a_row("third")])
    one.leave([a_row("second", server_id="new"), a_row("fourth")], [a_row("third")[:5]], WITHIN)
    found = by_id(await (await opened(backend)).take_over())
    assert found == by_id([a_row("first"), a_row("second", server_id="new"), a_row("fourth")])


async def test_a_key_that_is_not_known(backend: Backend) -> None:
    one = await opened(backend)
    assert await one.take_over() == []
    assert await one.claim(a_row()[:5]) is None
    await one.forget([a_row()[:5]])


async def test_rows_of_a_proxy_that_lives_are_its_own(backend: Backend) -> None:
    one, two = await opened(backend), await opened(backend)
    await one.write([a_row()])
    assert await two.take_over() == []
    assert await one.take_over() == []
    # But where a client goes, there goes its session.
    assert await two.claim(a_row()[:5]) == a_row()
    one.leave([], [], WITHIN)
    assert await (await opened(backend)).take_over() == []


async def test_who_writes_a_row_has_it(backend: Backend) -> None:
    one, two = await opened(backend), await opened(backend)
    await one.write([a_row()])
    await two.write([a_row(server_id="new")])
    one.leave([], [], WITHIN)
    three = await opened(backend)
    assert await three.take_over() == []
    two.leave([], [], WITHIN)
    assert await three.take_over() == [a_row(server_id="new")]


async def test_what_another_has_ended_is_absent(backend: Backend) -> None:
    one, two = await opened(backend), await opened(backend)
    rows = [a_row("kept"), a_row("ended"), a_row("never")]
    keys = [row[:5] for row in rows]
    await one.write(rows[:2])
    await two.claim(keys[1])
    await two.forget([keys[1]])
    assert await one.absent(keys) == (set() if one.shared else set(keys[1:]))


async def test_only_its_own_is_dropped(backend: Backend) -> None:
    one, two = await opened(backend), await opened(backend)
    rows = [a_row("moved"), a_row("mine")]
    await one.write(rows)
    await two.claim(rows[0][:5])
    await two.write([rows[0]])
    await one.drop([row[:5] for row in (*rows, a_row("nobody's"))])
    assert await two.claim(rows[0][:5]) == rows[0]
    assert await two.claim(rows[1][:5]) is None
    await one.write([rows[1]])  # it is not over, and may be written down again
    assert await two.claim(rows[1][:5]) == rows[1]


async def test_each_row_of_a_dead_proxy_goes_to_exactly_one(backend: Backend) -> None:
    dead = await opened(backend, dead=True)
    rows = [a_row(f"session-{number}") for number in range(200)]
    await dead.write(rows)
    takers = [await opened(backend) for _ in range(4)]
    taken = await asyncio.gather(
        *(taker.take_over(lambda row, n=n: int(row.client_id[8:]) % 3 != n) for n, taker in enumerate(takers))  # type: ignore[misc]
    )
    assert by_id([row for some in taken for row in some]) == by_id(rows)
    assert await takers[0].take_over() == []


async def test_many_at_once(backend: Backend) -> None:
    """Nobody is turned away because others are at it."""
    stores = [await opened(backend) for _ in range(4)]

    async def work(number: int) -> None:
        store = stores[number % 4]
        await store.write([a_row(f"session-{number % 7}")])
        assert await store.claim(a_row(f"session-{(number + 3) % 7}")[:5]) is not None
        await store.take_over()

    await stores[0].write([a_row(f"session-{number}") for number in range(7)])
    await asyncio.gather(*map(work, range(200)))


async def test_only_what_is_wanted_is_taken(backend: Backend) -> None:
    one, two = await opened(backend), await opened(backend)
    rows = [a_row(f"session-{number}") for number in range(3)]
    await one.write(rows)
    one.leave([], [], WITHIN)
    assert await two.take_over(lambda row: row.client_id == "session-1") == [rows[1]]
    assert await two.take_over(lambda row: False) == []
    assert by_id(await (await opened(backend)).take_over()) == [rows[0], rows[2]]


async def test_a_proxy_of_elsewhere_counts_as_dead_when_it_is_silent(backend: Backend) -> None:
    far, here = await opened(backend, elsewhere=True), await opened(backend)
    await far.write([a_row()])
    assert await here.take_over() == []
    backend.now += backend.silence - 1
    assert await far.take_over() == []  # which tells that it lives
    backend.now += backend.silence - 1
    assert await here.take_over() == []
    backend.now += 2
    assert await here.take_over() == [a_row()]
    # It was not dead after all: what it writes is its own again.
    assert await far.take_over() == []
    await far.write([a_row("late")])
    assert await here.take_over() == []


async def test_what_nobody_uses_is_forgotten(backend: Backend) -> None:
    one = await opened(backend)
    await one.write([a_row("old", last_used=NOW - FORGET_AFTER - 1), a_row("used", last_used=NOW - FORGET_AFTER + 1)])
    one.leave([], [], WITHIN)
    two = await opened(backend)
    assert [row.client_id for row in await two.take_over()] == ["used"]
    assert await two.claim(a_row("old")[:5]) is None


async def test_large_values(backend: Backend) -> None:
    """The largest row that a session can become is kept whole: what a client may make larger is bounded before."""
    session = a_session(
        "x" * 8000,
        parameters=json.dumps({"x": "y" * (PARAMETERS_LIMIT - 8)}).encode(),
        replaced=tuple(f"{number}" * 50 for number in range(1000)),
        held=Held("x", {f"{number:04}{'ü' * (URI_LIMIT - 4)}": None for number in range(SUBSCRIPTION_LIMIT + 50)}),
        reason=Reason(Why.UNKNOWN, "z" * 100_000),
        owners=tuple(a_client(number) for number in range(1, 1000)),
    )
    row = row_of(session, PLACE)
    assert sum(len(str(value)) for value in row) < 8000 + PARAMETERS_LIMIT + 14_000_000
    assert len(row.reason_text) == 1000
    assert [owner["pid"] for owner in json.loads(row.owners)] == list(range(980, 1000))
    assert json.loads(row.replaced) == list(session.replaced[-20:])
    one = await opened(backend)
    await one.write([row])
    one.leave([], [], WITHIN)
    assert await (await opened(backend)).take_over() == [row]


async def test_nothing_secret_is_stored(backend: Backend) -> None:
    session = a_session(
        credentials="SECRET-1",
        fields=((b"authorization", b"Bearer SECRET-2"), (b"x-api-key", b"SECRET-3")),
        url="https://user:SECRET-4@example.com/mcp?key=SECRET-5",
        route="SECRET-6",
        notes="SECRET-7",
        violations={"SECRET-8": 1},
    )
    one = await opened(backend)
    await one.write([row_of(session, PLACE)])
    assert b"example.com" in backend.everything()
    assert b"SECRET" not in backend.everything()
    one.leave([row_of(session, PLACE)], [], WITHIN)
    assert b"SECRET" not in backend.everything()


async def test_the_key_of_credentials_is_one_for_all_and_outlives_them(backend: Backend) -> None:
    one, two = await opened(backend), await opened(backend)
    assert len(one.credentials_key) >= 16
    assert one.credentials_key == two.credentials_key
    one.leave([], [], WITHIN)
    two.leave([], [], WITHIN)
    assert (await opened(backend)).credentials_key == one.credentials_key


async def test_of_credentials_a_hash_is_stored(backend: Backend) -> None:
    one, fingerprints = await opened(backend), Fingerprints()
    fingerprints.key = one.credentials_key
    found = fingerprints.of(HeaderMap(((b"authorization", b"Bearer SECRET"),)))
    row = row_of(a_session(credentials=found), PLACE, fingerprints)
    await one.write([row, row_of(a_session("another", credentials=""), PLACE, fingerprints)])
    assert found.encode() not in backend.everything()
    one.leave([], [], WITHIN)
    taken = {row.client_id: row.credentials for row in await (await opened(backend)).take_over()}
    assert taken == {"an-id": row.credentials, "another": ""}


async def test_a_call_that_is_given_up(backend: Backend) -> None:
    one = await opened(backend)
    task = asyncio.create_task(one.write([a_row()]))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await one.write([a_row(server_id="new")])
    assert await one.claim(a_row()[:5]) == a_row(server_id="new")


async def test_it_ends_before_it_has_begun(backend: Backend) -> None:
    store = backend.proxy()
    task = asyncio.create_task(store.open())
    await asyncio.sleep(0)
    task.cancel()
    store.leave([a_row()], [], WITHIN)
    backend.proxy().leave([a_row("other")], [], WITHIN)
    assert len(await (await opened(backend)).take_over()) == 2
