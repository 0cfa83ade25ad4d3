"""What is ended, when, and what becomes of the answers; told to the core, without a proxy."""

from __future__ import annotations

from typing import Any

import pytest

from core.driver import FakeProcess
from core.world import ENDPOINT, Peer, World, request
from mcp_sessions.core.ending.delete_answers import BACKOFF, LONGEST_WAIT, read, wait
from mcp_sessions.core.ending.deletions import AT_ONCE, GAP, MOST, PACE
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import DeleteTrigger, State, Why
from mcp_sessions.options import Settings
from mcp_sessions.wire.headers import HeaderMap

ONE, TWO = FakeProcess(11, 1.0, "one"), FakeProcess(12, 1.0, "two")
CAME = DeleteTrigger


class Clients(World):
    """Clients by process, or strangers from elsewhere; time stands still unless it is told to pass."""

    def _next(self) -> float:
        return self.now

    def asks(
        self,
        verb: str,
        who: FakeProcess | None = None,
        *,
        session: str | None = None,
        method: str = "tools/list",
        conn: str = "",
        late: bool = False,
    ) -> Exchange:
        connection = self.connect(conn or f"c-{who}", who, self.now, peer=("10.0.0.9", 1), known=not late)
        shown = [(b"accept", b"application/json, text/event-stream")]
        if session:
            shown.append((b"mcp-session-id", session.encode()))
        content = repr(request(method)).replace("'", '"').encode() if verb == "POST" else None
        return self.request(verb, "http://server/mcp", ENDPOINT, HeaderMap(shown), content, connection, self.now)[0]

    def gets(self, x: Exchange, status: int = 200, result: Any = None, *, session: str | None = None) -> None:
        message = {"jsonrpc": "2.0", "id": 1, "result": result or {}} if x.verb == "POST" else None
        self.answer(x, status, message, session=session)

    def opens(self, name: str, who: FakeProcess | None = None, **more: Any) -> Session:
        x = self.asks("POST", who, method="initialize", **more)
        self.gets(x, 200, {"protocolVersion": "2025-11-25"}, session=name)
        self.gets(self.asks("POST", who, session=name, method="notifications/initialized", **more))
        return self.session(name)

    def ends(self, who: FakeProcess) -> list[str]:
        """A process ends; the server's ids of what is deleted then."""
        self.gone(who, self.now)
        return self.deleting


def state(session: Session) -> State:
    """Its state, which the type checker can't believe to know from a line before."""
    return session.state


def test_a_session_ends_with_the_last_process_that_used_it() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    world.gets(world.asks("POST", TWO, session="one-session"))
    assert world.ends(ONE) == []
    assert state(session) == State.OPEN
    assert world.ends(TWO) == ["one-session"]
    assert "one[11], two[12]" in session.evidence
    assert session.reason is not None
    assert session.reason.kind is Why.PROCESS_GONE
    world.delete_answered(200)
    assert state(session) == State.CLOSED
    assert session.ended_by == "proxy"
    assert world.ends(TWO) == []


def test_a_living_process_is_never_given_up_by_evidence() -> None:
    world = Clients(mcp_end_after_idle=1, mcp_end_after_stream=1)
    world.opens("one-session", ONE)
    world.disconnected(f"c-{ONE}", world.now)
    world.wait(100)
    assert world.deleting == []


def test_a_stranger_is_given_up_and_may_come_back() -> None:
    world = Clients(mcp_end_after_idle=30)
    session = world.opens("one-session")
    world.disconnected("c-None", world.now)
    world.wait(29.9)
    assert world.deleting == []
    world.wait(0.2)
    assert world.deleting == ["one-session"]
    world.delete_answered(204)
    assert state(session) == State.CLOSED
    assert not [record for record in world.told if record.kind == "violation" and "MCP308" in record.line()]
    world.wait(100)
    world.asks("POST", session="one-session", conn="another")
    assert state(session) == State.LOST


