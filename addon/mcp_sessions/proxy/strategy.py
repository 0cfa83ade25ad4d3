"""When mitmproxy connects to servers: after it has read a request, for only then can a client wait for its server.

By default it connects as soon as a client does, and hangs up if that fails, before it is known what the client wants.
"""

from __future__ import annotations

from mitmproxy import ctx


class Strategy:
    """Mitmproxy's option `connection_strategy`, changed for a while."""

    def __init__(self) -> None:
        self._before: str | None = None

    @property
    def said(self) -> str:
        """What it is and why, if it is another than the user's; empty otherwise."""
        return "connection_strategy=lazy so that calls can wait for a server" if self._before is not None else ""

    def lazy(self) -> None:
        """Have it connect when a request was read.

        To be called before it listens: a connection that is being set up may not survive the change.
        """
        before = ctx.options.connection_strategy
        if before == "lazy":
            return
        self._before = before
        ctx.options.update(connection_strategy="lazy")

    def undo(self) -> None:
        """Have it connect as before, unless somebody has chosen otherwise meanwhile."""
        before, self._before = self._before, None
        if before is not None and ctx.options.connection_strategy == "lazy":
            ctx.options.update(connection_strategy=before)
