"""What becomes of a handshake in a client's place, and of what the session held, whatever the server answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.world import ENDPOINT, LATEST, Peer, World, forwarded_as, initialized, outcome, request
from mcp_sessions.core.decisions import DELIVER, HOLD, Deliver, Outcome, Reply, Resend
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.recovery.attempts import Attempt, Attempts, Lane
from mcp_sessions.core.recovery.limits import Limits
from mcp_sessions.core.recovery.server_state import NAME_LIMIT, TOOL_LIMIT, URI_LIMIT
from mcp_sessions.core.recovery.storms import Storms
from mcp_sessions.core.session import ID_LIMIT, Endpoint, Session
from mcp_sessions.core.states import State
from mcp_sessions.wire.headers import HeaderMap

ID = "s-one-two-three-four"
RESULT = initialized("own")


def limited(world: World, **limits: Any) -> None:
    """Limits of recovery other than the usual ones."""
    world.core._recovery.limits = replace(world.core._recovery.limits, **limits)


def lost(world: World, session: str = ID) -> Exchange:
    """A call that was refused, and waits."""
    x, _ = world.call(session)
    assert world.lose(x) == HOLD
    return x


# What the server answers to the handshake

ANSWERS = {
    "an error": (outcome(200, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "?"}}), "error -32602"),
    "no error code": (outcome(200, {"jsonrpc": "2.0", "id": 1, "error": {}}), "no initialize result"),
    "another message": (outcome(200, {"jsonrpc": "2.0", "method": "x"}), "no initialize result"),
    "nothing": (outcome(200), "no initialize result"),
    "no id": (outcome(200, RESULT), "the server assigned no session id"),
    "an empty id": (outcome(200, RESULT, session=""), "the server assigned no session id"),
    "a huge id": (outcome(200, RESULT, session="i" * (ID_LIMIT + 1)), f"session id of {ID_LIMIT + 1} characters"),
    "another status": (outcome(302), "initialize was answered 302"),
    "no answer": (Outcome(problem="connection reset"), "connection reset"),
    "no answer at all": (Outcome(), "no answer"),
}


@pytest.mark.parametrize(("answer", "why"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_new_session_is_said_and_the_client_gets_the_servers_answer(answer: Outcome, why: str) -> None:
    world = World()
    session = world.open(ID)
    x = lost(world)
    (opening,) = world.take("initialize")
    world.sent(opening, answer, world.now)
    assert [(release.exchange, release.decision) for release in world.released()] == [(x, DELIVER)]
    assert session.state is State.LOST
    (line,) = [line for line in world.lines() if "not recovered" in line]
    assert line.endswith(why)
    assert world.sends == []


def test_an_id_of_the_greatest_length_is_one() -> None:
    world = World()
    session = world.open(ID)
    x = lost(world)
    assert world.shake(session, "i" * ID_LIMIT) == {x.id: Resend("i" * ID_LIMIT)}


def test_the_handshake_is_the_clients_own_with_the_revision_that_it_speaks() -> None:
    world = World()
    session = world.open(ID, name="my-client")
    session.revision = "2025-06-18"
    lost(world)
    (opening,) = world.take("initialize")
    assert b'"name":"my-client"' in opening.request.content.replace(b'": "', b'":"')
    assert b"2025-06-18" in opening.request.content
    assert b'"mcp-sessions:initialize"' in opening.request.content
    assert opening.request.headers == ()
    world.sent(opening, outcome(200, RESULT, session="new"), world.now)
    (following,) = world.take("notifications/initialized")
    assert dict(following.request.headers) == {"mcp-session-id": "new", "mcp-protocol-version": "2025-06-18"}


@pytest.mark.parametrize("late_id", ["made-too-late", None])
def test_what_a_handshake_has_made_that_nobody_waits_for_any_more_is_deleted(late_id: str | None) -> None:
    world = World(mcp_recover_timeout=1)
    world.open(ID)
    lost(world)
    (opening,) = world.take("initialize")
    world.wait(30)
    assert [release.decision for release in world.released()] == [DELIVER]
    world.sent(opening, outcome(200, RESULT, session=late_id), world.now)
    assert world.deleting == ([late_id] if late_id else [])


# What is restored


@pytest.mark.parametrize("answer", [outcome(500), Outcome(problem="connection reset")])
def test_what_could_not_be_restored_is_said_and_the_session_goes_on(answer: Outcome) -> None:
    world = World()
    session = world.open(ID)
    world.works(world.send(request("logging/setLevel", {"level": "debug"}), session=ID)[0])
    x = lost(world)
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, RESULT, session="new"), world.now)
    world.sent(world.take("notifications/initialized")[0], outcome(202), world.now)
    (level,) = world.take("logging/setLevel")
    world.sent(level, answer, world.now)
    assert [(release.exchange, release.decision) for release in world.released()] == [(x, Resend("new"))]
    (line,) = [line for line in world.lines() if "not restored in full" in line]
    assert line.endswith(f"logging/setLevel: {answer.why_not}")
    assert session.state is State.OPEN


def test_a_list_that_could_not_be_read_again_is_not_said_to_have_changed() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.send(request("tools/list"), session=ID)
    world.answer(x, 200, {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "a"}]}})
    lost(world)
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, RESULT, session="new"), world.now)
    world.sent(world.take("notifications/initialized")[0], outcome(202), world.now)
    (listing,) = world.take("tools/list")
    world.sent(listing, outcome(200, b"<html>"), world.now)
    assert session.state is State.OPEN
    assert "finds its server changed" not in world.whats()


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("logging/setLevel", {"level": 7}),
        ("resources/subscribe", {"uri": 7}),
        ("resources/subscribe", {}),
        ("resources/unsubscribe", {"uri": 7}),
        ("resources/unsubscribe", {"uri": "file:///never"}),
    ],
)
def test_what_makes_no_sense_is_not_restored(method: str, params: Any) -> None:
    world = World()
    session = world.open(ID)
    world.works(world.send(request(method, params), session=ID)[0])
    lost(world)
    world.take("initialize")
    assert session.held is not None
    assert (session.held.level, session.held.subscriptions, session.held.full) == (None, {}, False)


def test_a_subscription_is_kept_once_and_not_if_its_uri_is_too_long() -> None:
    world = World()
    session = world.open(ID)
    for uri in ("file:///a", "file:///a", "u" * URI_LIMIT, "u" * (URI_LIMIT + 1)):
        world.works(world.send(request("resources/subscribe", {"uri": uri}), session=ID)[0])
    assert session.held is not None
    assert [*session.held.subscriptions] == ["file:///a", "u" * URI_LIMIT]
    assert world.whats().count("holds more than is kept") == 1
    world.works(world.send(request("resources/unsubscribe", {"uri": "file:///a"}), session=ID)[0])
    assert [*session.held.subscriptions] == ["u" * URI_LIMIT]


def listed(world: World, result: Any, **params: Any) -> None:
    x, _ = world.send(request("tools/list", params), session=ID)
    world.answer(x, 200, {"jsonrpc": "2.0", "id": 1, "result": result})


def test_only_tools_that_say_so_are_called_again_where_that_is_wanted() -> None:
    world = World(mcp_recover="read-only")
    session = world.open(ID)
    safe = {"readOnlyHint": True}
    tools: list[Any] = [
        {"name": "a", "annotations": safe},
        {"name": "b", "annotations": {"idempotentHint": True}},
        {"name": "c", "annotations": {"readOnlyHint": "yes"}},
        {"name": "d", "annotations": "yes"},
        {"name": "e"},
        {"name": "n" * (NAME_LIMIT + 1), "annotations": safe},
        {"name": 7, "annotations": safe},
        "nonsense",
    ]
    listed(world, {"tools": tools})
    assert session.held is not None
    assert session.held.safe_tools == {"a", "b"}
    listed(world, {"tools": [{"name": "a"}, {"name": "f", "annotations": safe}]}, cursor="2")
    assert session.held.safe_tools == {"b", "f"}, "what is said last counts"
    listed(world, {"tools": "nonsense"})
    assert session.held.safe_tools == {"b", "f"}
    for tool, sent_again in (("b", True), ("a", False)):
        x, _ = world.call(session.client_id, tool)
        assert world.lose(x) == HOLD
        assert world.shake(session, f"new-{tool}") == {x.id: Resend(f"new-{tool}") if sent_again else Deliver()}
        world.works(world.call(ID)[0])


def test_of_a_list_without_end_only_so_much_is_compared() -> None:
    world = World()
    session = world.open(ID)
    listed(world, {"tools": [{"name": f"t{n}"} for n in range(TOOL_LIMIT)]})
    assert world.whats().count("holds more than is kept") == 0
    listed(world, {"tools": [{"name": "more"}]}, cursor="2")
    assert world.whats().count("holds more than is kept") == 1
    assert session.held is not None
    assert len(session.held.lists["tools/list"]) == TOOL_LIMIT


def test_who_has_read_a_changed_list_need_not_be_told() -> None:
    world = World()
    session = world.open(ID)
    listed(world, {"tools": [{"name": "a"}]})
    lost(world)
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, RESULT, session="new"), world.now)
    world.sent(world.take("notifications/initialized")[0], outcome(202), world.now)
    changed = {"jsonrpc": "2.0", "id": "own", "result": {"tools": [{"name": "b"}]}}
    world.sent(world.take("tools/list")[0], outcome(200, changed), world.now)
    assert session.held is not None
    assert session.held.untold == ["notifications/tools/list_changed"]
    listed(world, {"tools": [{"name": "b"}]})
    assert session.held.untold == []
    x, _ = world.send(verb="GET", session=ID)
    head = world.head(x, 200, HeaderMap(((b"content-type", b"text/event-stream"),)), world.now)
    assert (head.stream, head.first) == (True, b"")


def test_a_list_that_changed_in_two_ways_is_told_once() -> None:
    world = World()
    capabilities = {"resources": {"listChanged": True}}
    session = world.open(ID, capabilities=capabilities)
    for method, items in (("resources/list", "resources"), ("resources/templates/list", "resourceTemplates")):
        x, _ = world.send(request(method), session=ID)
        world.answer(x, 200, {"jsonrpc": "2.0", "id": 1, "result": {items: [{"uri": "a"}]}})
    lost(world)
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, initialized("own", capabilities), session="new"), world.now)
    world.sent(world.take("notifications/initialized")[0], outcome(202), world.now)
    for method, items in (("resources/list", "resources"), ("resources/templates/list", "resourceTemplates")):
        (send,) = world.take(method)
        world.sent(send, outcome(200, {"jsonrpc": "2.0", "id": "own", "result": {items: [{"uri": "b"}]}}), world.now)
    assert session.held is not None
    assert session.held.untold == ["notifications/resources/list_changed"]
    assert world.whats().count("finds its server changed") == 2


# Who waits


def test_a_response_to_the_dead_session_is_answered_while_it_is_brought_back() -> None:
    world = World()
    world.open(ID)
    lost(world)
    _, decision = world.send({"jsonrpc": "2.0", "id": 9, "result": {}}, session=ID)
    assert decision == Reply(202)


def test_beyond_the_limit_requests_go_out_and_get_the_servers_answer() -> None:
    world = World()
    limited(world, waiting_per_session=2)
    session = world.open(ID)
    first, second = world.call(ID)[0], world.call(ID)[0]
    assert world.lose(first) == HOLD
    assert world.call(ID)[1] == HOLD
    x, decision = world.call(ID)
    assert decision != HOLD, "it goes out"
    assert world.lose(x) == Deliver()
    assert world.lose(second) == Deliver()
    assert any("2 requests wait already" in line for line in world.lines())
    assert len(world.shake(session, "new")) == 2


def test_a_request_is_sent_again_only_so_often() -> None:
    world = World()
    limited(world, attempts_per_exchange=1)
    session = world.open(ID)
    x = lost(world)
    assert world.shake(session, "new") == {x.id: Resend("new")}
    assert world.lose(x) == Deliver(original=True)
    assert any("sent 1 times already" in line for line in world.lines())


def test_a_page_that_was_asked_for_in_an_older_generation_is_left_to_the_client() -> None:
    world = World()
    session = world.open(ID)
    late, _ = world.send(request("tools/list", {"cursor": "2"}), session=ID)
    lost(world)
    world.shake(session, "new")
    assert world.lose(late) == Deliver()
    assert session.state is State.OPEN
    assert world.shaking == []


def test_a_late_refusal_while_the_session_is_lost_again_is_left_to_the_client() -> None:
    world = World()
    session = world.open(ID)
    late, _ = world.call(ID)
    lost(world)
    world.shake(session, "new")
    lost(world)
    world.shake(session, None)
    assert session.state is State.LOST
    assert world.lose(late) == Deliver()


def test_a_request_that_was_too_large_to_be_kept_is_not_sent_again_but_the_next_one_finds_a_session() -> None:
    world = World()
    session = world.open(ID)
    connection = world.connect("c1", None, world.now)
    shown = HeaderMap(((b"mcp-session-id", ID.encode()), (b"content-type", b"application/json")))
    x, _ = world.request("POST", str(ENDPOINT), ENDPOINT, shown, None, connection, world.now)
    assert world.lose(x) == HOLD
    assert world.shake(session, "new") == {x.id: Deliver()}
    assert forwarded_as(world.call(ID)[1]) == "new"


def test_a_session_whose_client_is_gone_is_not_brought_back() -> None:
    world = World(mcp_end="off")
    session = world.open(ID)
    x, _ = world.call(ID)
    world.dies(Peer())
    assert session.state is State.ABANDONED
    assert world.lose(x) == Deliver()
    assert world.shaking == []
    assert any("not brought back: the session is abandoned" in line for line in world.lines())


def test_a_stale_id_on_an_initialize_is_left_alone_where_nothing_is_recovered() -> None:
    world = World(mcp_recover="off")
    world.open(ID)
    params = {"protocolVersion": LATEST, "capabilities": {}}
    x, _ = world.send(request("initialize", params), session=ID, headers={"mcp-protocol-version": None})
    assert world.lose(x) == Deliver()
    world = World()
    world.open(ID)
    x, _ = world.send(request("initialize", params), session=ID, headers={"mcp-protocol-version": None})
    assert world.lose(x) == Resend("")
    assert world.lose(x) == Deliver(original=True), "once"


def test_a_handshake_by_hand_is_refused_where_it_makes_no_sense() -> None:
    world = World(mcp_end="off")
    session = world.open(ID)
    world.core.reinit(session, world.now)
    world.fetch()
    with pytest.raises(ValueError, match="is being brought back already"):
        world.core.reinit(session, world.now)
    world.shake(session, "new")
    world.dies(Peer())
    with pytest.raises(ValueError, match=f"session {session.label} is abandoned"):
        world.core.reinit(session, world.now)


def test_a_handshake_by_hand_is_one_like_any_other_though_the_last_one_has_failed() -> None:
    world = World()
    session = world.open(ID)
    lost(world)
    world.shake(session, None)
    lost_again, _ = world.call(ID)
    world.lose(lost_again)
    world.shake(session, None)
    world.core.reinit(session, world.now)
    world.fetch()
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, RESULT, session="by-hand"), world.now)
    world.core.interrupted(world.now)
    assert (session.state, session.server_id) == (State.OPEN, "by-hand"), "what was done by then counts"


# At how many endpoints


def test_of_so_many_endpoints_the_quiet_ones_are_forgotten() -> None:
    storms = Storms(Limits(storms=2), Attempts())
    lanes = [Lane(Endpoint("http", f"server-{n}", 80, "/mcp")) for n in range(4)]
    busy = Session(lanes[0].endpoint, "a", "a", opened=1, last_used=1, revision=LATEST)
    storms.jump(Attempt(busy, "", (), 10.0), 1.0)
    storms.failed(lanes[1], 1.0, 1.0)
    storms.failed(lanes[2], 1.0, 1.0)
    assert len(storms) == 2
    assert not storms.worked(lanes[1]), "forgotten"
    assert storms.worked(lanes[2])
    assert len(storms) == 1


def test_a_request_without_a_message_is_not_sent_again() -> None:
    world = World()
    world.open(ID)
    x, _ = world.send(session=ID)
    assert world.lose(x) == Deliver()
    assert any("not a request that can be sent again" in line for line in world.lines())
