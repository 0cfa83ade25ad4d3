"""Whose a session is, by credentials: renewed ones are recovered, and nobody gets what belongs to somebody else.

The server of these tests knows sessions by user, as servers do that bind a session to who opened it.
"""

from __future__ import annotations

from typing import Any

import pytest

from core.driver import FakeProcess
from core.world import DELETE, ENDPOINT, Peer, World, forwarded_as, initialized, outcome, request
from mcp_sessions.core.claims import TRIED_LIMIT
from mcp_sessions.core.decisions import HOLD, PASS, Ask, Deliver, Resend
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import State
from mcp_sessions.wire.headers import HeaderMap

ID = "s-one-two-three-four"
NEW, OTHER = "new-id-of-the-server", "another-id-of-the-server"

LOCAL = Peer(pid=1, token="old")
RENEWED = Peer(pid=1, token="new", connection="c2")
REMOTE = Peer(pid=None, host="10.0.0.7", token="old", connection="r1")
REMOTE_RENEWED = Peer(pid=None, host="10.0.0.7", token="new", connection="r2")


def authorization(send: Any) -> str | None:
    """The bearer token of a request of the proxy's own."""
    value = dict(send.request.carried).get(b"authorization")
    return value.decode().removeprefix("Bearer ") if value is not None else None


def openings(world: World) -> list[str | None]:
    return [authorization(send) for send in world.sends if send.request.what == "initialize"]


def the_apart(world: World) -> Session:
    """The session whose handshake is under way."""
    (session,) = world.shaking
    return session


# Renewed credentials


@pytest.mark.parametrize(("before", "after"), [(LOCAL, RENEWED), (REMOTE, REMOTE_RENEWED)], ids=["local", "remote"])
def test_a_lost_session_is_recovered_with_renewed_credentials(before: Peer, after: Peer) -> None:
    world = World()
    world.open(ID, peer=before)
    x, decision = world.call(ID, peer=after)
    assert decision == PASS
    assert world.lose(x) == HOLD
    assert openings(world) == ["new"]
    assert world.shake(the_apart(world), NEW) == {x.id: Resend(NEW)}
    world.works(x)
    assert forwarded_as(world.call(ID, peer=after)[1]) == NEW


@pytest.mark.parametrize(("before", "after"), [(LOCAL, RENEWED), (REMOTE, REMOTE_RENEWED)], ids=["local", "remote"])
def test_credentials_that_are_renewed_after_a_recovery(before: Peer, after: Peer) -> None:
    world = World()
    session = world.open(ID, peer=before)
    world.lose(world.call(ID, peer=before)[0])
    world.shake(session, NEW)
    x, decision = world.call(ID, peer=after)
    assert decision == PASS, "nobody is given an id that he was not seen to have"
    assert world.lose(x) == HOLD
    assert world.shake(the_apart(world), OTHER) == {x.id: Resend(OTHER)}
    world.works(x)
    assert forwarded_as(world.call(ID, peer=after)[1]) == OTHER
    assert forwarded_as(world.call(ID, peer=before)[1]) == NEW


def test_what_a_session_held_is_restored_for_its_process_with_renewed_credentials() -> None:
    world = World()
    world.open(ID, peer=LOCAL)
    for method, params in (("logging/setLevel", {"level": "debug"}), ("resources/subscribe", {"uri": "test://one"})):
        world.works(world.send(request(method, params), session=ID, peer=LOCAL)[0])
    world.lose(world.call(ID, peer=RENEWED)[0])
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, initialized("own"), session=NEW), world.now)
    world.sent(world.take("notifications/initialized")[0], outcome(202), world.now)
    assert [send.request.what for send in world.sends] == ["logging/setLevel", "resources/subscribe"]


def test_what_a_session_held_is_not_restored_for_who_only_has_its_address() -> None:
    world = World()
    world.open(ID, peer=REMOTE)
    world.works(world.send(request("resources/subscribe", {"uri": "test://mine"}), session=ID, peer=REMOTE)[0])
    world.lose(world.call(ID, peer=REMOTE_RENEWED)[0])
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(200, initialized("own"), session=NEW), world.now)
    world.sent(world.take("notifications/initialized")[0], outcome(202), world.now)
    assert not world.sends
    assert any("not restored in full" in line for line in world.lines())


