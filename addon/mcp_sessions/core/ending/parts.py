"""What part a process plays in a session: what follows from its end, and from its life.

Theory of operation
-------------------
The client is who shook hands: it sent `initialize`, and `notifications/initialized`. A process that did both is seen to
end, and its session with it. But a script may send each message by a process of its own, and a service may open a
session and leave it to its child. So whoever did less is a courier: that it ends proves nothing, and evidence decides
(`evidence`). If the same process has started all couriers, such as the shell that runs the script, then that one's end
is the client's; it need not be the client, so its life protects nothing.

A session is over for certain once a client, or a shell, of its own is gone, and all others who used it are gone, too.
Who comes later, after that was believed, is no client either: it has only heard of the session.
"""

from __future__ import annotations

from typing import NamedTuple

from ..client import Client, ClientKey, Connection, ProcessLike
from ..exchange import Exchange
from ..session import Session


class Part(NamedTuple):
    """A part, and what it means."""

    name: str
    certain: bool
    """Whether its end is the client's."""
    protects: bool
    """Whether the session is not ended while it lives."""


CLIENT = Part("client", certain=True, protects=True)
COURIER = Part("courier", certain=False, protects=True)
SHELL = Part("shell", certain=True, protects=False)
UNSEEN = Part("unseen", certain=False, protects=False)
"""Whoever is no process, or is behind a carrier."""

NAMED = 3
"""Processes that are named in one line."""


def part_of(client: Client, session: Session) -> Part:
    """The part that somebody plays who has used a session."""
    if not client.is_process:
        return UNSEEN
    if client is session.shell:
        return SHELL
    return CLIENT if client is session.confirmer and _began(client, session) else COURIER


def is_seen(session: Session) -> bool:
    """Whether somebody who uses it lives for certain, so that it is not to be ended."""
    return any(owner.is_process and not owner.gone and owner is not session.shell for owner in session.owners)


def is_orphaned(session: Session) -> bool:
    """Whether it is certain that its client is gone: all who used it are, and one of them proves it."""
    if not session.owners or not all(owner.is_process and owner.gone for owner in session.owners):
        return False
    return any(part_of(owner, session).certain for owner in session.owners)


def mourned(session: Session) -> str:
    """Who is gone, in a few words: first those whose end proves it."""
    owners = sorted(session.owners, key=lambda owner: not part_of(owner, session).certain)
    labels = [owner.label for owner in owners[:NAMED]]
    return ", ".join(labels) + (f" and {len(owners) - NAMED} more" if len(owners) > NAMED else "")


# The handshake

BEGUN, ENDED = "initialize", "notifications/initialized"
"""The two messages that a client shakes hands with."""


def note(session: Session, x: Exchange, step: str) -> None:
    """The sender of this request did one of both; if it is not known who that is, it is noted when it is."""
    if x.client.is_process:
        _did(x.client, session, step)
    elif not x.connection.identified:
        x.connection.steps = (*x.connection.steps, (session, step))


def settle(connection: Connection, client: Client) -> None:
    """It has been found out which process is behind a connection."""
    for session, step in connection.steps:
        _did(client, session, step)
    connection.steps = ()


def took_part(client: Client, session: Session, part: str) -> None:
    """Note the part that a process is known to have played, from an earlier run."""
    if part == CLIENT.name:
        session.opener = session.confirmer = client
    elif part == SHELL.name:
        session.shell = client


def start_over(session: Session) -> None:
    """Somebody uses a session whose client was believed to be gone: who shook hands for it means nothing any more."""
    session.opener = session.confirmer = None
    if session.shell is not None:
        no_shell(session, session.shell)


def _did(client: Client, session: Session, step: str) -> None:
    if step == BEGUN:
        session.opener = client
    else:
        session.confirmer = client


def _began(client: Client, session: Session) -> bool:
    """Whether a process has begun the handshake, or whoever left it behind has."""
    opener = session.opener
    return opener is not None and (opener is client or client.key in opener.left_behind or _is_child(client, opener))


def _is_child(client: Client, parent: Client) -> bool:
    return client.above is not None and key_of(client.above) == parent.key


def key_of(process: ProcessLike) -> ClientKey:
    """By what the ledger knows a process."""
    return ClientKey(pid=process.pid, started=process.started)


# The shell


def no_shell(session: Session, shell: Client) -> None:
    """Those who used a session were not started by this one alone; it has used nothing itself."""
    session.shell = None
    session.owners.pop(shell, None)
    shell.sessions.pop(session, None)


def shell_of(session: Session) -> ProcessLike | None:
    """The one process that has started all who used a session, if these were couriers; None if there is no such one."""
    found: dict[ClientKey, ProcessLike] = {}
    for owner in session.owners:
        if owner is session.shell:
            continue
        if owner.above is None or part_of(owner, session) is not COURIER:
            return None
        found[key_of(owner.above)] = owner.above
    return next(iter(found.values())) if len(found) == 1 else None
