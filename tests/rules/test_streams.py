"""Progress and the ends of streams: what is held against a server, and each reason not to."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.states import STANDINGS, State
from mcp_sessions.rules import streams
from mcp_sessions.rules.checks import Arrival, Part
from mcp_sessions.rules.facts import notes
from mcp_sessions.rules.streams import GRACE
from mcp_sessions.rules.tables import Recent
from mcp_sessions.rules.talks import Stream, Talk, Token
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.sse import Event
from rules.built import STATELESS, exchange, fields, known, message, notification, request, session

CALL = request("tools/call", 7, name="a")


def ended(sent: Any = CALL, **how: Any) -> Exchange:
    """A request whose stream has ended in order, without a response."""
    x = exchange(sent, **how)
    x.finish = Finish.COMPLETE
    notes(x).stream, notes(x).due = Stream("x1"), {7}
    return x


def test_a_stream_that_ends_without_its_response() -> None:
    def without(x: Exchange) -> bool:
        return streams._ended_without_response(x, notes(x))

    assert without(ended())
    assert without(ended(session=session()))
    for name, value in (("stream", None), ("due", frozenset()), ("cancelled", True), ("unread", True)):
        x = ended()
        setattr(notes(x), name, value)
        assert not without(x), name
    for finish in (Finish.CLIENT, Finish.SERVER, Finish.PROXY, None):
        x = ended()
        x.finish = finish
        assert not without(x)
    assert not without(ended(request("subscriptions/listen", 7)))


def test_a_session_that_is_no_longer_open_may_leave_its_streams_unanswered() -> None:
    for standing in set(STANDINGS.values()):
        x = ended(session=session())
        assert x.session is not None
        x.session.standing = standing
        assert streams._ended_without_response(x, notes(x)) is (standing.word is State.OPEN)


def test_an_event_id_excuses_the_end_of_a_stream_unless_it_is_stateless() -> None:
    x, stateless = ended(), ended(headers=STATELESS)
    for one, excused in ((x, True), (stateless, False)):
        stream = notes(one).stream
        assert stream is not None
        assert streams._unexcused(one, notes(one))
        stream.ids = 1
        assert streams._unexcused(one, notes(one)) is not excused


def test_headers_that_resume() -> None:
    assert streams._resumes(fields({"last-event-id": "e"}))
    assert not streams._resumes(HeaderMap([]))


@pytest.mark.parametrize(
    ("told", "apart"),
    [
        (request("roots/list", 1), True),
        (notification("notifications/progress", progressToken="t", progress=1), True),
        (notification("notifications/progress", progressToken="t"), False),
        (notification("notifications/progress", progress=1), False),
        (notification("notifications/message", data="x"), True),
        (notification("notifications/message", data=0), True),
        (notification("notifications/message", data=None), False),
        (notification("notifications/message"), False),
        (notification("notifications/tools/list_changed", data="x"), False),
    ],
)
def test_messages_of_which_a_second_would_differ(told: Any, apart: bool) -> None:
    assert streams._tells_apart(message(**told)) is apart


# Progress


def test_what_is_not_enough_to_judge_progress_by() -> None:
    event = Event(b"{}", id="e1")
    assert not streams._clueless(known(), event)
    assert streams._clueless(known(shared=True), event)
    assert streams._clueless(known(unread=True), event)
    assert streams._clueless(known(pending_overflowed=True), event)
    talk = known(tokens=Recent(1))
    assert talk.tokens is not None
    assert not streams._clueless(talk, event)
    talk.tokens.overflowed = True
    assert streams._clueless(talk, event)
    seen = known()
    seen.saw("e1", b"{}", Stream("x0"))
    seen.saw("", b"{}", Stream("x0"))
    assert streams._clueless(seen, event), "it is told again"
    for event_id in (None, "", "e2"):
        assert not streams._clueless(seen, Event(b"{}", id=event_id))


def wrong(
    token: Token | None, progress: Any = 5, *, x: Exchange | None = None, talk: Talk | None = None, at: float = 103.0
) -> str | None:
    """What is said of progress of a token, in a session unless it is another exchange."""
    if x is None:
        talk = talk or known()
        x = exchange(CALL, talk=talk)
        talk.tokens = Recent(3)
        if token is not None:
            talk.tokens.put("t", token)
    told = message(**notification("notifications/progress", progressToken="t", progress=progress))
    return streams._wrong_progress(x, notes(x), Arrival(Event(b"{}"), None, at), told)


def test_progress_of_a_request_that_runs() -> None:
    assert wrong(Token(active=1)) is None
    assert wrong(Token(active=1, last=4)) is None
    assert wrong(Token(active=1, last=4.5), 4.75) is None


@pytest.mark.parametrize("progress", [5, 4, 4.5, 0, -1])
def test_progress_increases(progress: float) -> None:
    found = wrong(Token(active=1, last=5), progress)
    assert found == f"token t went from 5 to {progress:g}"
    assert isinstance(found, Part)
    assert found.name == "increases"


@pytest.mark.parametrize("progress", ["4", None, [4]])
def test_what_is_no_number_is_not_compared(progress: Any) -> None:
    assert wrong(Token(active=1, last=5), progress) is None


def test_progress_of_several_requests_is_not_compared() -> None:
    assert wrong(Token(active=2, last=5, ambiguous=True), 4) is None


def test_progress_of_nothing() -> None:
    assert wrong(None) == "token t is in no request"
    x = exchange(CALL, talk=known())
    assert wrong(None, x=x) == "token t is in no request"
    x.body.sniffed = True
    assert wrong(None, x=x) is None, "its request was not read"


@pytest.mark.parametrize(
    ("active", "ended_on", "after", "found"),
    [
        (0, "x1", 0.0, True),  # the answer came on this very stream
        (0, "x2", GRACE, False),
        (0, "x2", GRACE + 0.25, True),
        (-1, "x1", 0.0, True),
        (1, "x1", 9.0, False),
    ],
)
def test_progress_after_the_answer(active: int, ended_on: str, after: float, found: bool) -> None:
    token = Token(active=active, ended_on=ended_on, ended_at=100.0)
    assert wrong(token, at=100.0 + after) == ("token t after the answer" if found else None)
    token.task = True
    assert wrong(token, at=100.0 + after) is None, "a task outlives its request"


def test_without_times_nobody_knows_what_came_first() -> None:
    x = exchange(CALL, talk=known(tokens=Recent(1)))
    talk = notes(x).talk
    assert talk is not None
    assert talk.tokens is not None
    talk.tokens.put("t", Token(ended_on="x1"))
    assert wrong(None, x=x) == "token t after the answer"
    notes(x).untimed = True
    assert wrong(None, x=x) is None


def test_progress_that_can_not_be_judged() -> None:
    assert wrong(None, talk=known(unread=True)) is None
    assert wrong(None, x=exchange(CALL)) is None, "nothing is known of its session"
    x = exchange(CALL, talk=known())
    notes(x).stream = Stream("x1")
    assert wrong(None, x=x) == "token t is in no request"
    notes(x).stream = Stream("x1", resumes=True)
    assert wrong(None, x=x) is None
    told = message(**notification("notifications/progress", progressToken=[1], progress=1))
    x = exchange(CALL, talk=known())
    assert streams._wrong_progress(x, notes(x), Arrival(Event(b"{}"), None, 1.0), told) is None


def test_progress_of_a_stateless_request_is_its_own() -> None:
    x = exchange(CALL, headers=STATELESS)
    assert wrong(None, x=x) == "token t is in no request"
    notes(x).tokens = Recent(1)
    assert wrong(None, x=x) == "token t is in no request"
    notes(x).tokens = Recent(1)
    tokens = notes(x).tokens
    assert tokens is not None
    tokens.put("t", Token(active=1, last=5))
    assert wrong(None, 6, x=x) is None
    assert wrong(None, 5, x=x) == "token t went from 5 to 5"
