"""The judge on its own, with a selection of a test's own: which checks it asks, when, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.records import Action, Violation
from mcp_sessions.rules import catalogue, judge, older, traits
from mcp_sessions.rules.checks import Arrival, Said
from mcp_sessions.rules.entries import Level
from mcp_sessions.rules.facts import notes
from mcp_sessions.rules.judge import Deferred, Judge
from mcp_sessions.rules.memory import Memory
from mcp_sessions.rules.streams import LEFT_OPEN
from mcp_sessions.rules.tables import Recent
from mcp_sessions.rules.talks import Stream, Talk
from mcp_sessions.wire.sse import Event
from rules.built import (
    AGREED,
    ENDPOINT,
    STATELESS,
    answered,
    body,
    client,
    error,
    exchange,
    known,
    message,
    notification,
    request,
    result,
    session,
)
from rules.test_traits import names

RULE, OTHER = catalogue()["MCP104"], catalogue()["MCP105"]
PING = request("ping", 7)


class Picked(dict[Any, Any]):
    """The checks of one moment, whatever an exchange is like; what that was is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.checks: tuple[Any, ...] = ()
        self.seen: list[Any] = []

    def __missing__(self, key: Any) -> tuple[Any, ...]:
        self.seen.append(key)
        return self.checks

    @property
    def asked(self) -> list[tuple[str | None, set[str]]]:
        """For which revisions and traits."""
        return [(revision, names(found)) for revision, found in self.seen]


class OfMessages:
    """The checks of messages of one revision and party."""

    def __init__(self) -> None:
        self.rules: set[str] = {"MCP104", "MCP105", "MCP901"}
        self.methods: list[str | None] = []
        self.checks: tuple[Any, ...] = ()

    def of(self, method: str | None) -> tuple[Any, ...]:
        self.methods.append(method)
        return self.checks


class Chosen:
    """A selection."""

    def __init__(self) -> None:
        self.request, self.answer, self.event, self.finish = Picked(), Picked(), Picked(), Picked()
        self.session = Picked()
        self.message: dict[tuple[str, str], OfMessages] = {}
        for revision in ("2025-03-26", AGREED, "2025-11-25", "2026-07-28"):
            for party in ("client", "server"):
                self.message[revision, party] = OfMessages()


