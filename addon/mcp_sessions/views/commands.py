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
from ..proxy.metadata import NUMBER
from ..proxy.said import conversation
from ..rules import catalogue
from ..rules.pages import explain
from ..wire.text import counted, printable
from . import naming, table
from .help import help_table
from .log import ours
from .shown import Shown, View

logger = logging.getLogger(__name__)

FLOWS_OF = "@mcp:"
"""A flow specification that begins so means the flows of a session, in every command that takes flows."""

_RESOLVE = "view.flows.resolve"

NO_FLOWS = "mitmdump keeps no flows; use mitmproxy or mitmweb, or save them with -w"


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


class RuleId(str):
    """The type of a parameter that names a rule."""

    __slots__ = ()


class _RuleIds:
    """Completes and checks ids of rules."""

    typ = RuleId
    display = "rule"

    def completion(self, _manager: Any, _t: Any, _s: str) -> Sequence[str]:
        return sorted(catalogue())

    def parse(self, _manager: Any, _t: Any, s: str) -> RuleId:
        wanted = s.strip().upper()
        if wanted not in catalogue():
            raise ValueError(f"there is no rule {printable(s, 40)!r}; they are listed in docs/rules.md")
        return RuleId(wanted)

    def is_valid(self, _manager: Any, _t: Any, val: Any) -> bool:
        return isinstance(val, str)


class Commands(View):
    """Commands under `mcp.`."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._resolve: Callable[[str], Sequence[flow.Flow]] | None = None
        # Before the commands are collected: a parameter of an unknown type is refused.
        mitmproxy.types.CommandTypes.typemap[SessionName] = cast(Any, _SessionNames(shown.ledger))
        mitmproxy.types.CommandTypes.typemap[RuleId] = cast(Any, _RuleIds())
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

    @command.command("mcp.messages")
    def messages(self, session: SessionName, find: str = "") -> mitmproxy.types.Data:
        """Show what was said in a session, message by message; with words, only the messages that contain them."""
        lines, left_out = conversation(self._flows(session), find)
        return self._shown(table.messages_table(lines, left_out), "no such message")

    @command.command("mcp.flows")
    def flows(self, session: SessionName) -> None:
        """Show only the flows of a session in the flow list. Commands that take flows take them as @mcp:SESSION."""
        found = self._flows(session)
        label = self._named(session).label
        ctx.options.update(view_filter=f'~meta "^{NUMBER}: {self._named(session).number}$"')
        logger.log(ALERT, f"mcp: {counted(len(found), 'flow')} of session {label}; an empty filter shows all again")

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
    def explain(self, rule: RuleId) -> mitmproxy.types.Data:
        """Print what a rule is about: what is wrong, why it hurts, the clause, an example of each kind."""
        lines = [[line] for line in explain(catalogue()[rule]).split("\n")]
        return self._shown(lines, "")

    @command.command("mcp.help")
    def help(self) -> mitmproxy.types.Data:
        """List the commands under mcp., the keys bound to them, what the markers mean, and filters of use."""
        keys = getattr(ctx.master, "keymap", None)
        return self._shown(help_table(ctx.master.commands.commands, keys.bindings if keys else ()), "")

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
            raise exceptions.CommandError(NO_FLOWS)
        return marks.flows_of(self._resolve("@all"), [self._named(name)])

    def _named(self, name: str) -> Session:
        try:
            return naming.resolve(self.shown.ledger(), name)
        except ValueError as e:
            raise exceptions.CommandError(str(e)) from None

    def _shown(self, rows: table.Table, nothing: str) -> mitmproxy.types.Data:
        """A table as the console draws it; where there is no console, it is also said in the log."""
        if not _in_console():
            logger.log(ALERT, ours(table.text(rows, nothing)))
        return cast(mitmproxy.types.Data, rows)


def _in_console() -> bool:
    """Whether mitmproxy draws what a command returns."""
    return hasattr(ctx.master, "overlay")
