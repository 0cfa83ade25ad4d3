"""Recordings within mitmproxy: the command `mcp.export`, and `mcp_replay`, a recording in the place of a server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import mitmproxy.types
from mitmproxy import command, ctx, exceptions, http
from mitmproxy.flow import Flow
from mitmproxy.log import ALERT

from ..proxy.metadata import OWN
from ..wire.headers import HeaderMap
from ..wire.recognition import is_mcp
from ..wire.text import counted
from .reading import KEEP_SECRETS, Choice, RecordingError, chosen, exchanges_in, flows_in

if TYPE_CHECKING:
    from .replay_server import ReplayServer

logger = logging.getLogger(__name__)

AT_ONCE = 0.01
"""Seconds that are spent on flows in one go: to copy five thousand takes more than one second."""


class Recordings:
    """Exports what mitmproxy holds, and sends MCP requests to a recording."""

    def __init__(self) -> None:
        self.redact: Sequence[str] = ()
        """What else is secret in an export, as `naming.named` reads it."""
        self.recorder: Callable[[Sequence[http.HTTPFlow]], Awaitable[Mapping[str, str]]] = _nobody
        """What a report says of who recorded these flows."""
        self._serving: ReplayServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def replay(self, path: str) -> None:
        """Let the recording in this file stand in for the server from now on; the empty path: none.

        Raises:
            OptionsError: when it can't be read, or nothing can listen.
        """
        self.done()
        if not path:
            return
        from .replay_server import ReplayServer  # only who replays has to wait for it

        try:
            serving = ReplayServer(exchanges_in(chosen(flows_in(path))))
            serving.listen()
        except (RecordingError, OSError) as e:
            raise exceptions.OptionsError(f"mcp_replay: {e}") from None
        self._serving = serving
        # Otherwise mitmproxy connects to the server before anything is asked, and it need not be there.
        ctx.options.update(connection_strategy="lazy")
        logger.info(f"mcp: {path} stands in for the server; nothing is brought back or ended meanwhile")

    def done(self) -> None:
        """Stop listening."""
        if self._serving is not None:
            task = asyncio.get_running_loop().create_task(self._serving.close())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._serving = None

    def request(self, flow: http.HTTPFlow) -> None:
        """Send an MCP request to the recording instead of the server."""
        request = flow.request
        if self._serving is None or flow.response is not None or not flow.live:
            return
        if OWN not in flow.metadata and not is_mcp(
            request.method, request.path, HeaderMap(request.headers.fields), request.raw_content, True
        ):
            return
        # The Host header stays as it is, so that the flow list still shows whom the client meant.
        host = request.headers.get("host")
        request.scheme, request.host, request.port = "http", "127.0.0.1", self._serving.port
        if host is not None:
            request.headers["host"] = host

    @command.command("mcp.export")
    def export(self, which: str, path: mitmproxy.types.Path, *options: str) -> None:
        """Export a session, a client or all, without secrets, to a folder or to a .mitm, .har, .md or .zip file."""
        if any(option != KEEP_SECRETS for option in options):
            raise exceptions.CommandError(f"mcp.export: the only option is {KEEP_SECRETS}, typed in full")
        if ctx.master.addons.get("view") is None:
            raise exceptions.CommandError(
                "mcp.export: mitmdump keeps no flows; save them with -w and use mcp-sessions export"
            )
        flows = ctx.master.commands.call("view.flows.resolve", "@all")
        work = self._export(flows, which, str(path), keep_secrets=bool(options))
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def write(self, flows: Sequence[http.HTTPFlow], path: str, *, keep_secrets: bool = False) -> str:
        """Write flows to a folder or a file, without secrets; the names of what was written.

        What each thing that the user named as secret has found is said in the log.

        Raises:
            ValueError: when they hold no MCP traffic, or are more than can be held.
            OSError: when it can't be written.
        """
        # The copies belong to the thread; the flows go on changing.
        copies = [flow.copy() async for flow in _paced(flows)]
        recorder = await self.recorder(flows)
        return await asyncio.to_thread(_exported, copies, path, self.redact, recorder, keep_secrets)

    async def _export(self, flows: Sequence[Flow], which: str, path: str, *, keep_secrets: bool) -> None:
        choice = Choice(which)
        try:
            async for flow in _paced(flows):
                if isinstance(flow, http.HTTPFlow):
                    choice.offer(flow)
            found = choice.made()
            written = await self.write(found, path, keep_secrets=keep_secrets)
        except (ValueError, OSError) as e:
            logger.error(f"mcp: mcp.export: {e}")
            return
        warning = ", with its secrets: do not publish it" if keep_secrets else ""
        logger.log(ALERT, f"mcp: mcp.export: {counted(len(found), 'flow')} written to {written}{warning}")


async def _paced[F: Flow](flows: Iterable[F]) -> AsyncIterator[F]:
    """These flows, with a turn for everybody else now and then."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for flow in flows:
        yield flow
        if loop.time() - began > AT_ONCE:
            await asyncio.sleep(0)
            began = loop.time()


async def _nobody(_: Sequence[http.HTTPFlow]) -> Mapping[str, str]:
    return {}


def _exported(
    flows: Sequence[http.HTTPFlow], path: str, redact: Sequence[str], recorder: Mapping[str, str], keep_secrets: bool
) -> str:
    from .export import Export
    from .naming import named

    made = Export(flows, named(redact), recorder=recorder, keep_secrets=keep_secrets)
    written = made.write(path)
    for found, said in made.account():
        logger.log(logging.INFO if found else logging.WARNING, f"mcp: mcp.export: mcp_redact {said}")
    if made.redactor.cut_out:
        logger.warning(f"mcp: mcp.export: {made.cut_out_said}")
    return ", ".join(str(file) for file in written)
