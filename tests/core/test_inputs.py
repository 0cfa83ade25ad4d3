"""The one door: every input brings its time along, and is answered with what is to be done about it and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.driver import FakeProcess
from core.test_tables import a_session
from core.world import ENDPOINT, LATEST, Peer, World, fields, request
from mcp_sessions.core.decisions import HOLD, PASS, Deliver, Forward, Head, Outcome
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.policy import Policy
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import State
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import Body, parse
from mcp_sessions.wire.revision import Era
from mcp_sessions.wire.sse import Event

ID, NEW = "s-one-two-three-four", "new-id-of-the-server"
STREAM = {"content-type": "text/event-stream"}


class Met:
    """What inputs are about: a session, a call in it that is under way, and a session that is being brought back."""

    def __init__(self) -> None:
        self.world = World(judged=False)
        self.core = self.world.core
        self.session = self.world.open(ID)
        self.x, _ = self.world.call(ID)
        other = Peer(pid=2, connection="c2")
        self.lost = self.world.open("another-session", peer=other)
        self.world.lose(self.world.call("another-session", peer=other)[0])
        self.connection = self.x.connection


INPUTS: dict[str, Callable[[Met, float], object]] = {
    "timer": lambda met, now: met.core.timer(now),
    "arrived": lambda met, now: met.core.arrived(met.x, now),
    "requested": lambda met, now: met.core.requested(met.x, now),
    "unreachable": lambda met, now: met.core.unreachable(met.x, "no route", now),
    "reached": lambda met, now: met.core.reached(met.x, now),
    "head": lambda met, now: met.core.head(met.x, 200, HeaderMap(), now),
    "event": lambda met, now: met.core.event(met.x, Event(b"{}"), now),
    "answered": lambda met, now: met.core.answered(met.x, None, now),
    "finished": lambda met, now: met.core.finished(met.x, Finish.COMPLETE, now),
    "hung_up": lambda met, now: met.core.hung_up(met.x, now),
    "identified": lambda met, now: met.core.identified(met.connection, FakeProcess(1), now),
    "disconnected": lambda met, now: met.core.disconnected("c1", now),
    "outlived": lambda met, now: met.core.outlived(FakeProcess(1), FakeProcess(2), now),
    "gone": lambda met, now: met.core.gone(FakeProcess(1), now),
    "sent": lambda met, now: met.core.sent(met.world.sends[0].tag, Outcome(problem="no"), now),
    "interrupted": lambda met, now: met.core.interrupted(now),
    "configure": lambda met, now: met.core.configure(Policy(), now),
    "reinit": lambda met, now: met.core.reinit(met.session, now),
    "end": lambda met, now: met.core.end(met.session, now),
    "keep": lambda met, now: met.core.keep(met.session, True, now),
    "adopt": lambda met, now: met.core.adopt([], [], now),
    "exits": lambda met, now: met.core.exits(now),
}


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_brings_its_time_along(name: str) -> None:
    met = Met()
    INPUTS[name](met, 5000.5)
    assert met.world.reporter.now == 5000.5
    assert all(record.at == 5000.5 or record.at < 1001 for record in met.world.told)


# A request


def test_what_is_noted_of_a_request_when_it_goes_out() -> None:
    world = World()
    session = world.open(ID)
    world.works(world.call(ID)[0])
    connection = world.core.ledger.connections["c1"]
    shown = fields({"mcp-session-id": ID, "mcp-protocol-version": LATEST, "accept": "application/json"})
    body = parse(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
    x = Exchange("mine", 1.0, "POST", ENDPOINT, str(ENDPOINT), HeaderMap(shown), body, connection)
    assert world.core.arrived(x, 2000.0) is None
    assert world.core.requested(x, 2001.0) == PASS
    assert (x.at, connection.last_active, x.era, x.session) == (2001.0, 2001.0, Era.SESSION, session)
    assert (x.generation, x.server_id, x.answered_before, x.client.label) == (0, ID, 2, "client[1]")
    assert session.under_way == {"mine": "c1"}


def test_who_speaks_without_sessions_is_in_none() -> None:
    world = World()
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    x, decision = world.send(request("tools/list", {"_meta": meta}), headers={"mcp-protocol-version": "2026-07-28"})
    assert (decision, x.era, x.session, x.client.requests) == (PASS, Era.STATELESS, None, 1)
    head = world.head(x, 200, HeaderMap(fields({**STREAM, "mcp-session-id": ID})), world.now)
    assert (head, x.streamed) == (Head(None, stream=True), True)
    assert not world.core.ledger.sessions, "an id that is given there means nothing"


def test_a_new_handshake_in_a_lost_session_goes_out_without_the_stale_id() -> None:
    for policy, forwarded in (("on", Forward("")), ("off", Forward(NEW))):
        world = World(mcp_recover=policy)
        session = world.open(ID)
        world.core.ledger.remap(session, NEW)
        assert world.send(request("initialize", {}), session=ID)[1] == Forward(NEW), "it is not lost yet"
        world.lose(world.call(ID)[0])
        if world.shaking:
            world.shake(session, None)
        assert session.state is State.LOST
        assert world.send(request("initialize", {}), session=ID)[1] == forwarded
        assert world.call(ID)[1] == Forward(NEW), "any other request goes out with it"


# Its answer


def headed(world: World, x: Exchange, status: int, **shown: str) -> Head:
    return world.head(x, status, HeaderMap(fields({key.replace("_", "-"): value for key, value in shown.items()})), 9.0)


def test_what_is_done_with_the_head_of_an_answer() -> None:
    world = World()
    session = world.open(ID)
    world.core.ledger.remap(session, NEW)
    sse: dict[str, Any] = {"content_type": "text/event-stream"}
    cases: list[tuple[str, int, dict[str, Any], Head, bool, int]] = [
        ("POST", 200, {}, Head(), False, 0),
        ("POST", 200, {"mcp_session_id": NEW}, Head(ID), False, 0),
        ("POST", 200, {"mcp_session_id": "other"}, Head(), False, 0),
        ("POST", 200, {**sse, "mcp_session_id": NEW}, Head(ID, stream=True), True, 0),
        ("POST", 404, {**sse, "mcp_session_id": NEW}, Head(ID), False, 0),
        ("GET", 200, sse, Head(stream=True), True, 1),
        ("GET", 404, sse, Head(), False, 0),
    ]
    for verb, status, shown, head, streamed, streams in cases:
        x, _ = world.send(request("ping") if verb == "POST" else None, verb=verb, session=ID)
        assert headed(world, x, status, **shown) == head, (verb, status, shown)
        assert (x.status, x.answered_at, x.streamed, x.unproven) == (status, 9.0, streamed, False)
        assert len(session.streams) == streams
        world.finish(x)
    unknown, _ = world.send(request("ping"), session="unknown-session")
    assert headed(world, unknown, 404, **sse).stream, "nothing is brought back for that, so it may pass"
    akin, _ = world.send(request("ping"), session=ID, peer=Peer(token="other"))
    assert akin.akin is session
    assert not headed(world, akin, 404, **sse).stream
    assert headed(world, akin, 200, **sse).stream
    assert akin.unproven


def test_what_is_noted_of_an_event() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.call(ID)
    headed(world, x, 200, content_type="text/event-stream")
    for number, event in enumerate(
        (Event(None), Event(b"nonsense"), Event(b'{"jsonrpc":"2.0","id":1,"result":{}}')), 1
    ):
        world.event(x, event, 2000.0 + number)
        assert (x.events, x.connection.last_active, session.last_used) == (number, 2000.0 + number, 2000.0 + number)
        assert x.responded is (number == 3)
    stranger, _ = world.call(ID, peer=Peer(token="other"))
    headed(world, stranger, 200, content_type="text/event-stream")
    world.event(stranger, Event(b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}'), 3000.0)
    assert (session.last_used, stranger.responded, stranger.stranger) == (2003.0, True, True)


@pytest.mark.parametrize(
    ("status", "body", "decision"),
    [
        (399, b"", Deliver()),
        (400, b"no", Deliver(original=True)),
        (500, b"no", Deliver(original=True)),
        (500, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "broken"}}, Deliver()),
        (400, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "bad"}}, Deliver()),
        (200, {"jsonrpc": "2.0", "id": 1, "result": {}}, Deliver()),
    ],
)
def test_who_was_sent_again_gets_the_answer_to_that_or_the_original(status: int, body: Any, decision: Deliver) -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.call(ID)
    world.lose(x)
    world.shake(session, NEW)
    assert world.answer(x, status, body) == decision


def test_what_an_answer_that_cannot_be_read_says() -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.call(ID)
    world.head(x, 200, HeaderMap(), 2000.0)
    before = session.answered
    assert world.answered(x, None, 2001.0) == Deliver()
    assert x.answer is not None
    assert (x.answer.sniffed, x.responded, x.connection.last_active) == (True, False, 2001.0)
    assert session.answered == before + 1
    x, _ = world.call(ID)
    world.head(x, 200, HeaderMap(), 2000.0)
    world.answered(x, b"", 2001.0)
    assert isinstance(x.answer, Body)
    assert (x.answer.messages, x.answer.problem) == ((), "")


def test_what_nobody_knows_is_brought_back_only_where_that_is_wanted() -> None:
    for chosen, decision in (("on", HOLD), ("off", Deliver())):
        world = World(mcp_recover_unknown=chosen)
        assert world.lose(world.call(ID)[0]) == decision
        assert bool(world.core.ledger.sessions) is (chosen == "on")


# How it ends


@pytest.mark.parametrize(
    ("finish", "events", "answered"),
    [(Finish.COMPLETE, 0, True), (Finish.CLIENT, 0, False), (Finish.SERVER, 0, False), (Finish.SERVER, 1, True)],
)
def test_whether_a_connection_has_given_its_client_an_answer(finish: Finish, events: int, answered: bool) -> None:
    world = World()
    x, _ = world.call("a-session")
    x.events = events
    world.finished(x, finish, 7000.0)
    assert (x.finish, x.finished_at, x.connection.last_active) == (finish, 7000.0, 7000.0)
    assert x.connection.answered is answered
    late, _ = world.call("a-session")
    world.finished(late, Finish.CLIENT, 7001.0)
    assert x.connection.answered is answered, "once given, it was given"


def test_who_hangs_up_is_taken_off_those_who_wait() -> None:
    for hangs_up in (True, False):
        world = World()
        session = world.open(ID)
        x, _ = world.call(ID)
        world.lose(x)
        if hangs_up:
            world.core.hung_up(x, world.now)
        else:
            world.finish(x, Finish.CLIENT)
        assert x.hung_up is hangs_up
        assert world.shake(session, NEW) == {}


# Clients


def test_who_is_found_is_looked_at_with_the_session_that_it_used_last() -> None:
    world = World()
    seen: list[Session] = []
    one, two = world.open("first-session"), world.open("second-session")
    world.reporter.followers.append(seen.append)
    connection = world.connect("c2", FakeProcess(1), world.now)
    assert seen == [two], "one stands for all"
    world.works(world.call("first-session", peer=Peer(connection="c2"))[0])
    seen.clear()
    world.identify(connection, FakeProcess(1), world.now)
    assert seen == [one], "the connection's own"
    seen.clear()
    world.connect("c3", None, world.now)
    assert seen == []


def test_who_was_opened_while_its_process_was_exiting_is_ended_when_the_answer_is_over() -> None:
    world = World()
    x, _ = world.send(request("initialize", {"protocolVersion": LATEST}), headers={"mcp-protocol-version": None})
    world.dies(Peer())
    world.head(x, 200, HeaderMap(fields({"mcp-session-id": ID})), world.now)
    world.answered(x, b'{"jsonrpc":"2.0","id":1,"result":{}}', world.now)
    session = x.opened
    assert session is not None
    session.confirmer = session.opener
    assert session.state is State.OPEN
    world.finish(x)
    assert world.deleting == [ID]


def test_sessions_of_others_are_entered_unless_they_are_known() -> None:
    world = World()
    known = world.open(ID)
    new = a_session("new-one-two")
    assert world.core.adopt([a_session(ID), new], [], world.now) == [new]
    assert [*world.core.ledger.sessions.values()] == [known, new]
