"""The commands: what a user can ask of the ledger, and do to a session, from mitmproxy's command line."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import mitmproxy.types
from mitmproxy import command, ctx, exceptions, flow
from mitmproxy.log import ALERT

from ..core.session import Session
from ..proxy import marks
from ..proxy.metadata import NUMBER
from ..proxy.said import conversation
from ..rules import catalogue
from ..rules.pages import explain
from ..store.redis.overview import Lookout, Overview
from ..wire.text import counted, printable
from . import elsewhere, naming, table
from .help import help_table
from .log import ours
from .overlaid import redraw
from .shown import Shown, View

logger = logging.getLogger(__name__)

FLOWS_OF = "@mcp:"
"""A flow specification that begins so means the flows of a session, in every command that takes flows."""

_RESOLVE = "view.flows.resolve"

MEANT = 20
"""Sessions of other proxies that a name may mean, as far as they are shown."""

NO_FLOWS = "mitmdump keeps no flows; use mitmproxy or mitmweb, or save them with -w"


class SessionName(str):
    """The type of a parameter that names a session, as mitmproxy's commands understand types."""

    __slots__ = ()


class _SessionNames:
    """Completes and checks names of sessions."""

    typ = SessionName
    display = "session"

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    def completion(self, _manager: Any, _t: Any, _s: str) -> Sequence[str]:
        lookout = self._shown.lookout()
        others = lookout.latest.others if lookout is not None else ()
        return [*naming.names(self._shown.ledger()), *dict.fromkeys(map(elsewhere.label, others))]

    def parse(self, _manager: Any, _t: Any, s: str) -> SessionName:
        if self._shown.lookout() is None:  # else another proxy may know it
            naming.resolve(self._shown.ledger(), s)
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
        self._looking: asyncio.Task[None] | None = None
        # Before the commands are collected: a parameter of an unknown type is refused.
        mitmproxy.types.CommandTypes.typemap[SessionName] = cast(Any, _SessionNames(shown))
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
        self._forget()
        resolve = ctx.master.commands.commands.get(_RESOLVE)
        if resolve is not None and self._resolve is not None:
            resolve.func, self._resolve = self._resolve, None

    @command.command("mcp.sessions")
    def sessions(self) -> mitmproxy.types.Data:
        """List the sessions: whose they are and how they stand."""

        def made(overview: Overview | None) -> table.Table:
            return table.sessions_table(self.shown.ledger(), time.time(), overview)

        return self._looked_up(made, "no MCP sessions yet")

    @command.command("mcp.session")
    def session(self, session: SessionName) -> mitmproxy.types.Data:
        """Show one session and its history."""

        def made(overview: Overview | None) -> table.Table:
            others = elsewhere.named(overview, session)
            try:
                return table.session_table(naming.resolve(self.shown.ledger(), session), time.time(), overview)
            except ValueError as e:
                if overview is None or not others:
                    raise exceptions.CommandError(str(e)) from None
                return [row for held in others[:MEANT] for row in table.held_table(held, overview, time.time())]

        return self._looked_up(made, "")

    @command.command("mcp.clients")
    def clients(self) -> mitmproxy.types.Data:
        """List the clients: which process, or which address, and what they hold."""

        def made(overview: Overview | None) -> table.Table:
            return table.clients_table(self.shown.ledger(), time.time(), overview)

        return self._looked_up(made, "no MCP clients yet")

    @command.command("mcp.fleet")
    def fleet(self) -> mitmproxy.types.Data:
        """List the proxies that share the ledger, and how many sessions each holds."""
        if self.shown.lookout() is None:
            raise exceptions.CommandError("mcp.fleet: the ledger is not shared; mcp_ledger names a Redis or Valkey")
        return self._looked_up(lambda overview: table.fleet_table(overview) if overview else [], "")

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
            lookout = self.shown.lookout()
            others = elsewhere.named(lookout.latest, name) if lookout is not None else []
            if lookout is not None and others:
                holder = lookout.latest.named(others[0].holder)
                raise exceptions.CommandError(f"session {elsewhere.label(others[0])} is held by {holder}") from None
            raise exceptions.CommandError(str(e)) from None

    def _looked_up(self, made: Callable[[Overview | None], table.Table], nothing: str) -> mitmproxy.types.Data:
        """A table that may hold what other proxies know: shown as it is known now, and again once they were looked up.

        A command can't wait, and nothing else may wait for it.
        """
        lookout = self.shown.lookout()
        if lookout is None:
            return self._shown(made(None), nothing)
        self._forget()
        self._looking = asyncio.get_running_loop().create_task(self._look(lookout, made, nothing))
        try:
            return cast(mitmproxy.types.Data, made(lookout.latest))
        except exceptions.CommandError:
            return cast(mitmproxy.types.Data, [["looking at the other proxies …"]])

    async def _look(self, lookout: Lookout, made: Callable[[Overview | None], table.Table], nothing: str) -> None:
        overview = await lookout.look()
        self._looking = None
        try:
            rows = made(overview)
        except exceptions.CommandError as e:
            logger.error(f"mcp: {e}")
            return
        if _in_console():
            redraw(rows)
        else:
            self._shown(rows, nothing)

    def _forget(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _shown(self, rows: table.Table, nothing: str) -> mitmproxy.types.Data:
        """A table as the console draws it; where there is no console, it is also said in the log."""
        self._forget()
        if not _in_console():
            logger.log(ALERT, ours(table.text(rows, nothing)))
        return cast(mitmproxy.types.Data, rows)


def _in_console() -> bool:
    """Whether mitmproxy draws what a command returns."""
    return hasattr(ctx.master, "overlay")
