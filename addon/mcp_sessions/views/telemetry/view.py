"""The view that nobody sees: figures and spans for others, begun and ceased as the options say."""

from __future__ import annotations

import asyncio
import logging
import os

from mitmproxy import exceptions

from ..shown import Shown, View
from .address import ListenAt
from .lag import Lag
from .metrics import Figures
from .serving import PLAIN, Serving

logger = logging.getLogger(__name__)


class Telemetry(View):
    """Serves what Prometheus asks for."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._metrics = ""
        self._lag = Lag()
        self._serving: Serving | None = None
        self._task: asyncio.Task[None] | None = None

    def running(self) -> None:
        """Begin with what is asked for; what can't be is a reason not to start."""
        try:
            self.configured()
        except exceptions.OptionsError as e:
            logger.error(f"mcp: {e}")

    def configured(self) -> None:
        """Begin anew where the options have changed.

        Raises:
            OptionsError: when nobody can listen there; one line.
        """
        if self._metrics == self.shown.metrics:
            return
        self.done()
        if self.shown.metrics:
            self._serve(ListenAt.parse(self.shown.metrics))
        self._metrics = self.shown.metrics

    def done(self) -> None:
        """Serve nothing any more."""
        self._metrics = ""
        self._lag.close()
        if self._serving is not None and self._task is not None:
            self._task.cancel()
            self._serving.close()
            self._serving = self._task = None

    def _serve(self, at: ListenAt) -> None:
        from .exposition import Exposition

        pages = {"/metrics": Exposition(self._figures).written, "/healthz": lambda _: (b"ok\n", PLAIN)}
        try:
            self._serving = Serving(at, pages, lambda error: logger.error(f"mcp: error in mcp_metrics: {error}"))
        except OSError as e:
            raise exceptions.OptionsError(f"mcp_metrics: can't listen at {at}: {os.strerror(e.errno or 0)}") from None
        self._task = asyncio.get_running_loop().create_task(self._serving.serve())
        self._lag.watch()
        logger.info(f"mcp: metrics at http://{self._serving.at}/metrics")

    def _figures(self) -> Figures:
        return Figures(self.shown.ledger(), self.shown.journal, self.shown.waiting(), self._lag.seconds)
