"""What is taken in of what other proxies know, item by item, and whom they are asked and told what about."""

from __future__ import annotations

from typing import Any

import pytest

from core.test_fleet import news
from core.test_tables import a_client, a_session
from core.world import ENDPOINT
from mcp_sessions.core.decisions import Conclude, Consult, Counsel, Matter
from mcp_sessions.core.ledger import Ledger
from mcp_sessions.core.outbox import Outbox
from mcp_sessions.core.recovery.attempts import Attempt
from mcp_sessions.core.recovery.joint import BUSY, LEFT, Joint
from mcp_sessions.core.recovery.server_state import Held
from mcp_sessions.core.reporter import Reporter
from mcp_sessions.core.session import Session
from mcp_sessions.core.sharing import Sharing, is_newer
from mcp_sessions.core.states import STANDINGS, ClientSide, Failure, ServerSide, State, WhyNot


class Shared:
    """A ledger that others share, a session in it, and what they are asked."""

    def __init__(self, **known: Any) -> None:
        self.told: list[str] = []
        self.reporter = Reporter(lambda record: self.told.append(record.said()))
        self.ledger, self.outbox = Ledger(), Outbox()
        self.sharing = Sharing(self.ledger, self.reporter, self.outbox)
        self.sharing.on = True
        self.session = a_session("s-one-two")
        for name, value in known.items():
            setattr(self.session, name, value)
        self.ledger.open(self.session, 1.0)

    def held(self) -> Held | None:
        return self.session.held

    def learns(self, server_id: str = "s-one-two", generation: int = 0, **more: Any) -> bool:
        return self.sharing.learn(self.session, news(server_id, generation, **more))


# What is taken in


@pytest.mark.parametrize(("mine", "theirs", "kept"), [(5.0, 9.0, 9.0), (9.0, 5.0, 9.0), (5.0, 5.0, 5.0)])
def test_the_later_of_two_times_counts(mine: float, theirs: float, kept: float) -> None:
    shared = Shared(last_used=mine, left_at=mine, stream_aborted_at=mine)
    assert not shared.learns(last_used=theirs, left_at=theirs, stream_aborted_at=theirs)
    session = shared.session
    assert (session.last_used, session.left_at, session.stream_aborted_at) == (kept, kept, kept)
    assert not shared.learns(last_used=1.0, left_at=None, stream_aborted_at=None)
    assert (session.last_used, session.left_at, session.stream_aborted_at) == (kept, kept, kept)
    fresh = Shared()
    fresh.learns(left_at=3.0, stream_aborted_at=4.0)
    assert (fresh.session.left_at, fresh.session.stream_aborted_at) == (3.0, 4.0)
    fresh.session.streams["x"] = 5.0
    fresh.learns(stream_aborted_at=9.0)
    assert fresh.session.stream_aborted_at == 4.0, "there is a stream here"


def test_who_has_used_it_there_is_an_owner_here() -> None:
    shared = Shared()
    one, other = a_client(1), a_client(2)
    shared.session.owners = {one: 5.0}
    shared.learns(owners=((other, 7.0), (one, 4.0)))
    assert shared.session.owners == {one: 5.0, other: 7.0}
    shared.learns(owners=((one, 8.0), (other, 7.0)))
    assert [*shared.session.owners.items()] == [(other, 7.0), (one, 8.0)]
    assert shared.session in other.sessions


def test_how_it_was_opened_is_known_from_who_saw_it() -> None:
    seen: dict[str, Any] = {"opened_by": "client", "parameters": b"{}", "result": b'{"a":1}', "revision": "2025-06-18"}
    shared = Shared(opened_by="unknown", parameters=b"presumed", revision="")
    shared.learns(**{**seen, "opened_by": "unknown"})
    assert shared.session.parameters == b"presumed"
    shared.learns(**seen)
    session = shared.session
    assert (session.opened_by, session.parameters, session.result, session.revision) == (
        *("client", b"{}", b'{"a":1}'),
        "2025-06-18",
    )
    shared.learns(**{**seen, "parameters": b"other", "result": b"other", "revision": "other"})
    assert (session.parameters, session.result, session.revision) == (b"{}", b'{"a":1}', "2025-06-18")
    own = Shared(opened_by="unknown", result=b"mine")
    own.learns(**seen)
    assert own.session.result == b"mine"


