"""What was noted on flows when they were recorded, and which session of the ledger is meant by it here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from mitmproxy import http

from ..core.ending.delete_answers import ends
from ..core.ledger import SESSION_LIMIT, Ledger
from ..core.session import Session
from ..core.states import Reason, Trigger, Why
from ..proxy import marks
from ..proxy.metadata import COMMENT, NUMBER, SESSION
from ..wire import headers as h
from ..wire.jsonrpc import parse
from ..wire.text import printable

LABEL = 8
"""Characters of a session's label."""

ENDED = (Trigger.GONE, Trigger.PROXY_DELETE, Trigger.PROXY_DELETE_DONE)
"""What has happened to a session that the proxy ended when it was recorded."""


class Notes:
    """Which session of the ledger is meant by the number and label that were noted on a flow when it was recorded."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._sessions: dict[tuple[str, str], Session] = {}
        self._flows: dict[str, Session] = {}
        self._stand_ins: dict[str, str] = {}
        self._server_ids: dict[Session, str] = {}
        """As the recorded server knew them, for the ledger knows nothing of what a recovery has changed."""

    def note(self, flow: http.HTTPFlow, session: Session) -> None:
        """A flow that was recorded of a client is of this session."""
        self._flows[flow.id] = session
        self._sessions.setdefault(_noted(flow), session)
        if h.SESSION_ID in flow.request.headers:
            self._server_ids[session] = flow.request.headers[h.SESSION_ID]

    def stand_in(self, flow: http.HTTPFlow, placeholder: str) -> str:
        """A session id in the place of one that was taken out: nobody is to be blamed for what a placeholder is like.

        It begins with the label that was noted when it was recorded, so that it gets the same again.
        """
        if placeholder not in self._stand_ins:
            if len(self._stand_ins) >= SESSION_LIMIT:
                self._stand_ins.clear()
            label = _noted(flow)[1][:LABEL].ljust(LABEL, "-")
            self._stand_ins[placeholder] = f"{label}{hashlib.sha256(placeholder.encode()).hexdigest()}"
        return self._stand_ins[placeholder]

    def steps(self, flow: http.HTTPFlow) -> Iterator[tuple[float, Callable[[], None]]]:
        """What has happened through a request of the proxy's own, and when."""
        response = flow.response
        at = (response.timestamp_end if response else None) or flow.request.timestamp_start
        yield at, lambda: self._own(flow, at)

    def _own(self, flow: http.HTTPFlow, at: float) -> None:
        session = self._sessions.get(_noted(flow))
        if session is None or flow.response is None:
            return
        self._flows[flow.id] = session
        asked = parse(flow.request.raw_content or b"").first
        if asked is not None and asked.method == "initialize" and 200 <= flow.response.status_code < 300:
            self._ledger.recovered_once(session)
        elif (
            flow.request.method == "DELETE"
            and flow.request.headers.get(h.SESSION_ID) == self._server_ids.get(session)
            and ends(flow.response.status_code)
        ):
            session.reason = Reason(Why.UNKNOWN, _evidence(flow))
            for trigger in ENDED:
                self._ledger.fire(session, trigger, at)

    def number(self, flows: Iterable[http.HTTPFlow]) -> None:
        """Note on flows the sessions that they belong to here: their numbers were given by another run."""
        for flow in flows:
            session = self._flows.get(flow.id)
            if session is not None:
                marks.belongs_to(flow, session)
            else:
                flow.metadata.pop(NUMBER, None)
        self._flows.clear()


def _noted(flow: http.HTTPFlow) -> tuple[str, str]:
    """Number and label of the session, as noted when it was recorded, or by whoever made the file."""
    number, label = flow.metadata.get(NUMBER), flow.metadata.get(SESSION)
    return str(number) if isinstance(number, int) else "", label if isinstance(label, str) else ""


def _evidence(flow: http.HTTPFlow) -> str:
    """Why the proxy has ended a session, as it stands in the comment on its `DELETE`."""
    words = str(flow.metadata.get(COMMENT, "")).split(" · ", 2)
    return printable(words[2], 100) if len(words) > 2 else "when it was recorded"
