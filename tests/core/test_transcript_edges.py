"""What the core says and wants done in stories that hardly ever happen, word by word, as `transcript_edges.txt` has it.

As for `test_transcript`: `REWRITE=1` writes the file anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.driver import FakeProcess
from core.scribe import Scribe, Story, is_as_written
from core.world import LATEST, Peer, fields, initialized, outcome, request
from mcp_sessions.core import ledger
from mcp_sessions.core.decisions import Outcome
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.session import ID_LIMIT, Endpoint
from mcp_sessions.options import Settings
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import dump
from mcp_sessions.wire.sse import Event

FILE = Path(__file__).with_name("transcript_edges.txt")
ID, NEW = "s-one-two-three-four", "new-id-of-the-server"
OTHER = Peer(pid=2, connection="c2")
FAR = Peer(pid=None, host="10.0.0.7", token="far", connection="f1")
BRIDGE = Peer(pid=5, connection="b1", visited=True)
OPEN = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
ANEW: dict[str, str | None] = {"mcp-protocol-version": None}


def event(world: Scribe, x: Exchange, message: Any) -> None:
    world.event(x, Event(dump(message)), world._next())


def elsewhere(world: Scribe, **options: Any) -> Exchange:
    """A call at another endpoint."""
    place = Endpoint("https", "elsewhere", 443, "/mcp")
    connection = world.connect("c1", FakeProcess(1), world._next())
    shown = {"accept": "application/json, text/event-stream", "mcp-session-id": "another-session", **options}
    content = dump(request("tools/call", {"name": "echo"}))
    x, _ = world.request("POST", f"{place}?key=1", place, HeaderMap(fields(shown)), content, connection, world.now)
    return x


# How it begins


def ids_that_are_too_long(world: Scribe) -> None:
    long = "x" * (ID_LIMIT + 1)
    for _ in range(2):
        x, _ = world.send(request("initialize", OPEN), headers=ANEW)
        world.answer(x, 200, initialized(1), session=long)
        world.works(world.call(long)[0])
        world.lose(world.call(long)[0])


def a_session_that_is_opened_twice(world: Scribe) -> None:
    for number in range(2):
        x, _ = world.send(request("initialize", {**OPEN, "protocolVersion": "2025-06-18"}), headers=ANEW)
        if number:
            world.lose(world.call(ID)[0])
        world.answer(x, 200, initialized(1), session=ID)
        world.answer(world.send({"jsonrpc": "2.0", "method": "notifications/initialized"}, session=ID)[0], 202)
    x, _ = world.send(request("initialize", {"protocolVersion": 7}), headers=ANEW, peer=OTHER)
    world.answer(x, 200, {"jsonrpc": "2.0", "id": 1, "result": {}}, session="another-session")
    x, _ = world.send(request("initialize", OPEN), headers=ANEW, peer=OTHER)
    world.stream(x, mcp_session_id="third-session")
    event(world, x, {"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
    event(world, x, initialized(1))
    world.finish(x)


def sessions_that_were_opened_before_anybody_looked(world: Scribe) -> None:
    world.works(world.send(request("ping"), session="first-session", headers={"user-agent": "agent/1.2 (x)"})[0])
    world.lose(world.send(request("ping"), session="second-session", headers={"user-agent": "agent/1.2 (x)"})[0])
    world.shake(world.shaking[0], NEW)
    x, _ = world.send(verb="GET", session="third-session", headers={"mcp-protocol-version": None})
    world.stream(x)
    event(world, x, {"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
    world.finish(x, Finish.CLIENT)
    world.answer(world.send({"jsonrpc": "2.0", "method": "notifications/x"}, session="fourth-session")[0], 202)
    world.answer(world.call("not-a-session")[0], 200, b"<html>")
    world.lose(elsewhere(world, authorization="Bearer a"))
    world.shake(world.shaking[0], "other-new")


def a_ledger_that_is_full(world: Scribe) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "SESSION_LIMIT", 2)
        patch.setattr(ledger, "OVER_LIMIT", 1)
        patch.setattr(ledger, "ENDPOINT_LIMIT", 1)
        for number in range(4):
            world.open(f"session-number-{number}")
        world.answer(world.send(verb="DELETE", session="session-number-3")[0], 200)
        world.answer(world.send(verb="DELETE", session="session-number-2")[0], 200)
        world.wait(61)
        for number in range(4, 7):
            world.open(f"session-number-{number}")
        world.works(elsewhere(world))


# Whose it is


def who_is_known_a_moment_later(world: Scribe) -> None:
    world.open(ID, peer=Peer(token="a"))
    late = Peer(token="a", connection="late", known=False)
    x, _ = world.call(ID, peer=late)
    world.identify(x.connection, FakeProcess(1), world._next())
    world.works(x)
    x, _ = world.call(ID, peer=replace(late, connection="never"))
    world.identify(x.connection, None, world._next(), vanished=True)
    world.works(x)
    x, _ = world.send(request("initialize", OPEN), headers=ANEW, peer=replace(late, connection="new", pid=3))
    world.answer(x, 200, initialized(1), session="second-session")
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    world.answer(world.send(ready, session="second-session", peer=replace(late, connection="new", pid=3))[0], 202)
    world.identify(x.connection, FakeProcess(3, 1.0, "cl\nient", 9), world._next())
    world.dies(Peer(pid=3))
    world.wait(2)


def a_refusal_of_whom_nobody_knew_yet(world: Scribe) -> None:
    world.open(ID, peer=Peer(token="a"))
    x, _ = world.call(ID, peer=Peer(token="b", host="127.0.0.2", connection="late", known=False))
    world.identify(x.connection, FakeProcess(1), world._next())
    world.lose(x)
    world.shake(world.shaking[0], NEW)
    world.works(x)


def strangers_whom_the_server_accepts(world: Scribe) -> None:
    session = world.open(ID, peer=Peer(token="a"))
    for verb, token in (("POST", "b"), ("GET", "c"), ("DELETE", "d")):
        peer = Peer(pid=None, host="10.0.0.9", token=token, connection=f"c-{token}")
        message = request("tools/list") if verb == "POST" else None
        x, _ = world.send(message, verb=verb, session=ID, peer=peer)
        if verb == "GET":
            world.stream(x)
            event(world, x, {"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
            world.finish(x, Finish.CLIENT)
        else:
            world.answer(x, 200, {"jsonrpc": "2.0", "id": 1, "result": {}} if message else None)
    world.lose(world.call(ID, peer=peer)[0])
    world.works(world.call(ID, peer=Peer(token="a"))[0])
    world.core.ledger.remap(session, NEW)
    world.works(world.call(ID, peer=replace(peer, host="10.0.0.10", connection="c10"))[0])


def renewed_credentials_of_whom_nobody_sees(world: Scribe) -> None:
    session = world.open(ID, peer=FAR)
    x, _ = world.send(request("logging/setLevel", {"level": "debug"}), session=ID, peer=FAR)
    world.works(x)
    renewed = replace(FAR, token="renewed", connection="f2")
    x, _ = world.call(ID, peer=renewed)
    again, _ = world.call(ID, peer=renewed)
    world.lose(x)
    world.lose(again)
    world.shake(world.shaking[0], NEW)
    world.works(x)
    world.works(world.call(ID, peer=FAR)[0])
    world.answer(world.send(verb="DELETE", session=ID, peer=renewed)[0], 204)
    world.core.keep(session, True, world._next())
    refused = replace(FAR, token="refused", connection="f3")
    world.lose(world.call(ID, peer=refused)[0])
    world.sent(world.take("initialize")[0], outcome(401), world._next())


def what_carriers_carry(world: Scribe) -> None:
    world.open(ID, peer=BRIDGE)
    world.open("second-session", peer=BRIDGE)
    x, _ = world.send(verb="GET", session=ID, peer=BRIDGE)
    world.stream(x)
    world.finish(x, Finish.CLIENT)
    world.disconnected("b1", world._next())
    world.dies(BRIDGE)
    world.open("third-session", peer=Peer(token="a"))
    for token, name in (("b", "third-session"), ("a", "third-session"), ("b", "third-session")):
        world.works(world.call(name, peer=Peer(token=token))[0])
        world.wait(6)
    world.open("fourth-session", peer=OTHER, name="one")
    world.open("fifth-session", peer=OTHER, name="other")
    for name in ("fourth-session", "fifth-session", "fourth-session", "fifth-session"):
        world.works(world.call(name, peer=OTHER)[0])
        world.wait(6)
    third = Peer(pid=3, connection="c3")
    x, _ = world.send(request("ping"), session=ID, peer=third, headers={"via": "1.1 x", "user-agent": "agent/\n1"})
    world.works(x)
    world.wait(100)


# How it is lost


DIALECTS: tuple[tuple[int, Any], ...] = (
    (200, {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "Session not found"}}),
    (404, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "Session not found"}}),
    (400, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "Bad Request: No valid session ID"}}),
    (404, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "Unknown tool"}}),
    (404, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "Method not found"}}),
    (404, b"<html>no such session</html>"),
    (404, b"<html>nothing here</html>"),
    (400, b"Bad Request: Mcp-Session-Id header is required, no valid session"),
    (400, b"Bad Request"),
    (401, b"unknown session"),
    (403, b"no"),
    (410, b"the session is gone"),
    (503, b"no such session here"),
    (503, b"busy"),
)


def servers_that_say_it_in_their_own_words(world: Scribe) -> None:
    world.core.configure(Settings(mcp_recover_dialects=["200", "400", "401", "410", "503"]).policy, world._next())
    for number, (status, body) in enumerate(DIALECTS):
        peer = Peer(pid=number + 10, connection=f"d{number}")
        name = f"session-{number}-one-two"
        world.open(name, peer=peer)
        world.works(world.call(name, peer=peer)[0])
        world.answer(world.call(name, peer=peer)[0], status, body)
        for session in world.shaking:
            world.shake(session, f"{NEW}-{number}")
    x, _ = world.call(name, peer=peer)
    world.answer(x, 401, headers={"www-authenticate": "Bearer"})
    x, _ = world.send(verb="GET", session=name, peer=peer, headers={"last-event-id": "7"})
    world.answer(x, 404, b"unknown event")
    world.answer(world.send(verb="GET", session=name, peer=peer)[0], 404, b"no stream")


def what_is_not_sent_again(world: Scribe) -> None:
    for policy, message in (
        ("off", request("ping")),
        ("reinit", request("ping")),
        ("read-only", request("tools/call", {"name": "harm"})),
        ("on", {"jsonrpc": "2.0", "id": 1, "result": {}}),
        ("on", {"jsonrpc": "2.0", "method": "notifications/cancelled"}),
        ("on", {"jsonrpc": "2.0", "method": "notifications/progress"}),
        ("on", request("tools/list", {"cursor": "2"})),
        ("on", [request("ping", id=1), {"jsonrpc": "2.0", "id": 2, "result": {}}]),
        ("on", [request("ping", id=1), request("ping", id=2)]),
        ("on", {"neither": "nor"}),
    ):
        world.core.configure(Settings(mcp_recover=policy).policy, world._next())
        session = world.open(f"session-{len(world.seen)}-one-two", peer=Peer(connection=f"c{len(world.seen)}"))
        peer = Peer(connection=next(iter(session.connections)))
        world.lose(world.send(message, session=session.client_id, peer=peer)[0])
        for shaking in world.shaking:
            world.shake(shaking, f"{NEW}-{len(world.seen)}")
    x, _ = world.send(verb="GET", session=session.client_id, peer=peer, headers={"last-event-id": "7"})
    world.lose(x)


def what_comes_while_it_is_brought_back(world: Scribe) -> None:
    session = world.open(ID)
    world.lose(world.call(ID)[0])
    world.send({"jsonrpc": "2.0", "id": 1, "result": {}}, session=ID)
    call, _ = world.call(ID)
    ends, _ = world.send(verb="DELETE", session=ID)
    leaves, _ = world.call(ID)
    world.hang_up(leaves)
    world.dies(Peer())
    world.shake(session, NEW)
    world.works(call)
    world.answer(ends, 405)
    session = world.open("second-session", peer=OTHER)
    x, _ = world.call("second-session", peer=OTHER)
    y, _ = world.call("second-session", peer=OTHER)
    world.lose(x)
    world.send(request("ping"), session="second-session", peer=OTHER)
    world.core.ledger.evict(session)
    world.fetch()
    world.lose(y)
    world.wait(40)


def a_call_that_is_refused_again_and_again(world: Scribe) -> None:
    session = world.open(ID)
    x, _ = world.call(ID)
    for number in range(4):
        world.works(world.call(ID)[0])
        world.lose(x)
        if world.shaking:
            world.shake(session, f"{NEW}-{number}")
    y, _ = world.call(ID)
    world.lose(y)
    world.shake(session, f"{NEW}-{number}")
    world.works(world.call(ID)[0])
    world.answer(y, 500, b"broken")
    world.answer(y, 400, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no"}})


def a_list_without_end_and_one_that_cannot_be_read(world: Scribe) -> None:
    session = world.open(ID, capabilities={"tools": {"listChanged": True}, "prompts": {"listChanged": True}})
    for method, items in (("tools/list", "tools"), ("prompts/list", "prompts")):
        result = {items: [{"name": "a"}]}
        world.answer(world.send(request(method), session=ID)[0], 200, {"jsonrpc": "2.0", "id": 1, "result": result})
    world.lose(world.call(ID)[0])
    (opening,) = world.take("initialize")
    other = {"tools": {"listChanged": True}, "prompts": {"listChanged": True}}
    world.sent(opening, outcome(200, initialized("own", other), session=NEW), world._next())
    world.sent(world.take("notifications/initialized")[0], Outcome(problem="no answer within 5 s"), world._next())
    for number in range(25):
        for send in world.take("tools/list"):
            page = {"tools": [{"name": f"{number}"}], "nextCursor": f"{number}"}
            world.sent(send, outcome(200, {"jsonrpc": "2.0", "id": "own", "result": page}), world._next())
    for send in world.take("prompts/list"):
        world.sent(send, outcome(200, b"<html>"), world._next())
    world.stream(world.send(verb="GET", session=ID)[0])
    world.dies(Peer())
    assert session.held is not None


def a_handshake_that_comes_to_no_end(world: Scribe) -> None:
    session = world.open(ID)
    world.works(world.send(request("logging/setLevel", {"level": "debug"}), session=ID)[0])
    x, _ = world.call(ID)
    world.lose(x)
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, initialized("own"), session=NEW), world._next())
    world.sent(world.take("notifications/initialized")[0], outcome(202), world._next())
    (level,) = world.take("logging/setLevel")
    world.wait(31)
    world.sent(level, outcome(200), world._next())
    world.sent(opening, outcome(200, initialized("own"), session="late"), world._next())
    world.lose(x)
    for answer in (
        outcome(200, {"jsonrpc": "2.0", "id": "own", "error": {"code": -32602, "message": "no"}}),
        outcome(200, initialized("own")),
        outcome(200, initialized("own"), session="x" * (ID_LIMIT + 1)),
        outcome(200),
    ):
        for send in world.take("initialize"):
            world.sent(send, answer, world._next())
        world.wait(11)
        world.lose(world.call(ID)[0])
    assert session.held is not None


def handshakes_that_wait_for_their_turn(world: Scribe) -> None:
    sessions = [world.open(f"session-{n}-one-two", peer=Peer(n + 1, connection=f"c{n}")) for n in range(12)]
    for n, session in enumerate(sessions):
        world.lose(world.call(session.client_id, peer=Peer(n + 1, connection=f"c{n}"))[0])
    first = world.take("initialize")
    world.sent(first[0], outcome(500), world._next())
    world.wait(3)
    world.sent(first[1], Outcome(problem="[Errno 104] reset"), world._next())
    for send in first[2:4]:
        world.sent(send, outcome(200, initialized("own"), session=f"{NEW}-{send.request.session.label}"), world._next())
    for send in world.take("notifications/initialized"):
        world.sent(send, outcome(202), world._next())
    world.wait(36)


STORIES: tuple[Story, ...] = (
    ids_that_are_too_long,
    a_session_that_is_opened_twice,
    sessions_that_were_opened_before_anybody_looked,
    a_ledger_that_is_full,
    who_is_known_a_moment_later,
    a_refusal_of_whom_nobody_knew_yet,
    strangers_whom_the_server_accepts,
    renewed_credentials_of_whom_nobody_sees,
    what_carriers_carry,
    servers_that_say_it_in_their_own_words,
    what_is_not_sent_again,
    what_comes_while_it_is_brought_back,
    a_call_that_is_refused_again_and_again,
    a_list_without_end_and_one_that_cannot_be_read,
    a_handshake_that_comes_to_no_end,
    handshakes_that_wait_for_their_turn,
)


def test_every_word() -> None:
    assert is_as_written(FILE, STORIES)
