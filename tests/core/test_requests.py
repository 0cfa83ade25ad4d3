"""Requests and answers one by one: what is noted of each, and what is said about it."""

from __future__ import annotations

from typing import Any

import pytest

from core.driver import FakeProcess
from core.world import ENDPOINT, LATEST, Peer, World, initialized, outcome, request
from mcp_sessions.core.decisions import HOLD, PASS, Outcome, Reply, Resend
from mcp_sessions.core.exchange import Exchange, Finish, in_two_words
from mcp_sessions.core.policy import Policy
from mcp_sessions.core.records import Action, Record, Violation, schema
from mcp_sessions.core.recovery.own_id import answers
from mcp_sessions.core.session import PARAMETERS_LIMIT, Session, packed
from mcp_sessions.core.states import State
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import parse
from mcp_sessions.wire.revision import Era
from mcp_sessions.wire.sse import Event

ID = "s-one-two-three-four"
SSE = HeaderMap(((b"content-type", b"text/event-stream"),))
ELSEWHERE = Peer(pid=None, host="10.0.0.9", token="other", connection="c9")
REMOTE = Peer(pid=None, host="10.0.0.7", token="t", connection="r1")
REFUSED = "[Errno 111] Connect call failed"


# What is noted


def test_nothing_is_to_be_done_until_something_has_happened() -> None:
    world = World()
    assert world.core.still
    world.open(ID)
    assert world.core.still
    world.core.gone(FakeProcess(1), world.now)
    assert not world.core.still
    world.fetch()
    world.delete_answered(200)
    assert world.core.still


def test_who_speaks_the_new_revision_in_a_session_is_in_that_session() -> None:
    world = World()
    world.open(ID)
    x, _ = world.send(request("tools/list"), session=ID, headers={"mcp-protocol-version": "2026-07-28"})
    assert (x.session, x.era) == (world.session(ID), Era.SESSION)
    assert world.lose(x) == HOLD


def test_a_refusal_on_an_event_stream_is_recovered() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.call(ID)
    assert not world.head(x, 404, SSE, world.now).stream
    assert world.answered(x, b"data: Session not found\n\n", world.now) == HOLD
    assert world.shake(session, "new") == {x.id: Resend("new")}


def test_a_late_success_of_an_older_generation_does_not_end_the_trouble_of_the_present_one() -> None:
    world = World()
    session = world.open(ID)
    late, _ = world.call(ID)
    world.lose(world.call(ID)[0])
    world.shake(session, None)
    world.wait(1)
    world.lose(world.call(ID)[0])
    world.shake(session, "new")
    troubles = world.core._recovery._troubles
    troubles.of(session).deaths = 1
    answered = session.answered
    world.works(late)
    assert (session.answered, troubles.of(session).deaths) == (answered + 1, 1)
    world.works(world.call(ID)[0])
    assert troubles.of(session).deaths == 0


def test_a_response_to_something_else_opens_and_holds_nothing() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.send(request("logging/setLevel", {"level": "debug"}), session=ID)
    world.answer(x, 200, {"jsonrpc": "2.0", "id": 77, "result": {}})
    assert session.held is None
    x, _ = world.send(request("logging/setLevel", {"level": "debug"}), session=ID)
    world.head(x, 200, SSE, world.now)
    world.event(x, Event(b'{"jsonrpc":"2.0","method":"notifications/progress"}'), world.now)
    world.event(x, Event(None, retry=5), world.now)
    assert (session.held, x.responded, x.events) == (None, False, 2)
    world.event(x, Event(b'{"jsonrpc":"2.0","id":1,"result":{}}'), world.now + 5)
    assert x.responded
    assert session.holding().level == "debug"
    assert session.last_used == world.now + 5


def test_an_unknown_session_is_opened_by_its_initialize_without_a_version() -> None:
    world = World()
    x, _ = world.send(request("initialize", {"protocolVersion": 7}), headers={"mcp-protocol-version": None})
    world.answer(x, 200, {"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": 7}}, session=ID)
    session = world.session(ID)
    assert (session.revision, session.answer) == ("", {"protocolVersion": 7})


@pytest.mark.parametrize("revision", ["", "2025-06-18"])
def test_of_a_session_that_was_opened_before_the_revision_is_what_its_client_says(revision: str) -> None:
    world = World()
    x, _ = world.send(request("ping"), session=ID, headers={"mcp-protocol-version": revision or None})
    world.works(x)
    assert world.session(ID).revision == revision


