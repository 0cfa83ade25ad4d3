"""Who presents an id that is not his, at the worst moment, and in numbers: nobody gains a say that no server gave him.

Each case asks of the session's own client what he is to see: his session goes on, is brought back if it is lost, and is
ended when he is gone, whatever anybody else has sent meanwhile.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from core.driver import FakeProcess
from core.test_credentials import untouched
from core.world import ENDPOINT, Peer, World, fields, forwarded_as, initialized, request
from mcp_sessions.core.decisions import HOLD, Deliver, Resend
from mcp_sessions.core.exchange import Finish
from mcp_sessions.core.ledger import Ledger
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import State
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.sse import Event

ID, NEW = "s-one-two-three-four", "new-id-of-the-server"

OWNER = Peer(pid=1, token="owner")
INTRUDER = Peer(pid=1, token="intruder", connection="i1")
"""The worst place that one can come from: the same process."""
EVENT_STREAM = {"content-type": "text/event-stream"}


def event(data: str) -> Event:
    return Event(data.encode() or None)


def head(world: World, x: Any, **more: str) -> None:
    world.head(x, 200, HeaderMap(fields({**EVENT_STREAM, **more})), world.now)


# What is no acceptance

NONE = {
    "a page": (b"<html>Please sign in</html>", {"content-type": "text/html"}),
    "nonsense": (b"\x00\x01\x02", {"content-type": "application/json"}),
    "nothing": (b"", {}),
    "an error": ({"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "Unauthorized"}}, {}),
    "errors in a batch": ([{"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "Unauthorized"}}], {}),
    "a response to something else": ({"jsonrpc": "2.0", "id": 77, "result": {}}, {}),
}


@pytest.mark.parametrize(("body", "headers"), NONE.values(), ids=NONE)
def test_with_200_not_everything_is_an_acceptance(body: Any, headers: dict[str, str]) -> None:
    world = World()
    session = world.open(ID, peer=OWNER)
    before = untouched(session)
    world.answer(world.call(ID, peer=INTRUDER)[0], 200, body, headers=headers)
    assert untouched(session) == before


def test_an_error_on_an_event_stream_is_no_acceptance() -> None:
    world = World()
    session = world.open(ID, peer=OWNER)
    before = untouched(session)
    x, _ = world.call(ID, peer=INTRUDER)
    head(world, x)
    assert untouched(session) == before, "the head of a stream says nothing yet"
    world.event(x, event(""), world.now)
    world.event(x, event('{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Unauthorized"}}'), world.now)
    world.finish(x)
    assert untouched(session) == before


def test_a_result_on_an_event_stream_is_one() -> None:
    world = World()
    session = world.open(ID, peer=OWNER)
    before = session.credentials
    x, _ = world.call(ID, peer=INTRUDER)
    head(world, x)
    world.event(x, event('{"jsonrpc":"2.0","method":"notifications/progress","params":{}}'), world.now)
    assert session.credentials != before
    world.event(x, event('{"jsonrpc":"2.0","id":1,"result":{}}'), world.now)
    world.finish(x)
    assert session.requests == 1


@pytest.mark.parametrize("body", [b"<html>Please sign in</html>", NONE["an error"][0]])
def test_an_id_that_nobody_gave_is_not_entered_for_a_page_or_an_error(body: Any) -> None:
    world = World()
    world.answer(world.call("made-up-by-somebody", peer=INTRUDER)[0], 200, body)
    x, _ = world.call("made-up-by-somebody-else", peer=INTRUDER)
    head(world, x)
    world.event(x, event('{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"no such session"}}'), world.now)
    world.finish(x)
    assert not world.core.ledger.sessions


# By DELETE


def test_a_delete_by_somebody_else_does_not_close_what_its_client_goes_on_with() -> None:
    """Many a server answers 204 to whatever is to be deleted; and even if it means it, the client has not ended it."""
    world = World()
    session = world.open(ID, peer=OWNER)
    before = untouched(session)
    world.answer(world.send(verb="DELETE", session=ID, peer=INTRUDER)[0], 204)
    assert untouched(session) == before
    x, _ = world.call(ID, peer=OWNER)
    assert world.lose(x) == HOLD, "it is brought back if it was ended"
    assert world.shake(session, NEW) == {x.id: Resend(NEW)}
    world.works(x)
    world.dies(OWNER)
    assert world.deleting == [NEW], "and ended if it was not"


# By GET


def test_a_stream_that_was_asked_for_before_a_recovery_is_not_the_owners() -> None:
    """Neither does it keep his session alive, nor is it his that hangs up."""
    world = World(mcp_end_after_idle=100, mcp_end_after_stream=20)
    owner = Peer(pid=None, host="10.0.0.7", token="owner", connection="r1")
    session = world.open(ID, peer=owner)
    x, _ = world.send(verb="GET", session=ID, peer=INTRUDER)
    world.lose(world.call(ID, peer=owner)[0])
    world.shake(session, NEW)
    world.works(world.call(ID, peer=owner)[0])
    before = untouched(session)
    head(world, x)
    world.event(x, event('{"jsonrpc":"2.0","method":"notifications/message","params":{}}'), world.now)
    assert untouched(session) == before
    assert not session.streams
    world.finish(x, Finish.CLIENT)
    assert session.stream_aborted_at is None


def test_what_a_stranger_subscribes_to_is_not_held_by_another_ones_session() -> None:
    world = World()
    session = world.open(ID, peer=OWNER)
    x, _ = world.send(request("resources/subscribe", {"uri": "test://theirs"}), session=ID, peer=INTRUDER)
    world.lose(world.call(ID, peer=OWNER)[0])
    world.shake(session, NEW)
    world.works(x)
    assert session.held is None or not session.held.subscriptions


def test_what_an_accepted_one_subscribes_to_is_held() -> None:
    world = World()
    session = world.open(ID, peer=OWNER)
    world.works(world.send(request("resources/subscribe", {"uri": "test://new"}), session=ID, peer=INTRUDER)[0])
    assert session.held is not None
    assert list(session.held.subscriptions) == ["test://new"]


# By a batch


def test_a_batch_is_as_much_as_what_is_in_it() -> None:
    world = World()
    session = world.open(ID, peer=OWNER)
    before = untouched(session)
    batch = [request("initialize", id=1), request("tools/call", {"name": "x"}, id=2)]
    x, _ = world.send(batch, session=ID, peer=INTRUDER)
    refused = {"code": -32001, "message": "Unauthorized"}
    world.answer(x, 200, [{"jsonrpc": "2.0", "id": one, "error": refused} for one in (1, 2)], session=ID)
    assert untouched(session) == before
    x, _ = world.send(batch, session=ID, peer=INTRUDER)
    assert world.lose(x) == HOLD, "a session of his own"
    assert untouched(session) == before


# In the middle of a recovery


def test_a_token_that_is_renewed_while_its_session_is_brought_back() -> None:
    """Either handshake may fail: whoever waits is served by the other one's session or his own, and all are ended."""
    for first_works, second_works in ((True, True), (True, False), (False, True)):
        world = World()
        session = world.open(ID, peer=OWNER)
        early, _ = world.call(ID, peer=OWNER)
        assert world.lose(early) == HOLD
        renewed = Peer(pid=1, token="renewed", connection="c2")
        late, _ = world.call(ID, peer=renewed)
        assert world.lose(late) == HOLD
        mine, apart = world.shaking
        assert mine is session
        first = world.shake(mine, NEW if first_works else None)
        second = world.shake(apart, "second" if second_works else None)
        assert first == {early.id: Resend(NEW) if first_works else Deliver()}
        assert second == {late.id: Resend("second") if second_works else Deliver()}
        for x, works in ((early, first_works), (late, second_works)):
            if works:
                world.works(x)
        if second_works:
            assert forwarded_as(world.call(ID, peer=renewed)[1]) == "second"
        world.dies(OWNER)
        world.wait(1)
        deleted = set()
        while world.deleting:
            deleted.add(dict(world.delete_answered(200).request.headers)["mcp-session-id"])
            world.wait(1)
        assert deleted >= ({NEW} if first_works else set()) | ({"second"} if second_works else set())


