"""How a check is registered: what of it decides whether it is asked, and of what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mcp_sessions.rules import capabilities, checks, replies, traits
from mcp_sessions.rules.checks import Arrival, Check, MessageCheck
from mcp_sessions.rules.traits import ASKS_INPUT, DELETE, GET, POST, REFUSED, REQUEST, RESPONSE, RESULT, STATELESS
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.sse import Event
from rules.built import answered, body, error, exchange, notification, request, result

A, B, C, D = (1 << n for n in (20, 21, 22, 23))


@pytest.mark.parametrize(
    ("needs", "any_of", "none_of", "traits", "fits"),
    [
        (0, 0, 0, 0, True),
        (0, 0, 0, A, True),
        (A | B, 0, 0, A | B, True),
        (A | B, 0, 0, A | B | C, True),
        (A | B, 0, 0, A, False),
        (0, A | B, 0, B, True),
        (0, A | B, 0, C, False),
        (0, A | B, 0, 0, False),
        (0, 0, A | B, C, True),
        (0, 0, A | B, B, False),
        (A, B, C, A | B, True),
        (A, B, C, A | B | C, False),
        (A, B, C, A | D, False),
        (A, B, C, B, False),
    ],
)
def test_a_check_is_asked_about_what_it_fits(needs: int, any_of: int, none_of: int, traits: int, fits: bool) -> None:
    assert Check("MCP000", None, needs, any_of, none_of).fits(traits) is fits


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The tables that a check is entered into, empty, and so those of the conditions on headers."""
    found: dict[str, list[Any]] = {}
    for moment in ("REQUEST", "ANSWER", "FINISH", "EVENT", "SESSION", "MESSAGE"):
        monkeypatch.setattr(checks, f"ON_{moment}", found.setdefault(moment, []))
    monkeypatch.setattr(traits, "_ASKED", {})
    monkeypatch.setattr(traits, "_TOLD", {})
    return found


def some_check(*_: Any) -> str:
    return "wrong"


def holds(headers: HeaderMap) -> bool:
    return "x-one" in headers


def holds_too(headers: HeaderMap) -> bool:
    return "x-two" in headers


FIRST, SECOND = 1 << 48, 1 << 49
"""The bits of the first and of the second condition on headers."""


REGISTERED: list[tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any], tuple[int, int, int]]] = [
    ("REQUEST", checks.on_request, (), {}, (0, 0, 0)),
    ("REQUEST", checks.on_request, ("POST",), {}, (POST, 0, 0)),
    ("REQUEST", checks.on_request, ("GET",), {"needs": A}, (GET | A, 0, 0)),
    ("REQUEST", checks.on_request, ("DELETE",), {"sent": A, "needs": B, "unless": C}, (DELETE | B, A, C)),
    ("REQUEST", checks.on_request, ("POST",), {"headers": holds}, (POST | FIRST, 0, 0)),
    ("ANSWER", checks.on_answer, (), {}, (0, 0, 0)),
    ("ANSWER", checks.on_answer, ("POST",), {"sent": A, "needs": B, "unless": C}, (POST | B, A, C)),
    ("ANSWER", checks.on_answer, (), {"headers": holds}, (FIRST, 0, 0)),
    ("ANSWER", checks.on_answer, (), {"needs": A, "headers": holds, "told": holds_too}, (A | FIRST | SECOND, 0, 0)),
    ("FINISH", checks.on_finish, (), {}, (0, 0, 0)),
    ("FINISH", checks.on_finish, ("POST",), {"needs": A, "unless": B}, (POST | A, 0, B)),
    ("EVENT", checks.on_event, (), {}, (0, 0, 0)),
    ("EVENT", checks.on_event, ("GET",), {"said": A, "needs": B, "unless": C}, (GET | B, A, C)),
]


@pytest.mark.parametrize(("table", "register", "verbs", "conditions", "row"), REGISTERED)
def test_a_check_is_entered_with_what_it_needs(
    tables: dict[str, list[Any]],
    table: str,
    register: Callable[..., Any],
    verbs: tuple[Any, ...],
    conditions: dict[str, Any],
    row: tuple[int, int, int],
) -> None:
    assert register("MCP000", *verbs, **conditions)(some_check) is some_check
    assert {name: [tuple(one) for one in rows] for name, rows in tables.items() if rows} == {
        table: [("MCP000", some_check, *row)]
    }


def test_a_condition_on_an_answer_is_no_condition_on_its_request(tables: dict[str, list[Any]]) -> None:
    checks.on_answer("MCP000", headers=holds, told=holds_too)(some_check)
    one, two = HeaderMap([(b"x-one", b"1")]), HeaderMap([(b"x-two", b"2")])
    assert (traits.asked(one), traits.told(one)) == (FIRST, 0)
    assert (traits.asked(two), traits.told(two)) == (0, SECOND)


def test_checks_stand_in_the_order_in_which_they_were_registered(tables: dict[str, list[Any]]) -> None:
    for rule in ("MCP001", "MCP002"):
        checks.on_request(rule)(some_check)
    assert [row.rule_id for row in tables["REQUEST"]] == ["MCP001", "MCP002"]


def test_checks_of_sessions_and_of_messages(tables: dict[str, list[Any]]) -> None:
    assert checks.on_abandoned("MCP000")(some_check) is some_check
    assert tables["SESSION"] == [("MCP000", some_check)]
    assert checks.on_message("MCP000")(some_check) is some_check
    checks.on_message("MCP001", "tools/call", "ping", when=some_check)(some_check)  # type: ignore[arg-type]
    assert tables["MESSAGE"] == [
        MessageCheck("MCP000", some_check, frozenset(), None),
        MessageCheck("MCP001", some_check, frozenset({"tools/call", "ping"}), some_check),  # type: ignore[arg-type]
    ]