def test_whose_connection_is_closed_waits_no_more() -> None:
    world = Clients(mcp_end_after_idle=30)
    world.opens("one-session", conn="far")
    world.asks("POST", session="one-session", conn="far", method="tools/call")
    world.disconnected("far", world.now)  # and nobody is told that the request has broken off
    world.wait(31)
    assert world.deleting == ["one-session"]


def test_who_turns_up_in_time_is_not_ended() -> None:
    world = Clients(mcp_end_after_idle=30)
    others = [world.opens(f"another-{n}", ONE) for n in range(MOST)]
    session = world.opens("one-session")
    world.disconnected("c-None", world.now)
    world.gone(ONE, world.now)
    world.wait(MOST * PACE)
    assert len(world.deleting) == len(others), "no room for more"
    world.wait(30)
    assert state(session) == State.ENDING
    world.asks("POST", session="one-session", conn="another")
    assert state(session) == State.OPEN
    for _ in others:
        world.delete_answered(200)
    world.wait(1)
    assert world.deleting == [], "it was not sent yet, and is not needed any more"


def test_who_turns_up_while_it_is_ended_has_it_brought_back() -> None:
    world = Clients(mcp_end_after_idle=30)
    session = world.opens("one-session")
    world.disconnected("c-None", world.now)
    world.wait(31)
    assert world.deleting == ["one-session"]
    world.asks("POST", session="one-session", conn="another")
    assert state(session) == State.OPEN
    # It was on its way already: lost, and to be brought back at its next use.
    world.delete_answered(200)
    assert state(session) == State.LOST


def test_who_went_to_another_proxy_is_left_to_that() -> None:
    world = Clients(mcp_end_after_idle=30)
    session = world.opens("one-session")
    world.disconnected("c-None", world.now)
    world.wait(31)
    world.delete_not_sent()
    assert not world.core.ledger.sessions
    assert world.core.next_timer() is None
    assert not [line for line in world.lines() if "closed" in line]
    # Whoever uses it here again is found by that proxy's row, or else by what the server says.
    world.gets(world.asks("POST", session="one-session", conn="another"))
    assert world.session("one-session") is not session


def test_what_is_left_to_another_proxy_is_left_once() -> None:
    world = Clients(mcp_end_after_idle=30)
    for connection in ("c-None", "another"):  # it came back before the first DELETE was answered
        world.asks("POST", session="one-session", conn=connection) if world.sends else world.opens("one-session")
        world.disconnected(connection, world.now)
        world.wait(31)
    assert len(world.deleting) == 2
    for _ in range(2):
        world.delete_not_sent()
    assert world.whats().count("left to another proxy") == 1
    assert not any(world.core.ledger.tally.states.values())


def test_who_comes_back_while_it_is_asked_for_has_it() -> None:
    world = Clients(mcp_end_after_idle=30)
    session = world.opens("one-session")
    world.disconnected("c-None", world.now)
    world.wait(31)
    world.asks("POST", session="one-session", conn="another")
    world.delete_not_sent()
    assert state(session) == State.OPEN
    assert world.session("one-session") is session


@pytest.mark.parametrize("end", ["on", "log"])
def test_what_its_living_client_has_left_behind_is_ended_if_that_is_wanted_and_brought_back(end: str) -> None:
    world = Clients(mcp_end_superseded="on", mcp_end_after_superseded=30, mcp_end=end)
    first = world.opens("first-session", ONE)
    world.wait(100)
    for number in range(20):
        world.opens(f"{number}-session", ONE)
        world.wait(0.01)
    assert world.deleting == []
    world.wait(29)
    assert world.deleting == []
    world.gets(world.asks("POST", ONE, session="7-session"))
    world.wait(31)
    if end == "log":
        assert len([line for line in world.lines() if "would be ended" in line]) == 19
        assert world.deleting == []
        return
    while world.deleting:
        world.delete_answered(200)
        world.wait(0.1)
    closed = {name for name in ("first", *map(str, range(20))) if world.session(f"{name}-session").over}
    assert closed == {"first", *map(str, range(19))} - {"7"}
    assert not [line for line in world.lines() if "MCP308" in line], "its client has done nothing wrong"
    world.asks("POST", ONE, session="first-session")
    assert state(first) == State.LOST, "to be brought back as soon as the server says so"


