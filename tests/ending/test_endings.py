"""What is ended, when, and what becomes of the answers; told to the core, without a proxy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_sessions.core.core import Core
from mcp_sessions.core.ending.delete_answers import BACKOFF, LONGEST_WAIT, Result, result, wait
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.records import AnyRecord
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.core.states import State
from mcp_sessions.options import Settings
from mcp_sessions.processes import Process
from mcp_sessions.rules import Judge
from mcp_sessions.wire.headers import HeaderMap

ENDPOINT = Endpoint("http", "127.0.0.1", 80, "/mcp")
ONE, TWO = Process(11, 1.0, "one"), Process(12, 1.0, "two")


class World:
    """A core, and what clients do to it."""

    def __init__(self, **options: Any) -> None:
        self.told: list[AnyRecord] = []
        self.core = Core(Settings(**options).policy, self.told.append, Judge(self.told.append))
        self.number = 0
        self.at = 1000.0

    def request(
        self,
        verb: str,
        who: Process | None = None,
        *,
        session: str | None = None,
        method: str = "tools/list",
        conn: str = "",
        token: str = "",
    ) -> Exchange:
        self.number += 1
        connection = self.core.ledger.connection(conn or f"c-{who}", ("10.0.0.9", 1), ("10.0.0.1", 2), self.at)
        if not connection.identified and conn != "late":
            self.core.identified(connection, who, self.at)
        fields = [(b"accept", b"application/json, text/event-stream")]
        if session:
            fields.append((b"mcp-session-id", session.encode()))
        if token:
            fields.append((b"authorization", token.encode()))
        content = json.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": {}}).encode()
        x = self.core.exchange(
            str(self.number),
            verb,
            "http://127.0.0.1/mcp",
            ENDPOINT,
            HeaderMap(tuple(fields)),
            content if verb == "POST" else None,
            connection,
            self.at,
        )
        self.core.requested(x)
        return x

    def answer(self, x: Exchange, status: int = 200, result: Any = None, *, session: str = "") -> Any:
        headers = (
            (b"content-type", b"application/json"),
            *([(b"mcp-session-id", session.encode())] if session else []),
        )
        self.core.answering(x, status, HeaderMap(headers), self.at)
        message = {"jsonrpc": "2.0", "id": x.message.id if x.message else None, "result": result or {}}
        self.core.answered(x, json.dumps(message).encode() if x.verb == "POST" else b"", self.at)
        return self.core.finished(x, Finish.COMPLETE, self.at)

    def open(self, name: str, who: Process | None = None, **more: Any) -> Session:
        x = self.request("POST", who, method="initialize", **more)
        self.answer(x, 200, {"protocolVersion": "2025-11-25"}, session=name)
        return self.core.ledger.sessions[ENDPOINT, name]

    def whats(self) -> list[str]:
        return [getattr(record, "what", "") for record in self.told]


def state(session: Session) -> State:
    """Its state, which the type checker can't believe to know from a line before."""
    return session.state


def test_a_session_ends_with_the_last_process_that_used_it() -> None:
    world = World()
    session = world.open("one-session", ONE)
    world.answer(world.request("POST", TWO, session="one-session"))
    assert world.core.gone(ONE, 1001) == []
    assert state(session) == State.OPEN
    (end,) = world.core.gone(TWO, 1002)
    assert end.session is session
    assert "one[11], two[12]" in end.evidence
    assert world.core.ended(end, 200, "", 1003) is None
    assert state(session) == State.CLOSED
    assert world.core.gone(TWO, 1004) == []


def test_a_living_process_is_never_given_up_by_evidence() -> None:
    world = World(mcp_end_after_idle=1, mcp_end_after_stream=1)
    world.open("one-session", ONE)
    world.core.disconnected(f"c-{ONE}", 1000)
    assert not [end for at in range(1001, 1100) for end in world.core.tick(at)]