def test_renewed_credentials_that_the_server_accepts_are_the_sessions_from_then_on() -> None:
    world = World()
    session = world.open(ID, peer=LOCAL)
    before = session.credentials
    x, decision = world.call(ID, peer=RENEWED)
    assert decision == PASS
    assert session.credentials == before
    world.works(x)
    assert session.credentials != before
    assert world.lose(world.call(ID, peer=RENEWED)[0]) == HOLD
    assert world.shaking == [session]
    assert openings(world) == ["new"]


def test_two_calls_with_renewed_credentials_share_a_handshake() -> None:
    world = World()
    world.open(ID, peer=REMOTE)
    first, second = world.call(ID, peer=REMOTE_RENEWED)[0], world.call(ID, peer=REMOTE_RENEWED)[0]
    assert [world.lose(first), world.lose(second)] == [HOLD, HOLD]
    released = world.shake(the_apart(world), NEW)
    assert released == {first.id: Resend(NEW), second.id: Resend(NEW)}


def test_a_late_refusal_with_renewed_credentials_needs_no_handshake() -> None:
    world = World()
    world.open(ID, peer=REMOTE)
    first, late = world.call(ID, peer=REMOTE_RENEWED)[0], world.call(ID, peer=REMOTE_RENEWED)[0]
    world.lose(first)
    world.shake(the_apart(world), NEW)
    assert world.lose(late) == Resend(NEW)


def test_a_client_may_renew_its_credentials_again_and_again() -> None:
    world = World()
    world.open(ID, peer=LOCAL)
    for n in range(5):
        peer = Peer(pid=1, token=f"token-{n}", connection=f"d{n}")
        x, _ = world.call(ID, peer=peer)
        world.lose(x)
        world.shake(the_apart(world), f"server-{n}")
        world.works(x)
        assert forwarded_as(world.call(ID, peer=peer)[1]) == f"server-{n}"
    world.dies(LOCAL)
    deleted = set()
    for _ in range(6):
        world.wait(0.1)
        deleted.add(dict(world.delete_answered(200).request.headers)["mcp-session-id"])
    assert deleted == {ID, *(f"server-{n}" for n in range(5))}


def test_an_initialize_with_renewed_credentials_is_sent_without_the_stale_id() -> None:
    world = World()
    world.open(ID, peer=LOCAL)
    x, _ = world.send(request("initialize", {"protocolVersion": "2025-11-25"}), session=ID, peer=RENEWED)
    assert world.lose(x) == Resend("")


def test_a_stream_with_renewed_credentials_is_opened_anew() -> None:
    world = World()
    world.open(ID, peer=LOCAL)
    x, _ = world.send(verb="GET", session=ID, peer=RENEWED, headers={"last-event-id": "7"})
    assert world.lose(x) == HOLD
    assert world.shake(the_apart(world), NEW) == {x.id: Resend(NEW, drop_last_event_id=True)}


def test_nobody_brings_back_with_other_credentials_what_its_client_has_ended() -> None:
    world = World()
    world.open(ID, peer=LOCAL)
    world.answer(world.send(verb="DELETE", session=ID, peer=LOCAL)[0], 200)
    assert world.lose(world.call(ID, peer=RENEWED)[0]) == Deliver()
    assert not world.sends


def test_who_was_given_up_by_evidence_comes_back_with_renewed_credentials() -> None:
    world = World(mcp_end_after_idle=30)
    session = world.open(ID, peer=REMOTE)
    world.disconnected(REMOTE.connection, world.now)
    world.wait(31)
    world.delete_answered(200)
    assert session.state is State.CLOSED
    x, _ = world.call(ID, peer=REMOTE_RENEWED)
    assert world.lose(x) == HOLD
    assert world.shake(the_apart(world), NEW) == {x.id: Resend(NEW)}


@pytest.mark.parametrize("policy", ["off", "reinit"])
def test_the_policy_holds_for_renewed_credentials_too(policy: str) -> None:
    world = World(mcp_recover=policy)
    world.open(ID, peer=LOCAL)
    x, _ = world.call(ID, peer=RENEWED)
    assert world.lose(x) == (Deliver() if policy == "off" else HOLD)
    if policy == "reinit":
        assert world.shake(the_apart(world), NEW) == {x.id: Deliver()}
        assert forwarded_as(world.call(ID, peer=RENEWED)[1]) == NEW


