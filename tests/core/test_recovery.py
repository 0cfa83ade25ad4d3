"""Recovery as the core decides it: one test, or one row of a table, for each kind of refusal and of request."""

from typing import Any

import pytest

from core.world import LATEST, Headers, Peer, World, forwarded_as, initialized, outcome, request
from mcp_sessions.core.decisions import HOLD, Decision, Deliver, Forward, Hold, Outcome, Reply, Resend, Send
from mcp_sessions.core.states import State
from mcp_sessions.wire.headers import HeaderMap

ID = "s-one-two-three-four"
NEW = "t-five-six-seven-eight"


def error(code: int, message: str, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, **more}


LOST = error(-32600, "Session not found", id="server-error")


# What is a lost session, and what is not

CHALLENGE = {"www-authenticate": "Bearer"}

REFUSALS: list[tuple[str, int, Any, Headers, bool]] = [
    ("python 1", 404, LOST, {}, True),
    ("python 2", 404, error(-32600, "Session not found", id=None), {}, True),
    ("typescript", 404, error(-32001, "Session not found", id=None), {}, True),
    ("nothing but a status", 404, b"", {}, True),
    ("a page, on a session that was opened here", 404, b"<html>404</html>", {"content-type": "text/html"}, True),
    ("unknown method", 404, error(-32601, "Method not found", id=1), {}, False),
    ("old examples", 400, error(-32000, "Bad Request: No valid session ID provided"), {}, True),
    ("not initialized", 400, error(-32000, "Bad Request: Server not initialized"), {}, True),
    ("another 400", 400, error(-32602, "Invalid params", id=1), {}, False),
    ("already initialized", 400, error(-32600, "Invalid Request: Server already initialized"), {}, False),
    ("401 by default", 401, error(-32000, "unknown session"), {}, False),
    ("403", 403, error(-32000, "session not found"), {}, False),
    ("410 by default", 410, b"session gone", {}, False),
    ("503 by default", 503, b"session unavailable", {}, False),
    ("a result", 200, {"jsonrpc": "2.0", "id": 1, "result": {}}, {}, False),
    ("200 with an error, by default", 200, error(-32000, "Session not found", id=1), {}, False),
    ("a server error", 500, b"session not found", {}, False),
]


