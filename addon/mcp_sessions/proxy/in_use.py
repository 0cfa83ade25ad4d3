"""Connections over which something of MCP goes on are in use, however quiet it is.

mitmproxy closes a client's connection over which nothing has passed for `tcp_timeout` seconds, be a call under way or
not. Its watchdog is told now and then where there is one. In exchange the system is asked to look after peers that have
vanished without a word, so that they are noticed after as long a time as before.

Streams may also give their client a sign of life, for whatever else there is between them (`core/quiet.py`).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from mitmproxy import connection as mconnection
from mitmproxy import ctx
from mitmproxy.proxy.server import ConnectionHandler, TimeoutWatchdog

from ..core.quiet import LATEST, SOONEST, quiet
from . import clock, resend
from .failing import described
from .flows import Live

logger = logging.getLogger(__name__)

BEFORE_ITS_OPTION = 600
"""Seconds that mitmproxy waits where `tcp_timeout` is no option yet, as in 12.2.0."""
PROBES = 4
"""Times that a peer which has vanished is asked for a sign of life."""


class InUse:
    """Looks after the connections of exchanges that are under way."""

    def __init__(self, live: Mapping[str, Live]) -> None:
        self.every = 0
        """Seconds of quiet after which the client of an event stream is given a sign of life; 0 for never."""
        self.works = False
        """Whether mitmproxy can be told at all."""
        self._live = live
        self._probed: WeakSet[Any] = WeakSet()
        """Writers of connections that the system looks after."""

    async def watch(self) -> None:
        """Go on for ever, unless mitmproxy's internals are not as expected: this is said, and nothing is done."""
        if problem := misfit():
            logger.warning(
                f"mcp: this mitmproxy is not as expected ({problem}): quiet calls are cut after tcp_timeout seconds, "
                "and mcp_keepalive does nothing"
            )
            return
        self.works = True
        while True:
            pause = LATEST
            try:
                self._tell()
                if self.every:
                    pause = await self._give_signs()
            except Exception as e:
                self.works = False
                logger.error(f"mcp: error in keeping quiet connections open, they are cut: {described(e)}")
                return
            await asyncio.sleep(max(SOONEST, min(pause, tcp_timeout() / 3)))

    async def _give_signs(self) -> float:
        """Have quiet streams give their clients a sign of life; how long to wait then."""
        streams = {live.reader: live for live in self._live.values() if live.reader is not None}
        due, wait = quiet(streams, self.every, clock.now())
        for stream in due:
            handler = _handlers().get(streams[stream].flow.client_conn.id)
            if handler is not None:
                await resend.give_sign(handler, stream.outlet)
        return wait

    def _tell(self) -> None:
        for client_id in {live.flow.client_conn.id for live in self._live.values()}:
            handler = _handlers().get(client_id)
            if handler is not None:
                handler.timeout_watchdog.register_activity()
                for transport in list(handler.transports.values()):
                    if transport.writer is not None and transport.writer not in self._probed:
                        self._probed.add(transport.writer)
                        _probe(transport.writer, tcp_timeout())

    def vanished(self, client: mconnection.Client) -> bool:
        """From an `error` hook: whether a client's connection broke because there was no sign of life any more."""
        handler = _handlers().get(client.id)
        reader = handler.transports[client].reader if handler is not None and client in handler.transports else None
        why = reader.exception() if isinstance(reader, asyncio.StreamReader) else None
        return isinstance(why, OSError) and not isinstance(why, ConnectionError)


def tcp_timeout() -> int:
    """Seconds of silence after which mitmproxy closes a connection."""
    return int(ctx.options.tcp_timeout) if "tcp_timeout" in ctx.options else BEFORE_ITS_OPTION


def _handlers() -> Mapping[Any, Any]:
    """Mitmproxy's handlers of clients' connections, by the id of the connection."""
    connections: Mapping[Any, Any] = ctx.master.addons.get("proxyserver").connections
    return connections


def _probe(writer: Any, seconds: int) -> None:
    """Have the system find out within so many seconds of silence whether the other side is there."""
    found = writer.get_extra_info("socket")
    if found is None or found.type != socket.SOCK_STREAM:
        return
    # Half of the time goes by before the first question, the other half with questions.
    first = "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE"
    values = {first: seconds // 2, "TCP_KEEPINTVL": seconds // 2 // PROBES, "TCP_KEEPCNT": PROBES}
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in values.items():
            if hasattr(socket, name):
                found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), max(1, value))
    except OSError:
        pass  # closed by now


def misfit() -> str:
    """What about mitmproxy's internals is not as this module needs it; empty if all is well."""
    if not hasattr(ctx.master.addons.get("proxyserver"), "connections"):
        return "its proxyserver has no connections"
    if not hasattr(TimeoutWatchdog, "register_activity"):
        return "TimeoutWatchdog has no register_activity"
    made = inspect.getsource(ConnectionHandler.__init__)
    missing = [name for name in ("timeout_watchdog", "transports") if f"self.{name} = " not in made]
    return f"ConnectionHandler has no {missing[0]}" if missing else ""
