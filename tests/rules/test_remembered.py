"""What the memory keeps of each step of an exchange: of its request, its answer, its events, its end."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.session import ID_LIMIT
from mcp_sessions.rules import memory as remembered
from mcp_sessions.rules.facts import Notes, Party, notes
from mcp_sessions.rules.memory import Memory
from mcp_sessions.rules.places import Place
from mcp_sessions.rules.tables import Recent
from mcp_sessions.rules.talks import PENDING_LIMIT, Stream, Talk, history
from mcp_sessions.wire.jsonrpc import dump
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

PING, CALL, LISTED = request("ping", 7), request("tools/call", 7, name="a"), request("tools/list", 7)
INITIALIZE = request("initialize", 0, protocolVersion=AGREED, capabilities={"roots": {}}, clientInfo={})
AGREEMENT = {"protocolVersion": AGREED, "capabilities": {"tools": {}}, "serverInfo": {}}
LOST = error("Session not found", 7)
NEVER = float("-inf")


class Kept(Memory):
    """A memory, told of exchanges in a few words."""

    def asks(self, sent: Any = PING, **how: Any) -> Exchange:
        x = exchange(sent, **how)
        self.requested(x, self.entered(x))
        return x

    def answers(self, x: Exchange, status: int = 200, told: Any = None, *, stream: bool = False, **how: Any) -> None:
        answered(x, status, told, **how)
        if stream:
            x.answer, x.streamed = None, True
        self.answered(x, notes(x))

    def event(self, x: Exchange, told: Any = None, at: float = 103.0, **fields: Any) -> None:
        read = body(told) if told is not None else None
        data = dump(told) if told is not None else None
        self.arrived(x, notes(x), Event(fields.pop("data", data), **fields), read, at)

    def ends(self, x: Exchange, how: Finish = Finish.COMPLETE, at: float = 110.0) -> None:
        x.finish, x.finished_at = how, at
        self.finished(x, notes(x))

    def initialized(self, sent: Any = INITIALIZE, *, opened: Any = None, told: Any = None, **how: Any) -> Exchange:
        """A handshake; what its answer assigns is told by `opened`."""
        x = self.asks(sent, **how)
        x.opened = opened
        headers = {"mcp-session-id": opened.client_id} if opened is not None else {}
        self.answers(x, 200, told or result(0, **AGREEMENT), headers=headers)
        return x


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def its() -> Any:
    """A session whose handshake was seen."""
    made = session(client(1))
    made.notes = known(revision=AGREED)
    return made


# A request is entered


def test_a_request_of_a_session_goes_on_with_its_talk(kept: Kept, its: Any) -> None:
    x = exchange(PING, session=its)
    found = kept.entered(x)
    assert found is x.notes
    assert found.place is kept.place(ENDPOINT)
    assert found.talk is its.notes
    assert (found.party, found.told_at, found.asked, found.untimed, found.mismatch) == (None, None, "", False, None)


def test_a_batch_of_a_session_may_be_asked_of_its_client(kept: Kept, its: Any) -> None:
    x = exchange([PING], session=its)
    found = kept.entered(x)
    assert found.party is kept.party(x.client, ENDPOINT)
    assert found.talk is its.notes


def test_who_was_told_of_the_loss_is_known(kept: Kept, its: Any) -> None:
    its.notes.lost_at = 90.0
    assert kept.entered(exchange(PING, session=its)).told_at is None
    its.notes.told_at = 91.0
    x = exchange(PING, session=its)
    found = kept.entered(x)
    assert found.told_at == 91.0
    assert found.party is kept.party(x.client, ENDPOINT)
    its.notes.lost_at = None
    found = kept.entered(exchange(PING, session=its))
    assert (found.told_at, found.party) == (None, None)


def test_an_initialize_in_a_session_is_of_its_client(kept: Kept, its: Any) -> None:
    its.notes.lost_at, its.notes.told_at = 90.0, 91.0
    x = exchange(INITIALIZE, session=its)
    found = kept.entered(x)
    assert found.party is kept.party(x.client, ENDPOINT)
    assert (found.talk, found.told_at, found.asked) == (its.notes, 91.0, AGREED)


def test_who_sends_no_id_goes_on_with_the_talk_without_one(kept: Kept) -> None:
    x = exchange(PING)
    party = kept.party(x.client, ENDPOINT)
    assert not party.before
    found = kept.entered(x)
    assert (found.party, found.talk, party.before) == (party, None, True)
    party.before, party.idless = False, Talk(Place())
    found = kept.entered(exchange(PING, by=x.client))
    assert (found.talk, party.before) == (party.idless, False)
    party.before = True
    kept.entered(exchange(PING, by=x.client))
    assert party.before


@pytest.mark.parametrize(("sent", "headers"), [(PING, {"mcp-session-id": "of-nobody"}), (INITIALIZE, {})])
def test_who_sends_an_id_or_begins_has_no_talk_without_one(kept: Kept, sent: Any, headers: dict[str, str]) -> None:
    x = exchange(sent, headers=headers)
    party = kept.party(x.client, ENDPOINT)
    party.idless = Talk(Place())
    found = kept.entered(x)
    assert (found.party, found.talk, party.before) == (party, None, False)


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        (INITIALIZE, AGREED),
        ([PING, INITIALIZE], AGREED),
        (request("initialize", 0), ""),
        (request("initialize", 0, protocolVersion=7), ""),
        (request("ping", 0, protocolVersion=AGREED), ""),
    ],
)
def test_the_version_that_is_asked_for(kept: Kept, sent: Any, asked: str) -> None:
    assert kept.entered(exchange(sent)).asked == asked


def test_what_was_recorded_without_times_says_so(kept: Kept) -> None:
    x = exchange(PING)
    x.untimed = True
    assert kept.entered(x).untimed
    assert "untimed" not in vars(kept.entered(exchange(PING)))


def test_a_stateless_request_is_compared_with_its_headers(kept: Kept, its: Any) -> None:
    x = exchange(PING, headers=STATELESS, session=its)
    found = kept.entered(x)
    assert found.mismatch is not None
    assert (found.talk, found.party) == (None, None)
    matching = {**STATELESS, "mcp-method": "ping"}
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    assert kept.entered(exchange(request("ping", 7, _meta=meta), headers=matching)).mismatch is None
    assert kept.entered(exchange(verb="GET", headers=STATELESS)).mismatch is None


# A request was looked at


def test_requests_are_due(kept: Kept, its: Any) -> None:
    x = kept.asks([PING, request("a", "8"), request("b", None), notification("c"), result(5)], session=its)
    assert notes(x).due == {7, "8"}
    assert its.notes.pending == {7: notes(x), "8": notes(x)}
    assert its.notes.ids.find(7).client is x.client
    assert its.notes.ids.find(5) is None
    assert len(its.notes.ids) == 2
    other = kept.asks(request("a", 9), session=its, by=client(2))
    assert (len(its.notes.ids), its.notes.ids.find(9).client) == (3, other.client)


def test_requests_of_no_session_are_due_as_well(kept: Kept) -> None:
    x = kept.asks(request("tools/call", 7, _meta={"progressToken": "t"}))
    assert notes(x).due == {7}
    assert list(notes(x).tokens or ()) == ["t"]
    assert notes(kept.asks(notification("a"))).due == frozenset()


def test_a_request_with_a_token_expects_progress(kept: Kept, its: Any) -> None:
    kept.asks(request("tools/call", 7, _meta={"progressToken": "t"}), session=its)
    assert its.notes.tokens["t"].active == 1
    kept.asks(request("tools/call", 8, _meta={}), session=its)
    assert list(its.notes.tokens) == ["t"]


def test_an_initialize_is_under_way(kept: Kept) -> None:
    other = kept.asks(by=client(2))
    x = kept.asks(INITIALIZE, at=100.0)
    party = kept.party(x.client, ENDPOINT)
    assert (party.initialize_at, dict(party.initializing)) == (100.0, {"x1": AGREED})
    assert list(kept._parties.values())[-1] is party, "it is the latest to be forgotten"
    kept.asks(INITIALIZE, by=other.client)
    assert list(kept._parties.values())[-1] is kept.party(other.client, ENDPOINT)
    assert {endpoint for _, endpoint in kept._parties} == {ENDPOINT}
    kept.asks(PING, by=x.client, at=105.0)
    assert party.initialize_at == 100.0


def test_an_initialize_without_times_is_not_waited_for(kept: Kept) -> None:
    x = exchange(INITIALIZE)
    x.untimed = True
    kept.requested(x, kept.entered(x))
    party = kept.party(x.client, ENDPOINT)
    assert (party.initialize_at, dict(party.initializing)) == (100.0, {})
    kept.answers(x, 200, result(0, **AGREEMENT))
    assert party.idless is not None
    kept.ends(x)
    assert dict(party.initializing) == {}


def test_an_answer_of_which_the_headers_are_not_known_assigns_nothing(kept: Kept) -> None:
    x = kept.asks(INITIALIZE)
    answered(x, 200, result(0, **AGREEMENT))
    x.answer_headers = None
    kept.answered(x, notes(x))
    assert kept.party(x.client, ENDPOINT).idless is notes(x).talk is not None


@pytest.mark.parametrize(
    ("sent", "verb", "told"),
    [
        (PING, "POST", {"used"}),
        (notification("notifications/roots/list_changed"), "POST", {"used"}),
        (result(7), "POST", {"used"}),
        (notification("notifications/initialized"), "POST", {"initialized"}),
        (notification("notifications/cancelled"), "POST", set()),
        (INITIALIZE, "POST", set()),
        ([notification("notifications/initialized"), PING], "POST", {"initialized", "used"}),
        (None, "POST", {"unread"}),
        (b"nonsense", "POST", {"unread"}),
        (None, "GET", set()),
        (PING, "GET", set()),
        (None, "DELETE", {"delete_sent"}),
    ],
)
def test_what_a_request_does_to_its_session(kept: Kept, its: Any, sent: Any, verb: str, told: set[str]) -> None:
    kept.asks(sent, verb=verb, session=its)
    talk = its.notes
    assert {name for name in ("used", "initialized", "unread", "delete_sent") if getattr(talk, name) is True} == told


def test_a_request_that_could_not_be_read_whole(kept: Kept, its: Any) -> None:
    x = exchange(PING, session=its)
    x.body.sniffed = True
    kept.requested(x, kept.entered(x))
    assert its.notes.unread
    assert its.notes.used


def test_what_a_server_asked_is_answered_once(kept: Kept, its: Any) -> None:
    its.notes.server_asked = Recent(3)
    for id in (5, 6):
        its.notes.server_asked.put(id, "roots/list")
    kept.asks([result(5), result(9), result(None), request("ping", 6)], session=its)
    assert list(its.notes.server_asked) == [6]


def test_who_cancels_a_request_does_not_wait_for_it(kept: Kept, its: Any) -> None:
    x, other = kept.asks(CALL, session=its), kept.asks(request("ping", 8), session=its)
    kept.asks(notification("notifications/cancelled", requestId=99), session=its)
    kept.asks(notification("notifications/cancelled", requestId=[7]), session=its)
    assert not notes(x).cancelled
    kept.asks(notification("notifications/cancelled", requestId=7), session=its)
    assert notes(x).cancelled
    assert not notes(other).cancelled


def test_credentials_are_noted_as_they_change(kept: Kept, its: Any) -> None:
    for at, credentials in ((100.0, "a"), (101.0, "a"), (102.0, "b")):
        x = exchange(PING, session=its, at=at)
        x.credentials = credentials
        kept.requested(x, kept.entered(x))
    assert (its.notes.credentials, its.notes.replaced) == ("b", {"a": 102.0})
    party = kept.party(client(1), ENDPOINT)
    party.idless = Talk(Place())
    x = exchange(PING)
    x.credentials = "c"
    kept.requested(x, kept.entered(x))
    assert party.idless.credentials is None, "without a session there is nobody to share it with"


def test_what_is_sent_again_is_due_once_more(kept: Kept, its: Any) -> None:
    x = kept.asks([PING, request("a", 8), request("b", None), notification("c")], session=its)
    kept.answers(x, 404, LOST)
    assert notes(x).due == frozenset()
    its.notes.resent = False
    x.attempts, its.generation = 1, 1
    kept.sent_again(x)
    assert (notes(x).due, notes(x).attempts) == ({7, 8}, 1)
    assert (its.notes.resent, its.notes.generation) == (True, 1)
    assert its.notes.pending == {7: notes(x), 8: notes(x)}
    waiting = its.notes.pending[7]
    kept.sent_again(x)
    assert its.notes.pending[7] is waiting


def test_what_is_due_still_is_not_asked_twice(kept: Kept, its: Any) -> None:
    x = kept.asks(request("tools/call", 7, _meta={"progressToken": "t"}), session=its)
    kept.sent_again(x)
    assert its.notes.tokens["t"].active == 1
    lonely = kept.asks(CALL)
    lonely.attempts = 2
    kept.sent_again(lonely)
    assert notes(lonely).attempts == 2


# What kind of server it is


@pytest.mark.parametrize(
    ("told", "modern", "only"),
    [
        (result(7), False, False),
        (result(7, resultType="complete"), True, False),
        (result(7, resultType=7), False, False),
        (result(7, supportedVersions=["2026-07-28"]), True, True),
        (result(7, supportedVersions=["2027-01-01"]), False, True),
        (result(7, supportedVersions=["2025-11-25", "2026-07-28"]), True, False),
        (result(7, supportedVersions=["2026-07-28", 7]), True, False),
        (result(7, supportedVersions=[]), False, False),
        (result(7, supportedVersions="2026-07-28"), False, False),
        (result(7, supported=["2026-07-28"]), False, False),
        (error("no", 7), False, False),
        (error("no", 7, -32020), True, False),
        (error("no", 7, -32021), True, False),
        (error("no", 7, -32022), True, False),
        (error("no", 7, -32023), False, False),
        (error("no", 7, -32600, data={"supported": ["2026-07-28"]}), True, True),
        (error("no", 7, -32600, data={"supported": ["2025-11-25"]}), False, False),
        (error("no", 7, -32022, data={"supported": ["2025-11-25"]}), True, False),
        (error("no", 7, -32600, data=["2026-07-28"]), False, False),
        (notification("x"), False, False),
    ],
)
def test_what_a_message_shows_of_its_server(kept: Kept, told: Any, modern: bool, only: bool) -> None:
    found = Notes(kept.place(ENDPOINT))
    kept.learn(found, message(**told))
    assert (found.place.modern, found.place.only_modern) == (modern, only)


def test_a_server_that_is_known_as_modern_stays_so(kept: Kept) -> None:
    found = Notes(Place(modern=True, only_modern=True))
    kept.learn(found, message(**result(7)))
    assert found.place.modern
    assert found.place.only_modern, "it was not asked"
    kept.learn(found, message(**result(7, supportedVersions=["2025-11-25"])))
    assert (found.place.modern, found.place.only_modern) == (True, False)


# An answer was looked at


def test_a_response_is_not_due_any_more(kept: Kept, its: Any) -> None:
    x = kept.asks(request("tools/call", 7, _meta={"progressToken": "t"}), session=its)
    kept.answers(x, 200, result(7), at=101.0)
    found, token = notes(x), its.notes.tokens["t"]
    assert (found.due, found.resulted, found.responded_at) == (frozenset(), True, 101.0)
    assert (its.notes.pending, its.notes.called, its.notes.worked) == (None, 1, 1)
    assert (token.active, token.ended_at, token.ended_on) == (0, 101.0, "x1")
    assert not kept.lingering


@pytest.mark.parametrize(
    ("told", "due", "resulted"),
    [
        (result(7), set(), True),
        (error("no", 7), set(), False),
        (result(8), {7}, False),
        (result("7"), {7}, False),
        (result(None), {7}, False),
        (notification("a"), {7}, False),
        (request("a", 7), {7}, False),
        ([notification("a"), result(7)], set(), True),
        (None, {7}, False),
    ],
)
def test_what_is_still_due(kept: Kept, its: Any, told: Any, due: set[Any], resulted: bool) -> None:
    x = kept.asks(CALL, session=its)
    kept.answers(x, 200, told)
    assert (notes(x).due, notes(x).resulted) == (due, resulted)
    assert notes(x).responded_at == (None if due else 101.0)
    assert its.notes.called == (0 if due else 1)


def test_a_ping_is_no_call(kept: Kept, its: Any) -> None:
    kept.answers(kept.asks(PING, session=its), 200, result(7))
    assert its.notes.called == 0
    kept.answers(kept.asks(CALL, session=its), 400, error("no", 7))
    assert its.notes.called == 0
    for called in (1, 2):
        kept.answers(kept.asks(CALL, session=its), 200, error("no", 7))
        assert its.notes.called == called


def test_all_of_a_batch_have_to_be_answered(kept: Kept, its: Any) -> None:
    x = kept.asks([PING, request("a", 8)], session=its)
    kept.answers(x, 200, [result(8)], at=101.0)
    assert (notes(x).due, notes(x).responded_at) == ({7}, None)
    assert set(its.notes.pending) == {7}


def test_a_response_may_come_on_another_exchange(kept: Kept, its: Any) -> None:
    x = kept.asks(request("tools/call", 7, _meta={"progressToken": "t"}), session=its, id="x1")
    other = kept.asks(request("tools/call", 8), session=its, id="x2")
    kept.answers(other, 200, stream=True)
    kept.event(other, result(7), at=103.0)
    assert (notes(x).due, notes(x).resulted, notes(x).responded_at) == (frozenset(), True, None)
    assert (notes(other).due, notes(other).resulted) == ({8}, False)
    assert (its.notes.tokens["t"].ended_on, its.notes.tokens["t"].ended_at) == ("x2", 103.0)
    assert set(its.notes.pending) == {8}
    assert its.notes.called == 0


def test_what_a_server_asks_is_remembered_with_its_method(kept: Kept, its: Any) -> None:
    x = kept.asks(CALL, session=its)
    kept.answers(x, 200, stream=True)
    assert not its.notes.server_asked
    for told in (
        request("roots/list", 1),
        request("sampling/createMessage", 2, task={}),
        request("roots/list", 3),
        request("roots/list", 3),
        request("roots/list", 4),
        request("elicitation/create", 4),
        request("roots/list", [5]),
        request("", 8),
        notification("notifications/message"),
        result(6),
    ):
        kept.event(x, told)
    asked = its.notes.server_asked
    assert dict(asked) == {1: "roots/list", 2: "", 3: "roots/list", 4: "", 8: ""}
    assert asked.limit == PENDING_LIMIT
    lonely = kept.asks(CALL)
    kept.answers(lonely, 200, request("roots/list", 1))


@pytest.mark.parametrize(
    ("verb", "headers", "resumes"),
    [
        ("POST", {}, False),
        ("GET", {}, False),
        ("GET", {"last-event-id": "e1"}, True),
        ("POST", {"last-event-id": "e1"}, False),
    ],
)
def test_a_stream_is_open(kept: Kept, its: Any, verb: str, headers: dict[str, str], resumes: bool) -> None:
    x = kept.asks(CALL if verb == "POST" else None, verb=verb, session=its, headers=headers)
    kept.answers(x, 200, stream=True)
    stream = notes(x).stream
    assert stream is not None
    assert (stream.exchange, stream.resumes) == ("x1", resumes)
    assert its.notes.open == {"x1": stream}
    assert not its.notes.resent


def test_a_get_that_is_answered_by_a_stream_is_a_use(kept: Kept, its: Any) -> None:
    for verb, status, stream, used in (
        ("GET", 200, False, False),
        ("DELETE", 200, True, False),
        ("GET", 405, True, False),
        ("GET", 200, True, True),
    ):
        kept.answers(kept.asks(None, verb=verb, session=its), status, stream=stream)
        assert its.notes.used is used, verb


def test_a_stream_that_was_refused_is_none(kept: Kept, its: Any) -> None:
    x = kept.asks(CALL, session=its)
    kept.answers(x, 400, stream=True)
    assert (notes(x).stream, its.notes.open) == (None, None)


def test_a_stream_that_is_compressed_may_pass_unread(kept: Kept, its: Any) -> None:
    kept.answers(kept.asks(CALL, session=its), 200, stream=True, headers={"content-encoding": "gzip"})
    assert its.notes.resent
    kept.answers(kept.asks(CALL, session=its), 200, stream=True)
    assert its.notes.resent, "the other one has passed"
    lonely = kept.asks(CALL)
    kept.answers(lonely, 200, stream=True)
    assert notes(lonely).stream is not None


# Successes and refusals


def lose(its: Any) -> None:
    its.notes.lost_at, its.notes.told_at = 90.0, 91.0
    history(its.notes).doubted = True


def test_a_success_shows_that_a_session_works(kept: Kept, its: Any) -> None:
    lose(its)
    kept.answers(kept.asks(CALL, session=its), 200, result(7))
    assert (its.notes.worked, its.notes.lost_at, its.notes.told_at) == (1, None, None)
    assert not its.notes.history.doubted
    kept.answers(kept.asks(CALL, session=its), 200, result(7))
    assert its.notes.worked == 2


@pytest.mark.parametrize("sent", [notification("notifications/initialized"), INITIALIZE])
def test_the_handshake_alone_shows_nothing_of_it(kept: Kept, its: Any, sent: Any) -> None:
    lose(its)
    x = kept.asks(sent, session=its)
    kept.answers(x, 202)
    assert (its.notes.worked, its.notes.lost_at) == (0, 90.0)
    assert its.notes.told_at == (None if sent["method"] != "initialize" else 91.0)


def test_what_a_server_answers_to_a_delete_does_not_take_the_loss_back(kept: Kept, its: Any) -> None:
    lose(its)
    kept.answers(kept.asks(None, verb="DELETE", session=its), 200)
    assert (its.notes.lost_at, its.notes.told_at) == (None, 91.0)


def test_a_success_in_words_of_a_loss_is_none(kept: Kept, its: Any) -> None:
    lose(its)
    x = kept.asks(CALL, session=its)
    x.dialect = "some"
    kept.answers(x, 200, error("Session not found", None))
    assert its.notes.told_at == 91.0
    assert its.notes.history.doubted


def test_words_of_a_loss_are_doubts(kept: Kept, its: Any) -> None:
    x = kept.asks(CALL, session=its)
    kept.answers(x, 400, error("Session not found", None))
    assert its.notes.history.doubted
    assert its.notes.lost_at is None
    kept.answers(kept.asks(CALL, session=its), 400, error("bad", 7))
    assert its.notes.history.doubted


@pytest.mark.parametrize(
    ("verb", "sent", "told", "lost", "plainly"),
    [
        ("POST", CALL, LOST, True, True),
        ("POST", CALL, None, True, False),
        ("POST", CALL, error("no such tool", 7), False, False),
        ("GET", None, LOST, True, True),
        ("GET", None, None, False, False),
        ("DELETE", None, LOST, False, False),
        ("POST", INITIALIZE, LOST, False, False),
    ],
)
def test_a_404_tells_of_a_loss(
    kept: Kept, its: Any, verb: str, sent: Any, told: Any, lost: bool, plainly: bool
) -> None:
    kept.answers(kept.asks(sent, verb=verb, session=its), 404, told, at=101.0)
    assert (its.notes.lost_at, its.notes.lost_plainly) == (101.0 if lost else None, plainly)
    refused = its.notes.history.get_404_at if its.notes.history else None
    assert refused == (101.0 if verb == "GET" and not lost else None)


def test_the_first_404_counts(kept: Kept, its: Any) -> None:
    kept.answers(kept.asks(CALL, session=its), 404, None, at=101.0)
    kept.answers(kept.asks(CALL, session=its), 404, LOST, at=105.0)
    assert (its.notes.lost_at, its.notes.lost_plainly) == (101.0, False)


@pytest.mark.parametrize(
    ("status", "resumes", "stranger", "said"),
    [(404, False, False, True), (404, True, False, False), (404, False, True, False), (405, False, False, False)],
)
def test_a_get_that_is_refused_with_404(
    kept: Kept, its: Any, status: int, resumes: bool, stranger: bool, said: bool
) -> None:
    x = kept.asks(None, verb="GET", session=its, headers={"last-event-id": "e1"} if resumes else {})
    x.stranger = stranger
    kept.answers(x, status)
    assert (its.notes.history is not None and its.notes.history.get_404_at is not None) is said


def test_a_404_of_no_session_says_nothing(kept: Kept) -> None:
    party = kept.party(client(1), ENDPOINT)
    party.idless = Talk(Place())
    kept.answers(kept.asks(CALL), 404, LOST)
    kept.answers(kept.asks(None, verb="GET"), 404)
    assert (party.idless.lost_at, party.idless.history) == (None, None)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 408, 409, 429, 499, 500, 503])
def test_who_was_refused_unprocessed_may_ask_again_by_the_same_id(kept: Kept, its: Any, status: int) -> None:
    x = kept.asks(CALL, session=its)
    kept.answers(x, status, error("no", 7) if status != 200 else result(7))
    refused = status in (401, 403, 404, 408, 429, 500, 503)
    assert its.notes.ids.find(7).refused == (hash(dump(CALL)) if refused else None)


def test_what_was_not_read_is_not_compared(kept: Kept, its: Any) -> None:
    x = kept.asks([CALL, request("ping", None)], session=its)
    x.body.sniffed = True
    kept.answers(x, 503)
    assert its.notes.ids.find(7).refused is None
    kept.answers(kept.asks(notification("a"), session=session(client(1), id="another-session-id")), 503)


@pytest.mark.parametrize(("status", "over"), [(202, False), (399, False), (400, True), (404, True), (500, True)])
def test_nobody_waits_after_a_refusal(kept: Kept, its: Any, status: int, over: bool) -> None:
    x = kept.asks(request("tools/call", 7, _meta={"progressToken": "t"}), session=its)
    kept.answers(x, status, at=101.0)
    assert (not notes(x).due, its.notes.pending is None) == (over, over)
    token = its.notes.tokens["t"]
    assert (token.active, token.ended_at, token.ended_on) == ((0, 101.0, "x1") if over else (1, 0.0, ""))


def test_a_refusal_ends_all_requests_of_its_exchange_and_no_other(kept: Kept, its: Any) -> None:
    x = kept.asks([CALL, request("ping", 8)], session=its)
    other = kept.asks(request("ping", 9), session=its)
    kept.answers(x, 500)
    assert its.notes.pending == {9: notes(other)}
    x.notes = found = Notes(Place())
    found.due = {7}
    kept._over(found, 101.0, "x1")
    assert found.due == frozenset()


@pytest.mark.parametrize(
    ("verb", "status", "refuses"),
    [("DELETE", 405, True), ("DELETE", 501, True), ("DELETE", 404, False), ("DELETE", 200, False), ("GET", 405, False)],
)
def test_a_server_may_refuse_to_end_sessions(kept: Kept, its: Any, verb: str, status: int, refuses: bool) -> None:
    kept.answers(kept.asks(None, verb=verb, session=its), status)
    assert kept.place(ENDPOINT).refuses_delete is refuses


def test_no_answer_at_all_is_no_refusal(kept: Kept, its: Any) -> None:
    x = kept.asks(CALL, session=its)
    kept.answered(x, notes(x))
    assert notes(x).due == {7}


# Handshakes


def test_an_id_that_is_assigned(kept: Kept) -> None:
    its = session(client(1))
    x = kept.initialized(opened=its)
    place, party = kept.place(ENDPOINT), kept.party(x.client, ENDPOINT)
    assert place.assigns
    assert (list(place.latest), list(place.handed_out)) == ([its.client_id], [hash(its.client_id)])
    assert (party.opened_at, party.renewed_at, party.renewed, party.settled) == (101.0, NEVER, "", True)
    assert dict(party.initializing) == {}
    talk = its.notes
    assert isinstance(talk, Talk)
    assert notes(x).talk is talk
    assert (talk.known_at, talk.connection, talk.revision, talk.judged_by) == (101.0, "c1", AGREED, AGREED)
    assert talk.server_can == {"tools"}
    assert talk.client_can == {"roots"}
    assert talk.ids is not None
    found = talk.ids.find(0)
    assert found is not None
    assert found.client is x.client
    assert not talk.shared
    assert talk.open is None
    assert talk.called == 0


@pytest.mark.parametrize(
    ("version", "revision", "judged_by"),
    [("2025-03-26", "2025-03-26", "2025-03-26"), ("2024-11-05", "2024-11-05", None), (7, "", None), (None, "", None)],
)
def test_the_version_that_is_agreed_upon(kept: Kept, version: Any, revision: str, judged_by: str | None) -> None:
    its = session(client(1))
    kept.initialized(opened=its, told=result(0, protocolVersion=version))
    assert isinstance(its.notes, Talk)
    assert (its.notes.revision, its.notes.judged_by, its.notes.server_can) == (revision, judged_by, frozenset())


@pytest.mark.parametrize(
    ("status", "given", "assigns", "latest"),
    [
        (200, "a-new-id", True, ["a-new-id"]),
        (200, " a-new-id\t", True, [" a-new-id\t"]),
        (200, " \t", False, []),
        (200, "", False, []),
        (200, None, False, []),
        (200, "a" * ID_LIMIT, True, ["a" * ID_LIMIT]),
        (200, "a" * (ID_LIMIT + 1), True, []),
        (400, "a-new-id", False, []),
    ],
)
def test_what_counts_as_an_id(kept: Kept, status: int, given: str | None, assigns: bool, latest: list[str]) -> None:
    x = kept.asks(INITIALIZE)
    answered(x, status, result(0, **AGREEMENT))
    if given is not None:
        x.answer_headers = exchange(None, headers={"mcp-session-id": given}).headers
        if x.answer_headers.get("mcp-session-id") != given:
            latest = [x.answer_headers["mcp-session-id"]] if latest else []
    kept.answered(x, notes(x))
    place = kept.place(ENDPOINT)
    assert (place.assigns, list(place.latest)) == (assigns, latest)
    assert len(place.handed_out) == len(latest)


def test_only_an_initialize_is_assigned_an_id(kept: Kept) -> None:
    kept.answers(kept.asks(PING), 200, result(7), headers={"mcp-session-id": "a-new-id"})
    assert not kept.place(ENDPOINT).assigns


def test_who_is_initialized_again_is_given_what_it_has(kept: Kept) -> None:
    x = kept.asks(INITIALIZE)
    kept.answers(x, 200, result(0, **AGREEMENT), headers={"mcp-session-id": "an-old-id"}, at=101.0)
    party = kept.party(x.client, ENDPOINT)
    assert (party.opened_at, party.renewed_at, party.renewed) == (NEVER, 101.0, "an-old-id")
    assert (party.idless, party.settled, notes(x).talk) == (None, False, None)
    assert dict(party.initializing) == {}


def test_a_server_without_sessions(kept: Kept) -> None:
    x = kept.initialized()
    party = kept.party(x.client, ENDPOINT)
    talk = party.idless
    assert talk is not None
    assert notes(x).talk is talk
    assert (talk.place, talk.shared, talk.known_at, talk.revision) == (kept.place(ENDPOINT), False, 101.0, AGREED)
    assert not party.settled
    again = kept.initialized(by=x.client)
    assert talk.shared, "there may be two in that process"
    assert party.idless is notes(again).talk is not talk
    assert party.idless is not None
    assert party.idless.shared


@pytest.mark.parametrize(("pid", "before", "shared"), [(1, False, False), (1, True, True), (None, False, True)])
def test_without_an_id_others_may_be_behind_it(kept: Kept, pid: int | None, before: bool, shared: bool) -> None:
    by = client(pid)
    kept.party(by, ENDPOINT).before = before
    talk = notes(kept.initialized(by=by)).talk
    assert talk is not None
    assert talk.shared is shared


@pytest.mark.parametrize(("status", "told"), [(200, error("no", 0)), (400, result(0, **AGREEMENT)), (200, result(1))])
def test_a_handshake_that_did_not_succeed_begins_nothing(kept: Kept, status: int, told: Any) -> None:
    x = kept.asks(INITIALIZE)
    kept.answers(x, status, told)
    party = kept.party(x.client, ENDPOINT)
    assert (party.idless, notes(x).talk) == (None, None)
    assert dict(party.initializing) == {"x1": AGREED}


def test_a_handshake_on_a_stream(kept: Kept) -> None:
    its = session(client(1))
    x = kept.asks(INITIALIZE)
    x.opened = its
    kept.answers(x, 200, stream=True, headers={"mcp-session-id": its.client_id})
    assert its.notes is None
    kept.event(x, result(0, **AGREEMENT), at=103.0)
    talk = its.notes
    assert isinstance(talk, Talk)
    assert (talk.known_at, talk.open) == (103.0, {"x1": notes(x).stream})
    assert list(kept.lingering) == ["x1"]


@pytest.mark.parametrize("id", [None, [1], 1.5])
def test_a_handshake_by_an_odd_id_is_not_waited_for(kept: Kept, id: Any) -> None:
    x = kept.asks({**INITIALIZE, "id": id})
    kept.answers(x, 200, result(id, **AGREEMENT))
    assert notes(x).talk is None


def test_a_list_of_tools_is_remembered_of_a_stateless_server_alone(kept: Kept) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "A"}}}
    told = result(7, tools=[{"name": "one", "inputSchema": schema}])
    kept.answers(kept.asks(LISTED), 200, told)
    kept.answers(kept.asks(PING, headers=STATELESS), 200, told)
    kept.answers(kept.asks(LISTED, headers=STATELESS), 200, error("no", 7))
    place = kept.place(ENDPOINT)
    assert not place.tools
    x = kept.asks(LISTED, headers=STATELESS)
    kept.answers(x, 200, told)
    assert [name for _, name in place.tools] == ["one"]
    mirrored = {**STATELESS, "mcp-method": "tools/call", "mcp-name": "one"}
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    call = request("tools/call", 8, name="one", arguments={"a": "x"}, _meta=meta)
    assert kept.entered(exchange(call, headers=mirrored)).mismatch is not None
    assert kept.entered(exchange(call, headers={**mirrored, "mcp-param-a": "x"})).mismatch is None
    kept.answers(x, 200, stream=True)
    kept.event(x, notification("notifications/tools/list_changed"))
    assert not place.tools


# Streams


def streaming(kept: Kept, its: Any, sent: Any = CALL, **how: Any) -> Exchange:
    x = kept.asks(sent, session=its, **how)
    kept.answers(x, 200, stream=True)
    return x


def test_events_are_known_by_their_ids(kept: Kept, its: Any) -> None:
    x = streaming(kept, its)
    stream = notes(x).stream
    assert stream is not None
    kept.event(x, id="e1", data=b"one")
    kept.event(x, id="", data=b"two")
    kept.event(x, data=b"three")
    kept.event(x, id="e2", retry=500)
    kept.event(x, id="e3")
    assert (stream.ids, stream.retry) == (3, 500)
    assert set(its.notes.event_ids) == {"e1", "e2", "e3"}
    assert its.notes.seen("e1") == (hash(b"one"), stream)
    lonely = kept.asks(CALL)
    kept.answers(lonely, 200, stream=True)
    kept.event(lonely, id="e1", retry=7)
    own = notes(lonely).stream
    assert own is not None
    assert (own.ids, own.retry) == (1, 7)


def test_a_stream_that_goes_on_after_its_response_is_looked_at_later(kept: Kept, its: Any) -> None:
    x = streaming(kept, its)
    kept.event(x, notification("a"), at=102.0)
    assert not kept.lingering
    kept.event(x, result(7), at=103.0)
    assert kept.lingering == {"x1": x}
    assert kept.lingering.limit == remembered.LINGERING_LIMIT
    assert notes(x).responded_at == 103.0
    kept.ends(x)
    assert not kept.lingering


def test_without_times_nobody_knows_how_long_it_has_gone_on(kept: Kept, its: Any) -> None:
    x = streaming(kept, its)
    notes(x).untimed = True
    kept.event(x, result(7))
    assert not kept.lingering


def test_progress_is_told_of(kept: Kept, its: Any) -> None:
    x = streaming(kept, its, request("tools/call", 7, _meta={"progressToken": "t"}))
    kept.event(x, notification("notifications/progress", progressToken="t", progress=3))
    kept.event(x, notification("notifications/message", progressToken="t", progress=5))
    assert its.notes.tokens["t"].last == 3
    kept.event(x, [notification("notifications/progress", progressToken="t", progress=n) for n in (6, 4)])
    assert its.notes.tokens["t"].last == 6


# The end


@pytest.mark.parametrize("how", [Finish.COMPLETE, Finish.CLIENT, Finish.SERVER])
def test_a_stream_is_over(kept: Kept, its: Any, how: Finish) -> None:
    x = streaming(kept, its)
    kept.ends(x, how, 110.0)
    stream = notes(x).stream
    assert stream is not None
    assert (notes(x).over, stream.ended_at, stream.by_client) == (True, 110.0, how is Finish.CLIENT)
    assert its.notes.open is None


def test_what_is_no_stream_closes_none(kept: Kept, its: Any) -> None:
    its.notes.opened("x1", Stream("x1"))
    kept.lingering.put("x1", kept.asks(PING))
    x = kept.asks(CALL, session=its)
    kept.answers(x, 200, result(7))
    kept.ends(x)
    assert set(its.notes.open) == {"x1"}
    assert set(kept.lingering) == {"x1"}


def test_an_initialize_that_is_over_is_not_under_way(kept: Kept) -> None:
    x = kept.asks(INITIALIZE)
    party = kept.party(x.client, ENDPOINT)
    party.initializing.put("x0", AGREED)
    kept.ends(x)
    assert list(party.initializing) == ["x0"]
    assert party.opened_at == NEVER


def test_a_session_whose_opening_was_cut_off_was_opened_all_the_same(kept: Kept) -> None:
    for opened_at, expected in ((NEVER, 101.0), (105.0, 105.0)):
        x = kept.asks(INITIALIZE)
        party = kept.party(x.client, ENDPOINT)
        party.opened_at, x.opened, x.answered_at = opened_at, session(), 101.0
        kept.ends(x, Finish.SERVER)
        assert party.opened_at == expected
    other = kept.asks(PING)
    party.opened_at, other.opened, other.answered_at = 1.0, session(), 101.0
    kept.ends(other)
    assert party.opened_at == 1.0


@pytest.mark.parametrize(
    ("how", "responded", "refused"),
    [
        (Finish.CLIENT, False, True),
        (Finish.SERVER, False, True),
        (Finish.COMPLETE, False, False),
        (Finish.CLIENT, True, False),
    ],
)
def test_what_was_cut_off_may_be_sent_again(kept: Kept, its: Any, how: Finish, responded: bool, refused: bool) -> None:
    x = streaming(kept, its)
    if responded:
        x.response = message(**result(7))
    kept.ends(x, how)
    assert (its.notes.ids.find(7).refused is not None) is refused


@pytest.mark.parametrize(
    ("verb", "status", "how", "before", "deleted_at"),
    [
        ("DELETE", 200, Finish.COMPLETE, None, 110.0),
        ("DELETE", 204, Finish.COMPLETE, 50.0, 50.0),
        ("DELETE", 405, Finish.COMPLETE, None, None),
        ("DELETE", 200, Finish.CLIENT, None, None),
        ("GET", 200, Finish.COMPLETE, None, None),
    ],
)
def test_a_session_is_deleted_when_that_was_answered_in_full(
    kept: Kept, its: Any, verb: str, status: int, how: Finish, before: float | None, deleted_at: float | None
) -> None:
    its.notes.deleted_at = before
    x = kept.asks(None, verb=verb, session=its)
    kept.answers(x, status)
    kept.ends(x, how, 110.0)
    assert its.notes.deleted_at == deleted_at


@pytest.mark.parametrize(
    ("sent", "status", "told_at", "left"),
    [
        (CALL, 200, 90.0, None),
        (CALL, 200, 101.0, None),
        (CALL, 200, 101.5, 101.5),  # it was told after that
        (CALL, 404, 90.0, 90.0),
        (INITIALIZE, 200, 90.0, 90.0),
    ],
)
def test_a_session_that_turns_out_later_to_be_its_own_works_too(
    kept: Kept, sent: Any, status: int, told_at: float, left: float | None
) -> None:
    x = kept.asks(sent, headers={"mcp-session-id": "one-two-three-four-five"})
    kept.answers(x, status, stream=True, at=101.0)
    its = x.session = session(client(1))
    its.notes = known(told_at=told_at)
    kept.ends(x)
    assert isinstance(its.notes, Talk)
    assert its.notes.told_at == left
    assert its.notes.deleted_at is None


def test_who_is_of_no_session_in_the_end_changes_none(kept: Kept) -> None:
    x = kept.asks(CALL, headers={"mcp-session-id": "one-two-three-four-five"})
    kept.answers(x, 200, result(7))
    kept.ends(x)
    x.session = session(client(1))
    kept.ends(x)
    assert x.session.notes is None


@pytest.mark.parametrize(
    ("verb", "status", "dialect", "stream", "succeeded"),
    [
        ("POST", 200, "", False, True),
        ("POST", 400, "", False, False),
        ("POST", 200, "some", False, False),
        ("DELETE", 200, "", False, False),
        ("DELETE", 200, "", True, True),
        ("GET", 200, "", True, True),
    ],
)
def test_what_shows_that_a_session_works(verb: str, status: int, dialect: str, stream: bool, succeeded: bool) -> None:
    x = exchange(None, verb=verb)
    x.status, x.dialect, x.streamed = status, dialect, stream
    assert remembered._succeeded(x) is succeeded


def test_who_begins_has_nothing_behind() -> None:
    party = Party()
    assert (party.initialize_at, party.opened_at, party.renewed_at, party.before) == (NEVER, NEVER, NEVER, False)