@pytest.mark.parametrize(
    ("status", "body", "headers", "lost"), [row[1:] for row in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_refusals(status: int, body: Any, headers: Headers, lost: bool) -> None:
    world = World()
    world.open(ID)
    world.works(world.call(ID)[0])
    x, _ = world.call(ID)
    assert isinstance(world.answer(x, status, body, headers=headers), Hold if lost else Deliver)


DIALECTS: list[tuple[str, int, Any, Headers, bool]] = [
    ("401", 401, error(-32000, "unknown session"), {}, True),
    ("a genuine 401", 401, error(-32000, "unknown session"), CHALLENGE, False),
    ("a 401 about something else", 401, b"token expired", {}, False),
    ("410", 410, b"session gone", {}, True),
    ("503", 503, b"session unavailable", {}, True),
    ("503 about something else", 503, b"overloaded", {}, False),
    ("200 with an error", 200, error(-32000, "Session not found", id=1), {}, True),
    ("200 with a tool's own error", 200, error(-32000, "Terminal session not found: t1", id=1), {}, False),
    ("200 with another error", 200, error(-32000, "File not found", id=1), {}, False),
    ("400 left out", 400, error(-32000, "No valid session ID provided"), {}, False),
]


@pytest.mark.parametrize(
    ("status", "body", "headers", "lost"), [row[1:] for row in DIALECTS], ids=[r[0] for r in DIALECTS]
)
def test_dialects_that_are_asked_for(status: int, body: Any, headers: Headers, lost: bool) -> None:
    world = World({"mcp_recover_dialects": ["401", "410", "503", "200"]})
    world.open(ID)
    world.works(world.call(ID)[0])
    x, _ = world.call(ID)
    assert isinstance(world.answer(x, status, body, headers=headers), Hold if lost else Deliver)


def test_a_400_is_no_lost_session_where_nothing_ever_worked() -> None:
    world = World()
    session = world.open(ID)
    session.answered = 0
    x, _ = world.call(ID)
    assert isinstance(world.answer(x, 400, error(-32000, "No valid session ID provided")), Deliver)


def test_a_400_that_names_the_session_is_a_violation() -> None:
    world = World()
    world.open(ID)
    world.works(world.call(ID)[0])
    world.answer(world.call(ID)[0], 400, error(-32000, "No valid session ID provided"))
    assert [line for line in world.lines() if line.startswith("mcp: MCP305")]


def test_a_404_to_a_get_again_after_a_good_handshake_is_no_lost_session_but_a_violation() -> None:
    world = World()
    session = world.open(ID)
    world.works(world.call(ID)[0])
    x, _ = world.send(verb="GET", session=ID)
    assert world.answer(x, 404, b"Cannot GET /mcp") == HOLD
    world.shake(session, NEW)
    assert world.answer(x, 404, b"Cannot GET /mcp") == Deliver(original=True)
    assert not [line for line in world.lines() if line.startswith(("mcp: MCP204", "mcp: MCP3"))]
    world.works(world.call(ID)[0])
    world.works(world.call(ID)[0])
    violations = [line for line in world.lines() if line.startswith(("mcp: MCP204", "mcp: MCP3"))]
    assert [line[5:11] for line in violations] == ["MCP204"]
    assert session.generation == 1


def test_a_404_to_a_get_is_no_lost_session_if_that_answers_meanwhile() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.send(verb="GET", session=ID)
    world.works(world.call(ID)[0])
    assert world.answer(x, 404, b"Cannot GET /mcp") == Deliver()
    assert not world.shaking
    world.works(world.call(ID)[0])
    assert session.state is State.OPEN


def test_a_stale_event_id_is_no_lost_session() -> None:
    world = World()
    world.open(ID)
    x, _ = world.send(verb="GET", session=ID, headers={"last-event-id": "7"})
    assert isinstance(world.answer(x, 404, error(-32001, "Event not found")), Deliver)
    x, _ = world.send(verb="GET", session=ID, headers={"last-event-id": "7"})
    assert world.lose(x) == HOLD


def test_the_stateless_era_has_no_sessions() -> None:
    world = World()
    world.open(ID)
    meta = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
    x, sent = world.send(request("tools/list", meta), session=ID, headers={"mcp-protocol-version": "2026-07-28"})
    assert sent == Forward()
    assert world.lose(x) == Deliver()


def test_the_verdict_is_logged_with_its_reason() -> None:
    world = World()
    world.open(ID)
    x, _ = world.call(ID)
    world.answer(x, 404, error(-32601, "Method not found", id=1))
    assert x.verdict == "unknown method (JSON-RPC -32601)"
    assert any("unknown method (JSON-RPC -32601)" in line for line in world.lines())


# By kind of request


def list_with_cursor() -> Any:
    return request("tools/list", {"cursor": "abc"})


KINDS: list[tuple[str, Any, Any]] = [
    ("request", request("tools/call", {"name": "echo"}), Resend(NEW)),
    ("first page", request("tools/list"), Resend(NEW)),
    ("later page", list_with_cursor(), Deliver()),
    ("notification", {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}, Resend(NEW)),
    ("cancelled", {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}, Reply(202)),
    ("initialized", {"jsonrpc": "2.0", "method": "notifications/initialized"}, Reply(202)),
    ("batch", [request("ping", id=1), request("ping", id=2)], Resend(NEW)),
]


@pytest.mark.parametrize(("message", "expected"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS])
def test_kinds(message: Any, expected: Decision) -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.send(message, session=ID)
    assert world.lose(x) == HOLD
    released = world.shake(session, NEW)
    assert released == {x.id: expected}


def test_a_response_to_the_dead_session_is_dropped() -> None:
    world = World()
    world.open(ID)
    x, _ = world.send({"jsonrpc": "2.0", "id": 9, "result": {}}, session=ID)
    assert world.lose(x) == Reply(202)


def test_the_listening_stream_is_reopened_without_its_last_event_id() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.send(verb="GET", session=ID, headers={"last-event-id": "7"})
    assert world.lose(x) == HOLD
    released = world.shake(session, NEW)
    assert released[x.id] == Resend(NEW, drop_last_event_id=True)


def test_delete_of_a_lost_session_is_done() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.send(verb="DELETE", session=ID)
    assert world.lose(x) == Deliver()
    assert session.state is State.CLOSED


def test_a_body_that_is_no_message_is_not_sent_again() -> None:
    world = World()
    world.open(ID)
    x, _ = world.send("not a message", session=ID)
    assert world.lose(x) == Deliver()


def test_a_stale_id_is_taken_off_an_initialize() -> None:
    world = World({})
    world.open(ID)
    world.answer(world.call(ID)[0], 404, b"")
    params = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    # An id that nobody knows: refused, and sent again without.
    x, sent = world.send(request("initialize", params), session="unknown-to-everybody")
    assert sent == Forward()
    assert world.lose(x) == Resend("")


def test_an_initialize_with_the_id_of_a_lost_session_goes_out_without() -> None:
    world = World()
    session = world.open(ID)
    world.lose(world.call(ID)[0])
    world.shake(session, None)
    assert session.state is State.LOST
    x, sent = world.send(request("initialize", {"protocolVersion": LATEST}), session=ID)
    assert sent == Forward("")
    world.answer(x, 200, initialized(1), session=NEW)
    fresh = world.core.ledger.find(x.endpoint, NEW)
    assert fresh is not None
    assert fresh is not session


# One handshake for all


def test_concurrent_refusals_share_a_handshake_and_arrivals_wait_for_it() -> None:
    world = World()
    session = world.open(ID)
    refused = [world.call(ID)[0] for _ in range(3)]
    assert world.lose(refused[0]) == HOLD
    assert [world.lose(x) for x in refused[1:]] == [HOLD] * 2
    late, held = world.call(ID)
    assert held == HOLD
    released = world.shake(session, NEW)
    assert [released[x.id] for x in refused] == [Resend(NEW)] * 3
    assert released[late.id] == Forward(NEW)
    assert forwarded_as(world.call(ID)[1]) == NEW


def test_a_late_refusal_of_an_older_generation_is_only_sent_again() -> None:
    world = World()
    session = world.open(ID)
    slow, _ = world.call(ID)
    world.lose(world.call(ID)[0])
    world.shake(session, NEW)
    assert world.lose(slow) == Resend(NEW)
    assert session.generation == 1


def test_a_chain_of_recoveries_keeps_the_clients_id() -> None:
    world = World()
    session = world.open(ID)
    for n in range(1, 5):
        x, sent = world.call(ID)
        assert forwarded_as(sent) == (f"new-{n - 1}" if n > 1 else None)
        assert world.lose(x) == HOLD
        world.shake(session, f"new-{n}")
        world.works(x)
        world.now += 60
    assert session.client_id == ID
    assert list(session.replaced) == [ID, "new-1", "new-2", "new-3"]


def test_whoever_hangs_up_waits_no_more() -> None:
    world = World()
    session = world.open(ID)
    first, _ = world.call(ID)
    second, _ = world.call(ID)
    world.lose(first)
    world.lose(second)
    world.hang_up(first)
    released = world.shake(session, NEW)
    assert list(released) == [second.id]


def test_a_failed_handshake_gives_everybody_the_servers_answer() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.call(ID)
    world.lose(x)
    held, _ = world.call(ID)
    released = world.shake(session, None)
    assert released[x.id] == Deliver()
    assert released[held.id] == Forward(ID)
    assert session.state is State.LOST


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_a_second_failure_gives_the_original_answer(status: int) -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.call(ID)
    world.lose(x)
    world.shake(session, NEW)
    x.attempts = 3
    assert world.answer(x, status, b"still not") == Deliver(original=True)


# Who ended it, and whose it is


def test_a_session_that_its_client_ended_stays_ended() -> None:
    world = World()
    session = world.open(ID)
    world.answer(world.send(verb="DELETE", session=ID)[0], 200)
    assert session.state is State.CLOSED
    x, _ = world.call(ID)
    assert world.lose(x) == Deliver()
    assert "session ended by its own client" in x.verdict


def test_a_mapping_serves_only_whom_it_was_made_for() -> None:
    world = World()
    mine = Peer(pid=1, token="mine")
    session = world.open(ID, peer=mine)
    world.lose(world.call(ID, peer=mine)[0])
    world.shake(session, NEW)
    assert forwarded_as(world.call(ID, peer=mine)[1]) == NEW
    same_credentials = Peer(pid=2, token="mine", connection="c2")
    assert forwarded_as(world.call(ID, peer=same_credentials)[1]) == NEW
    # One process may carry several users: a token that nobody has accepted is given nothing.
    for stranger in (Peer(pid=1, token="other"), Peer(pid=3, token="other", connection="c3")):
        assert world.call(ID, peer=stranger)[1] == Forward()
    elsewhere = Peer(pid=None, host="10.0.0.9", token="mine", connection="c4")
    x, sent = world.call(ID, peer=elsewhere)
    assert sent == Forward()
    assert world.lose(x) == Deliver()


# Policy


def tool_list(x_id: Any = 1) -> dict[str, Any]:
    tools = [
        {"name": "look", "annotations": {"readOnlyHint": True}},
        {"name": "put", "annotations": {"idempotentHint": True}},
        {"name": "pay", "annotations": {"destructiveHint": True}},
    ]
    return {"jsonrpc": "2.0", "id": x_id, "result": {"tools": tools}}


POLICIES = [
    ("on", "pay", Resend(NEW)),
    ("read-only", "look", Resend(NEW)),
    ("read-only", "put", Resend(NEW)),
    ("read-only", "pay", Deliver()),
    ("read-only", "never-listed", Deliver()),
    ("reinit", "look", Deliver()),
]


@pytest.mark.parametrize(("policy", "tool", "expected"), POLICIES)
def test_policies(policy: str, tool: str, expected: Decision) -> None:
    world = World({"mcp_recover": policy})
    session = world.open(ID)
    world.answer(world.send(request("tools/list"), session=ID)[0], 200, tool_list())
    x, _ = world.call(ID, tool)
    assert world.lose(x) == HOLD
    released = world.shake(session, NEW)
    assert released[x.id] == expected
    assert forwarded_as(world.call(ID, tool)[1]) == NEW, "the next call needs no handshake"


def test_read_only_sends_other_methods_again() -> None:
    world = World({"mcp_recover": "read-only"})
    session = world.open(ID)
    x, _ = world.send(request("prompts/get", {"name": "p"}), session=ID)
    world.lose(x)
    assert world.shake(session, NEW)[x.id] == Resend(NEW)


def test_off_means_off() -> None:
    world = World({"mcp_recover": "off"})
    world.open(ID)
    assert world.lose(world.call(ID)[0]) == Deliver()


# Sessions that were opened before the proxy started


def test_an_unknown_session_is_brought_back_from_what_is_known() -> None:
    world = World()
    agent = {"user-agent": "claude-code/2.1 (cli)", "mcp-protocol-version": "2025-06-18"}
    x, sent = world.send(request("tools/list"), session=ID, headers=agent)
    assert sent == Forward()
    assert world.lose(x) == HOLD
    session = world.session(ID)
    assert session.revision == "2025-06-18"
    assert session.initialize is not None
    assert session.initialize["clientInfo"] == {"name": "claude-code", "version": "2.1"}
    assert any("opened before the proxy saw it" in line for line in world.lines())
    assert world.shake(session, NEW)[x.id] == Resend(NEW)


def test_unknown_sessions_can_be_left_alone() -> None:
    world = World({"mcp_recover_unknown": "off"})
    x, _ = world.send(request("tools/list"), session=ID)
    assert world.lose(x) == Deliver()


def test_a_page_about_an_unknown_id_is_a_wrong_path() -> None:
    world = World()
    x, _ = world.send(request("tools/list"), session=ID)
    assert world.answer(x, 404, b"<html>nothing here</html>") == Deliver()
    assert "wrong path" in x.verdict


# Limits


def test_a_handshake_that_failed_makes_the_next_one_wait() -> None:
    world = World()
    session = world.open(ID)
    for _ in range(2):
        world.lose(world.call(ID)[0])
        world.shake(session, None)
    assert world.lose(world.call(ID)[0]) == Deliver()
    world.now += 1
    assert world.lose(world.call(ID)[0]) == HOLD
    world.shake(session, NEW)
    assert session.state is State.OPEN


def test_a_session_that_keeps_dying_rests() -> None:
    world = World()
    session = world.open(ID)
    outcomes = []
    for n in range(6):
        outcomes.append(type(world.lose(world.call(ID)[0])))
        if outcomes[-1] is Hold:
            world.shake(session, f"new-{n}")
    assert outcomes[-1] is Deliver
    assert outcomes.count(Hold) == 3
    assert any("not brought back for a while" in line for line in world.lines())
    world.now += 120
    assert world.lose(world.call(ID)[0]) == HOLD


def test_a_session_is_not_brought_back_more_than_60_times_a_minute() -> None:
    world = World()
    session = world.open(ID)
    for n in range(60):
        x, _ = world.call(ID)
        assert world.lose(x) == HOLD
        world.shake(session, f"new-{n}")
        world.works(x)
    assert world.lose(world.call(ID)[0]) == Deliver()
    assert any("60 times within a minute" in line for line in world.lines())
    world.now += 60
    assert world.lose(world.call(ID)[0]) == HOLD


@pytest.mark.long
def test_waiting_requests_are_limited() -> None:
    world = World()
    session = world.open(ID)
    calls = [world.call(ID)[0] for _ in range(1001)]
    outcomes = [type(world.lose(x)) for x in calls]
    assert outcomes == [Hold] * 1000 + [Deliver]
    assert world.call(ID)[1] == Forward()
    assert len(world.shake(session, NEW)) == 1000


def test_a_thrash_is_named() -> None:
    world = World()
    session = world.open(ID)
    for n in range(6):
        x, _ = world.call(ID)
        world.lose(x)
        world.shake(session, f"new-{n}")
        world.works(x)
    assert sum("is lost again and again" in line for line in world.lines()) == 1


# What the session held


def test_level_and_subscriptions_are_restored() -> None:
    world = World()
    world.open(ID)
    for method, params in (
        ("logging/setLevel", {"level": "debug"}),
        ("resources/subscribe", {"uri": "a://1"}),
        ("resources/subscribe", {"uri": "a://2"}),
        ("resources/unsubscribe", {"uri": "a://1"}),
    ):
        world.works(world.send(request(method, params), session=ID)[0])
    refused, _ = world.send(request("resources/subscribe", {"uri": "a://3"}), session=ID)
    world.answer(refused, 200, error(-32602, "no such resource", id=1))
    world.lose(world.call(ID)[0])
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, initialized("own"), session=NEW), world.now)
    (told,) = world.take("notifications/initialized")
    assert not world.sends, "nothing before the server was told"
    world.sent(told, outcome(202), world.now)
    assert [send.request.what for send in world.sends] == ["logging/setLevel", "resources/subscribe"]
    assert b'"a://2"' in world.sends[1].request.content
    assert not world.releases, "nobody is sent again before it is restored"
    for send in tuple(world.sends):
        world.sent(send, outcome(200, {"jsonrpc": "2.0", "id": 1, "result": {}}), world.now)
    assert len(world.releases) == 1


