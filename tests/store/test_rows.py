"""Sessions as rows: what comes back, from where it goes on, and whom of its clients one knows again."""

from __future__ import annotations

import os
import time
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sessions.core.client import ClientKey
from mcp_sessions.core.credentials import Fingerprints
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.ledger import Ledger
from mcp_sessions.core.recovery.server_state import Held
from mcp_sessions.core.senders import Senders
from mcp_sessions.core.session import UNKNOWN_CREDENTIALS, packed
from mcp_sessions.core.states import JOINT, ClientSide, Reason, ServerSide, State, Why
from mcp_sessions.processes.process import read
from mcp_sessions.store.rows import found, key_of, resumed, row_of, session_of, to_be_ended
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import Body

from .samples import ENDPOINT, NOW, PLACE, a_client, a_row, a_session

C, S = ClientSide, ServerSide

texts = st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace").decode())


@given(
    name=texts.filter(bool),
    parameters=st.none() | st.dictionaries(texts, texts, max_size=3),
    sides=st.sampled_from([(C.USING, S.ALIVE), (C.USING, S.LOST), (C.LEFT, S.ALIVE), (C.GONE, S.DELETED)]),
    replaced=st.lists(texts, max_size=20).map(tuple),
    generation=st.integers(0, 1000),
    kept=st.booleans(),
    aborted=st.none() | st.floats(0, NOW),
    why=st.sampled_from(Why),
    level=st.none() | texts,
)
def test_a_session_survives(
    name: str,
    parameters: dict[str, Any] | None,
    sides: tuple[ClientSide, ServerSide],
    replaced: tuple[str, ...],
    generation: int,
    kept: bool,
    aborted: float | None,
    why: Why,
    level: str | None,
) -> None:
    session = a_session(
        name,
        *sides,
        kept=kept,
        parameters=packed(parameters),
        generation=generation,
        replaced=replaced,
        stream_aborted_at=aborted,
        reason=None if sides[0] is C.USING else Reason(why, name),
        held=Held(level, {name: None}),
    )
    row = row_of(session, PLACE)
    again, gone = session_of(row, Ledger(), PLACE.gone, NOW + 7)
    assert not gone
    assert row_of(again, PLACE) == row
    assert again.standing is session.standing
    assert (again.held, again.initialize, again.reason) == (session.held, parameters, session.reason)
    assert (again.watched_from, again.credentials, again.fields) == (NOW + 7, "", ())
    assert again.url == "https://example.com:443/mcp"


def test_credentials_are_known_again_and_by_the_same_key_alone() -> None:
    mine, others = Fingerprints(), Fingerprints()
    mine.key, others.key = b"mine", b"others"
    one, two = (mine.of(HeaderMap(((b"authorization", token),))) for token in (b"Bearer 1", b"Bearer 2"))
    row = row_of(a_session(credentials=one), PLACE, mine)
    assert row.credentials
    assert row.credentials != row_of(a_session(credentials=one), PLACE, others).credentials
    again, _ = session_of(row, Ledger(), PLACE.gone, NOW)
    assert mine.same(again.credentials, one)
    assert not mine.same(again.credentials, two)
    assert not mine.same(again.credentials, "")
    assert not others.same(again.credentials, one)
    assert row_of(again, PLACE, mine) == row, "also if it is not used"
    without, _ = session_of(row_of(a_session(credentials=""), PLACE, mine), Ledger(), PLACE.gone, NOW)
    assert mine.same(without.credentials, "")
    assert not mine.same(without.credentials, one)


def test_of_two_sessions_under_one_id_each_has_its_row() -> None:
    fingerprints = Fingerprints()
    fingerprints.key = b"key"
    found_on = fingerprints.of(HeaderMap(((b"authorization", b"Bearer 1"),)))
    one, two = a_session(), a_session(credentials=found_on, whose=("127.0.0.1", found_on))
    rows = [row_of(session, PLACE, fingerprints) for session in (one, two)]
    assert rows[0].client_id == "an-id" != rows[1].client_id
    ledger = Ledger()
    for row in reversed(rows):  # in any order
        again, _ = session_of(row, ledger, PLACE.gone, NOW)
        assert again.client_id == "an-id"
        ledger.open(again, NOW, again.whose)
        assert row_of(again, PLACE, fingerprints) == row
    assert len(ledger.sessions) == 2
    first = ledger.find(ENDPOINT, "an-id")
    assert first is not None
    assert first.whose is None
    for row in rows:
        session = found(row[:5], ledger, fingerprints)
        assert session is not None
        assert row_of(session, PLACE, fingerprints) == row
        assert ledger.stands(session)
    assert found((*ENDPOINT, "an-id\u241fother"), ledger, fingerprints) is None
    assert fingerprints.name("an-id", ("127.0.0.1", found_on)) == rows[1].client_id


