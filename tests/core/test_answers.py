"""What an answer is worth: to which request it is one, what it grants, and in which words it says that all is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.world import ENDPOINT, LATEST, World, initialized, request
from mcp_sessions.core.client import Connection
from mcp_sessions.core.decisions import HOLD, Decision, Deliver, Reply, Resend
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.recovery import wording
from mcp_sessions.core.recovery.own_id import PLAIN_LIMIT, WINDOW, accepted, answers, grants, may_answer
from mcp_sessions.core.recovery.replay import Treatment, anew, outcome_for, treatment
from mcp_sessions.core.recovery.server_state import Held
from mcp_sessions.core.session import PARAMETERS_LIMIT, Session
from mcp_sessions.core.states import STANDINGS, ClientSide, ServerSide
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import BATCH_LIMIT, UNREAD, Body, Message, parse

CONNECTION = Connection("c1", ("127.0.0.1", 1), ("127.0.0.1", 2), opened=1, last_active=1)


def call(*ids: Any, verb: str = "POST", content: bytes | None = None) -> Exchange:
    """A request with these ids; a notification if there are none."""
    sent = [{"jsonrpc": "2.0", "method": "tools/call", "id": one} for one in ids]
    message: Any = sent if len(ids) > 1 else sent[0] if ids else {"jsonrpc": "2.0", "method": "notifications/x"}
    body = parse(json.dumps(message).encode() if content is None else content)
    return Exchange("x1", 1.0, verb, ENDPOINT, str(ENDPOINT), HeaderMap(), body, CONNECTION)


def error(id: Any, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": -32001, "message": "no"}, **more}


def read(x: Exchange, content: bytes | None) -> bool | None:
    x.answer = UNREAD if content is None else parse(content)
    return may_answer(x, content)


# Whether it answers the request itself


@pytest.mark.parametrize(
    ("asked", "told", "is_one"),
    [
        (1, 1, True),
        (1, "1", True),
        ("1", 1, True),
        (1, 1.0, True),
        (1.0, 1, True),
        (1.5, 1.5, True),
        (1.5, 1, False),
        (0, -0.0, True),
        (-0.0, 0, True),
        (1, 2, False),
        (1, 10, False),
        (1, None, False),
        ("a", "a", True),
        ("a", "A", False),
        (True, 1, False),
        (True, {"odd": 1}, True),
        ([1], {"odd": 1}, True),
        (10**22, 1e22, True),
        (10**300, 10**300, True),
        (10**300, 10**300 + 1, False),
        (-(10**300), 10**300, False),
        (10**300 - 1, str(10**300 - 1), True),
    ],
)
def test_an_answer_is_one_by_its_id_however_that_is_written(asked: Any, told: Any, is_one: bool) -> None:
    x = call(asked)
    assert read(x, json.dumps(error(told)).encode()) is is_one
    assert answers(x) is is_one


def test_what_the_server_asks_itself_is_no_answer() -> None:
    x = call(1)
    for message in ({"method": "ping", "id": 1}, {"method": "notifications/x"}):
        assert read(x, json.dumps({"jsonrpc": "2.0", **message}).encode()) is False
    assert not answers(call(1)), "nothing was read"
    assert read(x, json.dumps({"jsonrpc": "2.0", "id": 1, "neither": "nor"}).encode()) is True, "an error, as it seems"


def test_an_answer_to_one_of_a_batch_is_one() -> None:
    x = call(1, "b", 3)
    assert read(x, json.dumps([error(7), error("b")]).encode()) is True
    assert read(x, json.dumps([error(7), error("c")]).encode()) is False


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        (b'data: {"jsonrpc":"2.0","id":7,"error":{}}\n\n', True),
        (b'data: {"jsonrpc":"2.0","id" : "7" ,"error":{}}\n\n', True),
        (b'data: {"jsonrpc":"2.0","error":{},"id":7.0}\n\n', True),
        (b'data: {"jsonrpc":"2.0","error":{},"id":7.00\r\n}', True),
        (b'data: {"jsonrpc":"2.0","error":{},"id":7\n}', True),
        (b'[{"jsonrpc":"2.0","error":{},"id":7]]', True),
        (b'data: {"jsonrpc":"2.0","id":77,"error":{}}\n\n', False),
        (b'data: {"jsonrpc":"2.0","id":17,"error":{}}\n\n', False),
        (b'data: {"jsonrpc":"2.0","id":7.5,"error":{}}\n\n', False),
        (b'data: {"jsonrpc":"2.0","id":8,"error":{}}\n\n', False),
        (b'data: {"id":7,"error":{}}\n\n', False),
        (b"<html>7</html>", False),
        (json.dumps(error(7)).encode("utf-16"), True),
        (json.dumps(error(8)).encode("utf-16"), False),
        (json.dumps(error(7)).encode() * 2, True),
        (None, None),
    ],
)
def test_an_id_is_found_in_what_is_no_json(content: bytes | None, is_one: bool | None) -> None:
    assert read(call(7), content) is is_one
    assert read(call(1, 7), content) is is_one
    assert read(call(), content) is False, "a notification is not answered"


@pytest.mark.parametrize("id", ['a "quoted" one', "zwölf", "a|b", "a.b", "\\"])
def test_a_text_as_id_is_found_in_each_way_to_write_it(id: str) -> None:
    for ascii_alone in (True, False):
        written = json.dumps(id, ensure_ascii=ascii_alone)
        assert read(call(id), f'data: {{"jsonrpc":"2.0","id":{written},"error":{{}}}}\n\n'.encode()) is True
    assert read(call("a.b"), b'data: {"jsonrpc":"2.0","id":"axb","error":{}}\n\n') is False


def test_what_is_no_json_is_looked_at_in_its_beginning_and_its_end() -> None:
    found = b'data: {"jsonrpc":"2.0","id":7,"error":{}}\n\n'
    for before, after, is_one in (
        (0, 3 * WINDOW, True),
        (3 * WINDOW, 0, True),
        (WINDOW, WINDOW + 10, False),
        (2 * WINDOW, 2 * WINDOW, False),
    ):
        assert read(call(7), b"." * before + found + b"." * after) is is_one
    whole = b"." * WINDOW + found
    assert read(call(7), whole + b"." * (2 * WINDOW - len(whole))) is True, "it fits just so"


@pytest.mark.parametrize(
    ("id", "known"),
    [("x" * PLAIN_LIMIT, True), ("x" * (PLAIN_LIMIT + 1), False), (10**299, True), (-(10**300), False), (1.5, False)],
)
def test_an_id_that_cannot_be_looked_for_may_be_in_it(id: Any, known: bool) -> None:
    assert read(call(id), b'data: {"jsonrpc":"2.0","id":8,"error":{}}\n\n') is (False if known else None)
    assert read(call(id), b"<html>") is False


def test_of_too_many_messages_not_all_ids_are_known() -> None:
    many = json.dumps([error(n + 100) for n in range(BATCH_LIMIT)]).encode()
    assert read(call(7), many) is None
    x = call(content=json.dumps([{"jsonrpc": "2.0", "method": "ping", "id": n} for n in range(BATCH_LIMIT)]).encode())
    assert read(x, json.dumps(error(-1)).encode()) is None
    assert read(x, json.dumps(error(None)).encode()) is False
    assert read(x, b'data: {"jsonrpc":"2.0","id":-1,"error":{}}\n\n') is None
    assert read(x, b"<html>") is False


# What it grants


def test_what_shows_that_the_server_has_taken_a_request() -> None:
    x = call(1)
    for raw, taken in (
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, True),
        ({"jsonrpc": "2.0", "id": "1", "result": None}, True),
        ({"jsonrpc": "2.0", "id": 2, "result": {}}, False),
        (error(1), False),
        ({"jsonrpc": "2.0", "method": "notifications/progress"}, True),
        ({"jsonrpc": "2.0", "method": "ping", "id": 5}, True),
        ({"id": 1, "result": {}}, False),
        ("text", False),
    ):
        assert grants(x, Message(raw)) is taken, raw
    assert grants(call(), Message({"jsonrpc": "2.0", "id": 9, "result": {}})), "there is none that it could be to"
    assert not grants(call(), Message(error(9)))


def test_what_was_answered_with_success_is_not_accepted_by_that_alone() -> None:
    result = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}).encode()
    for x, content, status, taken in (
        (call(1), result, 200, True),
        (call(1), json.dumps([error(2), json.loads(result)]).encode(), 200, True),
        (call(1), json.dumps(error(1)).encode(), 200, False),
        (call(1), b"", 202, False),
        (call(1), b"<html>", 200, False),
        (call(), b"", 202, True),
        (call(), b"<html>", 202, True),
        (call(), b"<html>", 200, False),
        (call(), result, 200, True),
        (call(), json.dumps(error(1)).encode(), 202, False),
        (call(), json.dumps({"jsonrpc": "2.0", "method": "notifications/x"}).encode(), 200, False),
        (call(1, verb="GET"), result, 200, False),
    ):
        x.status, x.answer = status, parse(content) if content else Body()
        assert accepted(x) is taken, content
    x = call()
    x.status = 202
    assert not accepted(x), "nothing was read yet"
    x.answer, x.status = Body(), 200
    assert accepted(x), "an empty answer to a notification"


# In which words


@pytest.mark.parametrize(
    ("text", "lost", "plainly", "names"),
    [
        ("Bad Request: No valid session ID provided", True, True, True),
        ("Session not found", True, True, True),
        ("Error: Not Found: MCP session has expired.", True, True, True),
        ("Terminal session not found: t1", True, False, True),
        ("Server not initialized", True, False, False),
        ("invalid or expired session", True, False, True),
        (" session not found ", True, True, True),
        ("User 5 not found", False, False, False),
        ("one session a day", False, False, True),
        ("", False, False, False),
    ],
)
def test_what_a_message_says_of_the_session(text: str, lost: bool, plainly: bool, names: bool) -> None:
    found = (wording.says_lost(text), wording.says_plainly(text), wording.names_session(text))
    assert found == (lost, plainly, names)


def test_only_the_beginning_of_a_message_is_looked_at() -> None:
    for says, text in (
        (wording.says_lost, "unknown session"),
        (wording.names_session, "session"),
        (wording.names_event, "unknown event"),
    ):
        assert says("." * (wording.LIMIT - len(text)) + text)
        assert not says("." * (wording.LIMIT - len(text) + 1) + text)
    assert wording.says_plainly("session not found" + " " * wording.LIMIT + "or something else")
    assert wording.names_event("Event ID was not found")
    assert not wording.names_event("")


# What is sent again


def test_what_may_do_harm_is_sent_again_only_if_it_was_not_processed() -> None:
    def tool(name: str, *, cut: bool = False) -> Exchange:
        one = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name}}
        x = call(content=json.dumps([one] * BATCH_LIMIT if cut else one).encode())
        x.session = Session(ENDPOINT, "a", "a", opened=1, last_used=1, revision="")
        x.session.held = Held(safe_tools=frozenset({"safe"}))
        return x

    for name, cut, policy, unprocessed, what in (
        ("safe", False, "read-only", True, Treatment.RESEND),
        ("safe", False, "on", False, Treatment.RESEND),
        ("harm", False, "read-only", True, Treatment.SHAKE_ONLY),
        ("harm", False, "on", False, Treatment.SHAKE_ONLY),
        ("harm", False, "on", True, Treatment.RESEND),
        ("safe", False, "reinit", True, Treatment.SHAKE_ONLY),
        ("safe", True, "read-only", True, Treatment.SHAKE_ONLY),
        ("safe", True, "on", True, Treatment.RESEND),
    ):
        assert treatment(tool(name, cut=cut), policy, unprocessed=unprocessed) is what
    assert treatment(tool("harm")) is Treatment.RESEND, "as a rule it was not processed"


def test_a_large_answer_is_looked_at_where_its_id_may_be() -> None:
    large = (
        b"[" + json.dumps(error(99)).encode() + b" " * 5_000 + b"," + json.dumps(error(7)).encode() + b",[]" * 200_000
    )
    x = call(7)
    assert read(x, large) is True
    assert x.answer is not None
    assert (x.answer.sniffed, [message.id for message in x.answer.messages]) == (True, [99])
    assert read(call(8), large) is False


# Whether the session is lost


def test_a_404_is_a_lost_session_where_the_server_had_opened_it_however_little_is_known() -> None:
    world = World()
    huge = {"protocolVersion": LATEST, "capabilities": {"x": "y" * PARAMETERS_LIMIT}}
    opening, _ = world.send(request("initialize", huge), headers={"mcp-protocol-version": None})
    world.answer(opening, 200, initialized(1), session="s-one-two-three-four")
    assert opening.opened is not None
    assert opening.opened.parameters is None
    assert world.answer(world.call("s-one-two-three-four")[0], 404, b"<html>") == HOLD
    unknown, _ = world.call("never-seen-by-anybody")
    assert world.answer(unknown, 404, b"<html>") == Deliver()
    assert unknown.verdict == "wrong path or routing page (404 on an id that this server was never seen to know)"


def test_a_refusal_is_read_whatever_its_bytes_are_and_only_its_beginning() -> None:
    world = World()
    for content, decision in (
        (b"\xff\xfe no such session", HOLD),
        (b"\xff" * 100 + b"nothing here", Deliver()),
        (b"." * (wording.LIMIT - 7) + b"session", HOLD),
        (b"." * (wording.LIMIT - 6) + b"session", Deliver()),
    ):
        assert world.answer(world.call(f"never-seen-{len(world.told)}")[0], 404, content) == decision


@pytest.mark.parametrize(
    ("verb", "message", "what"),
    [
        ("GET", None, Treatment.REOPEN),
        ("DELETE", None, Treatment.LEAVE),
        ("POST", None, Treatment.LEAVE),
        ("POST", {"method": "ping", "id": 1}, Treatment.RESEND),
        ("POST", {"method": "tools/list", "id": 1, "params": {}}, Treatment.RESEND),
        ("POST", {"method": "tools/list", "id": 1, "params": {"cursor": "2"}}, Treatment.SHAKE_ONLY),
        ("POST", {"method": "tasks/list", "id": 1, "params": {"cursor": ""}}, Treatment.SHAKE_ONLY),
        ("POST", {"method": "other/list", "id": 1, "params": {"cursor": "2"}}, Treatment.RESEND),
        ("POST", {"method": "notifications/progress"}, Treatment.RESEND),
        ("POST", {"method": "notifications/initialized"}, Treatment.ACCEPT),
        ("POST", {"method": "notifications/cancelled"}, Treatment.ACCEPT),
        ("POST", {"result": {}, "id": 1}, Treatment.DROP),
        ("POST", {"neither": "nor"}, Treatment.LEAVE),
        ("POST", [{"method": "ping", "id": 1}], Treatment.RESEND),
        ("POST", [{"method": "notifications/cancelled"}], Treatment.RESEND),
        ("POST", [{"method": "ping", "id": 1}, {"method": "notifications/x"}], Treatment.RESEND),
        ("POST", [{"method": "ping", "id": 1}, {"result": {}, "id": 1}], Treatment.LEAVE),
    ],
)
def test_what_becomes_of_a_request_by_what_it_is(verb: str, message: Any, what: Treatment) -> None:
    sent = [{"jsonrpc": "2.0", **one} for one in message] if isinstance(message, list) else message
    sent = {"jsonrpc": "2.0", **sent} if isinstance(sent, dict) else sent
    x = call(verb=verb, content=json.dumps(sent).encode() if sent else b"")
    assert treatment(x) is what
    x.body = UNREAD
    usual = {"GET": Treatment.REOPEN, "POST": Treatment.SHAKE_ONLY, "DELETE": Treatment.LEAVE}
    assert treatment(x) is usual[verb], "it is not there to be sent again"


def test_what_a_refused_request_is_told_once_there_is_a_new_session() -> None:
    session = Session(ENDPOINT, "a", "new", opened=1, last_used=1, revision="", generation=7)
    again, reopened = Resend("new"), Resend("new", drop_last_event_id=True)
    for what, decision in (
        (Treatment.RESEND, again),
        (Treatment.REOPEN, reopened),
        (Treatment.ACCEPT, Reply(202)),
        (Treatment.SHAKE_ONLY, Deliver()),
        (Treatment.LEAVE, Deliver()),
    ):
        assert outcome_for(session, what) == decision
    session.standing = STANDINGS[ClientSide.USING, ServerSide.LOST, False]
    assert outcome_for(session, Treatment.RESEND) == Deliver()
    x = call(1)
    x.session, x.status, x.events, x.answer, x.answer_headers = session, 404, 3, Body(), HeaderMap()
    decisions: tuple[Decision, ...] = (Deliver(), again, reopened)
    for attempts, given in enumerate(decisions):
        assert anew(x, given) is given
        assert (x.attempts, x.status is None, x.answer is None, x.answer_headers is None, x.events == 0) == (
            attempts,
            *(attempts > 0,) * 4,
        )
        assert (x.generation, x.server_id) == ((7, "new") if attempts else (0, ""))
    x.session = None
    anew(x, Resend(""))
    assert (x.generation, x.server_id, x.attempts) == (0, "", 3)


def test_an_id_of_any_number_of_digits_is_compared() -> None:
    x = call()
    huge = 10**5000
    x.body = Body((Message({"jsonrpc": "2.0", "method": "ping", "id": huge}),))
    for told, is_one in ((huge, True), (huge + 1, False)):
        x.answer = Body((Message(error(told)),))
        assert answers(x) is is_one


def test_the_dialect_of_a_refusal_is_noted() -> None:
    world = World()
    world.open("s-one-two-three-four")
    world.works(world.call("s-one-two-three-four")[0])
    x, _ = world.call("s-one-two-three-four")
    assert world.answer(x, 400, b"No valid session ID provided") == HOLD
    assert (x.dialect, x.verdict) == (
        "400-for-404",
        "lost session (status 400 that names the session, which worked before)",
    )


def test_a_session_that_nobody_saw_answer_has_not_died_young() -> None:
    world = World()
    world.lose(world.call("s-one-two-three-four")[0])
    assert world.core._recovery._troubles.of(world.session("s-one-two-three-four")).deaths == 0
