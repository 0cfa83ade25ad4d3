"""What the core says and wants done about an end, and among several, word by word, as `transcript_ends.txt` has it.

As for `test_transcript`: `REWRITE=1` writes the file anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.driver import FakeProcess
from core.scribe import Scribe, Story, is_as_written
from core.test_fleet import news
from core.world import ENDPOINT, LATEST, Peer, fields, initialized, request
from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.decisions import Counsel, Matter
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.recovery.server_state import Held
from mcp_sessions.core.recovery.unreachable import Patience
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.core.states import STANDINGS, ClientSide, Reason, ServerSide, Why
from mcp_sessions.options import Settings
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import dump

FILE = Path(__file__).with_name("transcript_ends.txt")
ID, NEW = "s-one-two-three-four", "new-id-of-the-server"
OTHER = Peer(pid=2, connection="c2")
FAR = Peer(pid=None, host="10.0.0.7", token="far", connection="f1")
OPEN = {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
ANEW: dict[str, str | None] = {"mcp-protocol-version": None}


# How it ends


def deletes_that_mean_nothing_any_more(world: Scribe) -> None:
    one = world.open("first-session", peer=Peer(token="a"))
    x, _ = world.send(verb="DELETE", session="first-session", peer=Peer(token="a"))
    world.answer(x, 500, b"no")
    world.answer(world.send(verb="DELETE", session="first-session", peer=Peer(token="a"))[0], 405)
    world.open("second-session", peer=OTHER)
    world.dies(OTHER)
    world.core.ledger.remap(one, NEW)
    other = Endpoint("http", "server", 80, "/other")
    session = Session(other, "old", "old", opened=1, last_used=1, revision=LATEST, url=str(other), route="a way")
    session.replaced = ("older", "oldest")
    session.reason = Reason(Why.IDLE, "for a test")
    world.core.adopt([session], [], world._next())
    world.core.end(session, world._next())
    world.fetch()
    world.delete_answered(410)
    world.delete_answered(None)
    world.delete_answered(404)
    world.wait(1)


def what_one_id_for_everybody_means(world: Scribe) -> None:
    for number in range(1, 4):
        peer = Peer(number, token=f"{number}", connection=f"c{number}")
        world.open(ID, peer=peer)
    world.dies(Peer(1))
    world.dies(Peer(2))
    world.works(world.call(ID, peer=peer)[0])
    world.dies(Peer(3))
    world.delete_answered(200)


def who_turns_up_at_the_last_moment(world: Scribe) -> None:
    world.core.configure(Settings(mcp_end_after_idle=30, mcp_end_after_stream=10).policy, world._next())
    for name, status in (("first-session", 200), ("second-session", 500), ("third-session", None)):
        session = world.open(name, peer=FAR)
        world.disconnected(FAR.connection, world._next())
        world.wait(31)
        x, _ = world.call(name, peer=FAR)
        if status:
            world.delete_answered(status)
        else:
            world.delete_not_sent()
        world.works(x)
    world.disconnected(FAR.connection, world._next())
    world.wait(40)
    while world.deleting:
        world.delete_not_sent()
    assert session.number not in world.core.ledger.sessions


def deletes_that_are_cut_off_or_refused(world: Scribe) -> None:
    for number, finish in enumerate((Finish.CLIENT, Finish.SERVER)):
        peer = Peer(number + 1, connection=f"c{number}")
        world.open(f"session-{number}-one-two", peer=peer)
        x, _ = world.send(verb="DELETE", session=f"session-{number}-one-two", peer=peer)
        world.finish(x, finish)
        world.delete_answered(403)
        x, _ = world.send(verb="DELETE", session=f"session-{number}-one-two", peer=peer)
        world.finish(x, finish)
        world.delete_answered(400, "Unknown session")
    peer = Peer(9, connection="c9")
    session = world.open("last-session", peer=peer)
    x, _ = world.send(verb="DELETE", session="last-session", peer=peer)
    world.core.ledger.remap(session, NEW)
    world.answer(x, 404)
    world.delete_answered(429, retry_after="7")
    world.open("very-last-session", peer=Peer(10, connection="c10"))
    world.dies(Peer(10))
    world.wait(8)
    world.core.exits(world._next())


def what_ends_with_the_proxy(world: Scribe) -> None:
    world.core.configure(Settings(mcp_end_at_exit="mapped").policy, world._next())
    for number in range(5):
        peer = Peer(number + 1, connection=f"c{number}")
        session = world.open(f"session-{number}-one-two", peer=peer)
        world.core.ledger.remap(session, f"{NEW}-{number}")
        if number == 1:
            world.core.keep(session, True, world._next())
        if number == 2:
            world.send(verb="DELETE", session=session.client_id, peer=peer)
        if number == 3:
            world.lose(world.call(session.client_id, peer=peer)[0])
    world.open("not-mapped", peer=Peer(9, connection="c9"))
    world.core.exits(world._next())
    for _ in range(3):
        world.fetch()
    assert world.core.ending.busy
    while world.deleting:
        world.delete_answered(200)
    assert not world.core.ending.left


def couriers_of_two_shells(world: Scribe) -> None:
    for number, shell in enumerate((FakeProcess(100, 1.0, "s\nh"), FakeProcess(101, 1.0, "sh"))):
        for part, message in enumerate((request("initialize", OPEN), request("ping"))):
            process = FakeProcess(10 + 2 * number + part, 1.0, "curl", shell.pid, shell)
            connection = world.connect(f"k{number}{part}", process, world._next())
            shown = {"accept": "application/json, text/event-stream", "mcp-session-id": ID if part + number else None}
            x, _ = world.request(
                "POST", str(ENDPOINT), ENDPOINT, HeaderMap(fields(shown)), dump(message), connection, world.now
            )
            world.answer(x, 200, initialized(1), session=ID if not (part + number) else None)
            world.disconnected(connection.id, world._next())
            world.gone(process, world._next())
    world.gone(shell, world._next())
    world.wait(1900)


def sessions_of_an_earlier_run(world: Scribe) -> None:
    process = Client(ClientKey(pid=7, started=1.0), "c", "127.0.0.1", first_seen=1, last_seen=1, pid=7, started=1.0)
    found = []
    for number, side in enumerate((ClientSide.USING, ClientSide.LEFT, ClientSide.GONE)):
        name = f"session-{number}-one-two"
        session = Session(ENDPOINT, name, name, opened=1, last_used=1, revision=LATEST, url=str(ENDPOINT))
        session.standing = STANDINGS[side, ServerSide.ALIVE, False]
        session.owners[process] = 1.0
        session.opener = session.confirmer = process
        session.recoveries = number
        found.append(session)
    world.core.adopt(found, [], world._next())
    world.core.adopt(found, [process], world._next())
    world.fetch()
    world.gone(FakeProcess(7), world._next())
    while world.deleting:
        world.delete_answered(200)


# Several proxies


def what_others_have_seen(world: Scribe) -> None:
    world.works(world.call(ID, peer=FAR)[0])
    session = world.session(ID)
    world.sharing.on = True
    other = Client(ClientKey(host="192.0.2.1"), "192.0.2.1", "192.0.2.1", first_seen=1, last_seen=1)
    held = Held("debug", {"file:///a": None})
    seen = news(
        revision="2025-06-18", parameters=b"{}", result=b'{"a":1}', owners=((other, world.now),), held=held,
        last_used=world.now, left_at=world.now, stream_aborted_at=world.now,
    )  # fmt: skip
    world.hears(session, Counsel(news=seen))
    world.hears(session, Counsel(news=replace(seen, server_id="other-id", elsewhere=False)))
    world.hears(session, Counsel(news=replace(seen, server_id="new-id", generation=3, result=None)))
    world.lose(world.call(ID, peer=FAR)[0])
    world.advised(Matter.HANDSHAKE, Counsel(alone=True))
    world.shake(session, "own")
    world.advised(Matter.COMMIT, Counsel(granted=True))
    world.disconnected(FAR.connection, world._next())
    world.wait(1900)
    world.advised(Matter.WEIGH, Counsel(news=replace(seen, connections=1)))
    world.wait(1900)
    world.advised(Matter.WEIGH, Counsel(over=world.now, left=True))
    gone = world.open("second-session", peer=OTHER)
    gone.replaced = ("earlier",)
    world.dies(OTHER)
    world.advised(Matter.DELETE, Counsel(alone=True, problem="nobody answers"))
    world.delete_not_sent() if world.sends[-1].request.unless_elsewhere else world.delete_answered(200)


def what_others_have_done(world: Scribe) -> None:
    session = world.open(ID, peer=FAR)
    world.disconnected(FAR.connection, world._next())
    world.sharing.on = True
    world.lose(world.call(ID, peer=FAR)[0])
    world.advised(Matter.HANDSHAKE, Counsel(problem="not now"))
    world.hears(session, Counsel(news=news("theirs", 1, left_at=world.now - 5, stream_aborted_at=world.now - 5)))
    world.hears(session, Counsel(news=news("theirs", 1, left_at=world.now + 5, stream_aborted_at=world.now + 5)))
    world.hears(session, Counsel(news=news("theirs", 1, left_at=None, stream_aborted_at=None)))
    world.hears(session, Counsel(over=session.last_used - 1))
    world.lose(world.call(ID, peer=FAR)[0])
    world.core.interrupted(world._next())
    world.advised(Matter.HANDSHAKE, Counsel(granted=True))
    world.hears(session, Counsel(over=world.now + 9))
    for name, counsel in (
        ("second-session", Counsel(news=news("other", 2))),
        ("third-session", Counsel(granted=True, news=news("other", 2))),
        ("fourth-session", Counsel(alone=True)),
    ):
        session = world.open(name, peer=FAR)
        x, _ = world.call(name, peer=FAR)
        world.lose(x)
        world.advised(Matter.HANDSHAKE, Counsel(granted=True))
        world.shake(session, f"own-of-{name}")
        world.advised(Matter.COMMIT, counsel)
        world.works(x)


def who_is_served_by_the_session_as_it_was(world: Scribe) -> None:
    refused = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "Session not found"}}
    session = world.open(ID)
    x, _ = world.send(request("ping"), session=ID)
    world.answer(x, 404, refused)
    world.shake(session, NEW)
    world.answer(x, 404, refused)
    x, _ = world.send(request("ping"), session=ID)
    world.works(world.call(ID)[0])
    world.answer(x, 404, refused)
    x, _ = world.send(request("initialize", OPEN), session=ID, headers=ANEW)
    world.answer(x, 404, b"")
    world.answer(x, 404, b"")


def a_server_that_is_down_for_too_many(world: Scribe) -> None:
    world.core._unreachable.patience = Patience(steps=(1.0, 2.0), per_session=2, overall=3)
    world.open(ID)
    world.open("another-session", peer=OTHER)

    def refused(x: Exchange, problem: str = "[Errno 111]\nConnect call failed") -> Exchange:
        world.text.append(f"      {x.id} refused: {world.core.unreachable(x, problem, world._next())}")
        world.fetch()
        return x

    batch = [request("ping", id="a"), {"jsonrpc": "2.0", "method": "notifications/x"}, request("ping", id=2)]
    first = refused(world.send(batch, session=ID)[0])
    refused(world.send({"jsonrpc": "2.0", "method": "notifications/x"}, session=ID)[0])
    refused(world.send([{"jsonrpc": "2.0", "method": "notifications/x"}], session=ID)[0])
    refused(world.send(request("initialize", OPEN), headers=ANEW)[0])
    refused(world.call("another-session", peer=OTHER)[0])
    world.wait(1)
    refused(first, "no such problem")
    world.wait(40)
    for release in world.released():
        if "502" not in str(release.decision):
            refused(release.exchange)
    refused(refused(world.call(ID)[0]))
    gone = refused(world.call(ID)[0])
    refused(world.call(ID)[0])
    refused(world.call("another-session", peer=OTHER)[0])
    world.finish(gone, Finish.CLIENT)
    late = refused(world.call(ID)[0])
    world.text.append(f"      {world.core.reached(late, world._next())}")
    world.fetch()


STORIES: tuple[Story, ...] = (
    deletes_that_mean_nothing_any_more,
    what_one_id_for_everybody_means,
    who_turns_up_at_the_last_moment,
    deletes_that_are_cut_off_or_refused,
    what_ends_with_the_proxy,
    couriers_of_two_shells,
    sessions_of_an_earlier_run,
    what_others_have_seen,
    what_others_have_done,
    who_is_served_by_the_session_as_it_was,
    a_server_that_is_down_for_too_many,
)


def test_every_word() -> None:
    assert is_as_written(FILE, STORIES)
