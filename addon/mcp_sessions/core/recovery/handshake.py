"""The handshake in a client's place: what is sent, and what the answer is worth.

See basic/lifecycle of the session-era revisions. What the old session held is restored with it: the log level and the
subscriptions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, NamedTuple

from ...wire.headers import PROTOCOL_VERSION, SESSION_ID, HeaderMap
from ...wire.jsonrpc import dump
from ...wire.revision import SESSION_REVISIONS
from ...wire.text import printable
from ..decisions import Outcome, Tag
from ..exchange import is_success
from ..session import ID_LIMIT, Session
from .server_state import Listing, worth_comparing

OWN_ID_PREFIX = "mcp-sessions:"
"""Ids of the proxy's own requests begin with this, so that nobody takes them for the client's."""


class Kind(Enum):
    """What a message of a handshake is for."""

    INITIALIZE = auto()
    INITIALIZED = auto()
    RESTORE = auto()
    LIST = auto()


@dataclass(slots=True, eq=False)
class Step(Tag):
    """One message of a handshake."""

    kind: Kind
    what: str
    """For the log."""
    body: bytes = field(repr=False)
    attempt: object = None
    """The attempt that it belongs to."""
    listing: Listing | None = None
    page: int = 0
    found: frozenset[bytes] = frozenset()
    """Digests of what earlier pages of the list held."""


def opening(session: Session) -> Step:
    """The `initialize` request, with the parameters that the client used.

    The version asked for is the one that was negotiated: it is the one that the client goes on speaking.
    """
    params = session.initialize or {"capabilities": {}, "clientInfo": {"name": "unknown", "version": "0"}}
    params["protocolVersion"] = session.revision or SESSION_REVISIONS[0]
    body = dump({"jsonrpc": "2.0", "id": OWN_ID_PREFIX + "initialize", "method": "initialize", "params": params})
    return Step(Kind.INITIALIZE, "initialize", body)


def presumed(headers: HeaderMap) -> tuple[str, dict[str, Any]]:
    """Revision and `initialize` parameters for a client whose own handshake was never seen."""
    version = headers.get(PROTOCOL_VERSION, "")
    revision = version if version in SESSION_REVISIONS else SESSION_REVISIONS[0]
    name, _, number = headers.get("user-agent", "unknown").split(" ", 1)[0].partition("/")
    return revision, {
        "protocolVersion": revision,
        "capabilities": {},
        "clientInfo": {"name": printable(name) or "unknown", "version": printable(number) or "0"},
    }


class Opened(NamedTuple):
    """What an answer to the proxy's `initialize` says."""

    session_id: str | None
    result: dict[str, Any] | None
    problem: str = ""


def read(outcome: Outcome) -> Opened:
    """What the server's answer to `initialize` amounts to."""
    message = outcome.answer.first if outcome.answer else None
    if outcome.status is None:
        return Opened(None, None, outcome.problem or "no answer")
    if not is_success(outcome.status):
        return Opened(None, None, f"initialize was answered {outcome.status}")
    if message is None or message.result is None:
        code = message.error_code if message else None
        return Opened(None, None, f"initialize was answered with error {code}" if code else "no initialize result")
    session_id = outcome.headers.get(SESSION_ID) if outcome.headers is not None else None
    if not session_id:
        return Opened(None, message.result, "the server assigned no session id")
    if len(session_id) > ID_LIMIT:
        return Opened(None, message.result, f"the server assigned a session id of {len(session_id)} characters")
    return Opened(session_id, message.result)


def initialized() -> Step:
    """What follows the answer to `initialize`, before anything else."""
    what = "notifications/initialized"
    return Step(Kind.INITIALIZED, what, dump({"jsonrpc": "2.0", "method": what}))


def restoring(session: Session) -> list[Step]:
    """What is sent then, in any order: what the session held is set again, and the lists are read that may differ."""
    held = session.held
    if held is None:
        return []
    level = [("logging/setLevel", {"level": held.level})] if held.level is not None else []
    wanted = [*level, *(("resources/subscribe", {"uri": uri}) for uri in held.subscriptions)]
    steps = [_step(Kind.RESTORE, method, params, number) for number, (method, params) in enumerate(wanted)]
    return steps + [page_of(listing) for listing in worth_comparing(held, session.answer)]


def page_of(listing: Listing, cursor: str | None = None, page: int = 0, found: frozenset[bytes] = frozenset()) -> Step:
    """A request for one page of a list; `found` are digests of the pages before."""
    step = _step(Kind.LIST, listing.method, {"cursor": cursor} if cursor is not None else {}, page)
    step.listing, step.page, step.found = listing, page, found
    return step


def _step(kind: Kind, method: str, params: dict[str, Any], number: int) -> Step:
    request = {"jsonrpc": "2.0", "id": f"{OWN_ID_PREFIX}{method}-{number}", "method": method, "params": params}
    return Step(kind, method, dump(request))


def differences(old: dict[str, Any] | None, new: dict[str, Any], revision: str) -> list[str]:
    """How the new server differs from the one the client knows, in a few words each."""
    found = []
    if new.get("protocolVersion") != revision:
        found.append(f"negotiates {printable(new.get('protocolVersion'))} where the client speaks {revision}")
    if old is None:
        return found
    before, after = old.get("serverInfo"), new.get("serverInfo")
    if isinstance(before, dict) and isinstance(after, dict):
        found += [
            f"server {part} {printable(before.get(part))} is now {printable(after.get(part))}"
            for part in ("name", "version")
            if before.get(part) != after.get(part)
        ]
    had, has = old.get("capabilities"), new.get("capabilities")
    if isinstance(had, dict):
        lost = sorted(printable(name) for name in had if not isinstance(has, dict) or name not in has)
        if lost:
            found.append(f"no longer offers {', '.join(lost)}")
    return found
