"""The handshake in a client's place: what is sent, and what the answer is worth.

See basic/lifecycle of the session-era revisions. What the old session held is restored with it: the log level and the
subscriptions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...wire.headers import PROTOCOL_VERSION, HeaderMap
from ...wire.jsonrpc import Body, dump
from ...wire.revision import SESSION_REVISIONS
from ...wire.text import printable
from ..session import Session
from .server_state import Held, Listing, worth_comparing

OWN_ID_PREFIX = "mcp-sessions:"
"""Ids of the proxy's own requests begin with this, so that nobody takes them for the client's."""


class Outcome(NamedTuple):
    """What an answer to the proxy's `initialize` says."""

    session_id: str | None
    result: dict[str, Any] | None
    problem: str = ""


def opening(session: Session) -> bytes:
    """The `initialize` request, with the parameters that the client used.

    The version asked for is the one that was negotiated: it is the one that the client goes on speaking.
    """
    params = dict(session.initialize or {})
    params["protocolVersion"] = session.revision
    return dump({"jsonrpc": "2.0", "id": OWN_ID_PREFIX + "initialize", "method": "initialize", "params": params})


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


def read(status: int, headers: HeaderMap, answer: Body | None) -> Outcome:
    """What the server's answer to `initialize` amounts to."""
    message = answer.first if answer else None
    if not 200 <= status < 300:
        return Outcome(None, None, f"initialize was answered {status}")
    if message is None or message.result is None:
        code = message.error_code if message else None
        return Outcome(None, None, f"initialize was answered with error {code}" if code else "no initialize result")
    session_id = headers.get("mcp-session-id")
    if not session_id:
        return Outcome(None, message.result, "the server assigned no session id")
    return Outcome(session_id, message.result)


class Step(NamedTuple):
    """One message after the `initialize`: a name for the log, and the body."""

    what: str
    body: bytes


class Following(NamedTuple):
    """What follows the answer to `initialize`: first `initialized`, then all the rest in any order."""

    initialized: Step
    restore: list[Step]
    lists: list[Listing]
    """Lists to be read and compared with what the client knows."""


def following(held: Held, answer: dict[str, Any] | None) -> Following:
    """What is sent after the `initialize` was answered."""
    restore = [_step("logging/setLevel", {"level": held.level})] if held.level is not None else []
    restore += [_step("resources/subscribe", {"uri": uri}, n) for n, uri in enumerate(held.subscriptions)]
    initialized = dump({"jsonrpc": "2.0", "method": "notifications/initialized"})
    return Following(Step("notifications/initialized", initialized), restore, worth_comparing(held, answer))


def list_request(listing: Listing, cursor: str | None, page: int) -> Step:
    """A request for one page of a list."""
    return _step(listing.method, {"cursor": cursor} if cursor is not None else {}, page)


def _step(method: str, params: dict[str, Any], number: int = 0) -> Step:
    request = {"jsonrpc": "2.0", "id": f"{OWN_ID_PREFIX}{method}-{number}", "method": method, "params": params}
    return Step(method, dump(request))


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