# What counts as credentials

COOKIES = ("AWSALB=1; AWSALBCORS=1", "AWSALB=2; AWSALBCORS=2", "__cf_bm=x", "csrftoken=1; BIGipServerPool=5", None)


def test_what_changes_with_every_request_changes_nothing() -> None:
    world = World()
    session = world.open(ID, peer=LOCAL)
    world.lose(world.call(ID, peer=LOCAL)[0])
    world.shake(session, NEW)
    for n, cookie in enumerate(COOKIES):
        headers = {"cookie": cookie, "dpop": f"proof-{n}", "x-csrf-token": str(n)}
        _, decision = world.send(request("ping"), session=ID, peer=LOCAL, headers=headers)
        assert forwarded_as(decision) == NEW


def test_a_client_elsewhere_with_a_rotating_cookie_is_one_client() -> None:
    world = World()
    for n, cookie in enumerate(COOKIES):
        peer = Peer(pid=None, host="10.0.0.7", connection=f"c{n}")
        world.send(request("ping"), session=ID, peer=peer, headers={"cookie": f"sid=mine; {cookie or ''}"})
    assert len(world.core.ledger.clients) == 1


def test_a_key_in_the_query_is_a_credential() -> None:
    world = World()
    session = world.open(ID, peer=LOCAL)
    before = session.credentials
    headers = HeaderMap(((b"mcp-session-id", ID.encode()), (b"authorization", b"Bearer old")))
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    for query, strange in (("", False), ("?api_key=other", True)):
        made = world.connect("c1", FakeProcess(1), world.now)
        x, _ = world.request("POST", f"{ENDPOINT}{query}", ENDPOINT, headers, body, made, world.now)
        assert x.stranger is strange
    assert session.credentials == before


# Takeover


def untouched(session: Session) -> tuple[Any, ...]:
    """All that nobody may change before the server has accepted him."""
    return (
        session.credentials,
        session.fields,
        session.url,
        session.last_used,
        session.requests,
        session.server_id,
        session.generation,
        session.standing,
        tuple(session.owners),
        tuple(session.connections),
        session.replaced,
    )


INTRUDERS = {
    "same process": Peer(pid=1, token="intruder", connection="i1"),
    "same process, same connection": Peer(pid=1, token="intruder", connection="c1"),
    "another process": Peer(pid=2, token="intruder", connection="i2"),
    "without credentials": Peer(pid=1, token=None, connection="i3"),
    "same address": Peer(pid=None, host="127.0.0.1", token="intruder", connection="i4"),
    "elsewhere": Peer(pid=None, host="10.0.0.9", token="intruder", connection="i5"),
    "elsewhere, stolen token": Peer(pid=None, host="10.0.0.9", token="old", connection="i6"),
}


@pytest.mark.parametrize("recovered", [False, True])
@pytest.mark.parametrize("who", INTRUDERS.values(), ids=INTRUDERS)
def test_who_presents_the_id_of_another_moves_nothing(who: Peer, recovered: bool) -> None:
    world = World()
    session = world.open(ID, peer=LOCAL)
    if recovered:
        world.lose(world.call(ID, peer=LOCAL)[0])
        world.shake(session, NEW)
        world.works(world.call(ID, peer=LOCAL)[0])
    before = untouched(session)
    for verb in ("POST", "GET", "DELETE"):
        x, decision = world.send(request("ping") if verb == "POST" else None, verb=verb, session=ID, peer=who)
        assert forwarded_as(decision) != NEW
        assert untouched(session) == before
        if world.lose(x) == HOLD:
            released = world.shake(the_apart(world), f"theirs-{x.id}")
            assert session.server_id not in [getattr(one, "session_id", "") for one in released.values()]
            world.answer(x, 200)
        assert untouched(session) == before
    x, decision = world.call(ID, peer=LOCAL)
    assert forwarded_as(decision) == (NEW if recovered else None)
    assert world.works(x) == Deliver()