def test_a_stranger_is_given_up_and_may_come_back() -> None:
    world = World(mcp_end_after_idle=30)
    session = world.open("one-session")
    world.core.disconnected("c-None", 1000)
    ends = [(at, end) for at in range(1000, 1100) for end in world.core.tick(at)]
    assert [at for at, _ in ends] == [1030]
    world.core.ended(ends[0][1], 204, "", 1031)
    assert state(session) == State.CLOSED
    assert not [record for record in world.told if record.kind == "violation" and "MCP308" in record.line()]
    world.at = 1200
    world.request("POST", session="one-session", conn="another")
    assert state(session) == State.LOST


def test_who_turns_up_in_time_is_not_ended() -> None:
    world = World(mcp_end_after_idle=30)
    session = world.open("one-session")
    world.core.disconnected("c-None", 1000)
    (end,) = world.core.tick(1030)
    assert world.core.endings.wait(end, 1030) == 0
    world.request("POST", session="one-session", conn="another")
    assert state(session) == State.OPEN
    assert world.core.endings.wait(end, 1030) is None
    # It was on its way already: lost, and to be brought back at its next use.
    world.core.ended(end, 200, "", 1031)
    assert state(session) == State.LOST


@pytest.mark.parametrize("finish", [Finish.CLIENT, Finish.SERVER])
def test_a_delete_that_was_not_answered_is_finished_once(finish: Finish) -> None:
    world = World()
    session = world.open("one-session", ONE)
    x = world.request("DELETE", ONE, session="one-session")
    assert world.core.gone(ONE, 1001) == []  # how its own DELETE ends decides
    (end,) = world.core.finished(x, finish, 1002)
    assert world.core.gone(ONE, 1003) == []
    world.request("POST", TWO, session="one-session")
    assert state(session) == State.ENDING
    world.core.ended(end, 404, "", 1004)
    assert state(session) == State.CLOSED
    world.request("POST", TWO, session="one-session")
    assert state(session) == State.CLOSED  # its client has ended it: it stays so


def test_a_refused_delete_of_a_client_that_is_gone() -> None:
    world = World()
    session = world.open("one-session", ONE)
    x = world.request("DELETE", ONE, session="one-session")
    world.core.gone(ONE, 1001)
    (end,) = world.answer(x, 500)
    assert end.session is session


def test_a_thousand_sessions_are_decided_upon_in_slices() -> None:
    world = World()
    for n in range(1000):
        world.open(f"session-number-{n}", ONE)
    ends = world.core.gone(ONE, 1001)
    assert len(ends) < 50
    while world.core.endings.has_more:
        ends += world.core.more(1001)
    assert len({end.server_id for end in ends}) == 1000


def test_retries_end() -> None:
    world = World()
    session = world.open("one-session", ONE)
    (end,) = world.core.gone(ONE, 1001)
    waits = []
    while (retry := world.core.ended(end, None, "connection refused", 1002)) is not None:
        end = retry.end
        waits.append(retry.seconds)
    assert waits == list(BACKOFF)
    assert state(session) == State.STUCK
    assert "connection refused, 7 times" in session.evidence


def test_an_endpoint_that_asks_to_be_left_alone_is() -> None:
    world = World()
    world.open("one-session", ONE)
    world.open("two-session", ONE)
    first, second = world.core.gone(ONE, 1001)
    retry = world.core.ended(first, 429, "", 1001, retry_after="40")
    assert retry is not None
    assert retry.seconds == 40
    assert world.core.endings.wait(second, 1011) == 30


def test_405_is_learnt() -> None:
    world = World()
    sessions = [world.open(f"session-number-{n}", ONE) for n in range(3)]
    first, second, _ = world.core.gone(ONE, 1001)
    world.core.ended(first, 405, "", 1002)
    assert world.core.endings.wait(second, 1003) is None
    assert [session.state for session in sessions] == [State.CLOSED, State.CLOSED, State.ENDING]
    later = world.open("another-session", TWO)
    assert world.core.gone(TWO, 1004) == []
    assert state(later) == State.CLOSED


