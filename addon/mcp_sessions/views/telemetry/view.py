"""The view that nobody sees: figures and spans for others, begun and ceased as the options say."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from mitmproxy import ctx, exceptions

from ... import __version__
from ..shown import Shown, View
from .address import ENDPOINTS, ListenAt, collector
from .lag import Lag
from .metrics import Figures
from .pipe import Pipe
from .serving import PLAIN, Serving
from .tracing import Tracing

logger = logging.getLogger(__name__)


class Telemetry(View):
    """Serves what Prometheus asks for, and sends what OpenTelemetry collects."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._metrics: str = ""
        self._lag = Lag()
        self._serving: Serving | None = None
        self._task: asyncio.Task[None] | None = None
        self._otel = "off"
        self._tracing: Tracing | None = None
        self._pipe: Pipe | None = None

    def running(self) -> None:
        """Begin with what is asked for; what can't be is a reason not to start. Saved flows are nobody's traffic."""
        if not ctx.options.server:
            return
        try:
            self.configured()
        except exceptions.OptionsError as e:
            logger.error(f"mcp: {e}")

    def configured(self) -> None:
        """Begin anew where the options have changed.

        Raises:
            OptionsError: when nobody can listen there; one line.
        """
        if self._metrics != self.shown.metrics:
            self._cease_serving()
            if self.shown.metrics:
                self._serve(ListenAt.parse(self.shown.metrics))
            self._metrics = self.shown.metrics
        if self._otel != self.shown.otel:
            self._cease_tracing()
            environment = collector(self.shown.otel)
            if environment is not None:
                self._trace(environment)
            self._otel = self.shown.otel

    def done(self) -> None:
        """Serve nothing any more; if mitmproxy ends, spans are still sent of how the sessions are ended."""
        self._cease_serving()
        if not ctx.master.should_exit.is_set():
            self._cease_tracing()

    # For Prometheus

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

    def _cease_serving(self) -> None:
        self._metrics = ""
        self._lag.close()
        if self._serving is not None and self._task is not None:
            self._task.cancel()
            self._serving.close()
            self._serving = self._task = None

    def _figures(self) -> Figures:
        return Figures(self.shown.ledger(), self.shown.journal, self.shown.waiting(), self._lag.seconds)

    # For OpenTelemetry

    def _trace(self, environment: Mapping[str, str]) -> None:
        loop = asyncio.get_running_loop()

        def said(text: str) -> None:
            with suppress(RuntimeError):  # mitmproxy has ended
                loop.call_soon_threadsafe(logger.warning, f"mcp: mcp_otel: {text}")

        self._pipe = Pipe(environment, __version__, said)
        self._tracing = self.shown.tracer = Tracing(self._pipe.put)
        self.shown.journal.hearers.append(self._tracing.heard)
        at = urlsplit(environment.get(ENDPOINTS[0], ""))
        where = f"{at.scheme}://{at.hostname}:{at.port or 4318}" if at.hostname else "where OTEL_ variables say"
        logger.info(f"mcp: spans and histograms to {where}")

    def _cease_tracing(self) -> None:
        self._otel = "off"
        self.shown.tracer = None
        if self._tracing is not None and self._pipe is not None:
            self.shown.journal.hearers.remove(self._tracing.heard)
            self._pipe.close()
            self._tracing = self._pipe = None