def test_an_id_that_means_something_else_by_now_moves_nothing() -> None:
    """The session was brought back under another id, and the server gives the first one to somebody, or to anybody."""
    world = World()
    session = world.open(ID, peer=LOCAL)
    world.lose(world.call(ID, peer=LOCAL)[0])
    world.shake(session, NEW)
    before = untouched(session)
    world.works(world.call(ID, peer=RENEWED)[0])
    assert untouched(session) == before


def test_of_two_sessions_under_one_id_each_outlives_the_other() -> None:
    for first in (0, 1):
        world = World()
        sessions = [world.open(ID, peer=peer) for peer in TWO]
        world.core.ledger.evict(sessions[first])
        x, _ = world.call(ID, peer=TWO[1 - first])
        assert x.session is sessions[1 - first]
        assert world.call(ID, peer=TWO[first])[0].stranger


def test_a_session_is_found_by_its_latest_id_at_the_server_alone() -> None:
    world = World()
    session = world.open(ID, peer=LOCAL)
    place = world.core.ledger.endpoints[ENDPOINT]
    for new in (NEW, OTHER, ID, NEW):
        world.core.ledger.remap(session, new)
        assert [*place.at_server(new)] == [session]
        assert not any([*place.at_server(one)] for one in {ID, NEW, OTHER} - {new})
    assert session.replaced == (OTHER, ID)


def test_whose_session_is_lost_is_not_pushed_into_another_ones() -> None:
    """The session is lost to everybody: who comes first brings his own back, and nobody else's."""
    world = World()
    session = world.open(ID, peer=LOCAL)
    theirs, _ = world.call(ID, peer=RENEWED)
    mine, _ = world.call(ID, peer=LOCAL)
    assert [world.lose(theirs), world.lose(mine)] == [HOLD, HOLD]
    apart, own = world.shaking
    assert own is session
    assert openings(world) == ["new", "old"]
    assert world.shake(apart, OTHER) == {theirs.id: Resend(OTHER)}
    assert world.shake(session, NEW) == {mine.id: Resend(NEW)}
    assert forwarded_as(world.call(ID, peer=LOCAL)[1]) == NEW
    assert forwarded_as(world.call(ID, peer=RENEWED)[1]) == OTHER


def test_who_is_refused_a_handshake_leaves_nothing_behind() -> None:
    world = World()
    session = world.open(ID, peer=REMOTE)
    before = untouched(session)
    for n in range(50):
        peer = Peer(pid=None, host="10.0.0.7", token=f"guess-{n}", connection="r2")
        x, _ = world.call(ID, peer=peer)
        if world.lose(x) == HOLD:
            (opening,) = world.take("initialize")
            world.sent(opening, outcome(404 if n % 2 else 401), world.now)
            assert [(one.exchange, one.decision) for one in world.released()] == [(x, Deliver())]
    assert untouched(session) == before
    assert world.lose(world.call(ID, peer=REMOTE)[0]) == HOLD
    assert world.shaking == [session], "his failures make nobody else wait"
    assert list(world.core.ledger.sessions.values()) == [session]


@pytest.mark.long
def test_guesses_are_bounded() -> None:
    world = World()
    world.open(ID, peer=REMOTE)
    for n in range(3 * TRIED_LIMIT):
        x, _ = world.call(ID, peer=Peer(pid=None, host="10.0.0.7", token=f"guess-{n}", connection="r2"))
        world.lose(x)
        world.sends.clear()
    assert len(world.core.claims._tried) <= TRIED_LIMIT


def test_a_late_handshake_for_other_credentials_is_taken_back() -> None:
    world = World()
    world.open(ID, peer=REMOTE)
    x, _ = world.call(ID, peer=REMOTE_RENEWED)
    world.lose(x)
    (opening,) = world.take("initialize")
    world.wait(40)
    assert x.id in {release.exchange.id for release in world.released()}
    world.sent(opening, outcome(200, initialized("own"), session=NEW), world.now)
    assert world.deleting == [NEW]


@pytest.mark.parametrize("status", [200, 404])
def test_an_error_is_no_acceptance(status: int) -> None:
    world = World()
    session = world.open(ID, peer=LOCAL)
    before = untouched(session)
    x, _ = world.call(ID, peer=INTRUDERS["another process"])
    world.answer(x, status, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "Unauthorized"}})
    assert untouched(session) == before