def test_a_living_client_keeps_what_it_has_left_behind_unless_that_is_wanted() -> None:
    world = Clients(mcp_end_after_superseded=30)
    for number in range(5):
        world.opens(f"{number}-session", ONE)
        world.wait(0.01)
    world.wait(1e6)
    assert world.deleting == []
    world.core.configure(Settings(mcp_end_superseded="on", mcp_end_after_superseded=30).policy, world.now)
    world.wait(1)
    assert len(world.deleting) == 4


def test_only_what_is_likely_is_asked_of_others() -> None:
    """Of a process of this host no other proxy knows better, and a user's word counts."""
    world = Clients(mcp_end_at_exit="all")
    session, _ = world.opens("by-hand", TWO), world.opens("gone-for-sure", ONE)
    world.ends(ONE)
    world.core.end(session, world.now)
    world.opens("exit", TWO)
    world.core.exits(world.now)
    world.fetch()
    asked = {dict(send.request.headers)["mcp-session-id"]: send.request.unless_elsewhere for send in world.sends}
    assert asked == {"gone-for-sure": False, "by-hand": False, "exit": True}


@pytest.mark.parametrize("finish", [Finish.CLIENT, Finish.SERVER])
def test_a_delete_that_was_not_answered_is_finished_once(finish: Finish) -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    x = world.asks("DELETE", ONE, session="one-session")
    assert world.ends(ONE) == []  # how its own DELETE ends decides
    world.finish(x, finish)
    assert world.deleting == ["one-session"]
    assert world.ends(ONE) == ["one-session"]
    world.asks("POST", TWO, session="one-session")
    assert state(session) == State.ENDING
    world.delete_answered(404)
    assert state(session) == State.CLOSED
    world.asks("POST", TWO, session="one-session")
    assert state(session) == State.CLOSED  # its client has ended it: it stays so


def test_a_refused_delete_of_a_client_that_is_gone() -> None:
    world = Clients()
    world.opens("one-session", ONE)
    x = world.asks("DELETE", ONE, session="one-session")
    world.ends(ONE)
    world.gets(x, 500)
    assert world.deleting == ["one-session"]


@pytest.mark.long
def test_a_thousand_sessions_are_decided_upon_in_slices() -> None:
    world = Clients()
    for n in range(1000):
        world.opens(f"session-number-{n}", ONE)
    assert len(world.ends(ONE)) == 4, "a few at a time"
    assert sum(what == "ending" for what in world.whats()) < 50
    ended = []
    while world.deleting:
        ended.append(world.deleting[0])
        world.delete_answered(200)
        assert len(world.deleting) <= 4
        world.wait(0.01)
    assert len(set(ended)) == len(ended) == 1000


def test_retries_end() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    world.ends(ONE)
    waits = []
    while world.deleting:
        world.delete_answered(None)
        due = world.core.next_timer()
        if due is not None:
            waits.append(round(due - world.now, 3))
            world.wait(due - world.now)
    assert waits == list(BACKOFF)
    assert state(session) == State.STUCK
    assert "connection refused, 7 times" in session.evidence
    assert session.outcome is not None
    assert session.outcome.kind is Why.NO_ANSWER


def test_an_endpoint_that_asks_to_be_left_alone_is() -> None:
    world = Clients()
    names = [f"session-number-{n}" for n in range(6)]
    for name in names:
        world.opens(name, ONE)
    world.ends(ONE)
    world.delete_answered(429, retry_after="40")
    for _ in range(3):
        world.delete_answered(200)
    world.wait(39.9)
    assert world.deleting == []
    world.wait(0.2)
    assert sorted(world.deleting) == [names[0], *names[4:]]


