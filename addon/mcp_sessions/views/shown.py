"""What a view is, and what it is given: what there is to see, whom it can follow, and what a user may have done."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mitmproxy import http

from ..core.decisions import Outcome, Request
from ..core.exchange import Exchange
from ..core.ledger import Ledger
from ..core.reporter import Episode
from ..core.session import Session
from ..proxy.streams import StreamReader
from ..store.redis.overview import Lookout
from .journal import Journal


class Tracer(Protocol):
    """Tells others what is done, in their terms."""

    def exchange(self, x: Exchange, flow: http.HTTPFlow) -> None:
        """An exchange is over."""

    def sent(self, request: Request, began: float, outcome: Outcome) -> None:
        """A request of the proxy's own is over."""

    def happened(self, episode: Episode, now: float) -> None:
        """Something of a session's has come to its end."""


class Watcher(Protocol):
    """Looks at streams while they are open."""

    def changed(self, flow: http.HTTPFlow, reader: StreamReader) -> None:
        """Something has passed on this flow's stream."""

    def over(self, flow: http.HTTPFlow) -> None:
        """The stream has ended: what is shown from now on is its recorded body."""


@dataclass(kw_only=True, slots=True)
class Shown:
    """What all views are given. Those who wish to be told of changes enter themselves with the journal or here."""

    ledger: Callable[[], Ledger]
    """To be asked each time: a script that was loaded anew goes on with the ledger of the one before."""
    journal: Journal
    end: Callable[[Session], None]
    """End a session now, whoever uses it. This and the next two raise ValueError, one line, if it can't be done."""
    reinit: Callable[[Session], None]
    """Shake hands with the server anew in the client's place."""
    keep: Callable[[Session, bool], None]
    """Protect a session from being ended by the proxy, or protect it no longer."""
    export: Callable[[Sequence[http.HTTPFlow], str], Awaitable[str]]
    """Write flows to a file of this name, without secrets; raises ValueError or OSError if it can't be done."""
    lookout: Callable[[], Lookout | None] = lambda: None
    """To see what other proxies hold, where the ledger is shared; to be asked each time."""
    refresh: Callable[[http.HTTPFlow], None]
    """Let mitmproxy's own views draw a flow again."""
    waiting: Callable[[], int] = lambda: 0
    """How many calls are kept waiting."""
    status: str = "auto"
    """How the user wants the status line: `auto`, `on` or `off`."""
    metrics: str = ""
    """Where the user wants figures to be served for Prometheus; empty for nowhere."""
    page: str = ""
    """Where the page is, once there is one."""
    otel: str = ""
    """Where the user wants spans to be sent: `on`, `off`, an address, or empty for where the environment says."""
    tracer: Tracer | None = None
    watchers: list[Watcher] = field(default_factory=list)
    began: float = field(default_factory=time.time)
    """When this run began; versions of the journal are worth nothing in another."""

    @property
    def any(self) -> bool:
        """Whether anybody watches."""
        return bool(self.watchers)

    def touch(self, session: Session) -> None:
        """Note that something about a session has changed."""
        self.journal.touch(session)

    def exchange(self, x: Exchange, flow: http.HTTPFlow) -> None:
        """Tell the tracer, if there is one."""
        if self.tracer is not None:
            self.tracer.exchange(x, flow)

    def sent(self, request: Request, began: float, outcome: Outcome) -> None:
        """Tell the tracer, if there is one."""
        if self.tracer is not None:
            self.tracer.sent(request, began, outcome)

    def happened(self, episode: Episode, now: float) -> None:
        """Tell the tracer, if there is one."""
        if self.tracer is not None:
            self.tracer.happened(episode, now)

    def changed(self, flow: http.HTTPFlow, reader: StreamReader) -> None:
        """Tell the watchers that something has passed on a stream."""
        for watcher in self.watchers:
            watcher.changed(flow, reader)

    def over(self, flow: http.HTTPFlow) -> None:
        """Tell them that there is no more to come."""
        for watcher in self.watchers:
            watcher.over(flow)


class View:
    """A view. It is made when the addon is loaded, so that it can declare what mitmproxy is to know of it."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown

    def running(self) -> None:
        """Mitmproxy is up, with all that it consists of."""

    def configured(self) -> None:
        """The options have changed while mitmproxy runs.

        Raises:
            OptionsError: when what they ask for can't be done; one line.
        """

    def done(self) -> None:
        """Leave mitmproxy as it was found."""
