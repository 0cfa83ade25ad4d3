"""What is remembered: as much as the rules need, whoever counts how; and when a client was told of a loss."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.world import Peer, World, request
from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.session import Session
from mcp_sessions.rules import tables
from mcp_sessions.rules.memory import Memory
from mcp_sessions.rules.tables import Asked, Ids
from mcp_sessions.rules.talks import Talk
from rules.transcripts import Player, read

CLIENTS = [Client(ClientKey(pid=n), "c", "h", 0.0, 0.0, pid=n) for n in (1, 2)]
REQUEST_IDS = st.one_of(
    st.integers(-3, 30), st.integers(0, 12).map(float), st.sampled_from(["1", "x", "y" * 70, "z" * 70])
)


class Plain:
    """The ids of a session as one would write them down."""

    def __init__(self) -> None:
        self.known: dict[Any, Asked] = {}

    def add(self, request_id: Any, client: Client) -> None:
        self.known[request_id] = Asked(client)

    def refuse(self, request_id: Any, message: int) -> None:
        if request_id in self.known:
            self.known[request_id].refused = message


@given(st.lists(st.tuples(st.sampled_from(["add", "count", "refuse"]), REQUEST_IDS, st.integers(0, 1)), max_size=40))
def test_ids_are_known_by_whoever_asked_and_what_became_of_it(steps: list[tuple[str, Any, int]]) -> None:
    ids, plain, following = Ids(), Plain(), 0
    for what, request_id, number in steps:
        if what == "refuse":
            ids.refuse(request_id, number)
            plain.refuse(request_id, number)
        else:
            if what == "count":
                request_id, following = following, following + 1
            ids.add(request_id, CLIENTS[number])
            plain.add(request_id, CLIENTS[number])
        assert len(ids) == len(plain.known)
        for seen in (*plain.known, -9, 99, "new", "n" * 70):
            found, expected = ids.find(seen), plain.known.get(seen)
            assert (found is None) == (expected is None)
            if found is not None and expected is not None:
                assert (found.client, found.refused) == (expected.client, expected.refused)


def test_who_counts_takes_no_room() -> None:
    ids = Ids()
    for number in range(5_000):
        ids.add(number, CLIENTS[0])
    assert ids._others is None
    assert ids.find(4_999) is not None
    assert ids.find(5_000) is None


@pytest.mark.parametrize("number_of", [int, str])
def test_too_many_ids_are_forgotten(number_of: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "IDS_LIMIT", 10)
    ids = Ids()
    for number in range(10):
        ids.add(number_of(number), CLIENTS[0])
    assert not ids.overflowed
    ids.add(number_of(3), CLIENTS[0])
    assert not ids.overflowed
    ids.add(number_of(10), CLIENTS[0])
    assert ids.overflowed
    assert ids.find(number_of(3)) is None
    assert not len(ids)


# Being told that a session is lost

LOST = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "Session not found"}}


class Told(World):
    """A client that has been told that its session is lost."""

    def lose_for_good(self, session: Session) -> None:
        x, _ = self.send(request("tools/list", 7), session=session.client_id)
        self.answer(x, 404, {**LOST, "id": 7})

    def told_at(self, session: Session) -> float | None:
        talk = session.notes
        assert isinstance(talk, Talk)
        return memory_of(self).told_at(session, talk)


def memory_of(world: World) -> Memory:
    found = world.judge._memory
    assert isinstance(found, Memory)
    return found


@pytest.fixture
def world() -> Told:
    return Told({"mcp_recover": "off"})


def test_the_first_time_counts(world: Told) -> None:
    session = world.open("one-of-a-kind-session")
    assert world.told_at(session) is None
    world.lose_for_good(session)
    first = world.told_at(session)
    assert first is not None
    world.lose_for_good(session)
    assert world.told_at(session) == first


def test_a_success_takes_it_back(world: Told) -> None:
    session = world.open("one-of-a-kind-session")
    world.lose_for_good(session)
    x, _ = world.send(request("tools/list", 8), session=session.client_id)
    world.answer(x, 200, {"jsonrpc": "2.0", "id": 8, "result": {}})
    assert world.told_at(session) is None


def test_another_session_of_the_same_client_takes_it_back(world: Told) -> None:
    session = world.open("one-of-a-kind-session")
    other = world.open("session-of-somebody-else", peer=Peer(pid=2, connection="c2"))
    world.lose_for_good(session)
    assert world.told_at(session) is not None
    assert world.told_at(other) is None
    world.open("another-session-of-others", peer=Peer(pid=2, connection="c2"))
    assert world.told_at(session) is not None
    world.open("another-session-of-mine")
    assert world.told_at(session) is None


def test_to_be_initialized_again_takes_it_back(world: Told) -> None:
    session, other = world.open("one-of-a-kind-session"), world.open("two-of-a-kind-session")
    world.lose_for_good(session)
    world.lose_for_good(other)
    world.open("one-of-a-kind-session")
    assert world.told_at(session) is None
    assert world.told_at(other) is not None


# Many sessions


class Counting(dict[Session, None]):
    """Sessions of a client, and how many of them were looked at."""

    looked_at = 0

    def __reversed__(self) -> Any:
        for session in super().__reversed__():
            self.looked_at += 1
            yield session


def test_a_client_with_many_sessions_is_not_walked() -> None:
    player = Player()
    player.play(read("%init"))
    client, session = next((client, s) for client in player.core.ledger.clients.values() for s in client.sessions)
    many = Counting()
    for number in range(3_000):
        many[Session(session.endpoint, f"{number}", f"{number}", 0.0, 0.0, "")] = None
    client.sessions = many
    without_id = read("%init\n### client A at 1.0\n> POST /mcp\n> %headers -Mcp-Session-Id\n>\n"
                      '> {"jsonrpc":"2.0","id":9,"method":"tools/list"}\n< 400')  # fmt: skip
    player.play(list(islice(without_id, 2, None)))
    assert 0 < many.looked_at <= 300
