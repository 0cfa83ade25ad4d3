"""Keeping what the checks remember: told of every exchange, before the checks and after them."""

from __future__ import annotations

from typing import Any

from ..core.exchange import Exchange, Finish
from ..core.session import ID_LIMIT
from ..wire import headers as h
from ..wire.headers import coded
from ..wire.jsonrpc import Body, Kind, Message, dump
from ..wire.revision import FIRST_STATELESS, SESSION_REVISIONS, Era
from ..wire.sse import Event
from . import losses, mirrored, tokens
from .facts import Notes, Party, notes, progress_token, valid_key
from .mismatches import mismatches
from .subjects import Subjects
from .tables import Ids, Recent
from .talks import (
    PENDING_LIMIT,
    Stream,
    Talk,
    declared_by_client,
    declared_by_server,
    history,
)

REFUSED_UNPROCESSED = frozenset({401, 403, 404, 408, 429})
LINGERING_LIMIT = 1_000
"""POST streams that are still open after their response."""
MODERN_CODES = frozenset({-32020, -32021, -32022})


class Memory(Subjects):
    """Everything that is remembered for the checks."""

    def __init__(self) -> None:
        super().__init__()
        self.lingering: Recent[str, Exchange] = Recent(LINGERING_LIMIT)
        """POST streams that are open although their response was sent."""

    # A request

    def entered(self, x: Exchange) -> Notes:
        """A request was read: get ready what the checks look at."""
        x.notes = kept = Notes(self.place(x.endpoint))
        if x.untimed:
            kept.untimed = True
        if x.era is Era.STATELESS:
            if x.verb == "POST":
                kept.mismatch = mismatches(x, kept.place)
            return kept
        session = x.session
        if session is not None:
            talk = kept.talk = self.talk(session)
            if talk.lost_at is not None and talk.told_at is not None:
                kept.told_at = self.told_at(session, talk)
            if not x.is_initialize:
                if kept.told_at is not None:
                    kept.party = self.party(x.client, x.endpoint)
                if not x.body.batch:
                    return kept
        kept.party = party = self.party(x.client, x.endpoint)
        if session is None and x.presented is None and not x.is_initialize:
            kept.talk = party.idless
            party.before = party.before or party.idless is None
        asked = next((m.params.get("protocolVersion") for m in x.body.messages if m.method == "initialize"), None)
        if isinstance(asked, str):
            kept.asked = asked
        return kept

    def requested(self, x: Exchange, kept: Notes) -> None:
        """The checks have looked at a request."""
        talk = kept.talk
        messages = x.body.messages
        for message in messages:
            if message.kind is Kind.REQUEST and valid_key(message.id):
                self._asked(x, kept, message)
        if x.is_initialize and kept.party is not None:
            kept.party.initialize_at = x.at
            self.refresh(x.client, x.endpoint, kept.party)
            if not kept.untimed:
                kept.party.initializing.put(x.id, kept.asked)
        if talk is None:
            return
        if x.session is not None and talk.credentials != x.credentials:
            talk.authorized(x.credentials, x.at)
        if x.verb == "DELETE":
            talk.delete_sent = True
        elif x.verb == "POST":
            if x.body.sniffed or not messages:
                talk.unread = True
            for message in messages:
                method = message.method
                if message.kind is Kind.RESPONSE and talk.server_asked is not None:
                    talk.server_asked.pop(_key(message.id), None)
                if method == "notifications/initialized":
                    talk.initialized = True
                elif method == "notifications/cancelled":
                    other = talk.waiting(_key(message.params.get("requestId")))
                    if other is not None:
                        other.cancelled = True
                elif method != "initialize":
                    talk.used = True

    def _asked(self, x: Exchange, kept: Notes, message: Message) -> None:
        request_id = message.id
        kept.due = {*kept.due, request_id} if kept.due else {request_id}
        talk = kept.talk
        value = progress_token(message)
        if value is not None:
            tokens.expect(kept, talk, message, value)
        if talk is not None:
            talk.wait(request_id, kept)
            if talk.ids is None:
                talk.ids = Ids()
            talk.ids.add(request_id, x.client)

    def sent_again(self, x: Exchange) -> None:
        """The proxy sent the request again: what it asked for is due once more."""
        kept = notes(x)
        kept.attempts = x.attempts
        if kept.talk is not None:
            kept.talk.resent = True
            if x.session is not None:
                self.talk(x.session)  # of the generation that it was sent again in
        for message in x.body.messages:
            if message.kind is Kind.REQUEST and valid_key(message.id) and message.id not in kept.due:
                self._asked(x, kept, message)

    # An answer

    def learn(self, kept: Notes, message: Message) -> None:
        """Before the checks look at a message of a stateless server: what kind of server it is."""
        place, result, error = kept.place, message.result, message.error
        if result is None and error is None:
            return
        listed, typed = None, False
        if result is not None:
            listed, typed = result.get("supportedVersions"), isinstance(result.get("resultType"), str)
        elif error is not None and isinstance(error.get("data"), dict):
            listed = error["data"].get("supported")
        if isinstance(listed, list) and listed:
            place.only_modern = all(isinstance(one, str) and one >= FIRST_STATELESS for one in listed)
            typed = typed or FIRST_STATELESS in listed
        place.modern = place.modern or typed or message.error_code in MODERN_CODES

    def answered(self, x: Exchange, kept: Notes) -> None:
        """The checks have looked at an answer, or at the head of a stream."""
        talk = kept.talk
        at = x.answered_at
        status, ok = x.status, x.ok
        if x.streamed:
            if ok:
                kept.stream = Stream(x.id, resumes=x.verb == "GET" and h.LAST_EVENT_ID in x.headers)
                if talk is not None:
                    talk.opened(x.id, kept.stream)
                    talk.resent |= x.answer_headers is not None and bool(coded(x.answer_headers))
        elif x.answer is not None:
            for message in x.answer.messages:
                self._message(x, kept, message, at)
        if x.is_initialize and ok and x.answer_headers is not None:
            self._assigned(x, kept, x.answer_headers.get(h.SESSION_ID), at)
        if talk is None:
            return
        if ok:
            if x.verb == "GET" and x.streamed:
                talk.used = True
            if not x.is_initialize:
                if x.method != "notifications/initialized":
                    talk.worked += 1
                    talk.lost_at = None
                if talk.told_at is not None and _succeeded(x):
                    talk.told_at = None
                if talk.history is not None:
                    talk.history.doubted = losses.by_words(x)
            return
        if losses.by_words(x):
            history(talk).doubted = True
        if status == 404 and x.session is not None and x.verb != "DELETE" and not x.is_initialize:
            loss = losses.by_404(x)
            if loss is not None and talk.lost_at is None:
                talk.lost_at, talk.lost_plainly = at, loss is losses.Loss.PLAIN
            if loss is None and x.verb == "GET" and not x.stranger and h.LAST_EVENT_ID not in x.headers:
                history(talk).get_404_at = at
        if status is not None:
            if status in REFUSED_UNPROCESSED or status >= 500:
                self._refused(x, talk)
            if status >= 400:
                self._over(kept, at, x.id)
            if x.verb == "DELETE" and status in (405, 501):
                kept.place.refuses_delete = True

    def _assigned(self, x: Exchange, kept: Notes, assigned: str | None, at: float) -> None:
        if assigned is None:
            return
        if len(assigned) > ID_LIMIT:
            kept.place.assigns = True
            return
        party = kept.party
        if party is not None and x.opened is not None:
            party.opened_at = at
        elif party is not None:
            party.renewed_at, party.renewed = at, assigned
        if assigned.strip(" \t"):
            kept.place.assigns = True
            kept.place.latest.put(assigned, None)
            kept.place.handed_out.put(hash(assigned), None)

    def _refused(self, x: Exchange, talk: Talk) -> None:
        if talk.ids is None or x.body.sniffed:
            return
        for message in x.body.messages:
            if valid_key(message.id):
                talk.ids.refuse(message.id, hash(dump(message.raw)))

    def _message(self, x: Exchange, kept: Notes, message: Message, at: float) -> None:
        """A message of the server."""
        talk = kept.talk
        if message.kind is not Kind.RESPONSE:
            if message.kind is Kind.REQUEST and talk is not None and valid_key(message.id):
                asked = talk.server_asked
                if asked is None:
                    asked = talk.server_asked = Recent(PENDING_LIMIT)
                method = "" if "task" in message.params else message.method or ""
                asked.put(message.id, method if asked.get(message.id, method) == method else "")
            return
        if not valid_key(message.id):
            return
        asker = kept
        if message.id not in kept.due:
            other = talk.waiting(message.id) if talk is not None else None
            if other is None:
                return
            asker = other
        if talk is not None:
            talk.settle(message.id)
        asker.due = asker.due - {message.id}
        if message.error is None:
            asker.resulted = True
        tokens.settle(asker, message.id, at, x.id)
        if asker is not kept:
            return
        if talk is not None and x.ok and x.method != "ping":
            talk.called += 1
        if not kept.due:
            kept.responded_at = at
            if x.streamed and not kept.untimed:
                self.lingering.put(x.id, x)
        if x.is_initialize or x.method == "tools/list":
            self._learnt(x, kept, message.result, at)

    def _learnt(self, x: Exchange, kept: Notes, result: dict[str, Any] | None, at: float) -> None:
        """A result was read that tells something for later."""
        if result is None:
            return
        if x.is_initialize:
            if x.ok:
                self._initialized(x, kept, result, at)
        elif x.era is Era.STATELESS:
            mirrored.remember(kept.place, x, result, at)

    def _initialized(self, x: Exchange, kept: Notes, result: dict[str, Any], at: float) -> None:
        """The result of `initialize` was read."""
        party = kept.party
        assert party is not None
        party.initializing.pop(x.id, None)
        session = x.opened
        assigned = x.answer_headers.get(h.SESSION_ID) if x.answer_headers else None
        if session is None and assigned:
            return  # initialized again: the session is what it was
        if session is not None:
            talk = self.talk(session)
            party.settled = True
        else:
            talk = self._idless(x, kept, party)
        talk.known_at = at
        talk.connection = x.connection.id
        version = result.get("protocolVersion")
        talk.revision = version if isinstance(version, str) else ""
        talk.judged_by = next((known for known in SESSION_REVISIONS if known == version), None)
        talk.server_can = declared_by_server(result.get("capabilities"))
        talk.client_can = declared_by_client(x.message.params.get("capabilities") if x.message else None)
        if x.message and valid_key(x.message.id):
            if talk.ids is None:
                talk.ids = Ids()
            talk.ids.add(x.message.id, x.client)
        if x.streamed and kept.stream is not None:
            talk.opened(x.id, kept.stream)
        kept.talk = talk

    def _idless(self, x: Exchange, kept: Notes, party: Party) -> Talk:
        """Begin a talk without an id: who begins one in the midst of another may be a second client in that process."""
        several = party.before or party.idless is not None
        if party.idless is not None:
            party.idless.shared = True
        party.idless = Talk(kept.place, shared=several or not x.client.is_process)
        return party.idless

    # A stream

    def arrived(self, x: Exchange, kept: Notes, event: Event, body: Body | None, at: float) -> None:
        """The checks have looked at an event."""
        stream = kept.stream
        talk = kept.talk
        if stream is not None:
            if event.retry is not None:
                stream.retry = event.retry
            if event.id:
                stream.ids += 1
                if talk is not None:
                    talk.saw(event.id, event.data, stream)
        if body is None:
            return
        for message in body.messages:
            self._message(x, kept, message, at)
            if message.method == "notifications/progress":
                tokens.progressed(kept, message)
            elif message.method == "notifications/tools/list_changed":
                kept.place.tools.clear()

    # The end

    def finished(self, x: Exchange, kept: Notes) -> None:
        """The checks have looked at an exchange that is over."""
        kept.over = True
        if x.is_initialize and kept.party is not None:
            kept.party.initializing.pop(x.id, None)
            if x.opened is not None:  # it may have been cut off after its head
                kept.party.opened_at = max(kept.party.opened_at, x.answered_at)
        if x.streamed:
            self.lingering.pop(x.id, None)
        if kept.stream is not None:
            kept.stream.ended_at = x.finished_at
            kept.stream.by_client = x.finish is Finish.CLIENT
        talk = kept.talk
        if talk is None:
            # It may have turned out meanwhile which session it is of.
            session = x.session
            later = session.notes if session is not None else None
            if not isinstance(later, Talk) or x.is_initialize or not _succeeded(x):
                return
            if later.told_at is not None and later.told_at <= x.answered_at:
                later.told_at = None
            return
        if kept.stream is not None:
            talk.closed(x.id)
        if x.finish is not Finish.COMPLETE and not x.responded:
            self._refused(x, talk)
        if x.verb == "DELETE" and x.ok and x.finish is Finish.COMPLETE and talk.deleted_at is None:
            talk.deleted_at = x.finished_at

    def _over(self, kept: Notes, at: float, exchange: str) -> None:
        """None of the requests of this exchange is answered any more."""
        for request_id in kept.due:
            if kept.talk is not None:
                kept.talk.settle(request_id)
            tokens.settle(kept, request_id, at, exchange)
        kept.due = frozenset()


def _succeeded(x: Exchange) -> bool:
    """Whether an answer shows that the session works: the server's to `DELETE` does not."""
    return x.ok and not x.dialect and (x.streamed or x.verb != "DELETE")


def _key(value: Any) -> Any:
    return value if valid_key(value) else None