def test_what_it_holds_is_put_together_and_its_own_counts_first() -> None:
    shared = Shared()
    shared.learns(held=None)
    assert shared.held() is None
    shared.learns(held=Held("debug", {"a": None}))
    assert shared.held() == Held("debug", {"a": None})
    shared.learns(held=Held("error", {"b": None}))
    found = shared.held()
    assert found is not None
    assert (found.level, [*found.subscriptions]) == ("debug", ["b", "a"])


def test_whether_others_have_seen_it_is_never_forgotten() -> None:
    shared = Shared()
    for elsewhere, known in ((False, False), (True, True), (False, True)):
        shared.learns(elsewhere=elsewhere)
        assert shared.session.elsewhere is known


def test_whose_generation_is_newer_is_followed() -> None:
    for server_id, generation, newer in (
        ("s-one-two", 2, False),
        ("s-one-two", 3, True),
        ("other", 2, True),
        ("other", 1, False),
    ):
        shared = Shared(generation=2, answered=5, answered_before=1, result=b"old")
        assert is_newer(news(server_id, generation), shared.session) is newer
        assert shared.learns(server_id, generation, result=b"new") is newer
        session = shared.session
        assert (session.server_id, session.generation) == ((server_id, generation) if newer else ("s-one-two", 2))
        assert (session.result, session.answered_before) == ((b"new", 5) if newer else (b"old", 1))
        said = f"session {session.label} follows client=unknown {ENDPOINT} generation {generation}, brought back by "
        assert shared.told == ([said + "another proxy"] if newer else [])
    shared = Shared(result=b"old")
    assert shared.learns("other", 1, result=None)
    assert shared.session.result == b"old"


def test_what_is_lost_here_and_was_brought_back_there_is_open() -> None:
    for server, state in ((ServerSide.LOST, State.OPEN), (ServerSide.RECOVERING, State.RECOVERING)):
        shared = Shared(standing=STANDINGS[ClientSide.USING, server, False])
        shared.reporter.now = 7.0
        assert shared.learns("other", 1)
        assert shared.session.state is state
        history = [tuple(entry) for entry in shared.session.history]
        assert history == ([(7.0, "reinitialized", "by another proxy", State.OPEN)] if state is State.OPEN else [])


# What they are asked and told


def test_nobody_is_asked_or_told_where_there_is_nobody() -> None:
    shared = Shared()
    shared.sharing.on = False
    assert not shared.sharing.ask(Matter.DELETE, shared.session, lambda _: None)
    shared.sharing.conclude(shared.session, "why")
    assert shared.outbox.fetch() == ()


def test_what_is_asked_is_answered_to_who_has_asked_at_that_time() -> None:
    shared, heard = Shared(), list[Any]()
    assert shared.sharing.ask(Matter.WEIGH, shared.session, heard.append)
    assert shared.sharing.ask(Matter.HANDSHAKE, shared.session, lambda _: None, 30.0)
    shared.sharing.conclude(shared.session, "why")
    shared.sharing.conclude(shared.session)
    asked, other, told, done = shared.outbox.fetch()
    assert isinstance(asked, Consult)
    assert isinstance(other, Consult)
    assert (asked.matter, asked.session, asked.patience) == (Matter.WEIGH, shared.session, 5.0)
    assert (other.matter, other.patience) == (Matter.HANDSHAKE, 30.0)
    assert (told, done) == (Conclude(shared.session, "why"), Conclude(shared.session, ""))
    counsel = Counsel(granted=True)
    shared.sharing.advised(asked.tag, counsel, 9.0)
    assert (heard, shared.reporter.now) == ([counsel], 9.0)
    shared.sharing.told(shared.session, counsel, 10.0)
    assert shared.reporter.now == 10.0
    shared.sharing.heard = lambda *what: heard.append(what)
    shared.sharing.told(shared.session, counsel, 11.0)
    assert heard[1:] == [(shared.session, counsel)]


