"""Whoever looks on: told of everything as it is, and of no say, though he fails."""

from __future__ import annotations

from typing import Any

from core.world import ENDPOINT, LATEST, Peer, World
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.observer import WORDS, Guarded, Nobody
from mcp_sessions.core.records import Action, Weight
from mcp_sessions.core.session import Session
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import Body
from mcp_sessions.wire.sse import Event

ID = "s-one-two-three-four"


class Notes(Nobody):
    """Writes down what it is told, and fails at every second word if it is to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.fails = fails

    def _note(self, *what: Any) -> None:
        self.told.append(what)
        if self.fails:
            raise ValueError(what[0])

    def request(self, x: Exchange) -> None:
        self._note("request", x)

    def answer(self, x: Exchange) -> None:
        self._note("answer", x)

    def event(self, x: Exchange, event: Event, body: Body | None, at: float) -> None:
        self._note("event", x, event, body, at)

    def finish(self, x: Exchange) -> None:
        self._note("finish", x)

    def abandoned(self, session: Session, at: float) -> None:
        self._note("abandoned", session, at)

    def told_lost(self, session: Session, at: float) -> None:
        self._note("told_lost", session, at)


def test_it_is_told_what_happens_whether_it_fails_or_not() -> None:
    for fails in (False, True):
        notes, said = Notes(fails=fails), list[str]()
        guarded = Guarded(notes, said.append)
        x, event, body = World().call(ID)[0], Event(b"{}"), Body()
        session = Session(ENDPOINT, ID, ID, opened=1, last_used=1, revision=LATEST)
        guarded.request(x)
        guarded.answer(x)
        guarded.event(x, event, body, 5.0)
        guarded.finish(x)
        guarded.abandoned(session, 6.0)
        guarded.told_lost(session, 7.0)
        assert notes.told == [
            ("request", x),
            ("answer", x),
            ("event", x, event, body, 5.0),
            ("finish", x),
            ("abandoned", session, 6.0),
            ("told_lost", session, 7.0),
        ]
        assert [word.split(" in line ")[0] for word in said] == (
            [f"{name}, ValueError" for name in ("request", "answer", "event", "finish", "abandoned", "told_lost")]
            if fails
            else []
        )
        assert all(int(word.rpartition(" ")[2]) > 1 for word in said), "the line of the observer's that has failed"


def test_only_so_many_kinds_of_failures_are_told_and_each_once() -> None:
    said: list[str] = []
    kinds = [type(f"Error{n}", (Exception,), {}) for n in range(WORDS + 5)]

    class Failing(Nobody):
        def answer(self, x: Exchange) -> None:
            raise kinds[int(x.id)]

    guarded = Guarded(Failing(), said.append)
    x = World().call(ID)[0]
    for n in [*range(WORDS + 5), *range(WORDS + 5)]:
        x.id = str(n)
        guarded.answer(x)
    assert [word.split(" in line ")[0] for word in said] == [f"answer, Error{n}" for n in range(WORDS)]


def test_a_failure_is_an_error_in_the_log_of_bounded_length() -> None:
    world = World()
    world.reporter.now = 5.0
    world.reporter.could_not_look("x" * 1_000)
    (record,) = world.told
    assert isinstance(record, Action)
    assert (record.at, record.weight, record.what) == (5.0, Weight.ERROR, "could not judge, please report it")
    assert 100 < len(record.detail) <= 200


def test_it_is_told_of_the_life_of_a_session_in_its_order_and_time() -> None:
    notes = Notes()
    world = World(observer=notes)
    session = world.open(ID)
    x, _ = world.call(ID)
    world.lose(x)
    world.shake(session, None)
    lost = world.now
    world.dies(Peer())
    assert [word[0] for word in notes.told] == [
        *("request", "answer", "finish") * 2,
        *("request", "answer", "told_lost", "abandoned"),
    ]
    assert notes.told[-2:] == [("told_lost", session, lost), ("abandoned", session, world.now)]


def test_nothing_is_written_down_of_what_is_only_likely_or_wished() -> None:
    """A client that may live has abandoned nothing, and neither has one whose user has ended its session."""
    notes = Notes()
    world = World(observer=notes, mcp_end_after_idle=30)
    far = Peer(pid=None, host="10.0.0.7")
    world.open(ID, peer=far)
    world.disconnected("c1", world.now)
    world.wait(31)
    assert world.deleting == [ID]
    world.core.end(world.open("another-session", peer=Peer(connection="c2")), world.now)
    assert "abandoned" not in [word[0] for word in notes.told]


def test_it_is_told_of_each_event_as_it_came() -> None:
    notes = Notes()
    world = World(observer=notes)
    world.open(ID)
    x, _ = world.call(ID)
    world.head(x, 200, HeaderMap(((b"content-type", b"text/event-stream"),)), world.now)
    for event in (Event(b'{"jsonrpc":"2.0","id":1,"result":{}}'), Event(None, retry=5)):
        world.event(x, event, 2000.0)
        told = notes.told[-1]
        assert (told[0], told[1], told[2], told[3] is None, told[4]) == ("event", x, event, event.data is None, 2000.0)
