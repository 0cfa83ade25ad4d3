"""An exchange under way, as mitmproxy has it: its flow, and what belongs to it on that side."""

from __future__ import annotations

from dataclasses import dataclass

from mitmproxy import http

from ..core.exchange import Exchange
from ..wire import headers as h
from .metadata import PROCESS
from .streams import StreamReader


@dataclass(slots=True)
class Live:
    """One exchange."""

    x: Exchange
    flow: http.HTTPFlow
    reader: StreamReader | None = None
    refused: http.Response | None = None
    """The server's original answer, once the request has been sent again."""
    settled: bool = False
    """Nothing more is to be decided: what answer there is now is given to the client."""

    def note_process(self, flow: http.HTTPFlow) -> None:
        """Note on a flow what can't be seen from it when it is read from a file again."""
        client = self.x.connection.client or self.x.client
        if client.pid is not None and client.started is not None:
            flow.metadata[PROCESS] = [client.name, client.pid, client.started, client.parent or 0]


def set_session_id(headers: http.Headers, session_id: str | None) -> None:
    """Put this id in; None leaves what is there, the empty text takes it out."""
    if session_id:
        headers[h.SESSION_ID] = session_id.encode("latin-1", "replace")
    elif session_id is not None:
        headers.pop(h.SESSION_ID, None)
