"""The commands: what a user can ask of the ledger, and do to a session, from mitmproxy's command line."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import mitmproxy.types
from mitmproxy import command, ctx, exceptions, flow
from mitmproxy.log import ALERT

from ..core.ledger import Ledger
from ..core.session import Session
from ..proxy import marks
from ..rules import catalogue
from ..rules.pages import explain
from . import naming, table
from .shown import Shown, View

logger = logging.getLogger(__name__)

FLOWS_OF = "@mcp:"
"""A flow specification that begins so means the flows of a session, in every command that takes flows."""

_RESOLVE = "view.flows.resolve"


class SessionName(str):
    """The type of a parameter that names a session, as mitmproxy's commands understand types."""

    __slots__ = ()


class _SessionNames:
    """Completes and checks names of sessions."""

    typ = SessionName
    display = "session"

    def __init__(self, ledger: Callable[[], Ledger]) -> None:
        self._ledger = ledger

    def completion(self, _manager: Any, _t: Any, _s: str) -> Sequence[str]:
        return naming.names(self._ledger())

    def parse(self, _manager: Any, _t: Any, s: str) -> SessionName:
        naming.resolve(self._ledger(), s)
        return SessionName(s)

    def is_valid(self, _manager: Any, _t: Any, val: Any) -> bool:
        return isinstance(val, str)


class Commands(View):
    """Commands under `mcp.`."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._resolve: Callable[[str], Sequence[flow.Flow]] | None = None
        # Before the commands are collected: a parameter of an unknown type is refused.
        mitmproxy.types.CommandTypes.typemap[SessionName] = cast(Any, _SessionNames(shown.ledger))
        # Not as an addon of its own: mitmproxy asks every one of them at every event of every flow.
        ctx.master.commands.collect_commands(self)

    def running(self) -> None:
        """Let flow specifications name a session."""
        resolve = ctx.master.commands.commands.get(_RESOLVE)
        if resolve is not None and self._resolve is None:
            self._resolve, resolve.func = resolve.func, self.resolve

    def done(self) -> None:
        """Leave flow specifications as they were found."""
        resolve = ctx.master.commands.commands.get(_RESOLVE)
        if resolve is not None and self._resolve is not None:
            resolve.func, self._resolve = self._resolve, None

    @command.command("mcp.sessions")
    def sessions(self) -> mitmproxy.types.Data:
        """List the sessions: whose they are and how they stand."""
        return self._shown(table.sessions_table(self.shown.ledger(), time.time()), "no MCP sessions yet")

    @command.command("mcp.session")
    def session(self, session: SessionName) -> mitmproxy.types.Data:
        """Show one session and its history."""
        return self._shown(table.session_table(self._named(session), time.time()), "")

    @command.command("mcp.clients")
    def clients(self) -> mitmproxy.types.Data:
        """List the clients: which process, or which address, and what they hold."""
        return self._shown(table.clients_table(self.shown.ledger(), time.time()), "no MCP clients yet")

    @command.command("mcp.violations")
    def violations(self) -> mitmproxy.types.Data:
        """List the rules of the specification that were broken, each with its latest case."""
        return self._shown(table.violations_table(self.shown.journal, time.time()), "no rule was broken yet")

    @command.command("mcp.flows")
    def flows(self, session: SessionName) -> Sequence[flow.Flow]:
        """The flows of a session. Every command that takes flows takes them as @mcp:SESSION, too."""
        return self._flows(session)

    @command.command("mcp.reinit")
    def reinit(self, session: SessionName) -> None:
        """Shake hands with the server anew in the client's place; the client keeps its session and does not notice."""
        try:
            self.shown.reinit(self._named(session))
        except ValueError as e:
            raise exceptions.CommandError(f"mcp.reinit: {e}") from None

    @command.command("mcp.end")
    def end(self, session: SessionName) -> None:
        """End a session now: send its DELETE, whoever uses it."""
        try:
            self.shown.end(self._named(session))
        except ValueError as e:
            raise exceptions.CommandError(f"mcp.end: {e}") from None

    @command.command("mcp.keep")
    def keep(self, session: SessionName, keep: bool = True) -> None:
        """Protect a session from being ended by the proxy; with false, protect it no longer."""
        try:
            self.shown.keep(self._named(session), keep)
        except ValueError as e:
            raise exceptions.CommandError(f"mcp.keep: {e}") from None

    @command.command("mcp.explain")
    def explain(self, rule: str) -> None:
        """Print what a rule is about: what is wrong, why it hurts, the clause, an example of each kind."""
        entry = catalogue().get(rule.strip().upper())
        if entry is None:
            raise exceptions.CommandError(
                f"mcp.explain: there is no rule {rule[:40]!r}; they are listed in docs/rules.md"
            )
        logger.log(ALERT, explain(entry))

    @command.command("mcp.sessions.names")
    def names(self) -> Sequence[str]:
        """What the newest sessions can be called in the other commands."""
        return naming.names(self.shown.ledger())

    def resolve(self, flow_spec: str) -> Sequence[flow.Flow]:
        """Resolve a flow list specification to an actual list of flows; @mcp:SESSION means those of a session."""
        if flow_spec.startswith(FLOWS_OF):
            return self._flows(flow_spec.removeprefix(FLOWS_OF))
        assert self._resolve
        found: Sequence[flow.Flow] = self._resolve(flow_spec)
        return found

    def _flows(self, name: str) -> Sequence[flow.Flow]:
        if self._resolve is None:
            raise exceptions.CommandError("mitmdump keeps no flows; use mitmproxy or mitmweb, or save them with -w")
        return marks.flows_of(self._resolve("@all"), [self._named(name)])

    def _named(self, name: str) -> Session:
        try:
            return naming.resolve(self.shown.ledger(), name)
        except ValueError as e:
            raise exceptions.CommandError(str(e)) from None

    def _shown(self, rows: table.Table, nothing: str) -> mitmproxy.types.Data:
        """A table as the console draws it; where there is no console, it is also said in the log."""
        if not hasattr(ctx.master, "overlay"):
            logger.log(ALERT, table.text(rows, nothing))
        return cast(mitmproxy.types.Data, rows)
