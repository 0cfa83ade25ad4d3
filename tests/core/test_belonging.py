"""How a session is entered and used: what is taken from whom, said once, and noted for the one that it belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from core.driver import FakeProcess
from core.world import LATEST, Peer, World, fields, initialized, outcome, request
from mcp_sessions.core.belonging import CROWDED_EVERY, introduce
from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.decisions import HOLD, Deliver, Resend
from mcp_sessions.core.exchange import Finish
from mcp_sessions.core.session import ID_LIMIT
from mcp_sessions.core.states import State
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.sse import Event

ID, NEW = "s-one-two-three-four", "new-id-of-the-server"
ANEW: dict[str, str | None] = {"mcp-protocol-version": None}
STREAM = HeaderMap(((b"content-type", b"text/event-stream"),))


def opening(**params: Any) -> dict[str, Any]:
    return request("initialize", {"capabilities": {}, **params})


def client_of(**info: Any) -> Client:
    client = Client(ClientKey(host="h"), "h", "h", first_seen=1, last_seen=1)
    introduce(client, info)
    return client


# What is entered


def test_of_an_answer_that_names_no_revision_the_clients_own_is_taken() -> None:
    for asked, answered, revision in (
        ("2025-06-18", {}, "2025-06-18"),
        ("2025-06-18", {"protocolVersion": LATEST}, LATEST),
        ("2025-06-18\n", {"protocolVersion": 7}, "2025-06-18\ufffd"),
        (7, {"protocolVersion": "2025\n"}, "2025\ufffd"),
        (7, {}, ""),
    ):
        world = World()
        x, _ = world.send(opening(protocolVersion=asked), headers=ANEW)
        world.answer(x, 200, {"jsonrpc": "2.0", "id": 1, "result": answered}, session=ID)
        session = world.session(ID)
        assert session.revision == revision
        assert session.initialize == {"capabilities": {}, "protocolVersion": asked}
        assert session.answer == answered
        assert [line for line in world.lines() if "opened" in line] == [
            f"mcp: session s-one- opened client=client[1] http://server:80/mcp revision {revision}"
        ]


def test_a_session_is_entered_with_the_head_and_known_in_full_with_the_result() -> None:
    world = World()
    x, _ = world.send(opening(protocolVersion="2025-06-18"), headers=ANEW)
    world.head(x, 200, HeaderMap(fields({"content-type": "text/event-stream", "mcp-session-id": ID})), world.now + 5)
    session = world.session(ID)
    assert (session.opened, session.revision, x.opened) == (world.now + 5, "2025-06-18", session)
    world.event(x, Event(b'{"jsonrpc":"2.0","id":2,"result":{"protocolVersion":"2025-03-26"}}'), world.now + 6)
    assert "opened" not in world.whats(), "that answers something else"
    world.event(x, Event(b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}'), world.now + 6)
    assert not session.answer
    world.event(x, Event(b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-03-26"}}'), world.now + 6)
    assert (session.revision, session.answer) == ("2025-03-26", {"protocolVersion": "2025-03-26"})


def test_what_a_client_calls_itself_is_shortened_and_kept_once() -> None:
    client = client_of(name="n" * 100, version="1\n", other="x")
    assert (len(client.info["name"]), client.info["version"], set(client.info)) == (64, "1\ufffd", {"name", "version"})
    assert client.info is client_of(version="1\n", name="n" * 100).info
    assert client_of(name=7, version="2").info == {"version": "2"}
    before = client.info
    introduce(client, "nonsense")
    introduce(client, None)
    assert client.info is before


def test_who_uses_what_was_opened_before_is_its_client_once_the_server_answers() -> None:
    world = World()
    x, _ = world.send(request("ping"), session=ID, headers={"mcp-protocol-version": "2025-06-18", "x-own": "1"})
    x.url += "?key=1"
    world.works(x)
    session = world.session(ID)
    assert (session.opened_by, session.answered, session.requests, session.url) == ("unknown", 1, 1, x.url)
    assert (session.opened, session.last_used, session.revision) == (x.answered_at, x.at, "2025-06-18")
    assert b"x-own" in dict(session.fields)
    assert [tuple(entry) for entry in session.history] == [(x.answered_at, "opened", "by client[1]", State.OPEN)]


def test_what_is_lost_and_unknown_is_presumed_from_the_request() -> None:
    world = World()
    x, _ = world.send(request("ping"), session=ID, headers={**ANEW, "user-agent": "agent/1"})
    assert world.lose(x) == HOLD
    session = world.session(ID)
    assert x.session is session
    assert (session.revision, session.initialize) == (
        "2025-03-26",
        {
            "protocolVersion": "2025-03-26",
            "capabilities": {},
            "clientInfo": {"name": "agent", "version": "1"},
        },
    )


def test_who_is_found_meanwhile_needs_no_session_of_his_own() -> None:
    """Two refusals of an id that nobody knew: the second one finds the session that the first has entered."""
    world = World()
    first, second = world.call(ID)[0], world.call(ID)[0]
    assert [world.lose(x) for x in (first, second)] == [HOLD, HOLD]
    session = world.session(ID)
    assert second.session is session
    assert len(world.core.ledger.sessions) == 1
    assert world.shake(session, NEW) == {first.id: Resend(NEW), second.id: Resend(NEW)}


def test_a_refused_one_who_turns_out_to_be_its_process_went_out_as_he_came() -> None:
    for mapped in (False, True):
        world = World()
        session = world.open(ID)
        if mapped:
            world.core.ledger.remap(session, NEW)
        late = Peer(host="10.0.0.9", connection="late", known=False)
        x, _ = world.call(ID, peer=late)
        assert (x.stranger, x.client.label) == (True, "10.0.0.9")
        world.identify(x.connection, FakeProcess(1), world.now)
        assert world.lose(x) == (HOLD if not mapped else Resend(NEW))
        assert (x.session, x.client.label, x.generation) == (session, "client[1]", 1 if mapped else 0)


def test_who_turns_out_to_be_its_process_is_in_the_session_whatever_the_answer_says() -> None:
    for mapped in (False, True):
        world = World()
        session = world.open(ID)
        if mapped:
            world.core.ledger.remap(session, NEW)
        x, _ = world.call(ID, peer=Peer(host="10.0.0.9", connection="late", known=False))
        world.identify(x.connection, FakeProcess(1), world.now)
        world.head(x, 500, HeaderMap(), world.now)
        world.answered(x, b"broken", world.now)
        assert (x.session, x.generation, session.under_way) == (session, 0, {x.id: "late"})
        world.finish(x)
        assert session.under_way is None


# What is said once


def test_an_id_of_the_greatest_length_is_kept_and_a_longer_one_named_once() -> None:
    world = World()
    world.works(world.call("x" * ID_LIMIT)[0])
    assert world.core.ledger.find(world.call("x")[0].endpoint, "x" * ID_LIMIT) is not None
    for _ in range(2):
        world.works(world.call("x" * (ID_LIMIT + 1))[0])
    assert [what for what in world.whats() if "not kept" in what] == [
        f"not kept: a session id of {ID_LIMIT + 1} characters, more than {ID_LIMIT}"
    ]


def test_a_lost_session_with_too_long_an_id_is_named_with_its_request() -> None:
    world = World(judged=False)
    x, _ = world.call("x" * (ID_LIMIT + 1))
    assert world.lose(x) == Deliver()
    (record,) = world.told
    assert (record.flow, record.client, record.weight) == (x.id, "client[1]", "warning")
    assert not world.core.ledger.sessions


def test_headers_that_are_too_many_are_named_once_however_they_change() -> None:
    world = World()
    world.open(ID)
    for value in ("a", "b", "c"):
        headers = {f"x-{number}": value * 10_000 for number in range(3)}
        world.works(world.send(request("ping"), session=ID, headers=headers)[0])
    assert [what for what in world.whats() if "not kept" in what] == ["not kept, for want of room: 2 headers"]


def test_a_full_ledger_is_named_at_the_beginning_and_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    session = world.open(ID)
    for now in (5.0, 5.0 + CROWDED_EVERY - 0.1, 5.0 + CROWDED_EVERY, 6.0 + CROWDED_EVERY):
        world.core.ledger.crowded(session, now)
    (first, second) = [record for record in world.told if getattr(record, "what", "") == "forgotten"]
    assert first.line().endswith("there are too many sessions")
    assert (first.weight, second.weight) == ("warning", "warning")


# What is counted


def test_what_is_counted_of_a_session() -> None:
    world = World()
    session = world.open(ID)
    for message, count in (
        (request("ping"), 1),
        ([request("ping", id=2), request("ping", id=3)], 2),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, 1),
        (None, 1),
        ({"jsonrpc": "2.0", "method": "notifications/initialized"}, 0),
        (opening(), 0),
    ):
        before = session.requests
        x, _ = world.send(message, session=ID)
        assert session.requests - before == count, message
        assert session.under_way == {x.id: "c1"}
        world.finish(x)
        assert session.under_way is None
    x, _ = world.send(verb="GET", session=ID)
    assert session.under_way is None, "a stream is no question"


def test_every_use_puts_a_session_among_those_that_are_to_be_written_down() -> None:
    world = World()
    session = world.open(ID)
    world.core.ledger.touched.clear()
    x, _ = world.send(request("ping"), session=ID, headers={"x-own": "2"})
    assert [*world.core.ledger.touched] == [session]
    assert (session.last_used, session.owners[x.client], session.connections) == (x.at, x.at, ("c1",))
    assert (b"x-own", b"2") in session.fields


# What breaks off


def test_who_is_left_without_an_answer_is_named_with_the_time_that_it_took() -> None:
    world = World(judged=False)
    session = world.open(ID)
    for verb, status, waits, said in (
        ("POST", None, False, "got no answer: its server hung up after 1.50 s"),
        ("POST", 200, False, "broken off by its server after 1.50 s"),
        ("POST", 200, True, ""),
        ("GET", 200, False, ""),
    ):
        world.told.clear()
        x, _ = world.send(request("tools/call", {"name": "e\n"}) if verb == "POST" else None, verb=verb, session=ID)
        if status:
            world.head(x, status, STREAM, world.now)
        x.hung_up = waits
        world.finished(x, Finish.SERVER, x.at + 1.5)
        assert [record for record in world.whats() if "server" in record] == ([said] if said else [])
        assert [getattr(record, "lost", False) for record in world.told if said] == ([True] if said else [])
    assert [entry.detail for entry in session.history if entry.what == "broken off"] == [
        "tools/call e\ufffd: got no answer: its server hung up after 1.50 s",
        "tools/call e\ufffd: broken off by its server after 1.50 s",
        "GET stream: broken off by its server after 1.50 s",
    ]


def test_who_has_the_response_is_not_left_without_one() -> None:
    world = World()
    world.open(ID)
    x, _ = world.call(ID)
    world.head(x, 200, STREAM, world.now)
    world.event(x, Event(b'{"jsonrpc":"2.0","id":1,"result":{}}'), world.now)
    world.told.clear()
    world.finish(x, Finish.SERVER)
    assert world.told == []


# What it holds


def test_what_was_accepted_for_a_stranger_of_his_own_may_lack_what_the_other_held() -> None:
    far = Peer(pid=None, host="10.0.0.7", token="a", connection="f1")
    for holds, said in ((True, 1), (False, 0)):
        world = World()
        world.open(ID, peer=far)
        if holds:
            world.works(world.send(request("logging/setLevel", {"level": "debug"}), session=ID, peer=far)[0])
        renewed = Peer(pid=None, host="10.0.0.7", token="b", connection="f2")
        x, _ = world.call(ID, peer=renewed)
        world.lose(x)
        (send,) = world.take("initialize")
        world.sent(send, outcome(200, initialized("own"), session=NEW), world.now)
        assert world.whats().count("not restored in full") == said
        assert send.request.session.number in world.core.ledger.sessions