# Conditions on headers


def test_each_condition_has_a_bit_of_its_own(tables: dict[str, list[Any]]) -> None:
    assert traits.bit_of(None) == traits.bit_of(None, of_answer=True) == 0
    assert traits.bit_of(holds) == traits.bit_of(holds) == FIRST
    assert traits.bit_of(holds_too) == SECOND
    assert traits.bit_of(holds, of_answer=True) == 1 << 50
    assert traits.bit_of(holds, of_answer=True) == 1 << 50
    assert traits.bit_of(holds_too, of_answer=True) == 1 << 51
    one, two = HeaderMap([(b"x-one", b"1")]), HeaderMap([(b"x-one", b"1"), (b"x-two", b"2")])
    assert (traits.asked(one), traits.asked(two), traits.asked(HeaderMap([]))) == (FIRST, FIRST | SECOND, 0)
    assert (traits.told(one), traits.told(HeaderMap([]))) == (1 << 50, 0)


def test_a_condition_is_worked_out_once_for_each_header_set(tables: dict[str, list[Any]]) -> None:
    times = []

    def counted(headers: HeaderMap) -> bool:
        times.append(headers)
        return True

    traits.bit_of(counted)
    traits.bit_of(counted, of_answer=True)
    headers = HeaderMap([(b"x-one", b"1")])
    assert [traits.asked(headers), traits.asked(headers)] == [FIRST, FIRST]
    assert len(times) == 1
    assert [traits.told(headers), traits.told(headers)] == [SECOND, SECOND]
    assert len(times) == 2, "as an answer's they are other headers"


# Responses, in a body or on a stream

PING = request("ping", 7)


def arrival(value: Any) -> Arrival:
    return Arrival(Event(b"{}"), body(value) if value is not None else None, 0.0)


@pytest.mark.parametrize(
    ("sent", "told", "is_it"),
    [
        (PING, result(7), True),
        (PING, error("no", 7), True),
        (PING, result(8), False),
        (PING, result("7"), False),
        (PING, notification("notifications/message"), False),
        (PING, request("ping", 7), False),
        (PING, None, False),
        (PING, [], False),
        (notification("notifications/initialized"), result(None), False),
        (result(7), result(7), False),
        ([PING], result(7), False),
        (None, result(7), False),
    ],
)
def test_what_is_the_response_to_a_single_request(sent: Any, told: Any, is_it: bool) -> None:
    x = exchange(sent)
    answer = body(told) if told is not None else None
    assert replies.response(x, answer) is (answer.first if is_it and answer is not None else None)


def test_a_body_that_was_not_read_is_no_response() -> None:
    answer = body(result(7))
    answer.sniffed = True
    assert replies.response(exchange(PING), answer) is None


@pytest.mark.parametrize(
    ("register", "of_answer"),
    [(replies.on_reply, RESULT), (replies.on_error, REFUSED)],
)
def test_a_reply_is_looked_at_in_an_answer_and_on_a_stream(
    tables: dict[str, list[Any]], register: Callable[..., Any], of_answer: int
) -> None:
    seen = []

    def check(x: Any, message: Any) -> str:
        seen.append((x, message))
        return "wrong"

    assert register("MCP000")(check) is check
    register("MCP001", needs=A, unless=B)(check)
    assert [tuple(row)[2:] for row in tables["ANSWER"]] == [
        (POST | of_answer, REQUEST, 0),
        (POST | A | of_answer, REQUEST, B),
    ]
    assert [tuple(row)[2:] for row in tables["EVENT"]] == [(POST, RESPONSE, 0), (POST | A, RESPONSE, B)]
    assert [row.rule_id for row in (*tables["ANSWER"], *tables["EVENT"])] == ["MCP000", "MCP001"] * 2

    fitting, other = (result(7), error("no", 7)) if of_answer == RESULT else (error("no", 7), result(7))
    x = answered(exchange(PING), 200, fitting)
    assert tables["ANSWER"][0].check(x) == "wrong"
    assert seen.pop() == (x, x.answer.first if x.answer else None)
    it = arrival(fitting)
    assert tables["EVENT"][0].check(x, it) == "wrong"
    assert seen.pop() == (x, it.body.first if it.body else None)
    assert tables["ANSWER"][0].check(answered(exchange(PING), 200, other)) is None
    assert tables["EVENT"][0].check(x, arrival(other)) is None
    assert tables["EVENT"][0].check(x, arrival(None)) is None
    assert seen == []


def test_what_is_asked_of_a_client_is_looked_at_in_results_and_on_streams(tables: dict[str, list[Any]]) -> None:
    seen = []

    def check(x: Any, messages: Any) -> list[str]:
        seen.append((x, messages))
        return ["wrong"]

    assert capabilities._on_asked("MCP000")(check) is check
    (answer,), (event,) = tables["ANSWER"], tables["EVENT"]
    assert (answer.rule_id, *tuple(answer)[2:]) == ("MCP000", POST | STATELESS | RESULT | ASKS_INPUT, 0, 0)
    assert (event.rule_id, *tuple(event)[2:]) == ("MCP000", 0, REQUEST | RESPONSE, 0)
    x = answered(exchange(PING), 200, result(7))
    assert x.answer is not None
    assert answer.check(x) == ["wrong"]
    assert seen.pop() == (x, x.answer.messages)
    it = arrival(request("roots/list", 1))
    assert event.check(x, it) == ["wrong"]
    assert it.body is not None
    assert seen.pop() == (x, it.body.messages)
    x.answer = None
    assert answer.check(x) is None
    assert event.check(x, arrival(None)) is None
    assert seen == []
