"""What counts as being told that a session is lost: each of its conditions, and each near miss."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.rules import losses, pairs, requests, sessions
from mcp_sessions.rules.losses import NEW, Loss
from mcp_sessions.rules.tables import Ids
from mcp_sessions.rules.talks import Stream, history
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import Body
from rules.built import (
    STATELESS,
    answered,
    body,
    client,
    error,
    exchange,
    fields,
    known,
    message,
    notification,
    request,
    result,
    session,
)

CALL = request("tools/call", 7, name="a")
ID = {"mcp-session-id": "one-two-three"}
LOST, OF_THE_CALL = error("Session not found", None), error("Session not found", 7)
OF_A_TOOL = error("Terminal session not found: t1", 7)


def told(
    status: int, answer: Any = None, sent: Any = CALL, *, headers: dict[str, str] | None = None, **how: Any
) -> Any:
    verb = "POST" if sent is not None else "GET"
    return answered(exchange(sent, verb=how.pop("verb", verb), headers=ID | (headers or {}), **how), status, answer)


def test_what_an_answer_says_is_its_error() -> None:
    assert losses.said(told(404, LOST)) == "Session not found"
    assert losses.said(told(200, result(7))) == ""
    assert losses.said(told(404)) == ""
    x = told(404)
    x.answer = None
    assert losses.said(x) == ""


@pytest.mark.parametrize(
    ("x", "loss"),
    [
        (told(404, LOST), Loss.PLAIN),
        (told(404, OF_THE_CALL), Loss.PLAIN),
        (told(404, OF_A_TOOL), None),  # it answers the request: that may be a tool's own
        (told(404, error("Terminal session not found: t1", None)), Loss.PLAIN),
        (told(404, error("no such tool", None)), None),
        (told(404), Loss.BARE),
        (told(404, b"<html>"), None),
        (told(404, result(7)), None),
        (told(400, LOST), None),
        (told(200, LOST), None),
        (told(404, LOST, None), Loss.PLAIN),
        (told(404, None, None), None),
        (told(404, None, None, verb="DELETE"), Loss.BARE),
        (told(404, error("Unknown event of session", None), None, headers={"last-event-id": "e"}), None),
        (told(404, error("Unknown event of session", None), None), Loss.PLAIN),
        (told(404, error("Unknown event of session", None), headers={"last-event-id": "e"}), Loss.PLAIN),
        (told(404, LOST, None, headers={"last-event-id": "e"}), Loss.PLAIN),
    ],
)
def test_a_404_that_tells_of_a_loss(x: Any, loss: Loss | None) -> None:
    assert losses.by_404(x) is loss


def test_only_who_owns_a_session_is_told_that_it_is_lost() -> None:
    stranger = told(404, LOST)
    stranger.stranger = True
    assert losses.by_404(stranger) is None
    assert losses.by_404(answered(exchange(CALL), 404, LOST)) is None, "it has presented no id"


def test_a_404_that_was_not_read_says_nothing() -> None:
    x = told(404)
    x.answer = None
    assert losses.by_404(x) is None
    for problem, loss in (("", Loss.BARE), ("empty", Loss.BARE), ("not JSON", None)):
        x.answer = Body(problem=problem)
        assert losses.by_404(x) is loss


@pytest.mark.parametrize(
    ("x", "lost"),
    [
        (told(400, LOST), True),
        (told(200, LOST), True),
        (told(404, LOST), False),
        (told(400, OF_THE_CALL), True),
        (told(400, OF_A_TOOL), False),
        (told(400, error("bad request", None)), False),
        (told(400), False),
        (answered(exchange(CALL), 400, LOST), False),
    ],
)
def test_words_that_tell_of_a_loss(x: Any, lost: bool) -> None:
    assert losses.by_words(x) is lost


def test_a_dialect_tells_of_a_loss_in_its_own_way() -> None:
    x = told(400, b"gone")
    assert not losses.by_words(x)
    x.dialect = "some"
    assert losses.by_words(x)
    x.stranger = True
    assert not losses.by_words(x)
    x.stranger, x.answer = False, None
    assert not losses.by_words(x)


@pytest.mark.parametrize("method", sorted(losses.TOOLS))
def test_what_somebody_has_written_may_speak_of_sessions_of_its_own(method: str) -> None:
    talk = known()
    sent = request(method, 7)
    assert losses.may_be_a_tools(told(400, OF_THE_CALL, sent), talk)
    assert not losses.may_be_a_tools(told(400, LOST, sent), talk), "it does not answer the request"
    assert not losses.may_be_a_tools(told(400, OF_THE_CALL, request("tools/list", 7)), talk)
    history(talk)
    assert losses.may_be_a_tools(told(400, OF_THE_CALL, sent), talk)
    history(talk).doubted = True
    assert not losses.may_be_a_tools(told(400, OF_THE_CALL, sent), talk), "it was said a second time"
    assert losses.may_be_a_tools(told(200, OF_THE_CALL, sent), talk)


def test_who_goes_on_has_lost_nothing() -> None:
    talk = known()
    history(talk).doubted = True
    x = told(400, OF_THE_CALL)
    x.session, x.answered_before = session(), 3
    x.session.answered = 3
    assert not losses.may_be_a_tools(x, talk)
    x.session.answered = 4
    assert losses.may_be_a_tools(x, talk)


def test_a_session_is_dead_on_arrival_while_nothing_has_worked() -> None:
    def dead(after: float = 1.0, **otherwise: Any) -> bool:
        talk = known(known_at=100.0)
        x = answered(exchange(CALL, session=session()), 400, LOST, at=100.0 + after)
        for name, value in otherwise.items():
            setattr(talk if hasattr(talk, name) and name != "session" else x, name, value)
        return losses.on_arrival(x, talk)

    assert dead()
    assert dead(NEW)
    assert not dead(NEW + 0.5)
    assert not dead(session=None)
    assert not dead(known_at=None)
    assert not dead(worked=1)
    assert not dead(deleted_at=100.0)
    x = answered(exchange(CALL, session=session()), 400, LOST)
    assert x.session is not None
    x.session.generation = 1
    assert not losses.on_arrival(x, known(known_at=100.0))


# Session ids


@pytest.mark.parametrize(
    ("one", "other", "follows"),
    [
        ("session-17", "session-18", True),
        ("session-18", "session-17", True),
        ("session-17", "session-33", True),
        ("session-17", "session-34", False),
        ("session-17", "session-17", False),
        ("session-99", "session-100", False),
        ("sessiom-17", "session-18", False),
        ("abc-0f", "abc-10", True),
        ("abc-0F", "abc-10", True),
        ("zz-1g", "zz-2g", False),
        ("zzz", "zzx", False),
        ("a" * 254 + "z1", "a" * 254 + "z2", True),
        ("a" * 255 + "z1", "a" * 255 + "z2", False),
    ],
)
def test_ids_that_can_be_guessed_from_each_other(one: str, other: str, follows: bool) -> None:
    assert sessions._follows(one, other) is follows


@pytest.mark.parametrize(
    ("sent", "status", "headers", "assigned"),
    [
        (request("initialize", 0), 200, {"mcp-session-id": "one"}, "one"),
        (request("initialize", 0), 200, {"mcp-session-id": " one\t"}, "one"),
        (request("initialize", 0), 200, {"mcp-session-id": " XoneX "}, "XoneX"),
        (request("initialize", 0), 200, {}, ""),
        (request("initialize", 0), 400, {"mcp-session-id": "one"}, ""),
        (request("ping", 0), 200, {"mcp-session-id": "one"}, ""),
    ],
)
def test_the_id_that_is_assigned(sent: Any, status: int, headers: dict[str, str], assigned: str) -> None:
    x = answered(exchange(sent), status, None, headers)
    assert sessions._assigned(x) == assigned
    x.answer_headers = None
    assert sessions._assigned(x) == ""


@pytest.mark.parametrize(
    ("one", "other", "strangers"),
    [
        ((1, 9), (2, 9), True),
        ((1, 2), (2, 9), False),
        ((1, 9), (2, 1), False),
        ((1, None), (2, 9), False),
        ((1, 9), (2, None), False),
        ((None, 9), (2, 9), False),
        ((1, 9), (None, 9), False),
    ],
)
def test_processes_that_have_nothing_to_do_with_each_other(one: Any, other: Any, strangers: bool) -> None:
    first, second = (client(pid, parent=parent) for pid, parent in (one, other))
    assert sessions._strangers(first, second) is strangers


NO_HEADERS = HeaderMap([])


def test_headers_that_lack_the_id_or_resume() -> None:
    assert sessions._has_no_id(NO_HEADERS)
    assert not sessions._has_no_id(fields(ID))
    assert pairs._resumes(fields({"last-event-id": "e"}))
    assert not pairs._resumes(NO_HEADERS)


@pytest.mark.parametrize(
    ("accept", "too_little", "no_stream"),
    [
        ("application/json, text/event-stream", False, False),
        ("text/event-stream", True, False),
        ("application/json", True, True),
        ("*/*", True, True),
        (None, True, True),
    ],
)
def test_what_is_accepted(accept: str | None, too_little: bool, no_stream: bool) -> None:
    headers = fields({"accept": accept} if accept else {})
    assert requests._accepts_too_little(headers) is too_little
    assert requests._accepts_no_stream(headers) is no_stream


def test_the_type_and_version_of_a_request() -> None:
    assert not requests._is_not_json(fields({"content-type": "application/json; charset=utf-8"}))
    assert requests._is_not_json(fields({"content-type": "text/plain"}))
    assert requests._is_not_json(NO_HEADERS)
    for version, is_one in (("2025-06-18", True), ("1.0", False), (None, False)):
        headers = fields({"mcp-protocol-version": version} if version else {})
        assert requests._has_version(headers) is is_one
        assert requests._has_no_version(headers) is (version is None)


# What belongs together


def test_whether_a_request_was_never_made() -> None:
    talk = known(ids=Ids())
    assert talk.ids is not None
    talk.ids.add(7, client())
    x = exchange(CALL, session=session(), talk=talk)
    assert not pairs._never_asked(x, talk, 7)
    assert pairs._never_asked(x, talk, 8)
    for name, value in (("shared", True), ("known_at", None), ("unread", True), ("ids", None)):
        other = known(ids=talk.ids)
        setattr(other, name, value)
        assert not pairs._never_asked(x, other, 8), name
    assert not pairs._never_asked(x, None, 8)
    assert not pairs._never_asked(exchange(CALL), talk, 8), "it is of no session"
    assert pairs._never_asked(exchange(CALL, headers=STATELESS), None, 8)
    talk.ids.overflowed = True
    assert not pairs._never_asked(x, talk, 8)


def test_a_server_may_ask_the_same_again_by_the_same_id() -> None:
    kept = history(known())
    one, other = message(**request("roots/list", 1)), message(**request("ping", 1))
    assert not pairs._asked_before(kept, one)
    assert not pairs._asked_before(kept, one)
    assert pairs._asked_before(kept, other)
    assert not pairs._asked_before(kept, other), "from now on it is that"
    assert pairs._asked_before(kept, one)
    assert not pairs._asked_before(kept, message(**request("ping", 2)))


def test_notifications_that_have_an_id() -> None:
    told = body([request("notifications/a", 7), request("ping", 8), notification("notifications/b"), result(1)])
    assert pairs._with_id(told.messages) == ["notifications/a with id 7"]
    assert pairs._with_id(told.messages[1:]) is None


def test_what_may_have_been_asked_unseen() -> None:
    x, talk = exchange(CALL, session=session()), known()
    assert not pairs._forgot(x, talk)
    talk.resent = True
    assert pairs._forgot(x, talk)
    talk.resent = False
    assert x.session is not None
    x.session.generation = 1
    assert pairs._forgot(x, talk)
    assert pairs._forgot(exchange(CALL), talk)


def test_a_stream_goes_on_with_another() -> None:
    first = Stream("x1")
    assert pairs._origin(first) is first
    assert pairs._origin(Stream("x2", of=first)) is first