def test_messages_of_the_handshake_are_no_requests_of_the_session() -> None:
    world = World()
    session = world.open(ID)
    assert session.requests == 0
    world.works(world.call(ID)[0])
    world.answer(world.send([request("ping", id=2), request("ping", id=3)], session=ID)[0], 200)
    world.send(verb="GET", session=ID)
    world.send(request("initialize", {}), session=ID)
    assert session.requests == 3


# What is said


@pytest.mark.parametrize(
    ("verb", "status", "said"),
    [
        ("POST", None, "got no answer: its server hung up after"),
        ("POST", 200, "broken off by its server after"),
        ("GET", None, ""),
    ],
)
def test_what_a_server_breaks_off_is_said_and_noted(verb: str, status: int | None, said: str) -> None:
    world = World()
    session = world.open(ID)
    message = request("tools/call", {"name": "echo"}) if verb == "POST" else None
    x, _ = world.send(message, verb=verb, session=ID)
    if status:
        world.head(x, status, SSE, world.now)
    world.finish(x, Finish.SERVER)
    assert session.history[-1].what == "broken off"
    said_so = [line for line in world.lines() if "its server" in line]
    assert len(said_so) == (1 if said else 0)
    assert all(said in line and "tools/call echo" in line for line in said_so)


@pytest.mark.parametrize("why", ["responded", "hung up", "no session"])
def test_not_every_connection_that_a_server_closes_is_worth_a_word(why: str) -> None:
    world = World()
    session = world.open(ID)
    if why == "no session":
        x, _ = world.send(request("server/discover"))
        world.finish(x, Finish.SERVER)
        assert [line for line in world.lines() if "its server hung up" in line]
        return
    x, _ = world.call(ID)
    world.head(x, 200, SSE, world.now)
    if why == "responded":
        world.event(x, Event(b'{"jsonrpc":"2.0","id":1,"result":{}}'), world.now)
    else:
        world.core.hung_up(x, world.now)
    world.finish(x, Finish.SERVER)
    assert not [line for line in world.lines() if "its server" in line]
    assert session.history[-1].what != "broken off"


def test_requests_in_two_words() -> None:
    words = {
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}': "tools/call echo",
        b'{"jsonrpc":"2.0","id":1,"result":{}}': "response",
        b'{"a":1}': "not JSON-RPC",
        b"": "POST (no message)",
    }
    for body, expected in words.items():
        assert in_two_words("POST", parse(body)).startswith(expected[:5]), body
        assert in_two_words("GET", parse(body)) == "GET stream"
        assert in_two_words("DELETE", parse(body)) == "DELETE session"
    assert in_two_words("POST", parse(b'{"a":1}')) == "not JSON-RPC"


def test_a_record_says_what_is_known_and_no_more() -> None:
    assert Action(at=0.0, what="done").line() == "mcp: done"
    assert Action(at=0.0, what="done", client="c", session="s", detail="d", endpoint="u").line() == (
        "mcp: done client=c session=s d at u"
    )
    assert Action(at=1.5, what="done").time == "1970-01-01T00:00:01.500Z"
    assert Action(at=float("inf"), what="done").time == ""
    told = Violation(at=0.0, rule="MCP1", name="n", party="client", level="MUST", clause="", session="s")
    assert told.said() == "MCP1 n session=s (client MUST)"
    assert {"Violation", "Change", "Action"} <= set(schema()["$defs"])
    assert issubclass(Action, Record)


def test_who_follows_is_told_of_changes_and_of_episodes() -> None:
    world = World()
    changed: list[Session] = []
    episodes: list[object] = []
    world.core.reporter.followers.append(changed.append)
    world.core.reporter.listeners.append(lambda episode, _: episodes.append(episode))
    session = world.open(ID)
    assert set(changed) == {session}
    world.lose(world.call(ID)[0])
    world.shake(session, "new")
    assert episodes


def test_a_policy_that_only_looks() -> None:
    passive = Policy().passive()
    assert (passive.recover, passive.end) == ("off", "off")


# Who it is


def test_who_is_still_somebody_else_when_he_is_known_stays_a_stranger() -> None:
    world = World()
    session = world.open(ID, peer=Peer(token="mine"))
    x, _ = world.call(ID, peer=Peer(pid=9, host="127.0.0.1", token="other", connection="late", known=False))
    assert x.stranger
    world.identify(x.connection, FakeProcess(9), world.now)
    world.answer(x, 500)
    assert x.stranger
    assert x.client.pid == 9
    assert [owner.pid for owner in session.owners] == [1]