STREAM = HeaderMap(((b"content-type", b"text/event-stream"),))


def test_changed_tools_are_told_on_the_next_stream() -> None:
    world = World()
    session = world.open(ID)
    tools = tool_list()["result"]["tools"]
    world.answer(world.send(request("tools/list"), session=ID)[0], 200, tool_list())

    def first_events(new_id: str, listed: list[Any]) -> list[bytes]:
        """What two streams in a row begin with, after a recovery by a server with these tools."""
        world.now += 60
        lost, _ = world.call(ID)
        world.lose(lost)
        world.restored = lambda send: outcome(  # type: ignore[method-assign]
            200, {"jsonrpc": "2.0", "id": 1, "result": {"tools": listed} if send.request.what == "tools/list" else {}}
        )
        world.shake(session, new_id)
        world.works(lost)
        return [world.head(world.call(ID)[0], 200, STREAM, world.now).first for _ in range(2)]

    assert first_events("new-1", list(reversed(tools))) == [b"", b""], "the same tools in another order"
    first, second = first_events("new-2", tools[:1])
    assert b"notifications/tools/list_changed" in first
    assert second == b"", "once"


def test_a_list_is_read_page_by_page() -> None:
    world = World()
    session = world.open(ID)
    tools = tool_list()["result"]["tools"]
    world.answer(world.send(request("tools/list"), session=ID)[0], 200, tool_list())
    world.lose(world.call(ID)[0])
    pages = iter([{"tools": tools[:2], "nextCursor": "more"}, {"tools": tools[2:]}])
    asked = []

    def page(send: Send) -> Outcome:
        if send.request.what != "tools/list":
            return outcome(202)
        asked.append(send.request.content)
        return outcome(200, {"jsonrpc": "2.0", "id": 1, "result": next(pages)})

    world.restored = page  # type: ignore[method-assign]
    world.shake(session, NEW)
    assert [b'"cursor":"more"' in content for content in asked] == [False, True]
    assert not any("other ones" in line for line in world.lines())