class Trial(Judge):
    """A judge with its own selection, and what it tells."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        super().__init__(lambda record, _: self.told.append(record))
        self.chosen = self._selection = Chosen()  # type: ignore[assignment]

    @property
    def found(self) -> list[tuple[str, str, float]]:
        return [(r.rule, r.detail, r.at) for r in self.told if isinstance(r, Violation)]

    @property
    def actions(self) -> list[tuple[str, str, float, str]]:
        return [(r.what, r.detail, r.at, r.flow) for r in self.told if isinstance(r, Action)]


@pytest.fixture
def trial() -> Trial:
    return Trial()


def says(verdict: Any, seen: list[Any] | None = None) -> Callable[..., Any]:
    """A check that comes to this, or fails with it."""

    def check(*of: Any) -> Any:
        if seen is not None:
            seen.append(of)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    return check


BROKEN = ((RULE, says(None)), (RULE, says(ValueError("odd"))), (OTHER, says("wrong")), (RULE, says("")))
"""Checks of which one finds nothing, one fails, and two find something."""
FAILED = "could not check MCP104, please report it", "ValueError('odd')"


def came_of_it(at: float) -> list[tuple[str, str, float]]:
    return [("MCP105", "wrong", at), ("MCP104", "", at)]


def begun(trial: Trial, sent: Any = PING, **how: Any) -> Exchange:
    """An exchange whose request was looked at."""
    x = exchange(sent, **how)
    trial.request(x)
    return x


def in_session(**talked: Any) -> Any:
    """A session whose handshake was seen."""
    made = session(client(1), revision=AGREED)
    made.notes = known(revision=AGREED, judged_by=AGREED, **talked)
    return made


NAMED = {"mcp-protocol-version": AGREED}


# Requests


def test_a_request_is_judged_by_its_revision_and_by_what_it_is_like(trial: Trial) -> None:
    trial.chosen.request.checks = BROKEN
    its = in_session()
    x = begun(trial, session=its, headers=NAMED, by=next(iter(its.owners)))
    assert trial.chosen.request.asked == [(AGREED, {"POST", "REQUEST", "PING", "TALK", "KNOWN"})]
    assert trial.found == came_of_it(100.0)
    assert trial.actions == [(*FAILED, 100.0, "x1")]
    assert trial.told[-1].session == its.label
    assert trial.told[-1].clause == RULE.address(AGREED)
    assert names(notes(x).traits) == {"POST", "REQUEST", "PING"}
    assert notes(x).revision is None, "what is agreed upon may change"


def test_the_checks_see_a_request_before_it_is_remembered(trial: Trial) -> None:
    its, seen = in_session(), list[Any]()
    trial.chosen.request.checks = ((RULE, lambda x: seen.append(its.notes.ids)),)
    begun(trial, session=its)
    assert seen == [None]
    assert its.notes.ids is not None


def test_a_stateless_request_keeps_its_revision(trial: Trial) -> None:
    x = begun(trial, headers=STATELESS)
    assert notes(x).revision == "2026-07-28"
    assert trial.chosen.request.asked == [("2026-07-28", {"POST", "REQUEST", "PING", "STATELESS", "MISMATCHED"})]


def test_what_was_sent_again_is_not_judged_again(trial: Trial) -> None:
    x = exchange(PING)
    x.attempts = 1
    trial.request(x)
    answered(x, 200, result(7))
    trial.answer(x)
    trial.event(x, Event(b"{}"), body(result(7)), 101.0)
    trial.finish(x)
    chosen = trial.chosen
    assert chosen.request.seen == chosen.answer.seen == chosen.event.seen == chosen.finish.seen == []
    assert notes(x).attempts == 1


def test_what_goes_by_the_older_transport_is_not_judged(trial: Trial) -> None:
    trial._memory.place(ENDPOINT).older = True
    trial.request(exchange(PING))
    assert trial.chosen.request.seen == []
    trial.request(exchange(PING, headers={"mcp-session-id": "a"}))
    trial.request(exchange(PING, headers=STATELESS))
    assert len(trial.chosen.request.seen) == 2


# Answers


def test_an_answer_is_judged_with_what_was_asked(trial: Trial) -> None:
    its = in_session()
    x = begun(trial, session=its, headers=NAMED, by=next(iter(its.owners)))
    trial.chosen.answer.checks = BROKEN
    trial.answer(answered(x, 200, result(7, resultType="complete")))
    assert trial.chosen.answer.asked == [
        (AGREED, {"POST", "REQUEST", "PING", "TALK", "KNOWN", "OK", "RESULT", "PLAIN"})
    ]
    assert trial.found == came_of_it(101.0)
    assert trial.actions == [(*FAILED, 101.0, "x1")]
    assert trial.told[-1].clause == RULE.address(AGREED)


def test_the_checks_see_an_answer_before_it_is_remembered(trial: Trial) -> None:
    its = in_session()
    x, seen = begun(trial, session=its), list[Any]()
    trial.chosen.answer.checks = ((RULE, lambda x: seen.append(its.notes.worked)),)
    trial.answer(answered(x, 200, result(7)))
    assert (seen, its.notes.worked) == ([0], 1)


def test_an_initialize_in_an_open_session_is_known_as_such(trial: Trial) -> None:
    x = begun(trial)
    notes(x).on_open = True
    trial.answer(answered(x, 200, result(7)))
    assert "ON_OPEN" in trial.chosen.answer.asked[0][1]
    other = begun(trial)
    trial.answer(answered(other, 200, result(7)))
    assert "ON_OPEN" not in trial.chosen.answer.asked[1][1]


def test_an_answer_to_what_was_sent_again_is_due_once_more(trial: Trial) -> None:
    x = begun(trial, session=in_session())
    trial.answer(answered(x, 404, error("no", 7)))
    assert not notes(x).due
    x.attempts = 1
    trial.answer(answered(x, 200, None))
    assert notes(x).due == {7}
    assert notes(x).attempts == 1
    assert len(trial.chosen.answer.seen) == 1


SUPPORTED = {"supportedVersions": ["2026-07-28"], "resultType": "complete"}


def test_a_stateless_server_is_known_before_its_answer_is_judged(trial: Trial) -> None:
    x, seen = begun(trial, headers=STATELESS), list[Any]()
    trial.chosen.answer.checks = ((RULE, lambda x: seen.append(notes(x).place.modern)),)
    trial.answer(answered(x, 200, result(7, **SUPPORTED)))
    assert seen == [True]
    place = trial._memory.place(ENDPOINT)
    assert place.modern
    assert place.only_modern


def test_a_server_of_sessions_is_not_taken_for_a_stateless_one(trial: Trial) -> None:
    trial.answer(answered(begun(trial), 200, result(7, **SUPPORTED)))
    assert not trial._memory.place(ENDPOINT).modern
    trial.answer(answered(begun(trial, headers=STATELESS), 200, None))
    assert not trial._memory.place(ENDPOINT).modern


@pytest.mark.parametrize(
    ("method", "status", "modern", "told", "learnt"),
    [
        ("ping", 200, False, SUPPORTED, True),
        ("ping", 200, True, SUPPORTED, False),  # nothing new comes of it
        ("ping", 400, True, None, True),
        ("server/discover", 200, True, SUPPORTED, True),
    ],
)
def test_what_is_known_of_a_stateless_server_is_learnt_where_it_is_new(
    trial: Trial, method: str, status: int, modern: bool, told: Any, learnt: bool
) -> None:
    place = trial._memory.place(ENDPOINT)
    place.modern = modern
    x = begun(trial, request(method, 7), headers=STATELESS)
    data = {"supported": ["2026-07-28"]}
    trial.answer(answered(x, status, result(7, **told) if told else error("no", 7, -32022, data=data)))
    assert place.only_modern is learnt


# The older transport

INITIALIZE = request("initialize", 0, protocolVersion="2024-11-05", capabilities={}, clientInfo={})


def test_that_an_endpoint_speaks_the_older_transport_is_said_once(trial: Trial) -> None:
    for _ in range(2):
        trial.answer(answered(begun(trial, INITIALIZE), 202))
    assert trial.actions == [(f"http://mcp.example:80/mcp {older.SPEAKS}", "", 101.0, "x1")]
    assert trial._memory.place(ENDPOINT).older


@pytest.mark.parametrize(("sent", "status"), [(INITIALIZE, 200), (PING, 202)])
def test_other_answers_do_not_show_it(trial: Trial, sent: Any, status: int) -> None:
    trial.answer(answered(begun(trial, sent), status))
    assert trial.actions == []
    assert not trial._memory.place(ENDPOINT).older


def test_an_event_names_where_messages_go(trial: Trial) -> None:
    x = begun(trial, None, verb="GET")
    messages = ENDPOINT._replace(path="/messages")
    trial.event(x, Event(b"/messages", type="message"), None, 102.0)
    assert trial.actions == []
    trial.event(x, Event(b"/messages", type="endpoint"), None, 103.0)
    trial.event(x, Event(b"/messages", type="endpoint"), None, 104.0)
    assert trial.actions == [(f"http://mcp.example:80/mcp {older.SPEAKS}", "", 103.0, "x1")]
    assert trial._memory.place(ENDPOINT).older
    assert trial._memory.place(messages).older


def test_a_second_address_of_a_known_endpoint_is_said_too(trial: Trial) -> None:
    trial._memory.place(ENDPOINT).older = True
    x = begun(trial, None, verb="GET")
    trial.event(x, Event(b"/messages", type="endpoint"), None, 103.0)
    assert [what for what, *_ in trial.actions] == [f"http://mcp.example:80/messages {older.SPEAKS}"]


def test_a_long_address_is_cut(trial: Trial) -> None:
    x = exchange(INITIALIZE)
    x.endpoint = ENDPOINT._replace(path="/" + "p" * 500)
    trial.request(x)
    trial.answer(answered(x, 202))
    assert len(trial.actions[0][0]) == 200 + len(f" {older.SPEAKS}")


# Events


def test_an_event_is_judged_with_what_is_in_it(trial: Trial) -> None:
    its, seen = in_session(), list[Any]()
    x = begun(trial, session=its, headers=NAMED, by=next(iter(its.owners)))
    trial.chosen.event.checks = (*BROKEN, (RULE, says(None, seen)))
    event, told = Event(b"{}", id="e1"), body(notification("notifications/message"))
    trial.event(x, event, told, 103.0)
    assert trial.chosen.event.asked == [(AGREED, {"POST", "PING", "TALK", "KNOWN", "NOTIFICATION"})]
    assert trial.found == came_of_it(103.0)
    assert trial.actions == [(*FAILED, 103.0, "x1")]
    assert trial.told[-1].session == its.label
    assert (trial.told[-1].clause, trial.told[-1].flow) == (RULE.address(AGREED), "x1")
    assert seen == [(x, Arrival(event, told, 103.0))]


def test_the_checks_see_an_event_before_it_is_remembered(trial: Trial) -> None:
    its, seen = in_session(), list[Any]()
    x = begun(trial, session=its)
    notes(x).stream = Stream("x1")
    trial.chosen.event.checks = ((RULE, lambda x, it: seen.append(its.notes.seen("e1"))),)
    trial.event(x, Event(b"{}", id="e1"), None, 103.0)
    assert seen == [None]
    assert its.notes.seen("e1") is not None
    assert trial.chosen.event.asked[0][1] == {"POST", "PING", "TALK", "KNOWN"}


def test_a_stateless_server_shows_itself_on_a_stream(trial: Trial) -> None:
    x = begun(trial, headers=STATELESS)
    trial.event(x, Event(b"{}"), body([notification("a"), result(7, **SUPPORTED)]), 103.0)
    assert trial._memory.place(ENDPOINT).only_modern
    other = Trial()
    other.event(begun(other), Event(b"{}"), body(result(7, **SUPPORTED)), 103.0)
    assert not other._memory.place(ENDPOINT).only_modern


@pytest.mark.parametrize(("event_id", "again"), [("e1", True), ("e2", False), ("", False), (None, False)])
def test_an_event_that_comes_again(event_id: str | None, again: bool) -> None:
    talk = known()
    talk.saw("e1", b"x", Stream("x0"))
    talk.saw("", b"x", Stream("x0"))
    x = exchange(PING, talk=talk)
    found = {"EVENT_AGAIN"} if again else set()
    assert names(judge._of_event(notes(x), Event(b"{}", id=event_id), None)) == {"TALK", "KNOWN"} | found


@pytest.mark.parametrize("open_ones", [0, 1, 2])
def test_a_session_with_several_streams(open_ones: int) -> None:
    talk = known()
    for number in range(open_ones):
        talk.opened(f"x{number}", Stream(f"x{number}"))
    x = exchange(PING, talk=talk)
    found = {"SEVERAL"} if open_ones > 1 else set()
    assert names(judge._of_event(notes(x), Event(None), None)) == {"TALK", "KNOWN"} | found


def test_an_event_of_no_session_is_known_by_its_body() -> None:
    x = exchange(PING)
    notes(x).traits = traits.POST | traits.PING | traits.REQUEST | traits.QUERY | traits.STATELESS
    assert names(judge._of_event(notes(x), Event(None, id="e1"), None)) == {"POST", "PING", "STATELESS"}
    assert names(judge._of_event(notes(x), Event(b"{}"), body(result(7)))) == {"POST", "PING", "STATELESS", "RESPONSE"}


# The end


def test_an_exchange_is_judged_at_its_end(trial: Trial) -> None:
    its = in_session()
    x = begun(trial, session=its, headers=NAMED, by=next(iter(its.owners)))
    trial.answer(answered(x, 200, result(7)))
    trial.chosen.finish.checks = BROKEN
    x.finish, x.finished_at, x.unread = Finish.COMPLETE, 110.0, True
    trial.finish(x)
    assert trial.chosen.finish.asked == [(AGREED, {"POST", "PING", "TALK", "KNOWN", "RESULTED"})]
    assert trial.found == came_of_it(110.0)
    assert trial.actions == [(*FAILED, 110.0, "x1")]
    assert trial.told[-1].clause == RULE.address(AGREED)
    assert notes(x).unread
    assert notes(x).over


def test_the_checks_see_an_end_before_it_is_remembered(trial: Trial) -> None:
    x, seen = begun(trial), list[Any]()
    trial.chosen.finish.checks = ((RULE, lambda x: seen.append(notes(x).over)),)
    trial.finish(x)
    assert seen == [False]


def test_what_was_withheld_is_told_in_the_end(trial: Trial) -> None:
    trial.chosen.request.checks = ((RULE, says(["wrong"] * 12)),)
    x = begun(trial)
    x.finished_at = 110.0
    trial.finish(x)
    assert trial.found[-1] == ("MCP104", "and 2 times more", 110.0)
    other = begun(trial)
    trial.rest(120.0)
    assert trial.found[-1] == ("MCP104", "and 2 times more", 120.0)
    assert other.finish is None


def test_what_an_exchange_is_like_in_the_end() -> None:
    kept = notes(exchange(PING))
    assert names(judge._at_end(kept)) == set()
    kept.traits = traits.POST | traits.REQUEST | traits.MISMATCHED | traits.CACHEABLE | traits.QUERY | traits.CALL
    assert names(judge._at_end(kept)) == {"POST", "MISMATCHED", "CACHEABLE", "CALL"}
    kept.talk, kept.stream, kept.resulted, kept.due = known(), Stream("x1"), True, {7}
    assert names(judge._at_end(kept)) == {
        "POST", "MISMATCHED", "CACHEABLE", "CALL", "TALK", "KNOWN", "STREAMED", "RESULTED", "DUE",
    }  # fmt: skip


# Sessions whose client is gone


def test_a_session_that_is_left_is_judged_by_its_revision(trial: Trial) -> None:
    its, seen = in_session(), list[Any]()
    trial.chosen.session.checks = (*BROKEN, (RULE, says(None, seen)))
    trial.told_lost(its, 90.0)
    trial.abandoned(its, 120.0)
    assert trial.chosen.session.seen == [AGREED]
    assert trial.found == came_of_it(120.0)
    assert trial.actions == [(*FAILED, 120.0, "")]
    assert seen == [((its, its.notes, 90.0, 120.0),)]
    assert {(r.session, r.flow, r.clause) for r in trial.told if isinstance(r, Violation)} == {
        (its.label, "", RULE.address(AGREED)),
        (its.label, "", OTHER.address(AGREED)),
    }


def test_a_session_of_an_unknown_revision_is_judged_by_what_holds_in_all(trial: Trial) -> None:
    its = in_session()
    its.revision = "2024-11-05"
    trial.chosen.session.checks = BROKEN
    trial.abandoned(its, 120.0)
    assert trial.chosen.session.seen == [""]
    assert trial.told[-1].level == RULE.level_in(None)
    assert trial.told[-1].clause == RULE.address()


def test_a_refusal_that_was_not_given_after_all_is_taken_back(trial: Trial) -> None:
    its = in_session()
    trial.told_lost(its, 90.0)
    assert its.notes.told_at == 90.0
    trial.never_told(its)
    assert its.notes.told_at is None


# Streams that stay open


def left_open(trial: Trial, id: str = "x1", at: float = 101.0) -> Exchange:
    """A request whose response came on a stream that goes on."""
    x = begun(trial, session=in_session(), id=id)
    answered(x, 200)
    x.answer, x.streamed = None, True
    trial.answer(x)
    trial.event(x, Event(b"{}"), body(result(7)), at)
    return x


LATE = ((catalogue()["MCP503"], says("open")), (RULE, says("wrong")))


def test_a_stream_is_looked_at_when_it_should_have_been_closed(trial: Trial) -> None:
    x = left_open(trial)
    trial.chosen.finish.checks = LATE
    trial.overdue(101.0 + LEFT_OPEN)
    assert trial.found == []
    trial.overdue(101.5 + LEFT_OPEN)
    assert trial.found == [("MCP503", "open", 101.5 + LEFT_OPEN)]
    assert trial.chosen.finish.asked == [(AGREED, {"POST", "PING", "TALK", "KNOWN", "STREAMED", "RESULTED"})]
    assert trial.told[-1].clause == catalogue()["MCP503"].address(AGREED)
    assert notes(x).left_open_said
    assert x.finished_at == 0.0
    trial.overdue(200.0)
    assert len(trial.found) == 1
    assert not trial._memory.lingering


def test_the_time_of_the_end_is_that_of_the_look(trial: Trial) -> None:
    x, seen = left_open(trial), list[Any]()
    trial.chosen.finish.checks = ((catalogue()["MCP503"], lambda x: seen.append(x.finished_at)),)
    x.finished_at = 5.0
    trial.overdue(200.0)
    assert (seen, x.finished_at) == ([200.0], 5.0)


def test_all_that_are_overdue_are_looked_at_the_oldest_first(trial: Trial) -> None:
    for number in (1, 2, 3):
        left_open(trial, f"x{number}", 100.0 + number)
    trial.chosen.finish.checks = LATE
    trial.overdue(102.5 + LEFT_OPEN)
    assert [r.flow for r in trial.told] == ["x1", "x2"]
    assert list(trial._memory.lingering) == ["x3"]


def test_another_request_is_the_occasion_for_it(trial: Trial) -> None:
    left_open(trial)
    trial.chosen.finish.checks = LATE
    begun(trial, at=101.0 + LEFT_OPEN)
    assert trial.found == []
    begun(trial, at=101.5 + LEFT_OPEN)
    assert [rule for rule, *_ in trial.found] == ["MCP503"]


def test_a_stream_that_is_not_judged_is_let_go(trial: Trial) -> None:
    first = left_open(trial)
    left_open(trial, "x2")
    first.attempts = 1
    trial.chosen.finish.checks = LATE
    trial.overdue(200.0)
    assert [r.flow for r in trial.told] == ["x2"]
    assert not notes(first).left_open_said
    assert not trial._memory.lingering


def test_what_was_withheld_of_what_is_over_is_told_in_time(trial: Trial) -> None:
    trial.chosen.request.checks = ((RULE, says(["wrong"] * 12)),)
    begun(trial)
    over = begun(trial, id="x2")
    over.finish = Finish.COMPLETE
    trial.overdue(150.0)
    assert [(r.flow, r.at) for r in trial.told if r.times > 1] == [("x2", 150.0)]


# Messages by themselves, later


class Later:
    """Keeps what is to be checked later."""

    def __init__(self, trial: Trial) -> None:
        self.all: list[Deferred] = []
        trial.later = self.all.append


def test_messages_of_a_request_are_looked_at_later(trial: Trial) -> None:
    later, check = Later(trial), says("wrong")
    of_client = trial.chosen.message[AGREED, "client"]
    of_client.checks = ((RULE, check, None), (OTHER, check, None))
    x = begun(trial, session=in_session())
    assert of_client.methods == ["ping"]
    one, two = later.all
    assert one[:8] == (RULE, check, x.message, AGREED, None, x, 100.0, x.body.size)
    assert two[:8] == (OTHER, check, x.message, AGREED, None, x, 100.0, x.body.size)
    assert one.key is not None
    assert one.key != two.key
    assert trial.found == []


def test_messages_of_an_answer_are_looked_at_by_what_they_answer(trial: Trial) -> None:
    later, check = Later(trial), says("wrong")
    of_server = trial.chosen.message[AGREED, "server"]
    of_server.checks = ((RULE, check, None),)
    x = begun(trial, request("tools/list", 7), session=in_session())
    trial.answer(answered(x, 200, result(7)))
    assert x.answer is not None
    (one,) = later.all
    assert one[:8] == (RULE, check, x.answer.first, AGREED, "tools/list", x, 101.0, x.answer.size)
    told = body(notification("notifications/message"))
    trial.event(x, Event(b"{}"), told, 103.0)
    assert later.all[1][:8] == (RULE, check, told.first, AGREED, None, x, 103.0, told.size)
    assert of_server.methods == ["tools/list", "notifications/message"]


def test_what_a_client_answers_is_known_by_what_it_was_asked(trial: Trial) -> None:
    later = Later(trial)
    of_client = trial.chosen.message[AGREED, "client"]
    of_client.checks = ((RULE, says(None), None),)
    its = in_session()
    its.notes.server_asked = Recent(2)
    its.notes.server_asked.put(9, "roots/list")
    begun(trial, result(9), session=its)
    assert (of_client.methods, later.all[0].answers) == (["roots/list"], "roots/list")


def test_nothing_is_looked_at_where_the_revision_is_not_known_or_nothing_was_read(trial: Trial) -> None:
    later = Later(trial)
    for one in trial.chosen.message.values():
        one.checks = ((RULE, says("wrong"), None),)
    begun(trial)
    x = exchange(PING, session=in_session())
    x.body.sniffed = True
    trial.request(x)
    trial.request(exchange([], session=in_session()))
    assert later.all == []


def test_only_what_there_is_to_look_at_is_looked_at(trial: Trial) -> None:
    later, asked = Later(trial), list[Any]()

    def when(*of: Any) -> bool:
        asked.append(of)
        return False

    trial.chosen.message[AGREED, "client"].checks = (
        (RULE, says("wrong"), when),
        (OTHER, says("wrong"), lambda *of: True),
    )
    x = begun(trial, session=in_session())
    assert asked == [(x, x.message)]
    assert [one.rule for one in later.all] == [OTHER]


def test_each_message_of_a_batch_is_looked_at_and_known_by_its_share_of_it(trial: Trial) -> None:
    later = Later(trial)
    trial.chosen.message[AGREED, "client"].checks = ((RULE, says(None), None),)
    x = begun(trial, [PING, request("ping", 8), notification("a")], session=in_session())
    assert [one.message for one in later.all] == list(x.body.messages)
    assert {one.size for one in later.all} == {x.body.size // 3}
    assert {one.key for one in later.all} == {None}, "they are judged together"


def test_an_answer_to_a_batch_is_matched_when_it_is_looked_at(trial: Trial) -> None:
    later, seen = Later(trial), list[Any]()
    server = catalogue()["MCP201"]
    assert server.party == "server"
    trial.chosen.message[AGREED, "server"].checks = ((server, says("wrong", seen), None),)
    x = begun(trial, [request("tools/list", 7), request("ping", 8)], session=in_session())
    trial.answer(answered(x, 200, [result(8), result(7)]))
    assert [one.answers for one in later.all] == [None, None]
    assert [one.make() for one in later.all] == ["wrong", "wrong"]
    assert [said.answers for (said,) in seen] == ["ping", "tools/list"]


def test_a_message_that_was_in_order_is_not_looked_at_again(trial: Trial) -> None:
    seen: list[Any] = []
    trial.chosen.message[AGREED, "client"].checks = ((RULE, says(None, seen), None), (OTHER, says("wrong", seen), None))
    for id in (7, 8):
        begun(trial, request("ping", id), session=in_session())
    assert len(seen) == 3, "what was wrong is told again"
    begun(trial, request("ping", 9, a=1), session=in_session())
    assert len(seen) == 5
    trial.limit((), Level.PRACTICE)
    trial._selection = trial.chosen  # type: ignore[assignment]
    begun(trial, request("ping", 7), session=in_session())
    assert len(seen) == 7


def test_the_same_words_are_looked_at_in_each_revision_and_as_an_answer_to_each_method(trial: Trial) -> None:
    seen: list[Any] = []
    for one in trial.chosen.message.values():
        one.checks = ((RULE, says(None, seen), None),)
    for method in ("tools/list", "tools/list", "ping"):
        x = exchange(request(method, 7), session=in_session())
        trial.request(x)
        trial.answer(answered(x, 200, result(7)))
    assert len(seen) == 2 + 2
    newer = in_session()
    newer.notes.judged_by = "2025-11-25"
    begun(trial, session=newer)
    assert len(seen) == 5


@pytest.mark.parametrize("rule", sorted(judge.ALONE))
def test_what_is_judged_by_what_was_said_before_is_looked_at_each_time(trial: Trial, rule: str) -> None:
    seen: list[Any] = []
    trial.chosen.message[AGREED, "client"].checks = ((catalogue()[rule], says(None, seen), None),)
    for id in (7, 8):
        begun(trial, request("ping", id), session=in_session())
    assert len(seen) == 2


def deferred(trial: Trial, verdict: Any, seen: list[Any] | None = None, **more: Any) -> Deferred:
    x = exchange(PING, session=in_session())
    made = Deferred(RULE, says(verdict, seen), x.body.messages[0], AGREED, "x/y", x, 100.0, 10, 17, trial._repeats)
    return made._replace(**more)


def test_a_check_that_is_made_later_sees_the_message(trial: Trial) -> None:
    seen: list[Any] = []
    it = deferred(trial, "wrong", seen)
    assert it.make() == "wrong"
    assert seen == [(Said(it.message, AGREED, "x/y", it.x),)]
    assert 17 not in trial._repeats
    assert deferred(trial, None).make() is None
    assert 17 in trial._repeats
    failed = deferred(trial, ValueError("odd"), key=18).make()
    assert isinstance(failed, ValueError)
    assert 18 not in trial._repeats
    assert deferred(trial, None, key=None).make() is None
    assert deferred(trial, "of a server", seen, rule=catalogue()["MCP201"]).make() == "of a server"
    assert seen[1][0].answers == "x/y", "it is known: it was no batch"


def test_what_came_of_it_is_told(trial: Trial) -> None:
    it = deferred(trial, None)
    trial.settle(it, "wrong")
    trial.settle(it, None)
    trial.settle(it, ValueError("odd"))
    assert trial.found == [("MCP104", "wrong", 100.0)]
    assert trial.actions == [(*FAILED, 100.0, "x1")]
    assert it.x.session is not None
    assert (trial.told[0].session, trial.told[0].flow) == (it.x.session.label, "x1")
    assert trial.told[0].clause == RULE.address(AGREED)
    trial.chosen.message[AGREED, "client"].rules.clear()
    trial.settle(it, "wrong")
    trial.settle(it, ValueError("odd"))
    assert len(trial.told) == 2, "it was silenced meanwhile"
    trial.chosen.message["2025-11-25", "client"].rules = {"MCP104"}
    trial.settle(it._replace(revision="2025-11-25"), "wrong")
    assert trial.told[2].clause == RULE.address("2025-11-25")


# What is answered


@pytest.mark.parametrize(
    ("sent", "told", "method"),
    [
        (PING, result(7), "ping"),
        (PING, error("no", 7), "ping"),
        (PING, result(8), None),
        (PING, result(None), None),
        (request("ping", None), result(None), None),
        (PING, request("x", 7), None),
        (PING, notification("x"), None),
        (notification("x"), result(7), None),
        ([PING, request("tools/list", 8)], result(8), "tools/list"),
        (request("tools/call", 7, task={}), result(7), None),
        (result(7), result(7), None),
    ],
)
def test_what_a_response_of_the_server_answers(sent: Any, told: Any, method: str | None) -> None:
    first = body(told).first
    assert first is not None
    assert judge._asked_by_client(exchange(sent), first) == method


@pytest.mark.parametrize(
    ("told", "shared", "method"),
    [
        (result(7), False, "roots/list"),
        (error("no", 7), False, "roots/list"),
        (result(7), True, None),
        (result(8), False, None),
        (result(9), False, None),
        (result([7]), False, None),
        (request("x", 7), False, None),
    ],
)
def test_what_a_response_of_the_client_answers(told: Any, shared: bool, method: str | None) -> None:
    talk = known(shared=shared)
    x, first = exchange(PING, talk=talk), message(**told)
    assert judge._asked_by_server(notes(x), first) is None
    talk.server_asked = Recent(3)
    talk.server_asked.put(7, "roots/list")
    talk.server_asked.put(9, "")
    assert judge._asked_by_server(notes(x), first) == method
    notes(x).talk = None
    assert judge._asked_by_server(notes(x), first) is None


# Which rules


def test_what_needs_an_extra_is_judged_where_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = next(rule for rule in catalogue().values() if rule.extra)
    for installed in (True, False):
        monkeypatch.setitem(judge.EXTRAS, extra.extra, [].__len__ if not installed else [1].__len__)
        made = Judge(lambda *_: None)
        rules = {rule_id for one in made._selection.message.values() for rule_id in one.rules}
        assert (extra.id in rules) is installed


def test_rules_can_be_silenced_and_limited_to_a_level() -> None:
    def judged(*silenced: str, level: Level | None = None) -> set[str]:
        made = Judge(lambda *_: None, silenced) if level is None else Judge(lambda *_: None, silenced, level)
        picked = made._selection.request[AGREED, (1 << 60) - 1], made._selection.request[AGREED, 0]
        return {rule.id for checks in (*picked, *made._selection.session.values()) for rule, _ in checks}

    assert "MCP308" in judged()
    assert "MCP308" not in judged("MCP308")
    practice = {rule.id for rule in catalogue().values() if rule.level is Level.PRACTICE}
    assert practice & judged()
    assert not practice & judged(level=Level.MUST)


def test_who_begins_remembers_nothing() -> None:
    trial = Trial()
    assert isinstance(trial._memory, Memory)
    assert isinstance(in_session().notes, Talk)
    assert not trial._memory.lingering