def test_405_is_learnt() -> None:
    world = Clients()
    sessions = [world.opens(f"session-number-{n}", ONE) for n in range(6)]
    world.ends(ONE)
    world.delete_answered(405)
    world.wait(0.1)
    assert len(world.deleting) == 3, "those that are under way"
    assert [session.state for session in sessions] == [State.CLOSED, *[State.ENDING] * 3, *[State.CLOSED] * 2]
    later = world.opens("another-session", TWO)
    world.ends(TWO)
    assert state(later) == State.CLOSED
    assert len(world.deleting) == 3


def test_ids_that_were_replaced_are_deleted_too() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    world.core.ledger.remap(session, "second-id")
    world.core.ledger.remap(session, "third-id")
    assert world.ends(ONE) == ["third-id"]
    world.delete_answered(200)
    assert state(session) == State.CLOSED
    world.wait(0.1)
    assert world.deleting == ["one-session", "second-id"]
    world.delete_answered(503)
    world.delete_answered(None)
    world.wait(1000)
    assert world.deleting == [], "once each"


@pytest.mark.parametrize(("mode", "said"), [("log", ["would be ended"]), ("off", [])])
def test_modes_that_end_nothing(mode: str, said: list[str]) -> None:
    world = Clients(mcp_end=mode, mcp_end_after_idle=1)
    world.opens("one-session", ONE)
    world.opens("two-session")
    world.disconnected("c-None", world.now)
    assert world.ends(ONE) == []
    world.wait(50)
    assert world.deleting == []
    assert [what for what in world.whats() if what == "would be ended"] == said * 2
    # And when it is switched on after all:
    world.core.configure(Settings(mcp_end="on", mcp_end_after_idle=1).policy, world.now)
    world.wait(10)
    assert sorted(world.deleting) == ["one-session", "two-session"]


def test_kept_by_hand_and_ended_by_hand() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    world.core.keep(session, True, world.now)
    assert world.ends(ONE) == []
    assert "is kept" in world.whats()
    world.core.end(session, world.now)
    world.fetch()
    assert world.deleting == ["one-session"]
    with pytest.raises(ValueError, match="it can't be ended now"):
        world.core.end(session, world.now)


def test_what_is_kept_no_longer_is_ended() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    world.core.keep(session, True, world.now)
    assert world.ends(ONE) == []
    world.core.keep(session, False, world.now)
    world.fetch()
    assert world.deleting == ["one-session"]


def test_to_be_refused_leaves_no_trace() -> None:
    """A session that could not be ended by hand, and that its client ended then, was ended by its client."""
    world = Clients()
    session = world.opens("one-session", ONE)
    world.lose(world.asks("POST", ONE, session="one-session"))
    with pytest.raises(ValueError, match="is recovering: it can't be ended now"):
        world.core.end(session, world.now)
    world.shake(session, "new-id")
    world.gets(world.asks("DELETE", ONE, session="one-session"))
    assert (state(session), session.ended_by, session.evidence) == (State.CLOSED, "client", "")
    assert not [entry for entry in session.history if "by hand" in (entry.what, entry.detail)]


def test_a_request_of_a_process_that_was_gone_before_anybody_looked() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    asked = world.asks("POST", None, session="one-session", conn="late", late=True)
    late = world.disconnected("late", world.now)
    assert late is not None
    world.core.finished(asked, Finish.CLIENT, world.now)
    assert [owner.label for owner in session.owners] == ["one[11]", "10.0.0.9"]
    world.identify(late, None, world.now, vanished=True)
    assert [owner.label for owner in session.owners] == ["one[11]"]
    assert world.ends(ONE) == ["one-session"]


def test_a_request_of_somebody_who_had_its_answer_before_anybody_looked() -> None:
    """Whoever that is may live, and another process than those that are known."""
    world = Clients()
    session = world.opens("one-session", ONE)
    world.gets(world.asks("POST", None, session="one-session", conn="late", late=True))
    late = world.disconnected("late", world.now)
    assert late is not None
    world.identify(late, None, world.now, vanished=True)
    assert [owner.label for owner in session.owners] == ["one[11]", "10.0.0.9"]
    assert world.ends(ONE) == []
    assert state(session) == State.OPEN