def test_lists_are_not_compared_where_nobody_was_promised_to_be_told() -> None:
    world = World()
    session = world.open(ID, capabilities={"tools": {}})
    world.answer(world.send(request("tools/list"), session=ID)[0], 200, tool_list())
    world.lose(world.call(ID)[0])
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, initialized("own", {"tools": {}}), session=NEW), world.now)
    world.sent(world.take("notifications/initialized")[0], outcome(202), world.now)
    assert not world.sends
    assert session.state is State.OPEN


def test_another_server_is_named() -> None:
    world = World()
    session = world.open(ID, capabilities={"tools": {}, "logging": {}})
    world.lose(world.call(ID)[0])
    world.shake(session, NEW)
    assert any("no longer offers logging" in line for line in world.lines())


# What a review found


def test_a_stranger_has_no_say_in_a_session_that_was_never_brought_back() -> None:
    """Servers answer 404 to a foreign credential: that says nothing of the session's own client."""
    world = World()
    mine, stranger = Peer(pid=1, token="mine"), Peer(pid=None, host="10.0.0.9", token="other", connection="c9")
    session = world.open(ID, peer=mine)
    assert world.lose(world.call(ID, peer=stranger)[0]) == Deliver()
    assert session.state is State.OPEN
    assert world.lose(world.send(verb="DELETE", session=ID, peer=stranger)[0]) == Deliver()
    assert session.state is State.OPEN
    assert [owner.host for owner in session.owners] == ["127.0.0.1"]
    # Whom the server accepts is no stranger.
    world.works(world.call(ID, peer=stranger)[0])
    assert [owner.host for owner in session.owners] == ["127.0.0.1", "10.0.0.9"]