def test_ids_that_were_replaced_are_deleted_too() -> None:
    world = World()
    session = world.open("one-session", ONE)
    world.core.ledger.remap(session, "second-id")
    world.core.ledger.remap(session, "third-id")
    (end,) = world.core.gone(ONE, 1001)
    assert end.server_id == "third-id"
    world.core.ended(end, 200, "", 1002)
    ends = world.core.tick(1003)
    assert [(end.server_id, end.final) for end in ends] == [("one-session", False), ("second-id", False)]
    assert world.core.ended(ends[0], 503, "", 1004) is None


@pytest.mark.parametrize(("mode", "said"), [("log", ["would be ended"]), ("off", [])])
def test_modes_that_end_nothing(mode: str, said: list[str]) -> None:
    world = World(mcp_end=mode, mcp_end_after_idle=1)
    world.open("one-session", ONE)
    world.open("two-session")
    world.core.disconnected("c-None", 1000)
    assert world.core.gone(ONE, 1001) == []
    assert not [end for at in range(1001, 1050) for end in world.core.tick(at)]
    assert [what for what in world.whats() if what == "would be ended"] == said * 2
    # And when it is switched on after all:
    world.core.configure(Settings(mcp_end="on", mcp_end_after_idle=1).policy, 1100)
    assert len([end for at in range(1100, 1110) for end in world.core.tick(at)]) == 2


def test_kept_by_hand_and_ended_by_hand() -> None:
    world = World()
    session = world.open("one-session", ONE)
    world.core.keep(session, True, 1000)
    assert world.core.gone(ONE, 1001) == []
    assert "is kept" in world.whats()
    (end,) = world.core.end_by_hand(session, 1002)
    assert end.session is session
    with pytest.raises(ValueError, match="it can't be ended now"):
        world.core.end_by_hand(session, 1003)


def test_a_request_of_a_process_that_was_gone_before_anybody_looked() -> None:
    world = World()
    session = world.open("one-session", ONE)
    world.answer(world.request("POST", None, session="one-session", conn="late"))
    late = world.core.disconnected("late", 1001)
    assert late is not None
    assert [owner.label for owner in session.owners] == ["one[11]", "10.0.0.9"]
    world.core.identified(late, None, 1002, vanished=True)
    assert [owner.label for owner in session.owners] == ["one[11]"]
    assert len(world.core.gone(ONE, 1003)) == 1


def test_a_stranger_beside_a_process_keeps_its_own_claim() -> None:
    world = World()
    session = world.open("one-session", ONE)
    world.answer(world.request("POST", None, session="one-session", conn="elsewhere"))
    assert world.core.gone(ONE, 1003) == []
    assert state(session) == State.OPEN


def test_a_heir_goes_on() -> None:
    world = World()
    session = world.open("one-session", ONE)
    world.core.identified(world.core.ledger.connections[f"c-{ONE}"], TWO, 1001)
    world.core.outlived(ONE, TWO, 1001)
    assert world.core.gone(ONE, 1002) == []
    assert [end.session for end in world.core.gone(TWO, 1003)] == [session]


@pytest.mark.parametrize(
    ("status", "said", "came"),
    [
        (200, "", Result.ENDED),
        (202, "", Result.ENDED),
        (404, "", Result.ENDED),
        (410, "", Result.ENDED),
        (400, "Bad Request: No valid session ID provided", Result.ENDED),
        (400, "Bad Request", Result.REFUSED),
        (401, "", Result.CREDENTIALS),
        (403, "", Result.CREDENTIALS),
        (405, "", Result.UNSUPPORTED),
        (501, "", Result.UNSUPPORTED),
        (429, "", Result.AGAIN),
        (500, "", Result.AGAIN),
        (None, "", Result.AGAIN),
        (302, "", Result.REFUSED),
    ],
)
def test_what_an_answer_is_worth(status: int | None, said: str, came: Result) -> None:
    assert result(status, said) is came


def test_retry_after_is_obeyed_within_reason() -> None:
    assert wait(1, "7") == 7
    assert wait(1, "999999999999") == LONGEST_WAIT
    assert wait(1, "Wed, 21 Oct 2026 07:28:00 GMT") == BACKOFF[0]
    assert wait(1, "٣") == BACKOFF[0]
    assert wait(len(BACKOFF) + 1) is None
