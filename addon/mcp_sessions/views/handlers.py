"""The requests of the page in mitmweb: handlers in its own web application, behind its own authentication.

What a user does to a session is a POST, which is taken only with the token of mitmweb's own cookie: nothing to forge.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from mitmproxy.http import HTTPFlow
from mitmproxy.tools.web.app import APIError, RequestHandler
from pydantic_core import to_json

from ..core.session import Session
from ..proxy import marks
from ..proxy.said import IN_A_THREAD, conversation
from . import elsewhere, rows
from .shown import Shown

PATH = "/mcp"
"""Where the page stands; mitmweb itself uses no path below it."""

PATIENCE = 20.0
"""Seconds that a request for changes waits for one."""

WAITING_LIMIT = 64
"""Requests that wait at the same time; one more is answered at once."""

FLOWS = 200
"""Flows of a session that are linked, the newest."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_FILES = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "timeline.js": ("timeline.js", "text/javascript"),
    "session.js": ("session.js", "text/javascript"),
    "rules.js": ("rules.js", "text/javascript"),
    "fleet.js": ("fleet.js", "text/javascript"),
    "parts.js": ("parts.js", "text/javascript"),
}
EXPORTS = {
    "zip": "application/zip",
    "har": "application/json",
    "mitm": "application/octet-stream",
    "md": "text/markdown",
}


class _Handler(RequestHandler):
    shown: Shown

    def initialize(self, shown: Shown) -> None:
        self.shown = shown

    def set_default_headers(self) -> None:
        super().set_default_headers()  # type: ignore[no-untyped-call]
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    def give(self, value: object) -> None:
        """Answer with JSON."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(to_json(value, inf_nan_mode="null"))


class Page(_Handler):
    """The page itself, its style and its script."""

    def auth_fail(self, invalid_password: bool) -> None:
        """Let the user log in, as mitmweb does."""
        # mitmweb's login form comes with a style of its own.
        self.set_header(
            "Content-Security-Policy", _POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
        )
        self.render("login.html", invalid_password=invalid_password)

    def get(self, name: str = "") -> None:
        """Give a file of the page."""
        assert self.xsrf_token  # sets the cookie that the page needs for what a user does
        file, kind = _FILES[name]
        self.set_header("Content-Type", f"{kind}; charset=UTF-8")
        self.finish(files(__package__).joinpath("page", file).read_bytes())

    post = get  # the login form


class Changes(_Handler):
    """What has changed since a version; waits for a change when asked to."""

    waiting = 0

    async def get(self) -> None:
        """Answer with `rows.changes`."""
        try:
            since = int(self.get_query_argument("since", "0"))
        except ValueError:
            raise APIError(400, "since is not a number") from None
        journal = self.shown.journal
        if since > journal.version:
            since = 0  # the page is older than this run of the proxy
        if since == journal.version and self.get_query_argument("wait", "") and Changes.waiting < WAITING_LIMIT:
            await self._wait()
        self.give({"run": self.shown.began, **rows.changes(self.shown.ledger(), journal, since, time.time())})

    async def _wait(self) -> None:
        changed = asyncio.Event()
        self._closed: Callable[[], None] = changed.set
        Changes.waiting += 1
        listeners = self.shown.journal.listeners
        listeners.add(changed.set)
        try:
            await asyncio.wait_for(changed.wait(), PATIENCE)
        except TimeoutError:
            pass
        finally:
            listeners.discard(changed.set)
            Changes.waiting -= 1

    def on_connection_close(self) -> None:
        """Nobody waits any more."""
        if closed := getattr(self, "_closed", None):
            closed()


class Fleet(_Handler):
    """What the other proxies hold, where the ledger is shared."""

    async def get(self) -> None:
        """Answer with `elsewhere.page`; null where it is not shared."""
        lookout = self.shown.lookout()
        self.give(elsewhere.page(await lookout.look()) if lookout is not None else None)


class _OfSession(_Handler):
    def session(self, number: str) -> Session:
        """The session of this number.

        Raises:
            APIError: when there is none.
        """
        session = self.shown.journal.find(int(number))
        if session is None:
            raise APIError(404, "There is no such session.")
        return session

    def flows(self, session: Session) -> list[HTTPFlow]:
        """Its flows, as far as mitmweb still has them."""
        found = marks.flows_of(self.view._store.values(), [session])
        return [flow for flow in found if isinstance(flow, HTTPFlow)]


class Messages(_OfSession):
    """What was said in a session."""

    async def get(self, number: str) -> None:
        """Answer with the messages in order, those that contain all words of `find`."""
        flows, find = self.flows(self.session(number)), self.get_query_argument("find", "")[:200]
        # In a thread: there may be much to read.
        lines, left_out = await asyncio.to_thread(conversation, flows, find, IN_A_THREAD)
        self.give({"messages": [asdict(line) for line in lines], "left_out": left_out})


class Deed(_OfSession):
    """What a user does to a session."""

    def post(self, number: str, deed: str) -> None:
        """End it, keep it, keep it no longer, or shake hands anew."""
        session, shown = self.session(number), self.shown
        deeds: dict[str, Callable[[], None]] = {
            "end": lambda: shown.end(session),
            "keep": lambda: shown.keep(session, True),
            "unkeep": lambda: shown.keep(session, False),
            "reinit": lambda: shown.reinit(session),
        }
        try:
            deeds[deed]()
        except ValueError as e:
            raise APIError(409, str(e)) from None
        self.set_status(204)


class Exported(_OfSession):
    """A session as a file, without secrets."""

    async def get(self, number: str, kind: str) -> None:
        """Answer with the file."""
        session = self.session(number)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, f"session.{kind}")
            try:
                await self.shown.export(self.flows(session), str(target))
                data = await asyncio.to_thread(target.read_bytes)
            except (ValueError, OSError) as e:
                raise APIError(409, str(e)) from None
        self.set_header("Content-Type", EXPORTS[kind])
        self.set_header("Content-Disposition", f'attachment; filename="mcp-session-{session.number}.{kind}"')
        self.finish(data)


class Details(_OfSession):
    """One session with its whole history and its flows."""

    def get(self, number: str) -> None:
        """Answer with `rows.details` and the flows that mitmweb still has."""
        session = self.session(number)
        flows = [[flow.id, flow.timestamp_created, flow.comment] for flow in self.flows(session)[-FLOWS:]]
        self.give({**rows.details(session), "flows": flows})


def install(application: Any, shown: Shown) -> Callable[[], None]:
    """Add the page to mitmweb's application; the returned function takes it out again."""
    given = {"shown": shown}
    before = list(application.default_router.rules)
    application.add_handlers(
        ".*",
        [
            (rf"{PATH}()", Page, given),
            (rf"{PATH}/(page\.css|(?:page|timeline|session|rules|fleet|parts)\.js)", Page, given),
            (rf"{PATH}/changes\.json", Changes, given),
            (rf"{PATH}/fleet\.json", Fleet, given),
            (rf"{PATH}/sessions/([0-9]{{1,12}})\.json", Details, given),
            (rf"{PATH}/sessions/([0-9]{{1,12}})/messages\.json", Messages, given),
            (rf"{PATH}/sessions/([0-9]{{1,12}})/(end|keep|unkeep|reinit)", Deed, given),
            (rf"{PATH}/sessions/([0-9]{{1,12}})/export\.(zip|har|mitm|md)", Exported, given),
        ],
    )
    added = [rule for rule in application.default_router.rules if rule not in before]

    def uninstall() -> None:
        for rule in added:
            application.default_router.rules.remove(rule)

    return uninstall
