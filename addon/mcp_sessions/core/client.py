"""Clients: who opened a session, told by process where it is on this host, by address and credentials elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, Protocol

_numbers = count(1)


class ProcessLike(Protocol):
    """A process of this host: the pid together with its start time is its identity."""

    @property
    def pid(self) -> int:
        """The process id."""

    @property
    def started(self) -> float:
        """When it started, seconds since the epoch."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def parent(self) -> int | None:
        """The pid of its parent; None if that is not known."""

    @property
    def above(self) -> ProcessLike | None:
        """Its parent; None if that is not known, or only there to reap what others have left."""


class ClientKey(NamedTuple):
    """What makes two connections belong to one client.

    A process is known by pid and start time. Anybody else by host, `User-Agent` and hashed credentials together.
    """

    pid: int = 0
    started: float = 0.0
    host: str = ""
    user_agent: str = ""
    credentials: str = ""


@dataclass(slots=True, eq=False)
class Voices:
    """What a process has said of who it is, to find out whether it speaks for several."""

    latest: tuple[int, str] = (0, "")
    """The number of the session that it used last, and the credentials."""
    heard: dict[tuple[object, str], dict[str, float]] = field(default_factory=dict)
    """By endpoint and kind: what it was there, with the time when it was that first."""


@dataclass(slots=True, eq=False)
class Client:
    """One client; it may have many connections, one after the other, and sometimes none.

    Times are seconds since the epoch.
    """

    key: ClientKey
    name: str
    host: str
    first_seen: float
    last_seen: float
    pid: int | None = None
    started: float | None = None
    parent: int | None = None
    """The pid of its parent process; None if that is not known."""
    above: ProcessLike | None = None
    """Its parent process; None if that is not known."""
    left_behind: frozenset[ClientKey] = frozenset()
    """Its children that lived on when it had ended."""
    user_agent: str = ""
    info: Mapping[str, str] = field(default_factory=dict)
    """`clientInfo` of its latest `initialize`: name and version, shortened."""
    connections: Collection[str] = ()
    # Its sessions know their clients; that these know their sessions, too, can't be said to the type checker.
    sessions: dict[Any, None] = field(default_factory=dict)
    """The sessions that it has used, the oldest first: each a `Session`."""
    left_at: float | None = None
    """When its last connection was closed, if it has none."""
    requests: int = 0
    gone_at: float | None = None
    carrier: str = ""
    """Why this process is taken for one that passes on what others send, in words; empty if it is not."""
    alone: bool = False
    """Whether it was seen to send something while nobody was connected to it."""
    voices: Voices | None = field(default=None, repr=False)
    """Who has spoken by it, if it has spoken."""
    number: int = field(default_factory=lambda: next(_numbers))
    """Tells it from every other client of this run."""

    @property
    def gone(self) -> bool:
        """Whether this client is known to be gone for good."""
        return self.gone_at is not None

    @property
    def is_process(self) -> bool:
        """Whether it is a process of this host that speaks for itself, so that its end is seen and not guessed."""
        return self.pid is not None and not self.carrier

    @property
    def label(self) -> str:
        """The client in a log line: `claude[4711]`, or its address."""
        return f"{self.name}[{self.pid}]" if self.pid is not None else self.host


@dataclass(slots=True, eq=False)
class Connection:
    """A client's connection to the proxy."""

    id: str
    peer: tuple[str, int]
    local: tuple[str, int]
    opened: float
    last_active: float
    client: Client | None = None
    identified: bool = False
    """Whether the question which process it is has been answered, be it with none."""
    vanished: bool = False
    """Whether it was closed before anybody could look."""
    answered: bool = False
    """Whether its client was given an answer over it."""
    carrier: Client | None = None
    """The process behind it, if that passes on what others send."""
    shared: bool = False
    """Whether it has carried several sessions of whoever is behind that: its being open says nothing of any of them."""
    kept_back: int = 0
    """Requests on it that wait until it is known which process is behind it."""
    dialled: str = ""
    """The address of the proxy that its client has dialled in the place of a server's; empty if it names the server."""
    sessions: dict[Any, None] = field(default_factory=dict)
    """The sessions that it has carried: each a `Session`."""
    steps: tuple[tuple[Any, str], ...] = ()
    """Handshakes in which something was sent over it before it was known by whom: each a `Session`, and what."""
