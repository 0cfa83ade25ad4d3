"""The console's footer: mitmproxy shows a warning there for seconds; what became of it takes its place."""

from __future__ import annotations

from mitmproxy import ctx

from ..core.records import AnyRecord, Change, Weight
from .shown import Shown, View

SECONDS = 5
"""As long as mitmproxy shows a warning."""


class Footer(View):
    """Follows a session that was warned of: `lost` does not stand there when it has been recovered."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._warned = ""

    def running(self) -> None:
        """Follow what is said, where there is a footer."""
        if hasattr(ctx.master, "overlay"):
            self.shown.journal.hearers.append(self._hear)

    def done(self) -> None:
        """Follow it no more."""
        if self._hear in self.shown.journal.hearers:
            self.shown.journal.hearers.remove(self._hear)

    def _hear(self, record: AnyRecord) -> None:
        if record.weight is not Weight.INFO:
            self._warned = record.session
        elif self._warned and record.session == self._warned and isinstance(record, Change):
            from mitmproxy.tools.console import signals  # only the console has what it needs

            self._warned = ""
            signals.status_message.send(message=record.line(), expire=SECONDS)