def test_to_find_a_row_among_many_of_one_id_takes_no_time() -> None:
    """A server may give all its clients the same id: at the start of a proxy there may be a row for each."""
    ledger, fingerprints = Ledger(), Fingerprints()
    fingerprints.key = b"key"
    sessions = []
    for number in range(10_000):
        session = a_session("for-all", whose=("10.0.0.7", f"{number}"))
        ledger.open(session, NOW, session.whose)
        sessions.append(session)
    keys = [key_of(session, fingerprints) for session in sessions]
    began = time.thread_time()
    assert [found(key, ledger, fingerprints) for key in keys[-200:]] == sessions[-200:]
    assert time.thread_time() - began < 0.05
    gone = sessions[7]
    ledger.evict(gone)
    assert found(keys[7], ledger, fingerprints) is None
    assert found(keys[0], ledger, fingerprints) is sessions[0]


@pytest.mark.parametrize("keyless", [True, False])
def test_credentials_that_were_not_written_down_are_nobodys(keyless: bool) -> None:
    fingerprints = Fingerprints()
    row = row_of(a_session(credentials="SECRET"), PLACE)
    assert row.credentials is None
    assert "SECRET" not in str(row)
    fingerprints.key = b"" if keyless else b"key"
    again, _ = session_of(row, Ledger(), PLACE.gone, NOW)
    assert again.credentials == UNKNOWN_CREDENTIALS
    assert not fingerprints.same(again.credentials, "")
    assert not fingerprints.same(again.credentials, "SECRET")
    assert row_of(again, PLACE, fingerprints) == row


def test_what_was_under_way_begins_again() -> None:
    """Of all pairs, and whatever was the matter."""
    for client, server, outcome in product(C, S, (None, *Why)):
        then = resumed(client, server, outcome)
        assert resumed(*then, outcome) == then
        assert then not in JOINT
        assert then[0] is not C.LEAVING
        assert then[1] not in (S.RECOVERING, S.DELETING)
        assert (then[0] is C.LEFT) is (client in (C.LEFT, C.LEAVING))
        if then[1] is S.STUCK:
            assert outcome is Why.NEEDS_CREDENTIALS
        if then[0] is C.GONE:
            assert then[1] in (S.STUCK, S.DELETED)
        if server is S.DELETED and client is not C.USING:
            assert then[1] is S.DELETED


def test_the_kind_of_a_reason_decides_and_not_its_text() -> None:
    for why, state in ((Why.NEEDS_CREDENTIALS, State.STUCK), (Why.NO_ANSWER, State.OPEN), (Why.REFUSED, State.OPEN)):
        for text in ("needs credentials", "no answer"):
            stuck = a_session(client=C.GONE, server=S.STUCK, reason=Reason(Why.IDLE, text), outcome=Reason(why, text))
            again, _ = session_of(row_of(stuck, PLACE), Ledger(), PLACE.gone, NOW)
            assert again.state is state


def test_a_kind_that_is_not_known_is_none_of_those_that_are() -> None:
    row = a_row(client=C.LEFT, reason=Reason(Why.BY_HAND, "by hand"))._replace(reason="magic")
    assert session_of(row, Ledger(), PLACE.gone, NOW)[0].reason == Reason(Why.UNKNOWN, "by hand")


@pytest.mark.parametrize(
    "wrong",
    [
        {"client": "dancing"},
        {"server": ""},
        {"port": "many"},
        {"opened": None},
        {"kept": "perhaps"},
        {"owners": "[{}]"},
        {"owners": "{"},
        {"owners": '[{"pid":"x","started":1,"name":"a","host":"b","place":"","gone":false,"at":1}]'},
        {"held": "[]"},
        {"held": '{"level":1,"subscriptions":[]}'},
        {"replaced": "[1]"},
        {"parameters": "{"},
        {"client_id": None},
    ],
)
def test_a_row_that_makes_no_sense_is_refused_and_leaves_nothing_behind(wrong: dict[str, Any]) -> None:
    ledger = Ledger()
    with pytest.raises(ValueError):
        session_of(a_row()._replace(**wrong), ledger, PLACE.gone, NOW)
    assert not ledger.clients


