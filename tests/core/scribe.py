"""Writes down all that a core says and wants done in a story, and what it knows in the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from core.test_fleet import Fleet
from core.world import Headers
from mcp_sessions.core.client import Client
from mcp_sessions.core.decisions import Conclude, Consult, Decision, Effect, Head, Release, Send, Watch
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.records import AnyRecord
from mcp_sessions.core.reporter import Episode, Over, Recovery
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.wire.headers import HeaderMap

SSE = {"content-type": "text/event-stream"}


class Scribe(Fleet):
    """Writes everything down. Other proxies come in only where a story has them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sharing.on = False
        self.text: list[str] = []
        self.seen: dict[Session, None] = {}
        self.due: float | None = None
        self.reporter.sink = self._tell
        self.reporter.followers.append(lambda session: self.seen.setdefault(session))
        self.reporter.listeners.append(self._happened)
        given = self.core.effects

        def effects() -> Sequence[Effect]:
            found = given()
            self.text += map(self._effect, found)
            return found

        self.core.effects = effects  # type: ignore[method-assign]

    def fetch(self) -> None:
        """Besides, write down when the core wants to be called, if that has changed."""
        super().fetch()
        due = self.core.next_timer()
        if due != self.due:
            self.due = due
            self.text.append(f"      next at {due - 1000:.3f}" if due is not None else "      nothing is due")

    def _tell(self, record: AnyRecord) -> None:
        self.told.append(record)
        self.text.append(f"{record.at - 1000:9.3f} {record.weight} {record.flow or '-'} {record.line()}")

    def _happened(self, episode: Episode, now: float) -> None:
        match episode:
            case Recovery(session, x, since, failure):
                told = f"{session.label} for {x.id if x else 'the user'} since {since - 1000:.3f}: {failure}"
            case Over(session):
                told = f"{session.label} is over"
        self.text.append(f"{now - 1000:9.3f} ## {told}")

    def _effect(self, effect: Effect) -> str:
        match effect:
            case Send(made):
                carried = ", ".join(name.decode() for name, _ in made.carried)
                unless = ", unless elsewhere" if made.unless_elsewhere else ""
                return (
                    f"      -> {made.verb} {made.what} {made.url} within {made.patience:.3f} s{unless}; "
                    f"{dict(made.headers)}; {carried}; {made.content.decode()}"
                )
            case Release(exchange, decision):
                return f"      => {exchange.id} {decision}"
            case Consult(matter, session, _, patience):
                return f"      ?? {matter} {session.label} within {patience:.3f} s"
            case Conclude(session, problem):
                return f"      !! {session.label} concluded: {problem or 'done'}"
            case Watch(process):
                return f"      -- watch {process.pid}"

    def request(self, verb: str, url: str, endpoint: Endpoint, *more: Any) -> tuple[Exchange, Decision]:
        x, decision = super().request(verb, url, endpoint, *more)
        self.text.append(f"      {x.id} {x.what} by {x.client.label}: {decision}")
        return x, decision

    def head(self, x: Exchange, status: int, headers: HeaderMap, now: float) -> Head:
        found = super().head(x, status, headers, now)
        if found != Head():
            self.text.append(f"      {x.id} {status}: {found}")
        return found

    def answered(self, x: Exchange, content: bytes | None, now: float) -> Decision:
        decision = super().answered(x, content, now)
        self.text.append(f"      {x.id} {x.status} {x.verdict or 'fine'}: {decision}")
        return decision

    def stream(self, x: Exchange, status: int = 200, **headers: str) -> Head:
        shown: Headers = {**SSE, **headers}
        fields = tuple((name.replace("_", "-").encode(), (value or "").encode()) for name, value in shown.items())
        return self.head(x, status, HeaderMap(fields), self._next())

    def histories(self) -> list[str]:
        found = []
        for session in self.seen:
            facts = f"{session.state}, {session.outcome}, {session.reason}, ended by {session.ended_by or 'nobody'}"
            found.append(f"      history of {session.label}, {session.url}, {session.revision}: {facts}")
            found += [f"{one.at - 1000:9.3f} {one.what}: {one.detail} ({one.state})" for one in session.history]
            held = session.held
            found += [f"      holds {held.level}, {[*held.subscriptions]}, {held.full}"] if held else []
            times = [session.opened, session.last_used, session.left_at, session.stream_aborted_at]
            found.append(
                f"      {[time and round(time - 1000, 3) for time in times]} {session.requests} {session.answered}"
            )
            owners = {owner.label: round(at - 1000, 3) for owner, at in session.owners.items()}
            found.append(f"      {owners} {session.recoveries} {session.generation} {session.replaced}")
        tally = self.core.ledger.tally
        for name in ("states", "found", "lost", "not_recovered", "ended", "stuck", "deletes", "held"):
            found += [f"      {name}: {dict(+getattr(tally, name))}"] if +getattr(tally, name) else []
        return found

    def known(self) -> list[str]:
        """What the ledger knows in the end, other than the histories of the sessions."""
        ledger = self.core.ledger
        found = [f"      {self._sessions(ledger.sessions.values())}, touched: {self._sessions(ledger.touched)}"]
        found += map(_client, ledger.clients.values())
        for one in ledger.connections.values():
            facts = [name for name in ("identified", "vanished", "answered", "shared") if getattr(one, name)]
            sessions = self._sessions(one.sessions)
            found.append(f"      connection {one.id}: {one.last_active - 1000:.3f} {facts} {one.kept_back} {sessions}")
        for place in ledger.endpoints.values():
            names = {name: one.label for name, one in place.sessions.items()}
            beside = {name: self._sessions(others.values()) for name, others in place.beside.items()}
            mapped = {name: self._sessions(others) for name, others in place.mapped.items()}
            asked = "ends sessions" if place.ends_sessions else "ends none"
            found.append(f"      {place.endpoint} since {place.first_seen - 1000:.3f}: {asked}, {place.not_before:.3f}")
            found.append(f"      by name {names}, beside {beside}, mapped {mapped}")
        for session in ledger.sessions.values():
            parts = [one.label if one else "-" for one in (session.opener, session.confirmer, session.shell)]
            found.append(
                f"      {session.label} by {session.opened_by}: {parts} {[one.label for one in session.vouched]} "
                f"{session.watched_from:.3f} {session.parameters!r} {session.result!r}"
            )
        tally, counts = ledger.tally, (ledger.recovered, ledger.streams, ledger.clients_gone, ledger.dropped)
        spreads = [f"{one.count} in {one.total:.3f} s" for one in (tally.recovery, tally.exit)]
        return [*found, f"      {counts} {tally.returned} {spreads}"]

    def _sessions(self, sessions: Iterable[Session]) -> str:
        return ", ".join(f"{one.label} {one.server_id[:12]}" for one in sessions) or "none"


def _client(client: Client) -> str:
    times = [time and round(time - 1000, 3) for time in (client.first_seen, client.last_seen, client.left_at)]
    gone = "lives" if client.gone_at is None else f"gone at {client.gone_at - 1000:.3f}"
    facts = f"{client.requests} {dict(client.info)} {client.user_agent!r} {client.carrier!r} {client.alone}"
    held = f"{[*client.connections]} {[session.label for session in client.sessions]}"
    return f"      {client.label} {client.host} {times} {gone}: {facts} {held}"


type Story = Callable[[Scribe], None]


def transcript(stories: Iterable[Story], **options: Any) -> str:
    """Each story by its name, in a world of its own."""
    found = []
    for story in stories:
        world = Scribe(judged=False, **options)
        story(world)
        found += [f"# {story.__name__.replace('_', ' ')}", *world.text, *world.histories(), *world.known(), ""]
    return "\n".join(found)


def is_as_written(file: Path, stories: Iterable[Story]) -> bool:
    """Whether the stories go as the file has them; it is written anew where `REWRITE` is set."""
    now = transcript(stories)
    if os.environ.get("REWRITE"):
        file.write_text(now, "utf-8")
    assert now.split("\n") == file.read_text("utf-8").split("\n")
    return True
