"""One proxy of several over one ledger: what it makes of what the others say, which is written down here."""

from __future__ import annotations

from typing import Any

import pytest

from core.world import DELETE, Peer, World
from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.decisions import HOLD, Counsel, Decision, Deliver, Matter, News, Resend
from mcp_sessions.core.ending.asking import BUSY
from mcp_sessions.core.ending.evidence import ALONE
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.recovery.server_state import Held
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import State, Why
from mcp_sessions.wire.headers import HeaderMap

ID = "the-id-that-the-client-knows"
REMOTE = Peer(pid=None, host="192.0.2.7", token="t", connection="c1")
LOCAL = Peer(pid=1, connection="c1")
IDLE = 1801
GRANTED, ALONE_NOW = Counsel(granted=True), Counsel(alone=True)


def state(session: Session) -> State:
    """Its state, which the type checker can't believe to know from a line before."""
    return session.state


def news(server_id: str = ID, generation: int = 0, **more: Any) -> News:
    """What others know of a session: that they have seen it, and nothing special."""
    usual: dict[str, Any] = {
        "revision": "2025-11-25",
        "parameters": None,
        "result": None,
        "opened_by": "client",
        "last_used": 0.0,
        "stream_aborted_at": None,
        "left_at": None,
        "streams": 0,
        "connections": 0,
        "owners": (),
        "held": None,
        "elsewhere": True,
    }
    return News(server_id, generation, **usual | more)