def test_a_stranger_beside_a_process_keeps_its_own_claim() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    world.gets(world.asks("POST", None, session="one-session", conn="elsewhere"))
    assert world.ends(ONE) == []
    assert state(session) == State.OPEN


def test_a_heir_goes_on() -> None:
    world = Clients()
    world.opens("one-session", ONE)
    world.identify(world.core.ledger.connections[f"c-{ONE}"], TWO, world.now)
    world.core.outlived(ONE, TWO, world.now)
    assert world.ends(ONE) == []
    assert world.ends(TWO) == ["one-session"]


@pytest.mark.parametrize(("which", "ended"), [("none", []), ("mapped", ["new-id"]), ("all", ["new-id", "two-session"])])
def test_what_is_ended_with_the_proxy(which: str, ended: list[str]) -> None:
    world = Clients(mcp_end_at_exit=which)
    session = world.opens("one-session", ONE)
    world.opens("two-session", ONE)
    world.core.ledger.remap(session, "new-id")
    world.core.exits(world.now)
    world.fetch()
    assert sorted(world.deleting) == ended
    for _ in ended:
        world.delete_answered(200)
    assert world.core.ending.may_return(session) == bool(ended)
    if ended:
        world.asks("POST", ONE, session="one-session")
        assert state(session) == State.LOST, "its client lives, and it can be brought back"


def test_whoever_sent_them_is_replaced() -> None:
    world = Clients()
    session, other = world.opens("one-session", ONE), world.opens("two-session", TWO)
    waits = world.asks("POST", TWO, session="two-session")
    world.lose(waits)
    world.ends(ONE)
    world.sends.clear()
    world.core.interrupted(world.now)
    world.fetch()
    assert world.deleting == ["one-session"], "it is sent again"
    assert world.released() == [], "who waited was let go"
    assert (state(session), state(other)) == (State.ENDING, State.LOST)


@pytest.mark.parametrize(
    ("status", "said", "came"),
    [
        (200, "", CAME.ENDED),
        (202, "", CAME.ENDED),
        (404, "", CAME.ENDED),
        (410, "", CAME.ENDED),
        (400, "Bad Request: No valid session ID provided", CAME.ENDED),
        (400, "Bad Request", CAME.REFUSED),
        (401, "", CAME.CREDENTIALS),
        (403, "", CAME.CREDENTIALS),
        (405, "", CAME.UNSUPPORTED),
        (501, "", CAME.UNSUPPORTED),
        (408, "", CAME.AGAIN),
        (425, "", CAME.AGAIN),
        (429, "", CAME.AGAIN),
        (500, "", CAME.AGAIN),
        (None, "", CAME.AGAIN),
        (302, "", CAME.REFUSED),
    ],
)
def test_what_an_answer_is_worth(status: int | None, said: str, came: DeleteTrigger) -> None:
    assert read(status, said).came is came


def test_retry_after_is_obeyed_within_reason() -> None:
    assert wait(1, "7") == 7
    assert wait(1, "999999999999") == LONGEST_WAIT
    assert wait(1, "Wed, 21 Oct 2026 07:28:00 GMT") == BACKOFF[0]
    assert wait(1, "٣") == BACKOFF[0]
    assert wait(len(BACKOFF) + 1) is None


def test_only_so_many_are_under_way() -> None:
    world = Clients()
    for n in range(50):
        world.opens(f"session-number-{n}", ONE)
    world.gone(ONE, world.now)
    for _ in range(12):
        assert len(world.deleting) == AT_ONCE
        world.wait(PACE / 4)
        for _ in range(AT_ONCE):
            world.delete_answered(200)
        world.wait(GAP)


def test_where_answers_take_long_more_are_under_way() -> None:
    world = Clients()
    for n in range(AT_ONCE + MOST):
        world.opens(f"session-number-{n}", ONE)
    world.gone(ONE, world.now)
    for more in range(10):
        assert len(world.deleting) == AT_ONCE + more
        world.wait(PACE)
    world.wait(10 * MOST * PACE)
    assert len(world.deleting) == MOST
    world.delete_answered(200)
    assert len(world.deleting) == MOST, "the next one takes its place"


