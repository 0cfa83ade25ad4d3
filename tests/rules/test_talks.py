"""What is remembered of a session, as its own functions have it: ids, tokens, streams, events, what was declared."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.rules import tables, talks, tokens
from mcp_sessions.rules.facts import Notes, is_integer, is_whole, meta_of, progress_token, valid_key
from mcp_sessions.rules.history import History
from mcp_sessions.rules.places import Place
from mcp_sessions.rules.repeats import SMALL, Repeats, key_of
from mcp_sessions.rules.tables import LONG, SHORT_RUN, Ids, Recent
from mcp_sessions.rules.talks import (
    CREDENTIALS_LIMIT,
    Stream,
    Talk,
    declared_by_client,
    declared_by_server,
    hash_of,
    history,
)
from mcp_sessions.wire.jsonrpc import Message
from rules.built import client, message

ONE, OTHER = client(1), client(2)
ADDRESS = client(None, host="192.0.2.7")


@pytest.fixture
def talk() -> Talk:
    return Talk(Place())


# Tables


def test_a_table_keeps_the_latest() -> None:
    table: Recent[str, int] = Recent(2)
    assert (table.limit, table.overflowed, dict(table)) == (2, False, {})
    table.put("a", 1)
    table.put("b", 2)
    table.put("a", 3)
    assert not table.overflowed, "what is there already takes no more room"
    assert list(table.items()) == [("b", 2), ("a", 3)]
    table.put("c", 4)
    assert table.overflowed
    assert list(table.items()) == [("a", 3), ("c", 4)]


def row_of(ids: Ids) -> tuple[int, int]:
    return ids._first, ids._last


def beside(ids: Ids) -> set[Any]:
    return set(ids._others or ())


@pytest.mark.parametrize("start", [0, 1, 7, -3, 1_000_000])
def test_a_row_may_begin_anywhere(start: int) -> None:
    ids = Ids()
    for number in range(start, start + 50):
        ids.add(number, ONE)
    assert row_of(ids) == (start, start + 49)
    assert beside(ids) <= {0}
    assert len(ids) == 50
    assert ids.find(start - 1) is None or start == 1
    assert ids.find(start + 50) is None


@pytest.mark.parametrize("start", [0, 20])
def test_a_short_row_gives_way_to_another_a_long_one_does_not(start: int) -> None:
    short, long = Ids(), Ids()
    for number in range(start, start + SHORT_RUN):
        short.add(number, ONE)
    for number in range(start, start + SHORT_RUN + 1):
        long.add(number, ONE)
    for ids in (short, long):
        for number in range(100, 110):
            ids.add(number, ONE)
    assert row_of(short) == (100, 109)
    assert beside(short) - {0} == set(range(start, start + SHORT_RUN)) - {0}
    assert row_of(long) == (start, start + SHORT_RUN)
    assert beside(long) - {0} == set(range(100, 110))
    assert (len(short), len(long)) == (SHORT_RUN + 10, SHORT_RUN + 11)
    assert all(ids.find(number) is not None for ids in (short, long) for number in (start, start + 3, 100, 109))
    assert all(ids.find(number) is None for ids in (short, long) for number in (start - 1, start + 5, 99, 110))


def test_an_id_that_was_left_out_is_new() -> None:
    ids = Ids()
    for request_id in (*range(10), 11):
        ids.add(request_id, ONE)
    assert ids.find(10) is None
    assert ids.find(11) is not None
    assert (row_of(ids), beside(ids), len(ids)) == ((0, 9), {11}, 11)
    for request_id in (10, 11):
        ids.add(request_id, ONE)
    assert (row_of(ids), beside(ids), len(ids)) == ((0, 11), set(), 12), "it is of the row now"


def test_numbers_count_however_they_are_written() -> None:
    ids = Ids()
    for request_id in (0, 1, True, "5", 2.0, 3.0):
        ids.add(request_id, ONE)
        assert {type(end) for end in row_of(ids)} == {int}
    assert row_of(ids) == (0, 3)
    other = Ids()
    for request_id in (0, 1, 2.0):
        other.add(request_id, ONE)
        assert {type(end) for end in row_of(other)} == {int}
    assert ids.find(5) is None


def test_an_id_beside_the_row_does_not_end_it() -> None:
    ids = Ids()
    for request_id in (*range(10), "a", 10, 50, 11, "a"):
        ids.add(request_id, ONE)
    assert row_of(ids) == (0, 11)
    assert beside(ids) == {"a", 50}
    assert len(ids) == 14


def test_who_asks_again_by_the_same_id_takes_no_more_room() -> None:
    ids = Ids()
    for request_id in (0, 1, 2, 1, "a", "a", 2.0):
        ids.add(request_id, ONE)
    assert len(ids) == 4
    assert (row_of(ids), beside(ids)) == ((0, 2), {"a"})


def asker(ids: Ids, request_id: Any) -> Any:
    found = ids.find(request_id)
    return found and found.client


def test_the_latest_who_has_used_an_id_is_who_asked() -> None:
    ids = Ids()
    for number in range(3):
        ids.add(number, ONE)
    ids.add(1, OTHER)
    ids.add(3, OTHER)
    assert [asker(ids, number) for number in range(5)] == [ONE, OTHER, ONE, OTHER, None]
    ids.add(1, ONE)
    assert asker(ids, 1) is ONE
    assert beside(ids) == {3}, "it is of the row again"
    assert len(ids) == 4


def test_who_was_known_by_an_address_first_may_turn_out_to_be_a_process() -> None:
    """The row that follows is the process's; what came by the address is the address's."""
    ids = Ids()
    ids.add(0, ADDRESS)
    for number in range(1, 30):
        ids.add(number, ONE)
    assert [asker(ids, number) for number in (0, 1, 29, 30)] == [ADDRESS, ONE, ONE, None]
    assert (row_of(ids), beside(ids), len(ids)) == ((1, 29), {0}, 30)


@pytest.mark.parametrize("first", ["a", 5, "b" * 80])
def test_a_first_id_of_any_kind_stays_with_who_used_it(first: Any) -> None:
    ids = Ids()
    ids.add(first, ADDRESS)
    ids.add(6, ONE)
    ids.add(7, ONE)
    assert [asker(ids, one) for one in (first, 6, 7, 8)] == [ADDRESS, ONE, ONE, None]
    assert len(ids) == 3


def test_the_third_id_changes_nothing_about_who_counts() -> None:
    ids = Ids()
    ids.add(0, ONE)
    ids.add(1, ONE)
    ids.add(2, OTHER)
    ids.add(3, ONE)
    assert [asker(ids, number) for number in range(4)] == [ONE, ONE, OTHER, ONE]
    assert ids._asker is ONE


def test_a_refusal_is_remembered_of_what_was_asked() -> None:
    ids = Ids()
    for number in range(3):
        ids.add(number, ONE)
    ids.refuse(1, 17)
    ids.refuse(9, 18)
    found = ids.find(1)
    assert found is not None
    assert (found.client, found.refused) == (ONE, 17)
    assert ids.find(9) is None
    ids.add(1, ONE)
    again = ids.find(1)
    assert again is not None
    assert again.refused is None, "it was asked once more"


def test_ids_are_known_however_they_are_written() -> None:
    ids = Ids()
    for request_id in ("k" * LONG, "l" * (LONG + 1), "10", 10):
        ids.add(request_id, ONE)
    assert beside(ids) >= {"k" * LONG, "10"}
    assert "l" * (LONG + 1) not in beside(ids), "that takes too much room"
    assert all(ids.find(one) is not None for one in ("k" * LONG, "l" * (LONG + 1), "10", 10, 10.0))
    assert all(ids.find(one) is None for one in ("l" * (LONG + 2), "l", 11, "11"))
    ids.refuse("l" * (LONG + 1), 17)
    found = ids.find("l" * (LONG + 1))
    assert found is not None
    assert found.refused == 17


@pytest.mark.parametrize("to_id", [int, str, float])
def test_more_ids_than_are_remembered_are_all_forgotten_for_good(to_id: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "IDS_LIMIT", 3)
    ids = Ids()
    for number in range(4):
        assert not ids.overflowed
        ids.add(to_id(number), ONE)
    assert ids.overflowed
    ids.add(to_id(4), ONE)
    assert (len(ids), row_of(ids), ids._others) == (0, (0, -1), None)
    assert [ids.find(to_id(number)) for number in range(5)] == [None] * 5


# What is said once


def test_it_is_complained_of_once(talk: Talk) -> None:
    assert [talk.once(what) for what in ("a", "b", "a", "b", "c")] == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("known_at", "shared", "known"), [(None, False, False), (1.0, False, True), (0.0, False, True), (1.0, True, False)]
)
def test_a_history_is_known_from_its_handshake_unless_it_is_shared(
    known_at: float | None, shared: bool, known: bool, talk: Talk
) -> None:
    talk.known_at, talk.shared = known_at, shared
    assert talk.known is known


# Requests that wait


def test_who_waits_is_known_by_the_id(talk: Talk) -> None:
    assert talk.waiting(1) is None
    talk.settle(1)
    talk.wait(1, "first")
    talk.wait(2, "second")
    assert (talk.waiting(1), talk.waiting(2), talk.waiting(3)) == ("first", "second", None)
    talk.settle(3)
    talk.settle(1)
    assert (talk.waiting(1), talk.waiting(2)) == (None, "second")
    assert talk.pending is not None
    talk.settle(2)
    assert talk.pending is None


def test_so_many_wait_and_the_oldest_is_forgotten(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talks, "PENDING_LIMIT", 3)
    for number in (1, 2, 3, 1):
        talk.wait(number, f"of {number}")
    assert not talk.pending_overflowed
    assert talk.pending == {2: "of 2", 3: "of 3", 1: "of 1"}
    assert list(talk.pending) == [2, 3, 1], "it waits anew"
    talk.wait(4, "of 4")
    assert talk.pending_overflowed
    assert talk.pending == {3: "of 3", 1: "of 1", 4: "of 4"}


# Streams


def test_streams_are_open_until_they_are_closed(talk: Talk) -> None:
    talk.closed("x1")
    one, two = Stream("x1"), Stream("x2")
    talk.opened("x1", one)
    talk.opened("x2", two)
    assert talk.open == {"x1": one, "x2": two}
    talk.closed("x3")
    talk.closed("x1")
    assert talk.open == {"x2": two}
    talk.closed("x2")
    assert talk.open is None


def test_credentials_are_remembered_with_the_time_of_their_replacement(talk: Talk) -> None:
    talk.authorized("a", 1.0)
    assert (talk.credentials, talk.replaced) == ("a", None), "nothing was there before"
    talk.authorized("b", 2.0)
    talk.authorized("c", 3.0)
    assert (talk.credentials, dict(talk.replaced or {})) == ("c", {"a": 2.0, "b": 3.0})
    talk.authorized("a", 4.0)
    assert (talk.credentials, dict(talk.replaced or {})) == ("a", {"b": 3.0, "c": 4.0})
    assert talk.replaced is not None
    assert talk.replaced.limit == CREDENTIALS_LIMIT - 1


def test_the_next_generation_knows_nothing_of_events_and_losses(talk: Talk) -> None:
    talk.saw("e1", b"x", Stream("x1"))
    talk.server_asked, talk.lost_at, talk.used = Recent(2), 5.0, True
    history(talk).blind = True
    talk.begin_generation(3)
    assert talk.generation == 3
    left = [talk.event_ids, talk.server_asked, talk.lost_at, talk.history]
    assert left == [None] * 4
    assert talk.used


# Events


def test_an_event_is_known_by_its_id_with_its_data_and_stream(talk: Talk) -> None:
    assert talk.seen("e1") is None
    stream = Stream("x1")
    talk.saw("e1", b"one", stream)
    assert talk.seen("e1") == (hash_of(b"one"), stream)
    assert talk.seen("e2") is None


@pytest.mark.parametrize(
    ("first", "second", "same", "resumes", "expected"),
    [
        (b"one", b"two", True, False, (b"two", True)),
        (b"one", None, True, False, (b"one", True)),  # an id alone says how far the stream has come
        (None, b"two", True, False, (b"two", True)),
        (b"one", b"two", False, False, (b"two", False)),
        (b"one", None, False, False, (None, False)),
        (b"one", b"one", False, True, (b"one", True)),
        (b"one", None, False, True, (b"one", True)),
    ],
)
def test_an_event_id_that_comes_again(
    talk: Talk,
    first: bytes | None,
    second: bytes | None,
    same: bool,
    resumes: bool,
    expected: tuple[bytes | None, bool],
) -> None:
    stream = Stream("x1")
    later = stream if same else Stream("x2", resumes=resumes)
    talk.saw("e1", first, stream)
    talk.saw("e1", second, later)
    assert talk.seen("e1") == (hash_of(expected[0]), later if expected[1] else None)


def test_of_an_id_without_data_there_is_nothing_to_compare() -> None:
    assert hash_of(None) == hash_of(b"") == 0
    assert hash_of(b"a") == hash_of(b"a") != hash_of(b"b")


def test_what_single_rules_remember_is_made_once(talk: Talk) -> None:
    assert talk.history is None
    made = history(talk)
    assert isinstance(made, History)
    assert history(talk) is made is talk.history


# What was declared


@pytest.mark.parametrize("name", talks.OF_SERVERS)
@pytest.mark.parametrize(
    ("value", "declared"), [({}, True), (True, True), ({"a": 1}, True), (None, False), (False, False)]
)
def test_a_server_has_declared_what_is_there(name: str, value: Any, declared: bool) -> None:
    capabilities: Any = value
    for part in reversed(name.split(".")):
        capabilities = {part: capabilities}
    assert (name in declared_by_server(capabilities)) is declared


@pytest.mark.parametrize("capabilities", [None, 7, "tools", [], {}, {"other": {}}, {"tools": None}])
def test_what_is_no_declaration_declares_nothing(capabilities: Any) -> None:
    assert declared_by_server(capabilities) == declared_by_client(capabilities) == frozenset()


def test_a_whole_without_its_parts() -> None:
    assert declared_by_server({"tools": {}, "prompts": {"listChanged": True}, "logging": 7}) == {
        "tools",
        "prompts",
        "prompts.listChanged",
        "logging",
    }


@pytest.mark.parametrize(
    ("capabilities", "declared"),
    [
        ({"sampling": {}}, {"sampling"}),
        ({"sampling": True}, set()),
        ({"elicitation": None}, set()),
        ({"roots": {"listChanged": True}, "elicitation": {"form": {}}}, {
            "roots", "roots.listChanged", "elicitation", "elicitation.form",
        }),
        ({"roots": {"listChanged": False}}, {"roots"}),
        ({"tasks": {"requests": {"elicitation": {"create": {}}}}}, {"tasks.requests.elicitation.create"}),
        ({"tasks": {"requests": {"elicitation": {}}}}, set()),
    ],
)  # fmt: skip
def test_a_client_declares_objects(capabilities: Any, declared: set[str]) -> None:
    assert declared_by_client(capabilities) == declared


def test_the_same_declaration_is_kept_once() -> None:
    assert declared_by_server({"tools": {}}) is declared_by_server({"tools": {"x": 1}})


# Ids, tokens and other keys


@pytest.mark.parametrize(
    ("value", "key", "integer", "whole"),
    [
        (1, True, True, False),
        (-7, True, True, False),
        ("1", True, False, False),
        ("", True, False, False),
        (1.0, True, True, True),
        (1.5, False, False, False),
        (True, False, False, False),
        (None, False, False, False),
        ([1], False, False, False),
        ({}, False, False, False),
    ],
)
def test_what_may_be_an_id(value: Any, key: bool, integer: bool, whole: bool) -> None:
    assert (valid_key(value), is_integer(value), is_whole(value)) == (key, integer, whole)


@pytest.mark.parametrize(
    ("params", "token", "meta"),
    [
        ({"_meta": {"progressToken": "t"}}, "t", {"progressToken": "t"}),
        ({"_meta": {"progressToken": 0}}, 0, {"progressToken": 0}),
        ({"_meta": {"progressToken": None}}, None, {"progressToken": None}),
        ({"_meta": {"progressToken": [1]}}, None, {"progressToken": [1]}),
        ({"_meta": {}}, None, {}),
        ({"_meta": 7}, None, {}),
        ({"progressToken": "t"}, None, {}),
        ({}, None, {}),
    ],
)
def test_what_stands_in_meta(params: dict[str, Any], token: Any, meta: dict[str, Any]) -> None:
    it = message(id=1, method="tools/call", params=params)
    assert progress_token(it) == token
    assert meta_of(it) == meta


def test_who_has_no_message_has_no_meta() -> None:
    assert meta_of(None) == {}


# Progress tokens


def calls(id: Any, token: Any, **params: Any) -> Message:
    return message(id=id, method="tools/call", params={"_meta": {"progressToken": token}, **params})


def progress(token: Any, value: Any = 0.5) -> Message:
    return message(method="notifications/progress", params={"progressToken": token, "progress": value})


@pytest.fixture(params=["session", "exchange"])
def held(request: pytest.FixtureRequest, talk: Talk) -> Notes:
    """An exchange whose tokens are those of its session, and one that has its own."""
    kept = Notes(talk.place)
    kept.talk = talk if request.param == "session" else None
    return kept


def tokens_of(kept: Notes) -> Any:
    return kept.talk.tokens if kept.talk is not None else kept.tokens


def test_a_token_is_of_the_session_or_else_of_its_exchange(held: Notes) -> None:
    tokens.expect(held, held.talk, calls(1, "t"), "t")
    found = tokens_of(held)
    assert list(found) == ["t"]
    assert found.limit == talks.TOKENS_LIMIT
    assert (held.tokens is None) is (held.talk is not None)
    token = found["t"]
    assert held.token_of == {1: token}
    assert (token.active, token.last, token.task, token.ambiguous) == (1, None, False, False)


def test_several_requests_of_one_exchange_have_their_tokens(held: Notes) -> None:
    tokens.expect(held, held.talk, calls(1, "t"), "t")
    tokens.expect(held, held.talk, calls(2, "u"), "u")
    found = tokens_of(held)
    assert held.token_of == {1: found["t"], 2: found["u"]}
    assert found["t"] is not found["u"]


def test_a_token_of_two_requests_is_ambiguous_until_both_are_over(talk: Talk) -> None:
    one, two, three = (Notes(talk.place) for _ in range(3))
    for kept in (one, two, three):
        kept.talk = talk
    tokens.expect(one, talk, calls(1, "t"), "t")
    assert talk.tokens is not None
    token = talk.tokens["t"]
    tokens.progressed(one, progress("t", 5))
    tokens.expect(two, talk, calls(2, "t"), "t")
    assert talk.tokens["t"] is token
    assert (token.active, token.ambiguous, token.last) == (2, True, 5)
    tokens.settle(one, 1, 7.0, "x1")
    assert (token.active, token.ambiguous) == (1, True)
    tokens.settle(two, 2, 8.0, "x2")
    assert (token.active, token.ended_at, token.ended_on) == (0, 8.0, "x2")
    tokens.expect(three, talk, calls(3, "t"), "t")
    assert talk.tokens["t"] is token
    assert (token.active, token.ambiguous, token.last) == (1, False, None), "it begins anew"


def test_a_token_of_a_task_outlives_its_request(held: Notes) -> None:
    tokens.expect(held, held.talk, calls(1, "t", task={}), "t")
    assert tokens_of(held)["t"].task


@pytest.mark.parametrize(
    ("values", "last"),
    [([1], 1), ([1, 3, 2], 3), ([0], 0), ([0, -1], 0), ([2.5], 2.5), (["7"], None), ([None], None), ([1, "9"], 1)],
)
def test_progress_goes_as_far_as_it_has_come(held: Notes, values: list[Any], last: float | None) -> None:
    tokens.expect(held, held.talk, calls(1, "t"), "t")
    for value in values:
        tokens.progressed(held, progress("t", value))
    assert tokens_of(held)["t"].last == last


@pytest.mark.parametrize("told", [progress("other", 3), progress([], 3), progress(None, 3), message(method="x")])
def test_progress_of_what_nobody_asked_for_is_let_be(held: Notes, told: Message) -> None:
    tokens.progressed(held, told)
    tokens.expect(held, held.talk, calls(1, "t"), "t")
    tokens.progressed(held, told)
    assert tokens_of(held)["t"].last is None
    assert list(tokens_of(held)) == ["t"]


def test_a_request_without_a_token_is_settled_without_one(held: Notes) -> None:
    tokens.settle(held, 1, 7.0, "x1")
    tokens.expect(held, held.talk, calls(1, "t"), "t")
    tokens.settle(held, 2, 7.0, "x1")
    token = tokens_of(held)["t"]
    assert (token.active, token.ended_at, token.ended_on) == (1, 0.0, "")


# Messages that come again


def test_messages_are_known_again_whatever_their_id() -> None:
    def key(size: int = 10, revision: str = "2025-11-25", answers: str | None = None, **members: Any) -> int | None:
        return key_of(revision, answers, message(**members), size)

    usual = key(id=1, method="ping")
    assert usual is not None
    assert usual == key(id="other", method="ping")
    others = [
        key(method="ping"),
        key(id=1, method="pong"),
        key(id=1, method="ping", revision="2025-06-18"),
        key(id=1, method="ping", answers="tools/call"),
        key(id=1, method="ping", params={}),
    ]
    assert len({usual, *others}) == 6
    assert key(SMALL, id=1, method="ping") == usual
    assert key(SMALL + 1, id=1, method="ping") is None
    assert key_of("2025-11-25", None, Message([1]), 10) is None
    assert key_of("2025-11-25", None, Message({"method": "\ud800"}), 10) is None


def test_what_was_in_order_is_known_until_it_is_looked_at_otherwise() -> None:
    repeats = Repeats()
    assert 7 not in repeats
    repeats.add(7)
    assert 7 in repeats
    assert 8 not in repeats
    repeats.clear()
    assert 7 not in repeats