def test_two_refusals_of_one_unknown_session_share_a_handshake() -> None:
    world = World()
    first, _ = world.send(request("tools/list"), session=ID)
    second, _ = world.send(request("tools/list", id=2), session=ID)
    assert [world.lose(first), world.lose(second)] == [HOLD, HOLD]
    assert world.shaking == [world.session(ID)]


def test_a_delete_that_is_cut_off_while_it_is_held_ends_the_session() -> None:
    world = World()
    session = world.open(ID)
    world.lose(world.call(ID)[0])
    x, held = world.send(verb="DELETE", session=ID)
    assert held == HOLD
    world.hang_up(x)
    world.shake(session, NEW)
    assert world.deleting == [NEW]


def test_a_session_whose_delete_was_answered_in_another_dialect_stays_ended() -> None:
    world = World()
    session = world.open(ID)
    world.works(world.call(ID)[0])
    world.answer(world.send(verb="DELETE", session=ID)[0], 400, error(-32000, "No valid session ID provided"))
    assert session.state is State.CLOSED
    assert world.answer(world.call(ID)[0], 400, error(-32000, "No valid session ID provided")) == Deliver()


def test_a_late_refusal_that_is_not_sent_again_says_nothing_of_the_new_generation() -> None:
    world = World()
    session = world.open(ID)
    late, _ = world.send("not a message", session=ID)
    world.lose(world.call(ID)[0])
    world.shake(session, NEW)
    assert world.lose(late) == Deliver()
    assert session.state is State.OPEN