# What driving the core beside the one before it has found


def test_a_kept_session_whose_delete_was_interrupted_is_ended_when_it_is_kept_no_longer() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    world.ends(ONE)
    world.core.keep(session, True, world.now)
    world.sends.clear()
    world.core.interrupted(world.now)
    world.fetch()
    assert (state(session), world.deleting) == (State.ABANDONED, [])
    world.core.keep(session, False, world.now)
    world.fetch()
    assert world.deleting == ["one-session"]


def stuck(world: Clients) -> Session:
    """A session whose client is gone, and of which the server refuses to hear."""
    session = world.opens("one-session", ONE)
    world.ends(ONE)
    world.delete_answered(401)
    assert state(session) == State.STUCK
    return session


def test_a_stuck_session_that_its_client_ends_is_ended_as_soon_as_that_is_wanted() -> None:
    world = Clients()
    session = stuck(world)
    world.core.configure(Settings(mcp_end="log").policy, world.now)
    world.finish(world.asks("DELETE", TWO, session="one-session"), Finish.CLIENT)
    assert world.deleting == []
    world.core.configure(Settings(mcp_end="on").policy, world.now)
    world.fetch()
    assert world.deleting == ["one-session"]
    assert session.left


def test_a_second_try_of_the_client_is_finished_with_its_new_credentials() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    for n in range(2):
        world.finish(world.asks("DELETE", ONE, session="one-session"), Finish.CLIENT)
        assert world.deleting == ["one-session"]
        world.delete_answered(401 if n == 0 else 204)
    assert state(session) == State.CLOSED


def test_of_two_deletes_under_way_the_better_answer_counts() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    world.ends(ONE)
    world.gets(world.asks("POST", TWO, session="one-session"))
    first, world.sends = world.sends, []
    world.core.end(session, world.now)
    world.fetch()
    assert world.deleting == ["one-session"]
    world.delete_answered(401)
    assert state(session) == State.STUCK
    world.sends = first
    world.delete_answered(200)
    assert state(session) == State.CLOSED
    assert session.outcome is None
    assert world.whats().count("closed") == 1
    assert "lost" not in world.whats()


def test_whose_delete_is_refused_goes_on_for_no_reason() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    world.ends(ONE)
    world.gets(world.asks("DELETE", TWO, session="one-session"), 500)
    assert (state(session), session.evidence) == (State.OPEN, "")


@pytest.mark.parametrize("mode", ["log", "off"])
def test_nobody_is_given_up_at_the_exit_where_nothing_is_ended(mode: str) -> None:
    world = Clients(mcp_end_at_exit="all", mcp_end=mode)
    session = world.opens("one-session", ONE)
    world.core.exits(world.now)
    world.fetch()
    assert (state(session), world.deleting) == (State.OPEN, [])
    assert world.whats().count("would be ended") == (mode == "log")


def test_what_was_ended_by_hand_is_said_to_be() -> None:
    world = Clients()
    session = world.opens("one-session", ONE)
    world.core.end(session, world.now)
    world.fetch()
    world.delete_answered(401)
    x = world.asks("POST", ONE, session="one-session")
    world.lose(x)
    assert x.verdict == "session ended by hand (the session is stuck)"


def test_who_waits_for_a_session_that_is_known_no_more_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    session = world.open("one-session-for-all", peer=Peer(token="mine"))
    x, _ = world.call("one-session-for-all", peer=Peer(token="mine"))
    world.lose(x)
    other = Peer(pid=None, host="10.0.0.7", token="other", connection="c7")
    # The server gives the same id to somebody else: that takes nothing from anybody.
    assert world.open("one-session-for-all", peer=other) is not session
    assert not world.released()
    # But for a third there is no room.
    monkeypatch.setattr("mcp_sessions.core.ledger.SESSION_LIMIT", 2)
    world.open("another-session", peer=other)
    assert [release.exchange for release in world.released()] == [x]
    assert not world.core._recovery.attempts