def test_a_stranger_in_the_middle_of_a_recovery_neither_waits_for_it_nor_gets_its_id() -> None:
    world = World()
    session = world.open(ID, peer=OWNER)
    mine, _ = world.call(ID, peer=OWNER)
    world.lose(mine)
    for verb in ("POST", "GET", "DELETE"):
        x, decision = world.send(request("ping") if verb == "POST" else None, verb=verb, session=ID, peer=INTRUDER)
        assert forwarded_as(decision) is None
        world.answer(x, 401)
    assert world.shake(session, NEW) == {mine.id: Resend(NEW)}


# In numbers

MANY = 10_000


@pytest.mark.long
@pytest.mark.usefixtures("timed")
def test_ten_thousand_guesses_hold_up_nobody() -> None:
    """All of them at once, at a server that answers no handshake: the client's own goes out at once all the same."""
    world = World(judged=False)
    session = world.open(ID, peer=OWNER)
    longest = 0.0
    for n in range(MANY):
        x, _ = world.call(ID, peer=Peer(pid=1, token=f"guess-{n}", connection="i1"))
        began = time.thread_time()
        world.lose(x)
        longest = max(longest, time.thread_time() - began)
    world.sends.clear()
    mine, _ = world.call(ID, peer=OWNER)
    assert world.lose(mine) == HOLD
    assert world.shaking == [session], "his turn is at once"
    assert world.shake(session, NEW) == {mine.id: Resend(NEW)}
    assert len(world.core.ledger.sessions) == 1
    assert longest < 0.05