def test_odd_bytes_in_an_id_and_a_version_are_no_obstacle() -> None:
    world = World()
    odd = {"mcp-session-id": "odd-\xff-session-id", "mcp-protocol-version": "2025-\xff"}
    x, _ = world.send(request("tools/list"), headers=odd)
    assert world.lose(x) == HOLD
    (opening,) = world.sends
    assert b"2025-03-26" in opening.request.content


def test_nothing_secret_is_in_a_repr() -> None:
    world = World()
    session = world.open(ID, peer=Peer(token="very-secret"))
    assert "very-secret" not in repr(session)
    assert ID not in repr(session)


# What the server has processed is not sent again

OWN = [
    ("an error of the tool's", 404, "User 5 not found", False),
    ("about a session of the tool's", 404, "Browser session expired", False),
    ("about one that it names", 404, "Terminal session not found: t1", False),
    ("about one that it names, by 400", 400, "Invalid session: t1", False),
    ("about this session, and nothing else", 404, "Session not found", True),
    ("in more words", 404, "Not Found: Session not found", True),
    ("by its id", 404, "Invalid session ID", True),
    ("by 400", 400, "Bad Request: No valid session ID provided", True),
]


@pytest.mark.parametrize(("status", "said", "lost"), [row[1:] for row in OWN], ids=[row[0] for row in OWN])
def test_an_error_under_the_requests_own_id_is_its_answer(status: int, said: str, lost: bool) -> None:
    world = World()
    session = world.open(ID)
    world.works(world.call(ID)[0])
    x, _ = world.call(ID, "book")
    answer = world.answer(x, status, error(-32001, said, id=1))
    assert answer == (HOLD if lost else Deliver())
    assert session.state is (State.RECOVERING if lost else State.OPEN)
    if lost:  # and even then a call that may have been made is not made again
        assert world.shake(session, NEW)[x.id] == Deliver()
        assert forwarded_as(world.call(ID)[1]) == NEW


