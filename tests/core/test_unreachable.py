"""A server that can't be reached, as the core decides it: who waits, for how long, and what is said in the end."""

import json
from typing import Any

import pytest

from core.world import Peer, World, outcome, request
from mcp_sessions.core.decisions import HOLD, PASS, Decision, Forward, Outcome, Reply
from mcp_sessions.core.exchange import Exchange

ID = "s-one-two-three-four"
REFUSED = "[Errno 111] Connect call failed ('127.0.0.1', 80)"


class Down(World):
    """A world whose server can be down."""

    def refuse(self, x: Exchange, problem: str = REFUSED) -> Decision:
        decision = self.core.unreachable(x, problem, self._next())
        self.fetch()
        return decision

    def reach(self, x: Exchange) -> Decision:
        decision = self.core.reached(x, self._next())
        self.fetch()
        return decision

    def let_go(self) -> list[tuple[str, Decision]]:
        return [(release.exchange.id, release.decision) for release in self.released()]


@pytest.fixture
def world() -> Down:
    world = Down()
    world.open(ID)
    return world


PROBLEMS = [
    (REFUSED, True),
    ("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed", True),
    ("[Errno -2] Name or service not known", True),
    ("[WinError 1225] The remote computer refused the network connection", True),
    ("Upstream proxy 127.0.0.1:1 refused HTTP CONNECT request: 502 Bad Gateway", True),
    ("Upstream proxy 127.0.0.1:1 refused HTTP CONNECT request: 407 Proxy Authentication Required", False),
    ("Certificate verify failed: self-signed certificate", False),
    ("connection cancelled", False),
]


@pytest.mark.parametrize(("problem", "waits"), PROBLEMS)
def test_which_problems_pass(world: Down, problem: str, waits: bool) -> None:
    assert world.refuse(world.call(ID)[0], problem) == (HOLD if waits else PASS)


def test_who_waits(world: Down) -> None:
    opening, _ = world.send(request("initialize"))
    unknown, _ = world.call("nobody-knows-it")
    assert world.refuse(opening) == HOLD
    assert world.refuse(unknown) == PASS
    assert world.refuse(world.send(session=ID, verb="GET")[0]) == HOLD
    assert world.refuse(world.send(session=ID, verb="DELETE")[0]) == PASS


def test_who_has_renewed_his_credentials_waits_though_his_session_was_brought_back(world: Down) -> None:
    session = world.session(ID)
    world.core.ledger.remap(session, "new")
    call, _ = world.call(ID, peer=Peer(token="renewed"))
    assert call.session is None
    assert world.refuse(call) == HOLD


def test_nobody_waits_where_nothing_is_recovered() -> None:
    world = Down({"mcp_recover": "off"})
    world.open(ID)
    assert world.refuse(world.call(ID)[0]) == PASS


def test_one_connects_for_all(world: Down) -> None:
    calls = [world.call(ID)[0] for _ in range(3)]
    assert [world.refuse(x) for x in calls] == [HOLD] * 3
    assert world.let_go() == []
    world.wait(0.1)
    assert world.let_go() == [(calls[0].id, PASS)]
    world.wait(5)
    assert world.let_go() == [], "one at a time"
    assert world.refuse(calls[0]) == HOLD
    world.wait(0.2)
    assert world.let_go() == [(calls[1].id, PASS)], "the next one in turn"
    assert world.reach(calls[1]) == PASS
    assert world.let_go() == [(calls[2].id, PASS), (calls[0].id, PASS)]
    assert [world.reach(x) for x in (calls[0], calls[2])] == [PASS] * 2
    assert world.core.next_timer() is None or world.core.next_timer() > world.now + 60  # type: ignore[operator]
    assert len([what for what in world.whats() if what.startswith("waits:")]) == 3
    assert len([what for what in world.whats() if what.startswith("waits no longer")]) == 3


def test_the_backoff_grows_to_a_second(world: Down) -> None:
    x, _ = world.call(ID)
    waited = []
    for _ in range(7):
        assert world.refuse(x) == HOLD
        began = world.now
        due = world.core.next_timer()
        assert due is not None
        waited.append(round(due - began, 3))
        world.wait(due - world.now)
        assert world.let_go() == [(x.id, PASS)]
    assert waited == [0.1, 0.2, 0.3, 0.5, 1.0, 1.0, 1.0]


