"""Whoever presents whichever id with whichever credentials, in whatever order: nobody gets what is another's.

Users with tokens that they renew, some of them in one process or at one address; a server that forgets, and that may or
may not look whose token it is; and the core between them. What a session is at the server, and whose, only that server
knows: the core is judged by what it sends.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.world import DELETE, LATEST, Peer, World, initialized, outcome, request
from mcp_sessions.core.claims import Claims
from mcp_sessions.core.decisions import Decision, Deliver, Forward, Hold, Outcome, Reply, Resend, Send
from mcp_sessions.core.exchange import Exchange, Finish
from mcp_sessions.core.session import Session
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.sse import Event

ACTORS: tuple[tuple[str, Peer], ...] = (
    ("ann", Peer(pid=1, connection="c0")),
    ("bob", Peer(pid=1, connection="c1")),
    ("ann", Peer(pid=2, connection="c2")),
    ("ann", Peer(pid=None, host="10.0.0.7", connection="c3")),
    ("cem", Peer(pid=None, host="10.0.0.7", connection="c4")),
    ("dan", Peer(pid=None, host="10.0.0.9", connection="c5")),
    ("mal", Peer(pid=3, connection="c6")),
)
"""Users, and where they are. Two share a process, two an address; the server opens no session for the last."""
IDLE = 1000


def user_of(token: str) -> str:
    return token.partition("-")[0]


def shown(session: Session) -> tuple[Any, ...]:
    """What of a session nobody may change who is not accepted."""
    return (
        session.credentials,
        session.fields,
        session.last_used,
        session.server_id,
        session.generation,
        session.standing,
        tuple(session.owners),
        tuple(session.connections),
        tuple(session.streams),
        session.replaced,
        session.requests,
    )


class ClaimsMachine(RuleBasedStateMachine):
    @initialize(bound=st.booleans(), constant=st.booleans())
    def begin(self, bound: bool, constant: bool) -> None:
        self.world = World(mcp_end_after_idle=IDLE, mcp_end_after_stream=IDLE)
        self.bound, self.constant = bound, constant
        """Whether the server looks whose session it is, and whether it gives one id to everybody."""
        self.tokens = [f"{user}-{number}" for number, (user, _) in enumerate(ACTORS)]
        self.renewals = 0
        self.known: dict[str, set[str]] = {}
        """The server's sessions, and the users that have one by that id."""
        self.ids: list[str] = []
        """What clients were given."""
        self.given: dict[str, set[str]] = {}
        """By id: the tokens with which it was given to the proxy, or used with success."""
        self.at_server: dict[str, tuple[Exchange, str, int]] = {}
        self.waiting: dict[str, tuple[Exchange, int]] = {}
        self.executed: set[str] = set()
        self.holds: dict[tuple[int, str], str] = {}
        """By actor and the id that he presents: the server's id of the session that he has used last by it."""
        self.dead: set[int] = set()
        self.seen: set[int] = set()

    # Clients

    def peer(self, who: int) -> Peer:
        peer = ACTORS[who][1]
        return Peer(peer.pid, peer.host, self.tokens[who], peer.connection)

    @rule(who=st.integers(0, len(ACTORS) - 2))
    def opens(self, who: int) -> None:
        if ACTORS[who][1].pid in self.dead:
            return
        given = self._made(user_of(self.tokens[who]))
        message = request("initialize", {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": {"name": "test"}})
        x, _ = self.world.send(message, peer=self.peer(who), headers={"mcp-protocol-version": None})
        self.world.answer(x, 200, initialized(1), session=given)
        self._take_releases()
        self.ids.append(given)
        self.holds[who, given] = given

    @rule(who=st.integers(0, len(ACTORS) - 1))
    def renews(self, who: int) -> None:
        self.renewals += 1
        self.tokens[who] = f"{ACTORS[who][0]}-r{self.renewals}"

    @rule(who=st.integers(0, len(ACTORS) - 1))
    def shares(self, who: int) -> None:
        """Processes of one user may come to have the same token."""
        same = [n for n, (user, _) in enumerate(ACTORS) if user == ACTORS[who][0]]
        self.tokens[who] = self.tokens[same[0]]

    @precondition(lambda self: self.ids)
    @rule(data=st.data(), who=st.integers(0, len(ACTORS) - 1), verb=st.sampled_from(["POST", "POST", "GET", "DELETE"]))
    def presents(self, data: st.DataObject, who: int, verb: str) -> None:
        """Somebody presents an id, be it his or another's."""
        if ACTORS[who][1].pid in self.dead:
            return
        presented = data.draw(st.sampled_from(sorted(set(self.ids))))
        before = {session: shown(session) for session in self.world.core.ledger.sessions.values()}
        message = request("tools/call", {"name": "echo"}) if verb == "POST" else None
        x, decision = self.world.send(message, verb=verb, session=presented, peer=self.peer(who))
        if x.stranger:
            self._unchanged(before)
            assert isinstance(decision, Forward), "a stranger is made to wait by nobody"
        self._on_request(x, decision, who)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def hangs_up(self, data: st.DataObject) -> None:
        x, _ = self.waiting.pop(data.draw(st.sampled_from(sorted(self.waiting))))
        if x.session is not None:
            self._leaves(x, x.session.server_id)
        self.world.hang_up(x)
        self._take_releases()

    @rule(pid=st.sampled_from([1, 2, 3]))
    def dies(self, pid: int) -> None:
        self.dead.add(pid)
        for _, peer in ACTORS:
            if peer.pid == pid:
                self.world.disconnected(peer.connection, self.world.now)
        self.world.dies(Peer(pid))
        self.world.wait(0.1)
        self._take_releases()

    # The server

    def _made(self, user: str) -> str:
        made = "the-one-id-that-everybody-gets" if self.constant else f"session-{len(self.ids)}-{len(self.given)}"
        self.known.setdefault(made, set()).add(user)
        self.given.setdefault(made, set())
        return made

    @rule()
    def forgets(self) -> None:
        self.known.clear()

    @precondition(lambda self: self.at_server)
    @rule(data=st.data(), status=st.sampled_from([200, 200, 200, 500, None, "page", "stream", "refused on a stream"]))
    def answers(self, data: st.DataObject, status: int | str | None) -> None:
        x, sent_with, who = self.at_server.pop(data.draw(st.sampled_from(sorted(self.at_server))))
        token = _token(x.headers.get("authorization", ""))
        before = {session: shown(session) for session in self.world.core.ledger.sessions.values()}
        stranger = x.stranger
        users = self.known.get(sent_with, set())
        if status is None:
            self._leaves(x, sent_with)
            self.world.finish(x, Finish.SERVER)
        elif status == 500:
            self._on_answer(x, self.world.answer(x, 500, b"busy"), who)
        elif stranger and x.verb == "POST" and status == "page":
            self._on_answer(x, self.world.answer(x, 200, b"<html>Please sign in</html>"), who)
        elif stranger and x.verb == "POST" and status == "refused on a stream":
            self._streams(x, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"no"}}')
        elif user_of(token) not in users if self.bound else not users:
            self._on_answer(x, self.world.lose(x), who)
        else:
            assert x.id not in self.executed, "what was executed is not sent again"
            self.executed.add(x.id)
            self.given[sent_with].add(token)
            if x.presented:
                self.holds[who, x.presented] = sent_with
            if x.verb == "DELETE":
                self.known.pop(sent_with)
                self._leaves(x, sent_with)
            if x.verb == "DELETE":
                self._on_answer(x, self.world.answer(x, 200), who)
            elif x.verb == "GET" or status == "stream":
                stranger = False
                self._streams(x, b'{"jsonrpc":"2.0","id":1,"result":{}}' if x.verb == "POST" else b"")
            else:
                stranger = False
                self._on_answer(x, self.world.works(x), who)
        if stranger:
            if x.session is not None and not x.stranger:
                before.pop(x.session, None)  # he has one of his own by now
            self._unchanged(before)
        self._take_releases()

    @precondition(lambda self: self.world.sends)
    @rule(data=st.data(), works=st.sampled_from([True, True, True, False]))
    def answers_the_proxy(self, data: st.DataObject, works: bool) -> None:
        send = self.world.sends.pop(data.draw(st.integers(0, len(self.world.sends) - 1)))
        self.world.sent(send, self._own(send, works), self.world.now)
        self._take_releases()

    def _streams(self, x: Exchange, data: bytes) -> None:
        """An event stream with one event, which its client then hangs up."""
        self.world.head(x, 200, HeaderMap(((b"content-type", b"text/event-stream"),)), self.world.now)
        self.world.event(x, Event(data or None), self.world.now)
        self.world.finish(x, Finish.CLIENT)

    def _own(self, send: Send, works: bool) -> Outcome:
        token = _token(dict(send.request.carried).get(b"authorization", b"").decode())
        if send.request.what == DELETE:
            self.known.pop(dict(send.request.headers)["mcp-session-id"], None)
            return outcome(200)
        if send.request.what != "initialize":
            return outcome(202)
        if not works or user_of(token) == "mal":
            return outcome(401 if works else 503)
        made = self._made(user_of(token))
        self.given[made].add(token)
        return outcome(200, initialized("own"), session=made)

    @rule(seconds=st.sampled_from([0.1, 6.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)
        self._take_releases()

    # What the shell does

    def _take_releases(self) -> None:
        for release in self.world.released():
            x, who = self.waiting.pop(release.exchange.id)
            if isinstance(release.decision, Forward):
                self._on_request(x, release.decision, who)
            else:
                self._on_answer(x, release.decision, who)

    def _on_request(self, x: Exchange, decision: Decision, who: int) -> None:
        match decision:
            case Forward(session_id):
                self._sends(x, session_id or x.presented or "", who)
            case Hold():
                self.waiting[x.id] = (x, who)
            case Reply():
                pass
            case _:
                raise AssertionError(decision)
        self._take_releases()

    def _on_answer(self, x: Exchange, decision: Decision, who: int) -> None:
        match decision:
            case Hold():
                self.waiting[x.id] = (x, who)
            case Resend(session_id):
                assert x.id not in self.executed, "what was executed is not sent again"
                self._sends(x, session_id, who)
            case Deliver() | Reply():
                pass
            case _:
                raise AssertionError(decision)

    def _sends(self, x: Exchange, session_id: str, who: int) -> None:
        if session_id != x.presented:
            token = _token(x.headers.get("authorization", ""))
            assert token in self.given[session_id], "nobody is given an id that was not given to him"
        self.at_server[x.id] = (x, session_id, who)

    def _leaves(self, x: Exchange, session_id: str) -> None:
        """A client has ended a session, or meant to: that ends it for all who use it."""
        if x.verb == "DELETE":
            self.holds = {key: held for key, held in self.holds.items() if held != session_id}

    def _unchanged(self, before: dict[Session, tuple[Any, ...]]) -> None:
        for session, was in before.items():
            assert shown(session) == was, "who is not accepted changes nothing"

    # What always holds

    @invariant()
    def nobodys_living_session_is_deleted(self) -> None:
        for send in self.world.sends if hasattr(self, "world") else ():
            if send.request.what == DELETE and id(send) not in self.seen:
                self.seen.add(id(send))
                deleted = dict(send.request.headers)["mcp-session-id"]
                living = {who for (who, _), held in self.holds.items() if held == deleted and self._lives(who)}
                assert not living or deleted not in self.known, "a session whose client lives is not deleted"

    def _lives(self, who: int) -> bool:
        return ACTORS[who][1].pid not in self.dead

    @invariant()
    def each_is_found_by_what_it_is_found_by(self) -> None:
        ledger = self.world.core.ledger if hasattr(self, "world") else None
        for place in ledger.endpoints.values() if ledger is not None else ():
            found = [one for name in place.sessions for one in place.named(name)]
            assert len(found) == len(set(found))
            assert set(found) == set(self.world.core.ledger.sessions.values())
            mapped = [(one.server_id, one) for one in found if one.mapped]
            assert sorted(_by_number((name, one) for name, some in place.mapped.items() for one in some)) == sorted(
                _by_number(mapped)
            )

    def teardown(self) -> None:
        """All clients are gone: whatever the server has made for the proxy is deleted, and nobody waits."""
        if not hasattr(self, "world"):
            return
        for pid in (1, 2, 3):
            self.dies(pid)
        for number in range(len(ACTORS)):
            self.world.disconnected(f"c{number}", self.world.now)
        self.dead.add(None)  # type: ignore[arg-type]  # whoever is elsewhere
        for _ in range(300):
            while self.world.sends:
                send = self.world.sends.pop(0)
                self.world.sent(send, self._own(send, True), self.world.now)
                self._take_releases()
            for x, _sent, who in list(self.at_server.values()):
                del self.at_server[x.id]
                self._on_answer(x, self.world.answer(x, 500, b"busy"), who)
            self.world.wait(100)
            self._take_releases()
            if self.world.core.next_timer() is None and not self.at_server and not self.world.sends:
                break
        assert not self.waiting
        left = [session for session in self.world.core.ledger.sessions.values() if not session.over]
        assert not left
        assert not {made for made, tokens in self.given.items() if tokens and made not in self.ids} & self.known.keys()


def _by_number(named: Iterable[tuple[str, Session]]) -> Iterator[tuple[str, int]]:
    return ((name, session.number) for name, session in named)


def _token(authorization: str) -> str:
    return authorization.removeprefix("Bearer ")


TestClaimsMachine = pytest.mark.long(ClaimsMachine.TestCase)
TestClaimsMachine.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_the_machine_sees_who_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the core: the same process is the client, whatever it comes with. The machine must notice."""
    monkeypatch.setattr(Claims, "owns", lambda _, session, x: x.client in session.owners)
    machine = ClaimsMachine()
    machine.begin(bound=False, constant=False)
    machine.opens(0)
    x, _ = machine.world.call(machine.ids[0], peer=machine.peer(0))
    machine._on_answer(x, machine.world.lose(x), 0)
    while machine.world.sends:
        send = machine.world.sends.pop(0)
        machine.world.sent(send, machine._own(send, True), machine.world.now)
        machine._take_releases()
    x, decision = machine.world.call(machine.ids[0], peer=machine.peer(1))
    with pytest.raises(AssertionError, match="nobody is given an id that was not given to him"):
        machine._on_request(x, decision, 1)