ODD = [
    ("a result", {"jsonrpc": "2.0", "id": "a.1", "result": {}}, True),
    ("neither result nor error", {"jsonrpc": "2.0", "id": "a.1"}, True),
    ("an array of one", [error(-1, "no", id="a.1")], True),
    ("an event", b'data: {"jsonrpc": "2.0", "id" : "a.1", "error": {}}\n\n', True),
    ("not JSON", b'{"jsonrpc":"2.0","error":{"data":NaN},"id":"a.1"}', True),
    ("large, and not JSON", b'{"jsonrpc":"2.0","data":NaN,"x":"%s","id":"a.1"}' % (b"x" * 300_000), True),
    ("another id", b'{"jsonrpc":"2.0","error":{"data":NaN},"id":"a+1"}', False),
    ("a longer id", b'{"jsonrpc":"2.0","error":{"data":NaN},"id":"a.12"}', False),
    ("a page with ids", b'<html><script>{"id":"a.1"}</script></html>', False),
    ("another's id", {"jsonrpc": "2.0", "id": "server-error", "error": {"code": -1, "message": "no"}}, False),
]


@pytest.mark.parametrize(("body", "own"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
def test_the_requests_own_id_is_found_however_oddly_it_is_written(body: Any, own: bool) -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.send(request("tools/call", {"name": "book"}, id="a.1"), session=ID)
    assert world.answer(x, 404, body) == (Deliver() if own else HOLD)
    if not own:
        assert world.shake(session, NEW)[x.id] == Resend(NEW)


@pytest.mark.parametrize("written", ["7", 7.0])
def test_a_number_may_come_back_as_a_text(written: Any) -> None:
    world = World()
    world.open(ID)
    x, _ = world.send(request("tools/call", {"name": "book"}, id=7), session=ID)
    assert world.answer(x, 404, error(-1, "no", id=written)) == Deliver()


def test_after_an_answer_that_can_not_be_read_nothing_that_may_do_harm_is_sent_again() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.call(ID, "book")
    world.head(x, 404, HeaderMap(()), world.now)
    assert world.answered(x, None, world.now) == HOLD
    assert world.shake(session, NEW)[x.id] == Deliver()


def test_the_answer_to_what_was_sent_again_is_given_to_the_client_if_it_is_one() -> None:
    world = World()
    session = world.open(ID)
    for status, body, given in (
        (404, error(-1, "User 5 not found", id=1), Deliver()),
        (500, error(-1, "it broke", id=1), Deliver()),
        (500, b"<html>it broke</html>", Deliver(original=True)),
    ):
        x, _ = world.call(ID, "book")
        assert world.lose(x) == HOLD
        world.shake(session, f"new-{status}-{len(body)}")
        assert world.answer(x, status, body) == given
        world.works(world.call(ID)[0])


def test_what_does_no_harm_is_sent_again_once() -> None:
    world = World()
    session = world.open(ID)
    world.answer(world.send(request("tools/list"), session=ID)[0], 200, tool_list())
    x, _ = world.call(ID, "look")
    world.answer(x, 404, error(-32001, "Session not found", id=1))
    assert world.shake(session, NEW)[x.id] == Resend(NEW)
    assert world.answer(x, 404, error(-32001, "Session not found", id=1)) == Deliver(), "that is what it says, then"
    assert session.generation == 1


def test_a_session_that_has_answered_meanwhile_is_not_lost() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.call(ID)
    world.works(world.call(ID)[0])
    assert world.answer(x, 404, error(-32001, "Session not found", id=1)) == Deliver()
    # Without an id of the request's it was not processed: another replica, perhaps.
    assert world.lose(world.call(ID)[0]) == HOLD
    assert session.state is State.RECOVERING


@pytest.mark.parametrize("answered", [b"", b"<html>404</html>", error(-32001, "Session not found", id=None), LOST])
def test_the_specifications_own_refusal_is_proof_enough(answered: Any) -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.call(ID, "book")
    assert world.answer(x, 404, answered) == HOLD
    assert world.shake(session, NEW)[x.id] == Resend(NEW)


def test_an_error_in_a_batch_under_one_of_its_ids_is_an_answer() -> None:
    world = World()
    world.open(ID)
    x, _ = world.send([request("tools/call", {"name": "a"}, 1), request("tools/call", {"name": "b"}, 2)], session=ID)
    assert world.answer(x, 404, [error(-32001, "User not found", id=2)]) == Deliver()


@pytest.mark.parametrize("last", ["ping", "tools/call"])
def test_a_batch_of_which_not_all_is_looked_at_is_not_executed_again(last: str) -> None:
    """What was answered may be beyond what is looked at, and so may be what would do harm."""
    world = World()
    world.open(ID)
    x, _ = world.send(
        [request("ping", id=n) for n in range(2500)] + [request(last, {"name": "buy"}, id=2500)], session=ID
    )
    error = {"code": -32001, "message": "User 5 not found"}
    world.answer(x, 404, [{"jsonrpc": "2.0", "id": n, "error": error} for n in reversed(range(2501))])
    (session,) = world.shaking
    assert world.shake(session, NEW) == {x.id: Deliver()}