def answered(decision: Decision) -> Any:
    assert isinstance(decision, Reply), decision
    assert decision.status == 502
    return json.loads(decision.body)


def test_in_the_end_there_is_an_error_with_the_requests_id(world: Down) -> None:
    x, _ = world.send(request("tools/call", {"name": "echo"}, id="mine"), session=ID)
    told, _ = world.send({"jsonrpc": "2.0", "method": "notifications/progress"}, session=ID)
    assert [world.refuse(one) for one in (x, told)] == [HOLD] * 2
    world.wait(0.2)
    world.let_go()
    world.wait(29)
    assert world.refuse(x) == HOLD
    world.wait(1)
    released = dict(world.let_go())
    assert answered(released[x.id])["id"] == "mine"
    assert "30 s" in answered(released[x.id])["error"]["message"]
    assert released[told.id] == PASS, "it was its turn to connect"
    assert "id" not in answered(world.refuse(told))
    assert [record.flow for record in world.told if getattr(record, "lost", False)] == [x.id], "a note is no call"


def test_a_connect_that_takes_too_long_is_the_last(world: Down) -> None:
    x, _ = world.call(ID)
    world.refuse(x)
    world.wait(0.1)
    assert world.let_go() == [(x.id, PASS)]
    world.wait(60)
    assert answered(world.refuse(x))["id"] == 1


def test_who_hangs_up_waits_no_more_and_the_next_one_connects(world: Down) -> None:
    first, second = [world.call(ID)[0] for _ in range(2)]
    world.refuse(first)
    world.refuse(second)
    world.wait(0.1)
    assert world.let_go() == [(first.id, PASS)]
    world.hang_up(first)
    world.wait(0)
    assert world.let_go() == [(second.id, PASS)]
    world.hang_up(second)
    world.wait(60)
    assert world.let_go() == []


def test_there_are_limits(world: Down) -> None:
    other = "s-other-two-three-four"
    peer = Peer(pid=2, connection="c2")
    world.open(other, peer=peer)
    assert [world.refuse(world.call(ID)[0]) for _ in range(1000)] == [HOLD] * 1000
    assert answered(world.refuse(world.call(ID)[0]))["id"] == 1
    assert answered(world.refuse(world.call(ID)[0]))["id"] == 1
    assert world.refuse(world.call(other, peer=peer)[0]) == HOLD
    assert len([what for what in world.whats() if "too many wait" in what]) == 1
    assert [record.flow for record in world.told if getattr(record, "lost", False)] != []
    lost, _ = world.call(other, peer=peer)
    world.refuse(lost)
    world.refuse(lost, "Certificate verify failed: self-signed certificate")
    assert [record.flow for record in world.told if getattr(record, "lost", False)][1:] == [lost.id]


def test_a_session_that_was_brought_back_meanwhile_is_used_with_its_new_id(world: Down) -> None:
    session = world.session(ID)
    waiting, refused = [world.call(ID)[0] for _ in range(2)]
    world.refuse(waiting)
    world.lose(refused)
    world.shake(session, "t-five-six-seven-eight")
    world.released()
    assert world.reach(waiting) == Forward("t-five-six-seven-eight")
    assert waiting.generation == 1


def test_a_handshake_is_tried_again(world: Down) -> None:
    session = world.session(ID)
    x, _ = world.call(ID)
    assert world.lose(x) == HOLD
    for wait in (0.1, 0.2, 0.3):
        (opening,) = world.take("initialize")
        world.sent(opening, Outcome(problem=REFUSED), world.now)
        assert world.take("initialize") == []
        world.wait(wait)
    world.shake(session, "t-five-six-seven-eight")
    assert "recovered" in world.whats()
    assert world.whats().count("the handshake waits: its server can't be reached") == 1


def test_but_not_for_ever(world: Down) -> None:
    x, _ = world.call(ID)
    world.lose(x)
    for _ in range(100):
        for opening in world.take("initialize"):
            world.sent(opening, Outcome(problem=REFUSED), world.now)
        world.wait(1)
    assert [release.exchange for release in world.released()] == [x]
    assert "not recovered" in world.whats()


def test_an_answer_that_says_no_is_final(world: Down) -> None:
    x, _ = world.call(ID)
    world.lose(x)
    (opening,) = world.take("initialize")
    world.sent(opening, outcome(502, b"refused HTTP CONNECT request: 502"), world.now)
    assert "not recovered" in world.whats()