def test_processes_are_known_again_in_the_same_place_only() -> None:
    me = read(os.getpid())
    assert me is not None
    alive = a_row(owners=(a_client(me.pid, me.started),))
    reused = a_row(owners=(a_client(me.pid, me.started - 1),))
    ledger = Ledger()
    session, gone = session_of(alive, ledger, PLACE.gone, NOW)
    assert list(session.owners) == [ledger.clients[ClientKey(me.pid, me.started)]]
    assert not gone
    session, gone = session_of(reused, Ledger(), PLACE.gone, NOW)
    assert gone == [session.client]
    # Of another container nothing is known, nor of another machine or boot: a clone has the same names.
    for other in (PLACE._replace(namespace="pid:[1]"), PLACE._replace(machine="other")):
        session, gone = session_of(reused, Ledger(), other.gone, NOW)
        assert session.client is not None
        assert not session.client.is_process
        assert not gone
    assert not to_be_ended(alive, PLACE.gone, NOW)
    assert to_be_ended(reused, PLACE.gone, NOW)


def test_a_client_that_is_known_already_is_the_same() -> None:
    ledger = Ledger()
    one, _ = session_of(a_row("one", owners=(a_client(1),)), ledger, lambda *_: False, 0)
    two, _ = session_of(a_row("two", owners=(a_client(1),)), ledger, lambda *_: False, 0)
    assert one.client is two.client
    assert one.client is not None
    assert list(one.client.sessions) == [one, two]


def test_what_any_proxy_may_end() -> None:
    def gone(place: str, pid: int, started: float) -> bool | None:
        return {1: True, 2: False}.get(pid)

    def may(*sides: Any, owners: tuple[int | None, ...] = (1,), **more: Any) -> bool:
        return to_be_ended(a_row("x", *sides, owners=tuple(map(a_client, owners)), **more), gone, NOW)

    assert may()
    assert may(owners=(1, 1))
    assert not may(owners=(1, 2))
    assert not may(owners=(1, 3))
    assert not may(owners=(1, None))
    assert not may(owners=())
    assert not may(C.GONE, S.DELETED)
    assert not may(kept=True)
    # Whom its client has left is brought back by nobody.
    assert may(C.LEFT, S.ALIVE, owners=(2,))
    assert may(C.LEAVING, S.ALIVE, owners=(None,))
    assert not may(C.LEFT, S.DELETED)
    # Who can't be seen may be idle, of which somebody has to take note.
    idle = {"last_used": NOW - 1}
    assert may(owners=(1, None), **idle)
    assert may(owners=(3,), **idle)
    assert may(owners=(), **idle)
    assert not may(owners=(2, None), **idle)
    assert not may(owners=(None,), kept=True, **idle)
    assert not may(C.GONE, S.DELETED, owners=(None,), **idle)


def test_an_address_that_may_be_the_process_itself_is_no_second_owner() -> None:
    """Or the session of a proxy that was killed at this moment would never again be seen to be left."""
    ledger = Ledger()
    session = a_session(owners=(a_client(1),))
    ledger.open(session, 0)
    connection = ledger.connection("c", ("127.0.0.1", 1), ("127.0.0.1", 2), 0)
    senders = Senders(ledger)
    passing = senders.of(Exchange("x", 0, "POST", ENDPOINT, "", HeaderMap(()), Body(), connection))
    ledger.own(session, passing, 0)
    ledger.carry(connection, session)

    def owners() -> list[int | None]:
        kept, _ = session_of(row_of(session, PLACE), Ledger(), lambda *_: False, 0)
        kept, _ = session_of(row_of(kept, PLACE), Ledger(), lambda *_: False, 0)
        return [owner.pid for owner in kept.owners]

    assert owners() == [1]
    senders.identified(connection, None, 0, vanished=True)
    ledger.carry(connection, session)
    assert owners() == [1]
    ledger.own(session, passing, 0)
    senders.identified(connection, None, 0)
    assert owners() == [1, None]
    session.vouched = ()  # as if it used the session for the first time, over a connection that was looked at
    assert owners() == [1]
    ledger.carry(connection, session)
    assert owners() == [1, None]


def test_what_was_written_by_a_clock_that_was_ahead_was_now() -> None:
    row = a_row(owners=(a_client(1),), stream_aborted_at=NOW - 1)
    again, _ = session_of(row, Ledger(), lambda *_: False, NOW - 3600)
    assert (again.opened, again.last_used, again.stream_aborted_at) == (NOW - 3600,) * 3
    assert list(again.owners.values()) == [NOW - 3600]


def test_the_endpoint_has_no_query() -> None:
    row = a_row(url="https://example.com/mcp?key=secret")
    assert (row[:4], "secret" in repr(row)) == (tuple(ENDPOINT), False)