@pytest.mark.long
@pytest.mark.usefixtures("timed")
def test_ten_thousand_who_are_accepted_under_one_id() -> None:
    """A server that gives all of them one id: nothing that is done for one of them takes long."""
    world = World(judged=False)
    opened = world.open(ID, peer=OWNER)
    for n in range(MANY):
        peer = Peer(pid=None, host="10.0.0.7", token=f"user-{n}", connection="r1")
        message = request("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}})
        x, _ = world.send(message, peer=peer)
        world.answer(x, 200, initialized(1), session=ID)
    assert len(world.core.ledger.sessions) == MANY + 1
    last = Peer(pid=None, host="10.0.0.7", token=f"user-{MANY - 1}", connection="r1")
    for peer in (last, OWNER, INTRUDER):
        began = time.thread_time()
        x, _ = world.call(ID, peer=peer)
        world.works(x)
        assert time.thread_time() - began < 0.05
    assert opened.state is State.OPEN


def stored(number: int) -> Session:
    session = Session(ENDPOINT, ID, ID, opened=1.0, last_used=1.0, revision="", credentials=f"keyed:{number}")
    session.whose = ("10.0.0.7", session.credentials)
    return session


@pytest.mark.long
@pytest.mark.usefixtures("timed")
def test_to_find_what_stands_among_many_under_one_id_takes_no_time() -> None:
    ledger = Ledger()
    sessions = [stored(number) for number in range(MANY)]
    for session in sessions:
        ledger.open(session, 1.0, session.whose)
    began = time.thread_time()
    assert all(ledger.stands(stored(number)) for number in range(0, MANY, 50))
    assert not ledger.stands(stored(MANY))
    assert time.thread_time() - began < 0.05


# After a restart of the proxy


def test_after_a_restart_no_token_but_his_own_is_the_clients() -> None:
    world = World()
    world.core.fingerprints.key = b"k" * 32
    session = world.open(ID, peer=OWNER)
    world.lose(world.call(ID, peer=OWNER)[0])
    world.shake(session, NEW)
    written = world.core.fingerprints.written(session.credentials)

    again = World()
    again.core.fingerprints.key = b"k" * 32
    found = Session(
        ENDPOINT, ID, NEW, opened=1.0, last_used=1.0, revision="", generation=1, credentials=f"keyed:{written}"
    )
    owner = Peer(pid=1, token="owner")
    again.core.adopt([found], [], again.now)
    for token in ("intruder", None, "keyed:" + str(written), str(written), "?", ""):
        x, decision = again.call(ID, peer=Peer(pid=1, token=token, connection="i1"))
        assert forwarded_as(decision) is None
        assert x.session is not found
    connection = again.connect("c1", FakeProcess(1), again.now)
    assert connection.client is not None
    again.core.ledger.own(found, connection.client, again.now)
    assert forwarded_as(again.call(ID, peer=owner)[1]) == NEW


def test_nobody_is_deleted_for_an_id_that_a_server_gives_again() -> None:
    """The server counts anew after a restart, and gives another the id that the owner's session had before."""
    world = World()
    session = world.open("s-1", peer=OWNER)
    world.lose(world.call("s-1", peer=OWNER)[0])
    world.shake(session, "s-2")
    world.works(world.call("s-1", peer=OWNER)[0])
    theirs = world.open("s-1", peer=Peer(pid=2, token="other", connection="c2"))
    world.answer(world.send(verb="DELETE", session="s-1", peer=INTRUDER)[0], 204)
    assert theirs.state is session.state is State.OPEN
    world.dies(OWNER)
    assert world.deleting == ["s-2"]
    world.delete_answered(200)
    world.wait(1)
    assert not world.deleting
