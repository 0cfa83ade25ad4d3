"""What has changed lately, as whoever follows asks for it; and that it does not grow with all that there ever was."""

from __future__ import annotations

import pytest

from core.world import ENDPOINT, LATEST
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import STANDINGS, ClientSide, ServerSide
from mcp_sessions.views import journal as module
from mcp_sessions.views.journal import Journal

OVER = STANDINGS[ClientSide.GONE, ServerSide.DELETED, False]
OPEN = STANDINGS[ClientSide.USING, ServerSide.ALIVE, False]


def a_session(name: str) -> Session:
    return Session(ENDPOINT, name, name, opened=1, last_used=1, revision=LATEST)


def test_of_what_is_over_the_latest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVER_LIMIT", 2)
    journal = Journal()
    living = a_session("living")
    journal.touch(living)
    ended = [a_session(f"{number}") for number in range(4)]
    for session in ended:
        journal.touch(session)
        session.standing = OVER
        journal.touch(session)
    assert journal.since(0, 10)[0] == [living, *ended[2:]]
    assert [journal.find(session.number) for session in ended] == [None, None, *ended[2:]]
    ended[2].standing = OPEN  # it goes on
    journal.touch(ended[2])
    ended[0].standing = OVER
    journal.touch(ended[0])
    assert journal.since(0, 10)[0] == [living, ended[3], ended[2], ended[0]]


def test_of_all_others_as_many_as_the_ledger_can_hold() -> None:
    journal = Journal(limit=2)
    sessions = [a_session(f"{number}") for number in range(3)]
    for session in sessions:
        journal.touch(session)
    assert journal.since(0, 10)[0] == sessions[1:]
