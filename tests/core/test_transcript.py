"""All that the core says and wants done in a few stories, word by word, as `transcript.txt` has it.

Each line there is read by somebody: by a user in the log, by a server in a request. Whoever changes one on purpose
writes the file anew, `REWRITE=1 uv run pytest tests/core/test_transcript.py`, and reads what has changed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.driver import FakeProcess
from core.scribe import Scribe, Story, is_as_written
from core.test_fleet import REMOTE, news
from core.world import LATEST, Peer, initialized, outcome, request
from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.decisions import Counsel, Matter, Outcome
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.session import ID_LIMIT, Endpoint, Session
from mcp_sessions.core.states import STANDINGS, ClientSide, ServerSide
from mcp_sessions.options import Settings
from mcp_sessions.wire.headers import HeaderMap

FILE = Path(__file__).with_name("transcript.txt")
ID = "s-one-two-three-four"
OTHER = Peer(pid=2, connection="c2")


# The stories


def a_session_that_its_client_ends(world: Scribe) -> None:
    world.open(ID)
    world.works(world.call(ID)[0])
    world.answer(world.send(verb="DELETE", session=ID)[0], 200)


def a_session_that_is_lost_with_all_that_it_held(world: Scribe) -> None:
    peer = Peer(token="secret")
    session = world.open(ID, peer=peer, name="my client")
    for method, params, result in (
        ("logging/setLevel", {"level": "debug"}, {}),
        ("resources/subscribe", {"uri": "file:///a"}, {}),
        ("tools/list", {}, {"tools": [{"name": "a"}]}),
    ):
        x, _ = world.send(request(method, params), session=ID, peer=peer)
        world.answer(x, 200, {"jsonrpc": "2.0", "id": 1, "result": result})
    waits, _ = world.call(ID, peer=peer)
    world.lose(world.call(ID, peer=peer)[0])
    world.call(ID, peer=peer)
    world.lose(waits)
    (opening,) = world.take("initialize")
    other = initialized("own", {"tools": {"listChanged": True}})
    other["result"]["serverInfo"] = {"name": "other", "version": "2"}
    other["result"]["protocolVersion"] = "2025-06-18"
    world.sent(opening, outcome(200, other, session="new"), world._next())
    world.sent(world.take("notifications/initialized")[0], outcome(202), world._next())
    world.sent(world.take("logging/setLevel")[0], outcome(500), world._next())
    world.sent(world.take("resources/subscribe")[0], world.restored(world.sends[0]), world._next())
    changed = {"jsonrpc": "2.0", "id": "own", "result": {"tools": [{"name": "b"}], "nextCursor": "2"}}
    world.sent(world.take("tools/list")[0], outcome(200, changed), world._next())
    changed["result"].pop("nextCursor")  # type: ignore[attr-defined]
    world.sent(world.take("tools/list")[0], outcome(200, changed), world._next())
    world.stream(world.send(verb="GET", session=ID, peer=peer)[0], mcp_session_id="new")
    world.works(world.call(session.client_id, peer=peer)[0])
    world.answer(world.send(verb="DELETE", session=ID, peer=peer)[0], 204)
    world.delete_answered(404)


def a_server_that_refuses_every_handshake(world: Scribe) -> None:
    session = world.open(ID)
    for _ in range(4):
        if world.lose(world.call(ID)[0]) and world.shaking:
            world.shake(session, None)
        world.wait(0.4)
    world.wait(5)
    world.lose(world.call(ID)[0])
    world.sent(world.take("initialize")[0], Outcome(problem="[Errno 111] refused"), world._next())
    world.wait(100)
    world.lose(world.send(request("tools/list", {"cursor": "2"}), session=ID)[0])
    world.shake(session, "new")


def a_server_that_loses_every_session_at_its_first_use(world: Scribe) -> None:
    session = world.open(ID)
    for n in range(5):
        x, _ = world.call(ID)
        if world.lose(x) and world.shaking:
            world.shake(session, f"new-{n}")
            world.lose(x)
    world.wait(61)
    for n in range(5, 10):
        x, _ = world.call(ID)
        world.lose(x)
        world.shake(session, f"new-{n}")
        world.works(x)


def a_client_that_ends_and_a_server_that_will_not(world: Scribe) -> None:
    answers: list[list[int | None]] = [[503] * 7, [None] * 7, [401], [302], [429, 200], [500, 404]]
    for n, statuses in enumerate(answers):
        peer = Peer(pid=n + 1, connection=f"c{n}")
        world.open(f"s-{n}-one-two", peer=peer)
        world.dies(peer)
        for status in statuses:
            world.delete_answered(status, **({"retry-after": "3"} if status == 429 else {}))
            world.wait(31)
    last = Peer(pid=20, connection="c20")
    world.open("s-last", peer=last)
    world.dies(last)
    world.delete_answered(405)


def a_client_elsewhere_that_is_not_seen_any_more(world: Scribe) -> None:
    session = world.open(ID, peer=REMOTE)
    x, _ = world.send(verb="GET", session=ID, peer=REMOTE)
    world.stream(x)
    world.finish(x, Finish.CLIENT)
    world.disconnected("c1", world.now)
    world.wait(61)
    world.works(world.call(ID, peer=replace(REMOTE, connection="c3"))[0])
    world.delete_answered(200)
    world.lose(world.call(ID, peer=replace(REMOTE, connection="c3"))[0])
    world.shake(session, "new")
    world.disconnected("c3", world.now)
    world.wait(1900)
    world.delete_answered(200)
    world.delete_answered(500)


def a_client_that_leaves_sessions_behind(world: Scribe) -> None:
    world.core.configure(Settings(mcp_end_superseded="on", mcp_end_after_superseded=30).policy, world.now)
    world.open("first-session")
    world.wait(50)
    world.open("second-session")
    world.wait(100)
    world.delete_answered(200)


def a_server_that_is_down(world: Scribe) -> None:
    world.open(ID)

    def refused(x: Exchange, problem: str = "[Errno 111] Connect call failed") -> None:
        world.text.append(f"      {x.id} refused: {world.core.unreachable(x, problem, world._next())}")
        world.fetch()

    first, second, third, late = (world.call(ID)[0] for _ in range(4))
    for x in (first, second, third):
        refused(x)
    world.core.hung_up(third, world._next())
    world.wait(0.15)
    for release in world.released():
        refused(release.exchange)
    world.wait(0.3)
    (release,) = world.released()
    world.text.append(f"      {world.core.reached(release.exchange, world._next())}")
    world.fetch()
    refused(late)
    refused(late, "Certificate verify failed")
    refused(world.send([request("ping", id=1), request("ping", id=2)], session=ID)[0])
    for _ in range(80):
        world.wait(0.5)
        for release in world.released():
            if "502" not in str(release.decision):
                refused(release.exchange)


def several_proxies(world: Scribe) -> None:
    session = world.open(ID, peer=REMOTE)
    world.sharing.on = True
    world.lose(world.call(ID, peer=REMOTE)[0])
    world.advised(Matter.HANDSHAKE, Counsel(granted=True))
    world.shake(session, "own")
    world.advised(Matter.COMMIT, Counsel(news=news("theirs", 1)))
    world.hears(session, Counsel(news=news("later", 2)))
    world.lose(world.call(ID, peer=REMOTE)[0])
    world.advised(Matter.HANDSHAKE, Counsel(problem="not now"))
    world.wait(10)
    world.lose(world.call(ID, peer=REMOTE)[0])
    world.advised(Matter.HANDSHAKE, Counsel(news=news("latest", 3)))
    world.disconnected("c1", world.now)
    world.wait(1900)
    world.advised(Matter.WEIGH, Counsel(alone=True))
    world.wait(6)
    world.advised(Matter.WEIGH, Counsel(granted=True))
    world.advised(Matter.DELETE, Counsel())
    world.wait(2)
    world.advised(Matter.DELETE, Counsel(granted=True, news=news("latest", 3)))
    world.delete_answered(200)
    other = world.open("another-session", peer=OTHER)
    world.dies(OTHER)
    world.advised(Matter.DELETE, Counsel(granted=True, news=news("another-session", 0, streams=1)))
    world.delete_answered(200)
    world.hears(other, Counsel(over=world.now))
    third = world.open("third-session", peer=REMOTE)
    world.hears(third, Counsel(over=world.now + 1))


def strangers_and_renewed_credentials(world: Scribe) -> None:
    world.open(ID, peer=Peer(token="old"))
    renewed = Peer(token="new", connection="c2")
    x, _ = world.call(ID, peer=renewed)
    world.lose(x)
    world.shake(world.shaking[0], "own-of-the-renewed")
    world.works(x)
    stranger = Peer(pid=None, host="10.0.0.9", token="x", connection="c9")
    world.call("own-of-the-renewed", peer=stranger)
    world.answer(world.call("unknown-session", peer=stranger)[0], 404, b"<html>")
    world.lose(world.call("unknown-session", peer=stranger)[0])
    world.shake(world.shaking[0], "made-for-it")
    world.works(world.call("another-unknown", peer=stranger)[0])
    world.works(world.call("x" * (ID_LIMIT + 1), peer=stranger)[0])


def what_the_user_does(world: Scribe) -> None:
    session = world.open(ID)
    world.core.keep(session, True, world._next())
    world.dies(Peer())
    world.core.keep(session, False, world._next())
    world.fetch()
    world.delete_answered(200)
    other = world.open("second-session", peer=OTHER)
    world.core.reinit(other, world._next())
    world.fetch()
    world.shake(other, "anew")
    world.core.end(other, world._next())
    world.fetch()
    world.delete_answered(401)
    world.core.end(other, world._next())
    world.fetch()
    world.core.interrupted(world._next())
    world.fetch()
    third = world.open("third-session", peer=Peer(pid=3, connection="c3"))
    world.lose(world.call("third-session", peer=Peer(pid=3, connection="c3"))[0])
    world.core.interrupted(world._next())
    world.fetch()
    world.core.ledger.remap(third, "new")
    world.core.configure(Settings(mcp_end="log").policy, world._next())
    world.dies(Peer(pid=3))
    world.core.configure(Settings(mcp_end_at_exit="all").policy, world._next())
    world.open("fourth-session", peer=Peer(pid=4, connection="c4"))
    world.core.exits(world._next())
    world.fetch()


def couriers_carriers_and_heirs(world: Scribe) -> None:
    shell = FakeProcess(100, 1.0, "sh")
    for n, message in enumerate((request("initialize", {"protocolVersion": LATEST}), None)):
        process = FakeProcess(10 + n, 1.0, "curl", 100, shell)
        connection = world.connect(f"k{n}", process, world._next())
        fields: list[tuple[bytes, bytes]] = [(b"accept", b"application/json, text/event-stream")]
        fields += [] if message else [(b"mcp-session-id", ID.encode())]
        sent = message or {"jsonrpc": "2.0", "method": "notifications/initialized"}
        endpoint = Endpoint("http", "server", 80, "/mcp")
        content = str(sent).replace("'", '"').encode()
        x, _ = world.request("POST", "http://server/mcp", endpoint, HeaderMap(fields), content, connection, world.now)
        world.answer(x, 200 if message else 202, initialized(1) if message else None, session=ID if message else None)
        world.disconnected(f"k{n}", world._next())
        world.gone(process, world._next())
    world.gone(shell, world._next())
    world.delete_answered(200)
    world.open("carried-session", peer=Peer(pid=5, connection="c5", visited=True))
    world.dies(Peer(pid=5))
    world.open("inherited-session", peer=Peer(pid=6, connection="c6"))
    world.connect("c7", FakeProcess(7), world._next())
    world.core.outlived(FakeProcess(6), FakeProcess(7), world._next())
    world.dies(Peer(pid=6), FakeProcess(8))
    world.wait(4)
    world.dies(Peer(pid=7))
    gone = Client(ClientKey(pid=70, started=1.0), "c", "127.0.0.1", first_seen=1, last_seen=1, pid=70, started=1.0)
    one = Session(
        Endpoint("http", "server", 80, "/mcp"), "old", "old", opened=1, last_used=1, revision=LATEST, opener=gone
    )
    one.standing, one.confirmer = STANDINGS[ClientSide.USING, ServerSide.ALIVE, False], gone
    one.owners[gone] = 1.0
    world.core.adopt([one], [gone], world._next())
    world.fetch()


def what_breaks_off(world: Scribe) -> None:
    world.open(ID)
    world.finish(world.call(ID)[0], Finish.SERVER)
    x, _ = world.call(ID)
    world.stream(x)
    world.finish(x, Finish.SERVER)
    x, _ = world.send(verb="DELETE", session=ID)
    world.finish(x, Finish.CLIENT)
    world.delete_answered(200)
    large = {f"x-{number}": "v" * 10_000 for number in range(3)}
    world.open("second-session")
    world.works(world.send(request("tools/list"), session="second-session", headers=large)[0])
    world.works(world.send(request("resources/subscribe", {"uri": "u" * 5000}), session="second-session")[0])
    x, _ = world.send(request("initialize", {}), session="second-session", headers={"mcp-protocol-version": None})
    world.lose(x)
    world.lose(x)
    x, _ = world.call("second-session")
    world.lose(x)
    world.hang_up(x)
    world.wait(60)


STORIES: tuple[Story, ...] = (
    a_session_that_its_client_ends,
    a_session_that_is_lost_with_all_that_it_held,
    a_server_that_refuses_every_handshake,
    a_server_that_loses_every_session_at_its_first_use,
    a_client_that_ends_and_a_server_that_will_not,
    a_client_elsewhere_that_is_not_seen_any_more,
    a_client_that_leaves_sessions_behind,
    a_server_that_is_down,
    several_proxies,
    strangers_and_renewed_credentials,
    what_the_user_does,
    couriers_carriers_and_heirs,
    what_breaks_off,
)


def test_every_word() -> None:
    assert is_as_written(FILE, STORIES)