# Who it is, found out late


def test_it_is_found_out_who_asks_where_that_decides() -> None:
    world = World()
    world.open(ID, peer=LOCAL)
    for peer, ask in (
        (Peer(pid=1, token="old", connection="d1", known=False), None),
        (Peer(pid=1, token="new", connection="d2", known=False), Ask(identity=True, recall=True)),
        (Peer(pid=1, token="old", connection="d3", host="::1", known=False), Ask(identity=True, recall=True)),
        (Peer(pid=1, token="new", connection="d4"), Ask(recall=True)),
        (Peer(pid=1, token="old", connection="d3", host="::1"), None),
    ):
        x, _ = world.call(ID, peer=peer)
        assert world.core.arrived(x, world.now) == ask


def test_who_is_known_by_the_time_of_the_refusal_is_its_client() -> None:
    world = World()
    session = world.open(ID, peer=LOCAL)
    world.lose(world.call(ID, peer=LOCAL)[0])
    world.shake(session, NEW)
    late = Peer(pid=1, token="old", connection="d3", host="::1", known=False)
    x, decision = world.call(ID, peer=late)
    assert decision == PASS
    world.identify(x.connection, FakeProcess(1), world.now)
    assert world.lose(x) == Resend(NEW)


# One id for everyone


TWO = (Peer(pid=1, token="one", connection="c1"), Peer(pid=2, token="two", connection="c2"))


@pytest.mark.parametrize("first", [0, 1])
def test_one_id_for_everyone_is_deleted_with_the_last_client(first: int) -> None:
    world = World()
    one, two = (world.open(ID, peer=peer) for peer in TWO)
    assert one is not two
    world.works(world.call(ID, peer=TWO[0])[0])
    world.dies(TWO[first])
    world.wait(1)
    assert world.deleting == []
    assert (one, two)[first].state is State.CLOSED
    world.works(world.call(ID, peer=TWO[1 - first])[0])
    world.dies(TWO[1 - first])
    assert world.deleting == [ID]
    (send,) = world.take(DELETE)
    assert authorization(send) == TWO[1 - first].token


def test_one_id_for_everyone_and_one_process_with_two_tokens() -> None:
    world = World()
    a, b = Peer(pid=1, token="a", connection="c1"), Peer(pid=1, token="b", connection="c1")
    one, two = world.open(ID, peer=a), world.open(ID, peer=b)
    assert len(world.core.ledger.sessions) == 2
    assert one is not two
    world.dies(a)
    assert world.deleting == [ID], "once, with the last of them"
    world.delete_answered(200)
    world.wait(1)
    assert world.deleting == []


def test_one_id_for_everyone_survives_the_loss_of_it() -> None:
    """A server that gives the same id after its restart: each client brings it back for itself."""
    world = World()
    one, two = (world.open(ID, peer=peer) for peer in TWO)
    for session, peer in zip((one, two), TWO, strict=True):
        x, _ = world.call(ID, peer=peer)
        assert world.lose(x) == HOLD
        assert world.shaking == [session]
        assert world.shake(session, ID) == {x.id: Resend(ID)}
        world.works(x)
    world.dies(TWO[0])
    world.wait(1)
    assert world.deleting == [], "neither the present id nor the one before"
    world.dies(TWO[1])
    world.delete_answered(200)
    world.wait(1)
    assert world.deleting == []


def test_an_id_that_a_server_gives_again_is_not_deleted_with_who_had_it_before() -> None:
    world = World()
    mine, other = TWO
    session = world.open("s-1", peer=mine)
    world.lose(world.call("s-1", peer=mine)[0])
    world.shake(session, "s-2")
    world.works(world.call("s-1", peer=mine)[0])
    world.open("s-1", peer=other)  # the server has begun to count anew
    world.dies(mine)
    assert world.deleting == ["s-2"]
    world.delete_answered(200)
    world.wait(1)
    assert world.deleting == [], "s-1 is somebody else's now"
    world.works(world.call("s-1", peer=other)[0])
    world.dies(other)
    assert world.deleting == ["s-1"]