class Fleet(World):
    """A world whose ledger others share."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sharing = self.core.ending.sharing
        self.sharing.on = True

    def advised(self, matter: Matter, counsel: Counsel) -> None:
        """The oldest question is about this, and answered so."""
        consult = self.consults.pop(0)
        assert consult.matter is matter
        self.sharing.advised(consult.tag, counsel, self._next())
        self.fetch()

    def hears(self, session: Session, counsel: Counsel) -> None:
        """Others say something unasked."""
        self.sharing.told(session, counsel, self._next())
        self.fetch()

    def seems_gone(self, peer: Peer = REMOTE) -> Session:
        """Nothing was heard of a client for so long that the others are asked."""
        session = self.open(ID, peer=peer)
        self.disconnected(peer.connection, self.now)
        self.wait(IDLE)
        assert [consult.matter for consult in self.consults] == [Matter.WEIGH]
        return session

    def is_to_be_ended(self) -> Session:
        """The process of a client has ended, and the others are asked who deletes its session."""
        session = self.open(ID, peer=LOCAL)
        self.disconnected(LOCAL.connection, self.now)
        self.dies(LOCAL)
        assert [consult.matter for consult in self.consults] == [Matter.DELETE]
        assert self.deleting == []
        return session

    def is_lost(self) -> tuple[Session, Exchange]:
        """A call was refused, and the others are asked who shakes hands."""
        session = self.open(ID, peer=REMOTE)
        x, _ = self.call(ID, peer=REMOTE)
        assert self.lose(x) == HOLD
        assert [consult.matter for consult in self.consults] == [Matter.HANDSHAKE]
        return session, x

    def shaken(self) -> tuple[Session, Exchange]:
        """The handshake for it is complete, and the others are asked whether that stands."""
        session, x = self.is_lost()
        self.advised(Matter.HANDSHAKE, GRANTED)
        assert self.shake(session, "own") == {}
        assert [consult.matter for consult in self.consults] == [Matter.COMMIT]
        return session, x

    def becomes(self, x: Exchange) -> list[Decision]:
        return [release.decision for release in self.released() if release.exchange is x]


# Who seems to be gone


@pytest.mark.parametrize("where", ["streams", "connections"])
def test_who_is_seen_elsewhere_is_not_given_up(where: str) -> None:
    world = Fleet()
    session = world.seems_gone()
    seen: dict[str, Any] = {where: 1}
    world.advised(Matter.WEIGH, Counsel(news=news(**seen)))
    assert (state(session), world.consults) == (State.OPEN, [])
    world.wait(100)
    assert [consult.matter for consult in world.consults] == [Matter.WEIGH], "it is asked again, in a while"


def test_whom_others_have_heard_lately_is_not_given_up() -> None:
    world = Fleet()
    session = world.seems_gone()
    world.advised(Matter.WEIGH, Counsel(news=news(last_used=world.now - 10)))
    assert state(session) is State.OPEN
    assert session.last_used == pytest.approx(world.now - 10, abs=1)
    world.wait(1700)
    assert not world.consults


def test_nobody_is_given_up_on_what_this_proxy_saw_alone() -> None:
    world = Fleet()
    session = world.seems_gone()
    world.advised(Matter.WEIGH, ALONE_NOW)
    assert (state(session), world.consults) == (State.OPEN, [])
    world.wait(ALONE)
    world.advised(Matter.WEIGH, GRANTED)
    world.advised(Matter.DELETE, GRANTED)
    (send,) = world.sends
    assert send.request.unless_elsewhere, "it may have turned up there by the time that this is sent"
    world.delete_answered(200)
    assert (state(session), len(world.concluded)) == (State.CLOSED, 1)


def test_what_is_ended_by_hand_while_the_others_are_asked_is_ended_once() -> None:
    world = Fleet()
    session = world.seems_gone()
    world.core.end(session, world.now)
    world.fetch()
    world.advised(Matter.WEIGH, GRANTED)
    world.advised(Matter.DELETE, GRANTED)
    assert (world.consults, world.deleting) == ([], [ID])
    assert session.reason is not None
    assert session.reason.kind is Why.BY_HAND


def test_what_the_others_have_ended_is_closed_without_a_word_to_the_server() -> None:
    world = Fleet()
    session = world.seems_gone()
    session.replaced = ("an-earlier-id",)
    world.advised(Matter.WEIGH, Counsel(over=world.now))
    assert (state(session), world.sends, world.consults) == (State.CLOSED, [], [])
    assert "closed" in world.whats()
    assert session.ended_by == "proxy"


# Who ends it


def test_one_proxy_at_a_time_ends_it() -> None:
    world = Fleet()
    session = world.is_to_be_ended()
    session.elsewhere = True
    world.advised(Matter.DELETE, Counsel(granted=False))
    assert (world.deleting, world.consults) == ([], [])
    world.wait(BUSY)
    world.advised(Matter.DELETE, GRANTED)
    assert world.deleting == [ID]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_who_cannot_ask_ends_only_what_nobody_else_has_seen(elsewhere: bool) -> None:
    world = Fleet()
    world.is_to_be_ended().elsewhere = elsewhere
    world.advised(Matter.DELETE, ALONE_NOW)
    assert world.deleting == ([] if elsewhere else [ID])


def test_a_client_that_has_used_it_elsewhere_keeps_it() -> None:
    world = Fleet()
    session = world.is_to_be_ended()
    other = Client(ClientKey(pid=9, started=1.0), "other", "127.0.0.1", first_seen=1, last_seen=1, pid=9, started=1.0)
    world.advised(Matter.DELETE, Counsel(granted=True, news=news(owners=((other, world.now),))))
    assert (state(session), world.deleting, session.reason) == (State.OPEN, [], None)
    assert other in session.owners
    assert "goes on" in world.whats()
    assert len(world.concluded) == 1, "the others may"


def test_what_was_brought_back_elsewhere_is_ended_by_its_new_id() -> None:
    world = Fleet()
    session = world.is_to_be_ended()
    world.advised(Matter.DELETE, Counsel(granted=True, news=news("new", 1)))
    assert world.deleting == []
    world.advised(Matter.DELETE, GRANTED)
    assert world.deleting == ["new"]
    assert session.generation == 1
    world.delete_answered(200)
    assert state(session) is State.CLOSED


def test_what_is_over_by_then_is_not_ended_again() -> None:
    world = Fleet()
    session = world.is_to_be_ended()
    world.advised(Matter.DELETE, Counsel(granted=True, over=world.now, left=True))
    assert (state(session), world.deleting) == (State.CLOSED, [])
    assert session.ended_by == "client"


def test_who_turns_up_while_the_others_are_asked_has_it() -> None:
    world = Fleet()
    session = world.is_to_be_ended()
    session.elsewhere = True
    world.works(world.call(ID, peer=Peer(pid=2, connection="c2"))[0])
    world.advised(Matter.DELETE, GRANTED)
    assert (state(session), world.deleting, len(world.concluded)) == (State.OPEN, [], 1)


def test_an_answer_that_comes_after_a_reload_counts_for_nothing() -> None:
    world = Fleet()
    world.is_to_be_ended()
    (late,) = world.consults
    world.core.interrupted(world.now)
    world.consults.clear()
    world.fetch()
    assert len(world.consults) == 1, "it is asked anew"
    world.sharing.advised(late.tag, GRANTED, world.now)
    world.fetch()
    assert (world.deleting, len(world.concluded)) == ([], 1)
    world.advised(Matter.DELETE, GRANTED)
    assert world.deleting == [ID]


# What is said unasked


def test_a_session_that_was_ended_elsewhere_and_used_since_may_be_brought_back() -> None:
    world = Fleet()
    session = world.open(ID, peer=REMOTE)
    world.hears(session, Counsel(over=session.last_used - 1))
    assert state(session) is State.LOST
    x, _ = world.call(ID, peer=REMOTE)
    assert world.lose(x) == HOLD


def test_a_session_that_was_ended_elsewhere_after_its_last_use_is_over() -> None:
    world = Fleet()
    session = world.open(ID, peer=REMOTE)
    for _ in range(2):
        world.hears(session, Counsel(over=world.now + 1))
    assert state(session) is State.CLOSED
    assert world.whats().count("closed") == 1


def test_a_client_that_is_leaving_here_hears_of_its_own_delete() -> None:
    world = Fleet()
    session = world.open(ID, peer=REMOTE)
    x, _ = world.send(verb="DELETE", session=ID, peer=REMOTE)
    world.hears(session, Counsel(over=world.now + 1))
    assert state(session) is State.LEAVING
    world.answer(x, 200)
    assert (state(session), session.ended_by) == (State.CLOSED, "client")


def test_what_is_kept_by_hand_and_was_ended_elsewhere_can_be_brought_back() -> None:
    world = Fleet()
    session = world.open(ID, peer=REMOTE)
    world.core.keep(session, True, world.now)
    world.hears(session, Counsel(over=world.now + 1))
    assert "closed" not in world.whats()
    x, _ = world.call(ID, peer=REMOTE)
    assert world.lose(x) == HOLD


def test_what_comes_of_a_handshake_is_asked_for_and_not_heard() -> None:
    world = Fleet()
    session, _ = world.is_lost()
    world.hears(session, Counsel(over=world.now + 1))
    assert state(session) is State.RECOVERING


def test_a_session_that_was_brought_back_elsewhere_is_followed() -> None:
    world = Fleet()
    session = world.open(ID, peer=REMOTE)
    world.hears(session, Counsel(news=news("new", 1, result=b'{"protocolVersion":"2025-11-25"}')))
    assert (session.server_id, session.generation, session.answer) == ("new", 1, {"protocolVersion": "2025-11-25"})
    x, _ = world.call(ID, peer=REMOTE)
    assert x.server_id == "new"
    assert "follows" in world.whats()
    world.hears(session, Counsel(news=news("new", 1)))
    assert world.whats().count("follows") == 1


def test_a_lost_session_that_was_brought_back_elsewhere_is_open() -> None:
    world = Fleet()
    session, x = world.is_lost()
    world.advised(Matter.HANDSHAKE, Counsel(problem="not now"))
    assert world.becomes(x) == [Deliver()]
    assert state(session) is State.LOST
    world.hears(session, Counsel(news=news("new", 1)))
    assert (state(session), session.server_id) == (State.OPEN, "new")


def test_what_others_saw_of_its_beginning_and_of_what_it_holds_is_taken_in() -> None:
    world = Fleet()
    world.works(world.call(ID, peer=REMOTE)[0])
    session = world.session(ID)
    assert (session.opened_by, session.initialize) == ("unknown", None)
    session.holding().subscriptions["file:///mine"] = None
    held = Held(level="debug", subscriptions={"file:///theirs": None})
    seen = news(parameters=b'{"capabilities":{}}', revision="2025-06-18", result=b"{}", held=held)
    world.hears(session, Counsel(news=seen))
    assert (session.opened_by, session.initialize, session.revision) == ("client", {"capabilities": {}}, "2025-06-18")
    assert session.held is not None
    assert session.held.level == "debug"
    assert [*session.held.subscriptions] == ["file:///theirs", "file:///mine"]


def test_a_stream_that_was_hung_up_elsewhere_counts_unless_one_is_open_here() -> None:
    world = Fleet()
    session = world.open(ID, peer=REMOTE)
    world.hears(session, Counsel(news=news(stream_aborted_at=900.0)))
    assert session.stream_aborted_at == 900.0
    x, _ = world.send(verb="GET", session=ID, peer=REMOTE)
    world.head(x, 200, HeaderMap(((b"content-type", b"text/event-stream"),)), world.now)
    assert session.streams
    world.hears(session, Counsel(news=news(stream_aborted_at=950.0)))
    assert session.stream_aborted_at is None


def test_an_owner_seen_elsewhere_is_known_by_its_latest_use() -> None:
    world = Fleet()
    session = world.open(ID, peer=REMOTE)
    (owner,) = session.owners
    before = session.owners[owner]
    world.hears(session, Counsel(news=news(owners=((owner, before - 5),))))
    assert session.owners[owner] == before
    world.hears(session, Counsel(news=news(owners=((owner, before + 5),))))
    assert session.owners[owner] == before + 5


def test_what_others_have_seen_once_they_have_seen() -> None:
    world = Fleet()
    session = world.open(ID, peer=REMOTE)
    for elsewhere, known in ((False, False), (True, True), (False, True)):
        world.hears(session, Counsel(news=news(elsewhere=elsewhere)))
        assert session.elsewhere is known


def test_who_says_nothing_new_has_it_looked_at() -> None:
    world = Fleet()
    session = world.open(ID, peer=LOCAL)
    world.sharing.on = False
    world.dies(LOCAL)
    assert world.deleting == [ID]
    world.hears(session, Counsel())
    assert world.deleting == [ID]


# Who shakes hands


def test_a_proxy_shakes_hands_when_it_is_allowed_to_or_nobody_can_be_asked() -> None:
    for counsel in (GRANTED, ALONE_NOW):
        world = Fleet()
        session, x = world.is_lost()
        assert world.shaking == []
        world.advised(Matter.HANDSHAKE, counsel)
        assert world.shaking == [session]
        world.shake(session, "own")
        assert world.becomes(x) == []
        world.advised(Matter.COMMIT, GRANTED)
        assert world.becomes(x) == [Resend("own")]
        assert len(world.concluded) == 1


def test_the_result_of_another_ones_handshake_is_used() -> None:
    world = Fleet()
    session, x = world.is_lost()
    world.advised(Matter.HANDSHAKE, Counsel(news=news("theirs", 1)))
    assert world.shaking == []
    assert world.becomes(x) == [Resend("theirs")]
    assert (state(session), session.generation) == (State.OPEN, 1)


def test_news_that_are_none_do_not_stand_in_for_a_handshake() -> None:
    world = Fleet()
    session, _ = world.is_lost()
    world.advised(Matter.HANDSHAKE, Counsel(granted=True, news=news()))
    assert world.shaking == [session]


@pytest.mark.parametrize(
    ("counsel", "why"),
    [
        (Counsel(left=True), "its client has ended it through another proxy"),
        (Counsel(), "another proxy shakes hands, and does not come to an end"),
        (Counsel(problem="it was asked too often"), "it was asked too often"),
    ],
)
def test_who_may_not_shake_hands_gives_the_client_the_servers_answer(counsel: Counsel, why: str) -> None:
    world = Fleet()
    session, x = world.is_lost()
    world.advised(Matter.HANDSHAKE, counsel)
    assert world.shaking == []
    assert world.becomes(x) == [Deliver()]
    assert state(session) is State.LOST
    assert [line for line in world.lines() if "not recovered" in line and line.endswith(why)]


def test_an_answer_that_comes_when_nobody_waits_any_more_begins_nothing() -> None:
    world = Fleet()
    _, x = world.is_lost()
    world.wait(61)
    assert world.becomes(x) == [Deliver()]
    before = len(world.concluded)
    world.advised(Matter.HANDSHAKE, GRANTED)
    assert world.shaking == []
    assert len(world.concluded) == before + 1, "the others may"


def test_of_two_results_the_one_that_was_entered_first_stands() -> None:
    world = Fleet()
    session, x = world.shaken()
    world.advised(Matter.COMMIT, Counsel(news=news("theirs", 1)))
    assert world.becomes(x) == [Resend("theirs")]
    assert session.server_id == "theirs"
    assert world.deleting == ["own"], "nobody uses that one"
    assert "own" not in session.replaced


def test_a_result_stands_where_the_others_have_none_that_is_newer() -> None:
    world = Fleet()
    session, x = world.shaken()
    world.advised(Matter.COMMIT, Counsel(news=news("own", 1)))
    assert world.becomes(x) == [Resend("own")]
    assert world.deleting == []
    assert session.generation == 1


@pytest.mark.parametrize("how", ["time", "reload"])
def test_a_result_stands_if_nobody_says_otherwise_in_time(how: str) -> None:
    world = Fleet()
    session, x = world.shaken()
    if how == "time":
        world.wait(6)
        assert world.becomes(x) == [Resend("own")]
    else:
        world.core.interrupted(world.now)
    assert state(session) is State.OPEN
    world.advised(Matter.COMMIT, Counsel(news=news("theirs", 1)))
    assert session.server_id == "own", "too late"


# Its own exit


def test_what_others_know_how_it_is_mapped_is_not_ended_with_this_proxy() -> None:
    world = Fleet(mcp_end_at_exit="mapped")
    session = world.open(ID, peer=REMOTE)
    world.core.ledger.remap(session, "new")
    world.core.exits(world.now)
    world.fetch()
    assert (world.consults, world.deleting) == ([], [])


def test_after_a_reload_all_evidence_is_asked_about_anew() -> None:
    world = Fleet()
    world.seems_gone()
    world.consults.clear()
    world.core.interrupted(world.now)
    world.wait(2)
    assert [consult.matter for consult in world.consults] == [Matter.WEIGH]


def test_a_delete_that_is_cut_off_is_ended_though_nobody_can_be_asked() -> None:
    world = Fleet()
    session = world.open(ID, peer=REMOTE)
    x, _ = world.send(verb="DELETE", session=ID, peer=REMOTE)
    world.finish(x, Finish.CLIENT)
    world.advised(Matter.DELETE, GRANTED)
    assert [send.request.what for send in world.sends] == [DELETE]
    assert state(session) is State.ENDING