def test_two_who_are_refused_one_unknown_session_have_one_each() -> None:
    world = World()
    one, other = (Peer(pid=1, token=token, connection=token) for token in ("a", "b"))
    first, second = world.call(ID, peer=one)[0], world.call(ID, peer=other)[0]
    assert world.lose(first) == HOLD
    assert world.lose(second) == HOLD
    assert len(world.shaking) == 2
    assert first.session is not second.session
    tokens = {dict(send.request.carried)[b"authorization"] for send in world.take("initialize")}
    assert tokens == {b"Bearer a", b"Bearer b"}


def test_by_what_a_session_may_have_been_written_down() -> None:
    world = World()
    world.open(ID, peer=REMOTE)

    def names(session: str | None, peer: Peer) -> list[str]:
        x, _ = world.call(session or "", peer=peer) if session else world.send(request("ping"), peer=peer)
        return world.core.claims.names(x)

    assert names(None, REMOTE) == []
    assert names(ID, REMOTE) == [], "it is plain whose it is"
    assert names("unknown", REMOTE) == ["unknown"]
    assert names(ID, ELSEWHERE) == [], "without a key nobody's is written down beside another's"
    world.core.fingerprints.key = b"key"
    name, beside = names("unknown-too", REMOTE)
    assert name == "unknown-too"
    assert beside.startswith("unknown-too\u241f")
    assert [one[: len(ID)] for one in names(ID, ELSEWHERE)] == [ID]
    assert world.core.fingerprints.name(ID, None) == ID


def test_credentials_that_were_written_down_are_the_same_and_can_be_written_again() -> None:
    fingerprints = World().core.fingerprints
    found = fingerprints.of(HeaderMap(((b"authorization", b"Bearer t"),)))
    other = fingerprints.of(HeaderMap(((b"authorization", b"Bearer u"),)))
    assert fingerprints.written(found) is None, "without a key nothing is"
    assert fingerprints.written("") == ""
    fingerprints.key = b"key"
    written = fingerprints.written(found)
    assert written
    assert written != found
    kept = fingerprints.read(found)
    assert fingerprints.written(kept) == written
    assert fingerprints.same(kept, found)
    assert not fingerprints.same(kept, other)
    assert not fingerprints.same(kept, "")
    assert fingerprints.same("", "")


def test_a_connection_that_closes_before_it_is_known_whose_it_is_counts_for_nobody() -> None:
    world = World()
    late = Peer(pid=5, connection="late", known=False)
    session = world.open(ID, peer=late)
    connection = world.disconnected("late", world.now)
    assert connection is not None
    world.identify(connection, FakeProcess(5), world.now)
    (owner,) = session.owners
    assert (owner.pid, owner.connections) == (5, ())
    assert world.disconnected("late", world.now) is None


def test_an_address_stays_an_owner_that_was_one_before() -> None:
    """It used the session over a connection of which it is settled that no process is behind it."""
    world = World()
    address = Peer(pid=None, host="127.0.0.1", connection="a")
    session = world.open(ID, peer=address)
    world.works(world.call(ID, peer=Peer(pid=5, connection="p"))[0])
    x, _ = world.call(ID, peer=Peer(pid=None, host="127.0.0.1", connection="v", known=False))
    world.core.identified(x.connection, None, world.now, vanished=True)
    assert {owner.pid for owner in session.owners} == {5, None}
    assert len(session.settled_owners) == 2


def test_an_address_is_an_owner_once_it_is_settled_that_no_process_is_behind_it() -> None:
    world = World()
    x, _ = world.send(request("initialize", {"protocolVersion": LATEST}), peer=Peer(connection="l", known=False))
    world.answer(x, 200, initialized(1), session=ID)
    session = world.session(ID)
    assert not session.vouched
    world.identify(x.connection, None, world.now)
    assert [*session.vouched] == [x.client]


def test_an_address_that_was_a_process_all_along_is_no_owner() -> None:
    world = World()
    session = world.open(ID, peer=Peer(pid=5, connection="p"))
    x, _ = world.call(ID, peer=Peer(pid=None, host="127.0.0.1", connection="v", known=False))
    assert len(session.owners) == 2
    assert [owner.pid for owner in session.settled_owners] == [5]
    world.core.identified(x.connection, None, world.now, vanished=True)
    assert [owner.pid for owner in session.owners] == [5]


def test_once_a_carrier_always_a_carrier() -> None:
    world = World()
    world.open(ID, peer=Peer(pid=5, connection="p", visited=True))
    world.connect("q", FakeProcess(5), world.now, visited=True)
    assert world.whats().count("carries others' requests") == 1


