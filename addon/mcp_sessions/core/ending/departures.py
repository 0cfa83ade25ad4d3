"""Processes of this host that have ended: whose sessions are to be looked at, and which of them not yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...wire.text import counted, printable
from ..client import Client, ClientKey, ProcessLike
from ..decisions import Watch
from ..ledger import Ledger
from ..outbox import Outbox
from ..reporter import Reporter
from ..session import Session
from .aborted import Aborted
from .evidence import Evidence
from .parts import key_of, no_shell, shell_of

GRACE = 3.0
"""Seconds that the children of a process have, after its end, to go on with its sessions."""


class Departures:
    """Notes who has ended. The time is the reporter's."""

    def __init__(
        self,
        ledger: Ledger,
        reporter: Reporter,
        evidence: Evidence,
        outbox: Outbox,
        look: Callable[[Session], None],
    ) -> None:
        """`look` is told of each session of a process that has ended."""
        self._ledger = ledger
        self._reporter = reporter
        self._evidence = evidence
        self._outbox = outbox
        self._look = look
        self.aborted = Aborted(evidence, reporter)
        self._late: dict[Client, float] = {}
        """Those that have left children behind, the latest last, and until when these may go on in their place."""

    def concern(self, process: ProcessLike) -> bool:
        """Whether anything depends on who is left when a process ends."""
        client = self._client(process)
        return client is not None and client.is_process and not all(session.over for session in client.sessions)

    def gone(self, process: ProcessLike, left: Sequence[ProcessLike]) -> None:
        """A process of this host has ended, and has left these of its children behind."""
        client = self._client(process)
        if client is None or client.gone or client in self._late:
            return
        if client.carrier:
            self._ledger.gone(client, self._reporter.now)
            self.aborted.ended(client)
        elif left and self.concern(process):
            client.left_behind = frozenset(map(key_of, left))
            self._late[client] = self._reporter.now + GRACE
            what = f"left {counted(len(left), 'process', 'processes')} behind that may go on"
            self._reporter.client(client, "has ended", what)
        else:
            self._gone(client)

    @property
    def next_timer(self) -> float | None:
        """When the time of somebody's children is over."""
        return next(iter(self._late.values()), None)

    def timer(self) -> None:
        """Time has passed."""
        while self._late:
            client, until = next(iter(self._late.items()))
            if until > self._reporter.now:
                return
            del self._late[client]
            self._gone(client)

    def _client(self, process: ProcessLike) -> Client | None:
        return self._ledger.clients.get(key_of(process))

    def _gone(self, client: Client) -> None:
        self._ledger.gone(client, self._reporter.now)
        held = [session for session in client.sessions if not session.over]
        self._reporter.client(client, "gone", f"held {counted(len(held), 'session')}")
        for session in held:
            self._find_shell(session)
            self._look(session)
        self._ledger.let_go(client)

    def _find_shell(self, session: Session) -> None:
        """Have the process watched that has started all couriers of a session."""
        process = shell_of(session)
        before = session.shell
        if process is None or (before is not None and before.key != key_of(process)):
            if before is not None:
                no_shell(session, before)
            return
        if before is None:
            session.shell = shell = self._ledger.client(_shell(process, session, self._reporter.now))
            self._ledger.own(session, shell, self._reporter.now)
            session.note(self._reporter.now, "used by couriers", f"started by {shell.label}")
            self._outbox.put(Watch(process))

    # Other processes in its place

    def outlived(self, process: ProcessLike, heir: ProcessLike) -> None:
        """A process has ended, but another one holds its connections: what it opened belongs to both."""
        client, following = self._client(process), self._client(heir)
        if client is None or following is None or following is client or client.carrier:
            return
        for session in client.sessions:
            if not session.over and self._ledger.own(session, following, self._reporter.now):
                self._reporter.change(session, "handed over", f"from {client.label} to {following.label}")

    def carries(self, client: Client) -> None:
        """A process has turned out to pass on what others send: nothing follows from its end or its life any more."""
        self._reporter.client(client, "carries others' requests", f"it {client.carrier}")
        for session in client.sessions:
            self._evidence.watch(session, self._reporter.now)
            self._reporter.changed(session)


def _shell(process: ProcessLike, session: Session, now: float) -> Client:
    host = next(iter(session.owners)).host
    name = printable(process.name, 40)
    key = ClientKey(pid=process.pid, started=process.started)
    return Client(key, name, host, first_seen=now, last_seen=now, pid=process.pid, started=process.started)