# One handshake among several


class Shaking(Shared):
    """An attempt that is to begin, and what becomes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.went: list[Attempt] = []
        self.settled: list[tuple[Attempt, Failure | None]] = []
        self.discarded: list[tuple[Session, str]] = []
        self.done: list[Attempt] = []
        self.attempt = Attempt(self.session, "", (), 9.0)
        self.joint = Joint(self.sharing, lambda *what: self.discarded.append(what))

    def begins(self) -> Consult:
        self.joint.begin(self.attempt, 30.0, self.went.append, lambda *what: self.settled.append(what))
        (consult,) = self.outbox.fetch()
        assert isinstance(consult, Consult)
        assert (consult.matter, consult.session, consult.patience) == (Matter.HANDSHAKE, self.session, 30.0)
        return consult

    def commits(self) -> Consult:
        assert self.joint.commit(self.attempt, self.done.append)
        assert self.attempt.committing
        (consult,) = self.outbox.fetch()
        assert isinstance(consult, Consult)
        assert (consult.matter, consult.session, consult.patience) == (Matter.COMMIT, self.session, 5.0)
        return consult


@pytest.mark.parametrize(
    ("counsel", "goes", "why"),
    [
        (Counsel(granted=True), True, None),
        (Counsel(alone=True), True, None),
        (Counsel(granted=True, left=True), False, LEFT),
        (Counsel(), False, Failure(WhyNot.ELSEWHERE, BUSY)),
        (Counsel(problem="no"), False, Failure(WhyNot.ELSEWHERE, "no")),
        (Counsel(news=news("theirs", 1)), False, None),
        (Counsel(granted=True, news=news("s-one-two", 0)), True, None),
    ],
)
def test_who_shakes_hands(counsel: Counsel, goes: bool, why: Failure | None) -> None:
    shaking = Shaking()
    shaking.sharing.advised(shaking.begins().tag, counsel, 5.0)
    assert shaking.went == ([shaking.attempt] if goes else [])
    assert shaking.settled == ([] if goes else [(shaking.attempt, why)])


def test_whose_attempt_is_over_lets_the_others_try() -> None:
    shaking = Shaking()
    consult = shaking.begins()
    shaking.attempt.over = True
    shaking.sharing.advised(consult.tag, Counsel(granted=True), 5.0)
    assert (shaking.went, shaking.settled, shaking.outbox.fetch()) == ([], [], [Conclude(shaking.session)])
    shaking.joint.conclude(shaking.attempt, "why")
    assert shaking.outbox.fetch() == [Conclude(shaking.session, "why")]


@pytest.mark.parametrize(
    ("counsel", "stands"),
    [
        (Counsel(granted=True), "mine"),
        (Counsel(granted=True, news=news("theirs", 7)), "mine"),
        (Counsel(alone=True), "mine"),
        (Counsel(news=news("mine", 1)), "mine"),
        (Counsel(news=news("theirs", 1)), "theirs"),
        (Counsel(news=news("theirs", 2)), "theirs"),
    ],
)
def test_whose_result_stands(counsel: Counsel, stands: str) -> None:
    shaking = Shaking()
    shaking.ledger.remap(shaking.session, "mine")
    shaking.sharing.advised(shaking.commits().tag, counsel, 5.0)
    assert (shaking.done, shaking.session.server_id) == ([shaking.attempt], stands)
    assert shaking.session.replaced == ("s-one-two",)
    assert shaking.discarded == ([(shaking.session, "mine")] if stands == "theirs" else [])


def test_alone_everybody_goes_on_at_once() -> None:
    shaking = Shaking()
    shaking.sharing.on = False
    shaking.joint.begin(shaking.attempt, 30.0, shaking.went.append, lambda *_: None)
    assert shaking.went == [shaking.attempt]
    assert not shaking.joint.commit(shaking.attempt, shaking.done.append)
    assert (shaking.done, shaking.attempt.committing) == ([], False)
    late = Shaking()
    consult = late.commits()
    late.attempt.over = True
    late.sharing.advised(consult.tag, Counsel(granted=True), 5.0)
    assert late.done == []