def test_a_session_of_nobody_in_particular() -> None:
    session = Session(ENDPOINT, "a", "a", opened=1, last_used=1, revision=LATEST)
    assert (session.client, session.client_label, session.ended_by, session.evidence) == (None, "unknown", "", "")
    assert session.settled_owners == {}


def test_parameters_that_are_too_large_are_not_kept() -> None:
    assert packed(None) is None
    assert packed({"a": "b"}) == b'{"a":"b"}'
    assert packed({"a": "b"}) is packed({"a": "b"})
    fits = packed({"a": "x" * (PARAMETERS_LIMIT - 8)})
    assert fits is not None
    assert len(fits) == PARAMETERS_LIMIT
    assert packed({"a": "x" * (PARAMETERS_LIMIT - 7)}) is None


# Whether something is an answer


@pytest.mark.parametrize(
    ("message", "verb", "status", "body", "known"),
    [
        (None, "GET", 200, {"a": 1}, False),
        ({"jsonrpc": "2.0", "method": "notifications/x"}, "POST", 202, None, True),
        ({"jsonrpc": "2.0", "method": "notifications/x"}, "POST", 202, b"<html>", True),
        ({"jsonrpc": "2.0", "method": "notifications/x"}, "POST", 200, None, True),
        ({"jsonrpc": "2.0", "method": "notifications/x"}, "POST", 200, b"<html>", False),
        ({"jsonrpc": "2.0", "method": "notifications/x"}, "POST", 200, {"a": 1}, False),
        (request("ping"), "POST", 200, {"jsonrpc": "2.0", "id": 1, "result": {}}, True),
    ],
)
def test_what_shows_that_a_server_knows_a_session(message: Any, verb: str, status: int, body: Any, known: bool) -> None:
    world = World()
    x, _ = world.send(message, verb=verb, session="nobody-has-seen-it")
    assert not answers(x)
    world.answer(x, status, body)
    assert (world.core.ledger.find(ENDPOINT, "nobody-has-seen-it") is not None) is known


# A server that can't be reached


def refuse(world: World, x: Exchange) -> Any:
    decision = world.core.unreachable(x, REFUSED, world.now)
    world.fetch()
    return decision


def test_a_batch_that_was_not_sent_is_answered_one_by_one() -> None:
    world = World(mcp_recover_timeout=1)
    world.open(ID)
    batch = [request("ping", id=1), {"jsonrpc": "2.0", "method": "notifications/x"}, request("ping", id="b")]
    x, _ = world.send(batch, session=ID)
    assert refuse(world, x) == HOLD
    decision: Any = None
    while not isinstance(decision, Reply):
        world.wait(0.1)
        for release in world.released():
            decision = release.decision if isinstance(release.decision, Reply) else refuse(world, x)
    reply = decision
    message = parse(reply.body)
    assert (reply.status, message.batch, [one.id for one in message.messages]) == (502, True, [1, "b"])


def test_an_initialize_that_had_to_wait_goes_out_as_it_came() -> None:
    world = World()
    x, _ = world.send(request("initialize", {"protocolVersion": LATEST}), headers={"mcp-protocol-version": None})
    assert refuse(world, x) == HOLD
    world.wait(0.1)
    assert world.core.reached(x, world.now) == PASS
    world.answer(x, 200, initialized(1), session=ID)
    assert world.session(ID).state is State.OPEN


def test_who_reaches_a_server_at_once_lets_go_those_who_wait_for_it() -> None:
    world = World()
    world.open(ID)
    waits, _ = world.call(ID)
    assert refuse(world, waits) == HOLD
    other, _ = world.call(ID)
    assert world.core.reached(other, world.now) == PASS
    world.fetch()
    assert [release.exchange for release in world.released()] == [waits]
    assert not [line for line in world.lines() if "waits no longer" in line]


def test_what_came_of_a_request_of_the_proxys_own() -> None:
    assert outcome(200, {"jsonrpc": "2.0", "id": 1, "result": {}}).succeeded
    assert not outcome(200, {"jsonrpc": "2.0", "id": 1, "error": {"message": "m"}}).succeeded
    assert outcome(200, {"jsonrpc": "2.0", "id": 1, "error": {"message": "m"}}).said == "m"
    assert (Outcome().said, Outcome().succeeded, Outcome().why_not) == ("", False, "answered None")
    assert Outcome(500, problem="reset").why_not == "reset"
