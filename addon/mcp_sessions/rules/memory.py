"""Keeping what the checks remember: told of every exchange, before the checks and after them."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from ..core.client import Client, ClientKey
from ..core.exchange import Exchange, Finish
from ..core.session import Endpoint, Session
from ..wire import headers as h
from ..wire.jsonrpc import Body, Kind, Message, dump
from ..wire.revision import STATELESS_REVISIONS, Era
from ..wire.sse import Event
from . import losses, mirrored
from .facts import (
    LINGERING_LIMIT,
    PARTIES_LIMIT,
    Asked,
    Notes,
    Party,
    Place,
    Recent,
    Seen,
    Stream,
    Talk,
    Token,
    notes,
    progress_token,
    valid_key,
)

REFUSED_UNPROCESSED = frozenset({401, 403, 404, 408, 429})
MODERN_CODES = frozenset({-32020, -32021, -32022})
_PLACES_LIMIT = 1_000


class Memory:
    """Everything that is remembered for the checks."""

    def __init__(self) -> None:
        self._talks: WeakKeyDictionary[Session, Talk] = WeakKeyDictionary()
        self._places: Recent[Endpoint, Place] = Recent(_PLACES_LIMIT)
        self._parties: Recent[tuple[ClientKey, Endpoint], Party] = Recent(PARTIES_LIMIT)
        self.lingering: Recent[str, Exchange] = Recent(LINGERING_LIMIT)
        """POST streams that are open although their response was sent."""

    def place(self, endpoint: Endpoint) -> Place:
        """What is remembered of an endpoint."""
        found = self._places.get(endpoint)
        if found is None:
            self._places.put(endpoint, found := Place())
        return found

    def party(self, client: Client, endpoint: Endpoint) -> Party:
        """What is remembered of a client at an endpoint."""
        key = (client.key, endpoint)
        found = self._parties.get(key)
        if found is None:
            self._parties.put(key, found := Party())
        return found

    def talk(self, session: Session) -> Talk:
        """What is remembered of a session."""
        found = self._talks.get(session)
        if found is None:
            found = self._talks[session] = Talk(self.place(session.endpoint), generation=session.generation)
        elif found.generation != session.generation:
            # The server knows nothing of the generation before: neither of its events nor of its loss.
            found.generation = session.generation
            found.event_ids.clear()
            found.server_asked.clear()
            found.lost_at = None
        return found

    # A request

    def entered(self, x: Exchange) -> None:
        """A request was read: get ready what the checks look at."""
        place, party = self.place(x.endpoint), self.party(x.client, x.endpoint)
        kept = Notes(place, party, self._talks, untimed=x.untimed)
        x.notes = kept
        if x.era is Era.STATELESS:
            return
        if x.session is not None:
            kept.talk = self.talk(x.session)
        elif x.presented is None and not x.is_initialize:
            kept.talk = kept.party.idless
        asked = next((m.params.get("protocolVersion") for m in x.body.messages if m.method == "initialize"), None)
        kept.asked = asked if isinstance(asked, str) else ""

    def requested(self, x: Exchange) -> None:
        """The checks have looked at a request."""
        kept = notes(x)
        talk = kept.talk
        for message in x.body.messages:
            if message.kind is Kind.REQUEST and valid_key(message.id):
                self._asked(x, kept, message)
        if x.is_initialize:
            kept.party.initialize_at = x.at
            if not kept.untimed:
                kept.party.initializing.put(x.id, None)
        if talk is None:
            return
        if x.session is not None:
            before = next(reversed(talk.credentials), None)
            if before != x.credentials:
                if before is not None:
                    talk.credentials[before] = x.at
                talk.credentials.put(x.credentials, x.at)
        if x.verb == "DELETE":
            talk.delete_sent = True
        elif x.verb == "POST":
            talk.unread = talk.unread or x.body.sniffed or not x.body.messages
            for message in x.body.messages:
                if message.kind is Kind.RESPONSE:
                    talk.server_asked.pop(_key(message.id), None)
                if message.method == "notifications/initialized":
                    talk.initialized = True
                elif message.method == "notifications/cancelled":
                    other = talk.pending.get(_key(message.params.get("requestId")))
                    if other is not None:
                        other.cancelled = True
                elif message.method != "initialize":
                    talk.used = True

    def _asked(self, x: Exchange, kept: Notes, message: Message) -> None:
        kept.due.add(message.id)
        token = None
        value = progress_token(message)
        talk = kept.talk
        if value is not None:
            token = (talk.tokens.get(value) if talk else None) or Token()
            if not token.active:
                token.last = None
            token.active += 1
            token.task = token.task or "task" in message.params
            kept.tokens[value] = kept.token_of[message.id] = token
        if talk is not None:
            if value is not None and token is not None:
                talk.tokens.put(value, token)
            talk.pending.put(message.id, kept)
            talk.ids.put(message.id, Asked(x.client))

    def sent_again(self, x: Exchange) -> None:
        """The proxy sent the request again: what it asked for is due once more."""
        kept = notes(x)
        kept.attempts = x.attempts
        for message in x.body.messages:
            if message.kind is Kind.REQUEST and valid_key(message.id) and message.id not in kept.due:
                self._asked(x, kept, message)

    # An answer

    def learn(self, x: Exchange, message: Message | None) -> None:
        """Before the checks look at a message of the server: what kind of server it is."""
        place = notes(x).place
        if place.modern or x.era is not Era.STATELESS or message is None or message.kind is not Kind.RESPONSE:
            return
        result = message.result
        if result is not None:
            listed = result.get("supportedVersions")
            place.modern = isinstance(result.get("resultType"), str) or (
                isinstance(listed, list) and STATELESS_REVISIONS[0] in listed
            )
        else:
            place.modern = message.error_code in MODERN_CODES

    def answered(self, x: Exchange) -> None:
        """The checks have looked at an answer, or at the head of a stream."""
        kept = notes(x)
        talk = kept.talk
        at = x.answered_at
        if x.streamed:
            if x.ok:
                kept.stream = Stream(x.id, resumes=x.verb == "GET" and h.LAST_EVENT_ID in x.headers)
                if talk is not None:
                    talk.open[x.id] = kept.stream
        elif x.answer is not None:
            for message in x.answer.messages:
                self._message(x, kept, message, at)
        if x.is_initialize and x.ok and x.era is Era.SESSION and x.answer_headers is not None:
            self._assigned(kept, x.answer_headers.get(h.SESSION_ID, ""))
        if talk is None:
            return
        if x.ok:
            if x.verb == "GET" and x.streamed:
                talk.used = True
            if not x.is_initialize and x.method != "notifications/initialized":
                talk.worked += 1
                talk.lost_at = None
        elif x.status == 404 and x.session is not None and x.verb != "DELETE" and not x.is_initialize:
            loss = losses.by_404(x)
            if loss is not None and talk.lost_at is None:
                talk.lost_at, talk.lost_plainly = at, loss is losses.Loss.PLAIN
        if x.status is not None and (x.status in REFUSED_UNPROCESSED or x.status >= 500):
            self._refused(x, talk)
        if x.status is not None and x.status >= 400:
            self._over(kept, at, x.id)
        if x.verb == "DELETE" and x.status in (405, 501):
            kept.place.refuses_delete = True

    def _assigned(self, kept: Notes, assigned: str) -> None:
        if not assigned.strip(" \t"):
            return
        kept.place.assigns = True
        kept.place.latest.put(assigned, None)
        kept.place.handed_out.put(hash(assigned), None)

    def _refused(self, x: Exchange, talk: Talk) -> None:
        for message in x.body.messages:
            asked = talk.ids.get(_key(message.id))
            if asked is not None and not x.body.sniffed:
                asked.refused = hash(dump(message.raw))

    def _message(self, x: Exchange, kept: Notes, message: Message, at: float) -> None:
        """A message of the server."""
        if message.kind is Kind.REQUEST and kept.talk is not None and valid_key(message.id):
            asked = kept.talk.server_asked
            method = "" if "task" in message.params else message.method or ""
            asked.put(message.id, method if asked.get(message.id, method) == method else "")
        if message.kind is not Kind.RESPONSE or not valid_key(message.id):
            return
        talk = kept.talk
        asker = kept
        if message.id not in kept.due:
            other = talk.pending.get(message.id) if talk is not None else None
            if other is None:
                return
            asker = other
        if talk is not None:
            talk.pending.pop(message.id, None)
        asker.due.discard(message.id)
        if message.error is None:
            asker.resulted = True
        else:
            asker.error_code = message.error_code
        token = asker.token_of.get(message.id)
        if token is not None:
            token.active -= 1
            token.ended_at, token.ended_on = at, x.id
        if asker is not kept:
            return
        if talk is not None and x.ok and x.method != "ping":
            talk.called += 1
        if not kept.due:
            kept.responded_at = at
            if x.streamed and not kept.untimed:
                self.lingering.put(x.id, x)
        if message.result is not None:
            if x.is_initialize and x.ok:
                self._initialized(x, kept, message.result, at)
            elif x.era is Era.STATELESS and x.method == "tools/list":
                mirrored.remember(kept.place, x.credentials, message.result, at)

    def _initialized(self, x: Exchange, kept: Notes, result: dict[str, Any], at: float) -> None:
        """The result of `initialize` was read."""
        kept.party.initializing.pop(x.id, None)
        session = x.opened
        assigned = x.answer_headers.get(h.SESSION_ID) if x.answer_headers else None
        if session is None and assigned:
            return  # initialized again: the session is what it was
        if session is not None:
            talk = self.talk(session)
        else:
            talk = kept.party.idless = Talk(kept.place, shared=not x.client.is_process)
        talk.known_at = at
        talk.connection = x.connection.id
        version = result.get("protocolVersion")
        talk.revision = version if isinstance(version, str) else ""
        talk.server_can = _object(result.get("capabilities"))
        talk.client_can = _object(x.message.params.get("capabilities")) if x.message else {}
        if x.message and valid_key(x.message.id):
            talk.ids.put(x.message.id, Asked(x.client))
        if x.streamed and kept.stream is not None:
            talk.open[x.id] = kept.stream
        kept.talk = talk

    # A stream

    def arrived(self, x: Exchange, event: Event, body: Body | None, at: float) -> None:
        """The checks have looked at an event."""
        kept = notes(x)
        stream = kept.stream
        if stream is not None:
            if event.retry is not None:
                stream.retry = event.retry
            if event.id:
                stream.ids += 1
                if kept.talk is not None:
                    self._event_id(kept.talk, stream, event)
        for message in body.messages if body else ():
            self._message(x, kept, message, at)
            if message.method == "notifications/progress":
                token = (kept.talk.tokens if kept.talk else kept.tokens).get(_key(message.params.get("progressToken")))
                progress = message.params.get("progress")
                if token is not None and isinstance(progress, (int, float)):
                    token.last = progress if token.last is None else max(token.last, progress)

    def _event_id(self, talk: Talk, stream: Stream, event: Event) -> None:
        assert event.id
        seen = talk.event_ids.get(event.id)
        owner = stream if seen is None or seen.stream is stream or stream.resumes else None
        talk.event_ids.put(event.id, Seen(hash(event.data), owner))

    # The end

    def finished(self, x: Exchange) -> None:
        """The checks have looked at an exchange that is over."""
        kept = notes(x)
        self.lingering.pop(x.id, None)
        kept.party.initializing.pop(x.id, None)
        talk = kept.talk
        if kept.stream is not None:
            kept.stream.ended_at = x.finished_at
            kept.stream.by_client = x.finish is Finish.CLIENT
        if talk is None:
            return
        talk.open.pop(x.id, None)
        if x.finish is not Finish.COMPLETE and not x.responded:
            self._refused(x, talk)
        if x.verb == "DELETE" and x.ok and x.finish is Finish.COMPLETE and talk.deleted_at is None:
            talk.deleted_at = x.finished_at

    def _over(self, kept: Notes, at: float, exchange: str) -> None:
        """None of the requests of this exchange is answered any more."""
        for request_id in tuple(kept.due):
            if kept.talk is not None:
                kept.talk.pending.pop(request_id, None)
            token = kept.token_of.get(request_id)
            if token is not None:
                token.active -= 1
                token.ended_at, token.ended_on = at, exchange
        kept.due.clear()


def _key(value: Any) -> Any:
    return value if valid_key(value) else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
