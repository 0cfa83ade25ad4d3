"""What an exchange is like, bit by bit: what holds, and its near miss."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.rules import traits
from mcp_sessions.rules.facts import Notes, Party, notes, revision_of, talk_of
from mcp_sessions.rules.places import Place
from mcp_sessions.rules.tables import Recent
from mcp_sessions.rules.talks import Talk, history
from mcp_sessions.wire.jsonrpc import Body
from rules.built import (
    LATEST,
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

NAMES = {
    getattr(traits, name): name
    for name in vars(traits)
    if name.isupper() and isinstance(getattr(traits, name), int) and not name.startswith("_") and name != "METHODS"
}


def names(found: int) -> set[str]:
    """The bits that are set, less the conditions on headers."""
    return {name for bit, name in NAMES.items() if found & bit}


def asked(sent: Any = None, **how: Any) -> set[str]:
    x = exchange(sent, **how)
    return names(traits.of_request(x, notes(x)))


def test_no_two_have_the_same_bit() -> None:
    assert len(NAMES) == 42
    assert all(bit.bit_count() == 1 and bit < 1 << 48 for bit in NAMES)


# What a body holds


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (request("ping"), {"REQUEST"}),
        (notification("x"), {"NOTIFICATION"}),
        (result(1), {"RESPONSE"}),
        (error("no"), {"RESPONSE"}),
        ({"id": 1}, {"INVALID"}),
        (7, {"INVALID"}),
        (b"nonsense", {"PROBLEM"}),
        (b"", {"PROBLEM"}),
        ([], {"PROBLEM", "BATCH"}),
        ([request("ping"), notification("x"), 7], {"BATCH", "REQUEST", "NOTIFICATION", "INVALID"}),
        (request("ping", None), {"REQUEST", "ODD_ID"}),
        (request("ping", 1.5), {"REQUEST", "ODD_ID"}),
        (request("ping", 1.0), {"REQUEST"}),
        (result(None), {"RESPONSE"}),
    ],
)
def test_what_a_body_holds(value: Any, found: set[str]) -> None:
    assert names(traits.held(body(value))) == found


def test_a_body_with_a_problem_may_hold_messages() -> None:
    assert names(traits.held(Body((message(id=1, method="ping"),), problem="cut off"))) == {"REQUEST", "PROBLEM"}
    assert names(traits.held(Body())) == {"PROBLEM"}


# Requests


@pytest.mark.parametrize(
    ("verb", "found"),
    [("GET", {"GET"}), ("DELETE", {"DELETE"}), ("POST", {"POST", "PROBLEM"}), ("PUT", set())],
)
def test_a_verb_without_a_body(verb: str, found: set[str]) -> None:
    assert asked(verb=verb) == found


def test_the_body_of_a_get_is_none() -> None:
    assert asked(request("tools/call", name="a"), verb="GET") == {"GET"}


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("tools/call", {"CALL", "FEATURE"}),
        ("tools/list", {"LIST", "FEATURE"}),
        ("prompts/get", {"FEATURE"}),
        ("prompts/list", {"LIST", "FEATURE"}),
        ("resources/read", {"FEATURE"}),
        ("resources/list", {"LIST", "FEATURE"}),
        ("resources/templates/list", {"LIST", "FEATURE"}),
        ("completion/complete", {"FEATURE"}),
        ("ping", {"PING"}),
        ("tasks/get", {"TASK"}),
        ("tasks/result", {"TASK"}),
        ("tasks/cancel", {"TASK"}),
        ("tasks/list", {"TASK", "LIST"}),
        ("logging/setLevel", set()),
        ("initialize", {"INITIALIZE"}),
        ("initialise", set()),
    ],
)
def test_what_is_asked_for_by_its_method(method: str, found: set[str]) -> None:
    assert asked(request(method)) == {"POST", "REQUEST"} | found


def test_a_cancellation_says_so() -> None:
    assert asked(notification("notifications/cancelled")) == {"POST", "NOTIFICATION", "CANCEL"}


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"task": {}}, {"TASK"}),
        ({"requestState": "s"}, {"RETRY"}),
        ({"inputResponses": {}}, {"RETRY"}),
        ({"requestState": "s", "task": None}, {"RETRY", "TASK"}),
        ({"state": "s"}, set()),
    ],
)
def test_a_call_may_be_a_task_or_a_next_round(params: dict[str, Any], found: set[str]) -> None:
    assert asked(request("tools/call", **params)) == {"POST", "REQUEST", "CALL", "FEATURE"} | found
    assert asked(request("ping", **params)) == {"POST", "REQUEST", "PING"}, "a ping is neither"


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("server/discover", {"CACHEABLE", "DISCOVER"}),
        ("tools/list", {"CACHEABLE", "LIST", "FEATURE"}),
        ("prompts/list", {"CACHEABLE", "LIST", "FEATURE"}),
        ("resources/list", {"CACHEABLE", "LIST", "FEATURE"}),
        ("resources/templates/list", {"CACHEABLE", "LIST", "FEATURE"}),
        ("resources/read", {"CACHEABLE", "FEATURE"}),
        ("prompts/get", {"FEATURE"}),
        ("subscriptions/listen", {"LISTEN"}),
    ],
)
def test_stateless_requests(method: str, found: set[str]) -> None:
    assert asked(request(method), headers=STATELESS) == {"POST", "REQUEST", "STATELESS"} | found


def test_headers_that_do_not_say_what_the_body_says() -> None:
    x = exchange(request("ping"), headers=STATELESS)
    notes(x).mismatch = {}
    assert names(traits.of_request(x, notes(x))) == {"POST", "REQUEST", "PING", "STATELESS", "MISMATCHED"}


def test_the_query_of_a_url() -> None:
    assert asked(verb="GET", url="http://mcp.example/mcp?a=1") == {"GET", "QUERY"}


@pytest.mark.parametrize(
    ("header", "found"),
    [(LATEST, set()), ("2025-06-18", {"OTHER_VERSION"}), (None, {"OTHER_VERSION"})],
)
def test_the_version_that_was_agreed_upon(header: str | None, found: set[str]) -> None:
    headers = {"mcp-protocol-version": header} if header else {}
    assert asked(verb="GET", talk=known(revision=LATEST), headers=headers) == {"GET"} | found
    assert asked(verb="GET", headers=headers) == {"GET"}, "nothing is known"


def test_a_session_is_shared_by_several_clients_or_credentials() -> None:
    one, other = client(1), client(2)
    talk = known(revision=LATEST)

    def found(*owners: Any, by: Any = one) -> set[str]:
        return asked(
            verb="GET", session=session(*owners), by=by, talk=talk, headers={"mcp-protocol-version": LATEST}
        ) - {"GET"}

    assert found(one) == set()
    assert found(one, other) == {"SHARED"}
    assert found(one, by=other) == {"SHARED"}
    assert found() == {"SHARED"}
    talk.replaced = Recent(2)
    assert found(one) == {"SHARED"}
    assert asked(verb="GET", talk=talk, headers={"mcp-protocol-version": LATEST}) == {"GET"}, "it is of no session"
    assert asked(verb="GET", talk=talk, session=session(other)) == {"GET", "SHARED", "OTHER_VERSION"}


# What is known of what was said before


def test_what_is_known_of_what_was_said() -> None:
    def found(talk: Talk | None) -> set[str]:
        return names(traits.of_talk(talk))

    assert found(None) == set()
    assert found(Talk(Place())) == {"TALK"}
    assert found(Talk(Place(), known_at=0.0)) == {"TALK", "KNOWN"}
    assert found(Talk(Place(), known_at=1.0, shared=True)) == {"TALK"}
    assert found(Talk(Place(), deleted_at=0.0)) == {"TALK", "OVER"}
    assert found(Talk(Place(), lost_at=0.0)) == {"TALK", "OVER"}
    refused = Talk(Place())
    history(refused)
    assert found(refused) == {"TALK"}
    history(refused).get_404_at = 0.0
    assert found(refused) == {"TALK", "GET_REFUSED"}


# Answers

PING = request("ping", 7)


@pytest.mark.parametrize(
    ("sent", "status", "told", "found"),
    [
        (PING, 200, result(7, resultType="complete"), {"OK", "RESULT", "PLAIN"}),
        (PING, 200, result(7), {"OK", "RESULT", "PLAIN", "UNTYPED"}),
        (PING, 200, result(7, resultType=7), {"OK", "RESULT", "PLAIN", "UNTYPED"}),
        (
            PING,
            200,
            result(7, resultType="input_required", inputRequests={}),
            {"OK", "RESULT", "PLAIN", "ASKS_INPUT"},
        ),
        (PING, 200, {"jsonrpc": "2.0", "id": 7, "result": "text"}, {"OK", "RESULT", "PLAIN"}),
        (PING, 200, error("no", 7), {"OK", "REFUSED", "PLAIN"}),
        (PING, 400, error("no", 7), {"REFUSED", "PLAIN"}),
        (PING, 400, result(7, resultType="complete"), {"REFUSED", "RESULT", "PLAIN"}),
        (PING, 400, None, {"REFUSED"}),
        (PING, 299, None, {"OK"}),
        (PING, 300, None, {"REFUSED"}),
        (PING, 200, [result(7, resultType="complete")], {"OK", "RESULT"}),
        ([PING], 200, result(7, resultType="complete"), {"OK", "RESULT"}),
        (PING, 200, result(8, resultType="complete"), {"OK", "RESULT"}),
        (PING, 200, result("7", resultType="complete"), {"OK", "RESULT"}),
        (request("ping", "a"), 200, result("a", resultType="complete"), {"OK", "RESULT", "PLAIN"}),
        (request("ping", 1.0), 200, result(1.0, resultType="complete"), {"OK", "RESULT"}),
        (request("ping", 1.0), 200, result(1, resultType="complete"), {"OK", "RESULT"}),
        (PING, 200, notification("x"), {"OK"}),
        (PING, 200, [notification("x"), result(7, resultType="complete")], {"OK", "RESULT"}),
        (PING, 200, [notification("x"), error("no", 7)], {"OK"}),
        (PING, 200, [result(7, resultType="complete"), result(8)], {"OK", "RESULT", "UNTYPED"}),
        (PING, 200, {"result": {}}, {"OK"}),
    ],
)
def test_what_an_answer_is_like(sent: Any, status: int, told: Any, found: set[str]) -> None:
    x = answered(exchange(sent), status, told)
    assert names(traits.of_answer(x)) == found


def test_an_answer_that_is_a_stream_has_no_body() -> None:
    x = answered(exchange(PING), 200)
    x.answer = None
    assert names(traits.of_answer(x)) == {"OK"}
    x.answer_headers = None
    assert names(traits.of_answer(x)) == {"OK"}
    x.status = None
    assert names(traits.of_answer(x)) == {"REFUSED"}


def test_what_was_read_as_a_loss_is_a_refusal() -> None:
    x = answered(exchange(PING), 200, result(7, resultType="complete"))
    x.dialect = "some"
    assert names(traits.of_answer(x)) == {"OK", "RESULT", "PLAIN", "REFUSED"}


def test_only_what_was_read_whole_is_plain() -> None:
    x = answered(exchange(PING), 200, result(7, resultType="complete"))
    assert x.answer is not None
    x.answer.problem = "cut off"
    assert names(traits.of_answer(x)) == {"OK", "RESULT"}
    x = answered(exchange(PING), 200, result(7, resultType="complete"))
    x.response = None
    assert names(traits.of_answer(x)) == {"OK", "RESULT"}
    x = answered(exchange(PING), 200, request("ping", 7))
    assert names(traits.of_answer(x)) == {"OK"}


def test_conditions_on_headers_are_among_them() -> None:
    x = answered(exchange(PING, headers={"mcp-session-id": "a"}), 200, headers={"mcp-session-id": "a"})
    assert traits.of_request(x, notes(x)) & traits.bit_of(traits.has_id)
    assert traits.of_answer(x) & traits.bit_of(traits.has_id, of_answer=True)
    x = answered(exchange(PING), 200)
    assert not traits.of_request(x, notes(x)) & traits.bit_of(traits.has_id)
    assert not traits.of_answer(x) & traits.bit_of(traits.has_id, of_answer=True)


# The revision that an exchange is judged by


def test_notes_are_those_of_the_exchange() -> None:
    talk = known()
    x = exchange(PING, talk=talk)
    assert notes(x) is x.notes
    assert notes(x).place is talk.place
    assert talk_of(x) is talk
    x.notes = Notes(Place())
    assert talk_of(x) is None


def test_what_was_agreed_upon_counts_first() -> None:
    talk = known(judged_by="2025-06-18")
    x = exchange(PING, talk=talk, headers={"mcp-protocol-version": LATEST})
    notes(x).revision = "2025-03-26"
    assert revision_of(x) == "2025-06-18"
    talk.judged_by = None
    assert revision_of(x) == "2025-03-26", "then what was found out at its request"
    notes(x).revision = None
    assert revision_of(x) == LATEST


@pytest.mark.parametrize(
    ("header", "meta", "found"),
    [
        ("2026-07-28", None, "2026-07-28"),
        (None, "2026-07-28", "2026-07-28"),
        ("2027-01-01", None, None),
        ("2027-01-01", "2026-07-28", "2026-07-28"),
        (None, "2027-01-01", None),
    ],
)
def test_a_stateless_request_names_its_revision(header: str | None, meta: str | None, found: str | None) -> None:
    params = {"_meta": {"io.modelcontextprotocol/protocolVersion": meta}} if meta else {}
    x = exchange(request("ping", 7, **params), headers={"mcp-protocol-version": header} if header else {})
    assert revision_of(x) == found


@pytest.mark.parametrize(
    ("opened_by", "revision", "found"),
    [("client", "2025-06-18", "2025-06-18"), ("client", "2024-11-05", LATEST), ("found", "2025-06-18", LATEST)],
)
def test_the_revision_of_a_session(opened_by: str, revision: str, found: str) -> None:
    its = session(revision=revision)
    its.opened_by = opened_by
    assert revision_of(exchange(PING, session=its, headers={"mcp-protocol-version": LATEST})) == found


@pytest.mark.parametrize(
    ("asked", "header", "under_way", "found"),
    [
        ("2025-06-18", LATEST, [], "2025-06-18"),
        ("", LATEST, [], LATEST),
        ("", "2024-11-05", [], None),
        ("2024-11-05", LATEST, [], None),
        ("", None, [], None),
        ("", None, ["2025-06-18"], "2025-06-18"),
        ("", None, ["2025-06-18", "2025-06-18"], None),
        ("", LATEST, ["2025-06-18"], LATEST),
        ("2025-03-26", None, ["2025-06-18"], "2025-03-26"),
        ("", None, ["2024-11-05"], None),
    ],
)
def test_who_has_no_session_yet_is_judged_by_what_was_asked_for(
    asked: str, header: str | None, under_way: list[str], found: str | None
) -> None:
    party = Party()
    for number, one in enumerate(under_way):
        party.initializing.put(f"x{number}", one)
    x = exchange(PING, party=party, headers={"mcp-protocol-version": header} if header else {})
    notes(x).asked = asked
    assert revision_of(x) == found
    if under_way and not asked and not header:
        notes(x).party = None
        assert revision_of(x) is None
