"""What there is to remember something of: each kept once, and when a client was told that its session is lost."""

from __future__ import annotations

import pytest

from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.session import Session
from mcp_sessions.rules import subjects
from mcp_sessions.rules.subjects import OWNERS, Subjects
from mcp_sessions.rules.talks import Talk
from rules.single import ENDPOINT

OTHER = ENDPOINT._replace(path="/other")


def client(name: str = "A") -> Client:
    return Client(ClientKey(host=name), name, name, 0.0, 0.0)


def session(*owners: Client) -> Session:
    found = Session(ENDPOINT, "c1", "s1", 0.0, 0.0, "2025-11-25")
    found.owners = dict.fromkeys(owners, 0.0)
    return found


def test_each_is_remembered_once() -> None:
    known = Subjects()
    assert known.place(ENDPOINT) is known.place(ENDPOINT)
    assert known.place(ENDPOINT) is not known.place(OTHER)
    party = known.party(client(), ENDPOINT)
    assert known.party(client(), ENDPOINT) is party, "known by its key"
    assert known.party(client(), OTHER) is not party
    assert known.party(client("B"), ENDPOINT) is not party


def test_how_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "PARTIES_LIMIT", 2)
    known = Subjects()
    first, second = known.party(client("A"), ENDPOINT), known.party(client("B"), ENDPOINT)
    known.refresh(client("A"), ENDPOINT, first)
    known.party(client("C"), ENDPOINT)
    assert known.party(client("A"), ENDPOINT) is first, "it has begun anew"
    assert known.party(client("B"), ENDPOINT) is not second
    place = known.place(ENDPOINT)
    for number in range(999):
        known.place(OTHER._replace(port=number))
    assert known.place(ENDPOINT) is place
    known.place(OTHER._replace(port=1_000))
    assert known.place(ENDPOINT) is not place


def test_what_was_said_in_a_session_hangs_on_it() -> None:
    known = Subjects()
    one = session()
    one.generation = 3
    talk = known.talk(one)
    assert one.notes is talk
    assert talk.place is known.place(ENDPOINT)
    assert talk.generation == 3
    talk.lost_at = 5.0
    assert known.talk(one) is talk
    assert talk.lost_at == 5.0
    one.generation = 4
    assert known.talk(one) is talk
    assert talk.generation == 4
    assert talk.lost_at is None, "another generation is another session for its server"


def told(known: Subjects, one: Session) -> float | None:
    talk = one.notes
    assert isinstance(talk, Talk)
    return known.told_at(one, talk)


def test_a_client_is_told_once_that_its_session_is_lost() -> None:
    known, one = Subjects(), session(client())
    known.told_lost(one, 5.0)
    assert told(known, one) == 5.0
    known.told_lost(one, 7.0)
    assert told(known, one) == 5.0, "the first time counts"


@pytest.mark.parametrize(
    ("opened", "renewed", "renewed_id", "since"),
    [
        (4.9, 4.9, "s1", 5.0),
        (5.0, 0.0, "", None),
        (5.1, 0.0, "", None),
        (0.0, 5.0, "s1", None),
        (0.0, 5.1, "s1", None),
        (0.0, 5.1, "s2", 5.0),
        (0.0, 4.9, "s1", 5.0),
    ],
)
def test_whoever_was_given_another_session_since_has_started_anew(
    opened: float, renewed: float, renewed_id: str, since: float | None
) -> None:
    for position in range(3):
        known, one = Subjects(), session(client("A"), client("B"), client("C"))
        known.told_lost(one, 5.0)
        party = known.party(list(one.owners)[position], ENDPOINT)
        party.opened_at, party.renewed_at, party.renewed = opened, renewed, renewed_id
        assert told(known, one) == since
        if since is None:
            known.told_lost(one, 9.0)
            assert told(known, one) == 9.0


def test_only_its_own_clients_at_its_endpoint_count() -> None:
    known, one = Subjects(), session(client("A"))
    known.told_lost(one, 5.0)
    known.party(client("B"), ENDPOINT).opened_at = 6.0
    known.party(client("A"), OTHER).opened_at = 6.0
    assert told(known, one) == 5.0


def test_the_latest_of_its_clients_are_looked_at() -> None:
    for behind, since in ((OWNERS - 1, None), (OWNERS, 5.0)):
        known = Subjects()
        one = session(client("first"), *(client(f"c{number}") for number in range(behind)))
        known.told_lost(one, 5.0)
        known.party(client("first"), ENDPOINT).opened_at = 6.0
        assert told(known, one) == since
