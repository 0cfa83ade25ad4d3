"""Who has declared what, and what is asked of whom: the parts that the checks of capabilities share."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.exchange import Exchange
from mcp_sessions.rules import capabilities, lifecycle, manners, rounds
from mcp_sessions.rules.facts import notes
from mcp_sessions.rules.rounds import MANY, SAME, Round
from mcp_sessions.rules.talks import OF_CLIENTS
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import Message
from rules.built import (
    STATELESS,
    body,
    client,
    exchange,
    fields,
    known,
    message,
    notification,
    request,
    result,
    session,
)

DISCOVERY = request("server/discover", 7)
LISTED = request("tools/list", 7)


def stateless(sent: Any, credentials: str = "") -> Exchange:
    x = exchange(sent, headers=STATELESS)
    x.credentials = credentials
    return x


def declaring(caller: Any, method: str = "tools/call") -> Exchange:
    """A stateless request whose client declares this."""
    meta = {"io.modelcontextprotocol/clientCapabilities": caller} if caller is not None else {}
    return exchange(request(method, 7, _meta=meta), headers=STATELESS)


# Servers


@pytest.mark.parametrize(
    ("told", "declared"),
    [
        (result(7, capabilities={"tools": {}}), {"tools"}),
        (result(7, capabilities={}), set()),
        (result(7, capabilities=["tools"]), None),
        (result(7), None),
        (notification("a"), None),
    ],
)
def test_what_a_stateless_server_declares(told: Any, declared: set[str] | None) -> None:
    x = stateless(DISCOVERY, "a")
    assert capabilities._server_can(x) is None
    capabilities.note_declared(x, message(**told))
    assert capabilities._server_can(x) == declared
    x.credentials = "b"
    assert capabilities._server_can(x) is None, "to others it may declare more"


def test_what_the_server_of_a_session_has_declared() -> None:
    can = frozenset({"tools"})
    assert capabilities._server_can(exchange(LISTED, talk=known(server_can=can))) == can
    assert capabilities._server_can(exchange(LISTED, talk=known(server_can=can, shared=True))) is None
    assert capabilities._server_can(exchange(LISTED)) is None


def test_it_is_said_once_in_a_session_or_else_of_an_endpoint() -> None:
    talk, other = known(), stateless(DISCOVERY)
    for x in (exchange(LISTED, talk=talk), other):
        assert [capabilities._once(x, what) for what in ("a", "a", "b", "a")] == [True, False, True, False]
    assert talk.said == notes(other).place.said == {"a", "b"}
    assert not talk.place.said


@pytest.mark.parametrize(
    ("method", "needed"),
    [
        ("tools/call", "tools"),
        ("resources/templates/list", "resources"),
        ("prompts/get", "prompts"),
        ("completion/complete", "completions"),
        ("tasks/get", "tasks"),
        ("ping", ""),
        ("logging/setLevel", ""),
    ],
)
def test_what_a_server_has_to_declare_for_a_method(method: str, needed: str) -> None:
    assert capabilities._needed(exchange(request(method, 7))) == needed


def test_what_has_no_method_needs_nothing() -> None:
    assert capabilities._needed(exchange(None)) == ""


# What is asked of clients

ASKED = {"method": "roots/list", "params": {"a": 1}}


def asked(x: Exchange, *told: Any) -> list[Any]:
    return list(capabilities._asked(x, tuple(message(**one) for one in told)))


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ({"a": ASKED}, [("roots/list", {"a": 1})]),
        ({"a": ASKED, "b": {"method": "ping"}}, [("roots/list", {"a": 1}), ("ping", {})]),
        ({"a": {"method": "ping", "params": [1]}}, [("ping", {})]),
        ({"a": {"method": 7}}, []),
        ({"a": {"params": {}}}, []),
        ({"a": "roots/list", "b": ASKED}, [("roots/list", {"a": 1})]),
        ([ASKED], []),
        (None, []),
        ({str(n): ASKED for n in range(51)}, [("roots/list", {"a": 1})] * 50),
    ],
)
def test_what_a_result_asks_of_a_stateless_client(inputs: Any, found: list[Any]) -> None:
    x = declaring({"roots": {}})
    assert asked(x, result(7, inputRequests=inputs)) == [(*one, {"roots"}) for one in found]


def test_nothing_is_asked_where_nobody_knows_what_was_declared() -> None:
    told = result(7, inputRequests={"a": ASKED})
    assert asked(declaring(None), told) == []
    assert asked(declaring(["roots"]), told) == []
    assert asked(declaring({"roots": {}}), request("roots/list", 1), notification("a")) == []
    x = declaring({"roots": {}})
    x.body.sniffed = True
    assert asked(x, told) == []


def test_what_a_server_asks_in_a_session() -> None:
    can = frozenset({"roots"})
    told = (request("roots/list", 1, a=1), notification("roots/list"), result(2, inputRequests={"a": ASKED}))
    x = exchange(LISTED, talk=known(client_can=can))
    assert asked(x, *told) == [("roots/list", {"a": 1}, can)]
    assert asked(exchange(LISTED, talk=known(client_can=can, shared=True)), *told) == []
    assert asked(exchange(LISTED), *told) == []


@pytest.mark.parametrize("family", OF_CLIENTS)
@pytest.mark.parametrize(
    ("declared", "found"), [({}, True), (None, True), (True, True), ([], True), ({"x": 1}, False), ("object", False)]
)
def test_a_result_asks_for_what_was_not_declared(family: str, declared: Any, found: bool) -> None:
    caller = {family: {"a": 1} if declared == "object" else declared} if declared != {} else {}
    told = (message(**result(7, inputRequests={"a": {"method": f"{family}/x/y"}})),)
    expected = [f"inputRequests: {family}/x/y needs {family}"]
    assert lifecycle._input_requests(declaring(caller), told) == (expected if found else None)


@pytest.mark.parametrize(
    "inputs",
    [{"a": {"method": "tools/x"}}, {"a": {"method": 7}}, {"a": "roots/list"}, {"a": {}}, [ASKED], None],
)
def test_a_result_that_asks_for_nothing_of_a_client(inputs: Any) -> None:
    assert lifecycle._input_requests(declaring({}), (message(**result(7, inputRequests=inputs)),)) is None


def test_all_that_results_ask_for_is_told_up_to_a_limit() -> None:
    many = result(7, inputRequests={str(n): ASKED for n in range(51)})
    found = lifecycle._input_requests(declaring({}), (message(**many), message(**notification("a"))))
    assert found == ["inputRequests: roots/list needs roots"] * 50
    one = message(**result(7, inputRequests={"a": ASKED}))
    assert lifecycle._input_requests(declaring({}), (one, one)) == ["inputRequests: roots/list needs roots"] * 2
    assert lifecycle._input_requests(declaring(None), (one,)) is None
    x = declaring({})
    x.body.sniffed = True
    assert lifecycle._input_requests(x, (one,)) is None


@pytest.mark.parametrize("family", OF_CLIENTS)
def test_what_a_client_can(family: str) -> None:
    can = frozenset({family})
    assert lifecycle._can(known(client_can=can, revision="2025-06-18"), family)
    assert not lifecycle._can(known(revision="2025-06-18"), family)
    older = known(client_can=can, revision="2025-03-26")
    assert lifecycle._can(older, family) is (family != "elicitation"), "that revision has no such thing"


# The handshake


def test_who_has_never_initialized_is_told_once() -> None:
    talk = known(called=3)
    assert lifecycle._never_initialized(talk) == "3 requests were answered"
    assert lifecycle._never_initialized(talk) is None
    assert talk.said == {"MCP401"}
    for name, value in (("shared", True), ("initialized", True), ("unread", True), ("called", 0), ("known_at", None)):
        talk = known(called=3)
        setattr(talk, name, value)
        assert lifecycle._never_initialized(talk) is None, name


def test_a_session_that_is_known_to_have_been_opened() -> None:
    x = exchange(LISTED)
    its = session()
    assert not lifecycle._is_known(x, its)
    its.result = b"{}"
    assert lifecycle._is_known(x, its)
    its.result, its.opened_by = None, "found"
    assert lifecycle._is_known(x, its)
    its.endpoint = its.endpoint._replace(path="/other")
    assert not lifecycle._is_known(x, its)
    assert lifecycle._has_no_id(HeaderMap([]))
    assert not lifecycle._has_no_id(fields({"mcp-session-id": "a"}))


# Names of extensions


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        ({"extensions": {"plain": {}}}, ["plain"]),
        ({"extensions": {"com.example/a": {}}}, None),
        ({"extensions": {"/a": {}, "com.example/a": {}, "b": {}}}, ["/a", "b"]),
        ({"extensions": {"com.example/a/b": {}}}, None),
        ({"extensions": {"n" * 61: {}}}, ["n" * 59 + "…"]),
        ({"extensions": {"n" * 60: {}}}, ["n" * 60]),
        ({"extensions": {f"n{number}": {} for number in range(51)}}, [f"n{number}" for number in range(50)]),
        ({"extensions": ["plain"]}, None),
        ({"extensions": {}}, None),
        ({}, None),
        ("extensions", None),
        (None, None),
    ],
)
def test_extensions_without_a_prefix(declared: Any, found: list[str] | None) -> None:
    assert manners._unprefixed(declared) == found


# Rounds


def call(id: Any = 7, by: Any = None, credentials: str = "", **params: Any) -> Exchange:
    x = exchange(request("tools/call", id, name="book", **params), headers=STATELESS, by=by or ME)
    x.credentials = credentials
    x.notes = KEPT
    return x


ME = client(1)
KEPT = notes(exchange(LISTED))


@pytest.fixture(autouse=True)
def _forget() -> None:
    KEPT.place.rounds.clear()


def asks(id: Any = 7, **members: Any) -> Message:
    return message(**result(id, resultType="input_required", **members))


def before(x: Exchange) -> list[Round]:
    return list(rounds._before(x))


KINDS = {"a": {"method": "roots/list"}, "b": {"method": "elicitation/create"}, "c": {"method": "roots/list"}}


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"inputRequests": KINDS, "requestState": "s"}, Round(7, "s", frozenset({"roots/list", "elicitation/create"}))),
        ({"requestState": "s"}, Round(7, "s", frozenset())),
        ({"inputRequests": {"a": {"method": 7}, "b": "roots/list", "c": {}}}, Round(7, None, frozenset())),
        ({"inputRequests": [{"method": "roots/list"}]}, Round(7, None, frozenset())),
        ({}, Round(7, None, frozenset())),
    ],
)
def test_a_round_is_remembered(members: dict[str, Any], found: Round) -> None:
    rounds.note_round(call(), asks(**members))
    assert before(call(8, requestState="s", inputResponses={}, _meta={})) == [found]


def test_so_many_kinds_of_a_round_are_remembered() -> None:
    many = {str(number): {"method": f"m{number}"} for number in range(MANY + 1)}
    rounds.note_round(call(), asks(inputRequests=many))
    assert before(call())[0].asked == {f"m{number}" for number in range(MANY)}


def test_what_asks_for_nothing_is_no_round() -> None:
    rounds.note_round(call(), message(**result(7, resultType="complete", requestState="s")))
    rounds.note_round(call(), message(**result(7, requestState="s")))
    rounds.note_round(call(), message(**notification("a")))
    x = call()
    x.body.sniffed = True
    rounds.note_round(x, asks(requestState="s"))
    assert before(call()) == []


def test_the_next_round_is_the_same_but_for_its_state_and_input() -> None:
    rounds.note_round(call(arguments={"a": 1}), asks(requestState="s"))
    assert before(call(9, arguments={"a": 1}, requestState="s", inputResponses={"x": 1}, _meta={"a": 1}))
    for other in (
        call(arguments={"a": 2}),
        call(),
        call(arguments={"a": 1}, more=1),
        call(arguments={"a": 1}, by=client(2)),
        call(arguments={"a": 1}, credentials="other"),
    ):
        assert before(other) == []
    x = call(arguments={"a": 1})
    x.method = "prompts/get"
    assert before(x) == []
    x = call(arguments={"a": 1})
    x.body.sniffed = True
    assert before(x) == []


def test_the_latest_round_comes_first_and_equal_ones_count_once() -> None:
    for state in ("a", "b", "a"):
        rounds.note_round(call(), asks(requestState=state))
    assert [one.state for one in before(call())] == ["b", "a"]


def test_of_too_many_nobody_knows_which_is_which() -> None:
    for number in range(SAME):
        rounds.note_round(call(), asks(requestState=number))
    assert [one.state for one in before(call())] == [*reversed(range(SAME))]
    rounds.note_round(call(), asks(requestState=SAME))
    assert before(call()) == []
    for _ in range(3):
        rounds.note_round(call(), asks(requestState=SAME))
    assert [one.state for one in before(call())] == [SAME, *range(SAME - 1, SAME - 8, -1)]


def test_a_request_without_a_message_has_no_round() -> None:
    x = exchange(None, headers=STATELESS, by=ME)
    assert before(x) == []
    assert body(request("a")).first is not None
