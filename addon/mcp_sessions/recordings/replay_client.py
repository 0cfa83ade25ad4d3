"""A recorded client: sends what was recorded to a live server, in order, with the ids that the server gives now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ssl import SSLContext
from types import MappingProxyType

import httpx

from ..wire import headers as h
from ..wire.headers import HeaderMap
from ..wire.jsonrpc import Kind, dump, parse
from ..wire.sse import Decoder
from .bindings import Bindings
from .compare import Difference, Yardstick, differences
from .recorded import Arrival, Conversation, Recorded, conversations
from .vault import PLACEHOLDER

CONTENT_LIMIT = 64 * 1024 * 1024
"""Bytes of one answer that are read; a longer one counts as broken off."""

_OWN = frozenset({"host", "accept-encoding", "user-agent", "content-length"})
_KEPT = frozenset({"accept", "content-type", h.METHOD, h.NAME, h.PROTOCOL_VERSION})
"""Headers of a single message that are sent again as they were."""


@dataclass(frozen=True, slots=True)
class Row:
    """An exchange that was sent again, and what was different about its answer."""

    number: int
    what: str
    differences: Sequence[Difference]


@dataclass(slots=True)
class Result:
    """What came of a replay."""

    rows: list[Row] = field(default_factory=list)
    sent: int = 0
    recorded: int = 0
    sessions: int = 0
    withheld: set[str] = field(default_factory=set)
    """Headers that were not sent because their value was taken out of the recording."""

    @property
    def different(self) -> list[Row]:
        """The exchanges that were answered differently."""
        return [row for row in self.rows if row.differences]


@dataclass(frozen=True, slots=True)
class Manner:
    """How to replay."""

    pauses: bool = False
    """Keep the recorded pauses between requests."""
    patience: float = 30.0
    """Seconds within which each answer must be complete."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Headers to send in the place of the recorded ones, by lower-case name: what a redacted recording lacks."""
    verify: bool | SSLContext = True
    """Whether, or how, to check certificates."""
    yardstick: Yardstick = field(default_factory=Yardstick)


async def replay(
    exchanges: Sequence[Recorded], url: str, manner: Manner | None = None, told: Callable[[Row], None] | None = None
) -> Result:
    """Send what the clients of a recording sent, one session after the other, to the server at `url`.

    Raises:
        httpx.InvalidURL: when `url` is none.
    """
    manner = manner or Manner()
    result = Result()
    numbers = {one.id: n for n, one in enumerate(sorted(exchanges, key=lambda one: one.at), 1)}
    async with httpx.AsyncClient(
        verify=manner.verify, timeout=httpx.Timeout(10, read=None), follow_redirects=False
    ) as http:
        for conversation in conversations(one for one in exchanges if not one.own):
            result.sessions += bool(conversation.session)
            await _Session(conversation, url, manner, http, result, numbers, told).run()
    result.rows.sort(key=lambda row: row.number)
    return result


class _Session:
    """One recorded session, while it is replayed."""

    def __init__(
        self,
        conversation: Conversation,
        url: str,
        manner: Manner,
        http: httpx.AsyncClient,
        result: Result,
        numbers: dict[str, int],
        told: Callable[[Row], None] | None,
    ) -> None:
        self._exchanges = conversation.exchanges
        self._session = conversation.session
        self._url = url
        self._manner = manner
        self._http = http
        self._result = result
        self._numbers = numbers
        self._told = told
        self._bindings = Bindings()
        self._over = {one.id: asyncio.Event() for one in self._exchanges}
        self._begun = {one.id: asyncio.Event() for one in self._exchanges}
        self._asked = asyncio.Condition()
        self._deleted = False
        self._hopeless = False

    async def run(self) -> None:
        """Send everything, and leave no session behind."""
        self._result.recorded += len(self._exchanges)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for before, one in zip((None, *self._exchanges), self._exchanges, strict=False):
                group.create_task(self._exchange(one, before, began))
        live = self._bindings.get(self._session)
        if live and not self._deleted:
            headers = [("mcp-session-id", str(live)), *self._manner.headers.items()]
            try:
                await asyncio.wait_for(self._http.delete(self._url, headers=headers), self._manner.patience)
            except (httpx.HTTPError, TimeoutError):
                return

    async def _exchange(self, one: Recorded, before: Recorded | None, began: float) -> None:
        try:
            if before is not None:
                await self._begun[before.id].wait()
            for other in self._exchanges:
                if other is not one and other.ended_at <= one.at and other.at < one.at:
                    await self._over[other.id].wait()
            if self._manner.pauses:
                await asyncio.sleep(one.at - self._exchanges[0].at - (time.monotonic() - began))
            if self._hopeless:
                return
            answered = await self._sent(one)
            self._result.sent += 1
            if one.is_initialize and one.ok:
                self._hopeless = not answered.ok
                live = answered.answer_headers.get(h.SESSION_ID)
                if self._session and live:
                    self._bindings.bind(self._session, live)
            if one.verb == "DELETE" and answered.ok:
                self._deleted = True
            self._judge(one, answered)
        finally:
            self._begun[one.id].set()
            self._over[one.id].set()

    def _judge(self, one: Recorded, answered: Recorded) -> None:
        found = differences(one, answered, self._bindings, self._manner.yardstick)
        if self._hopeless:
            found.append(Difference("session", "opened", "not opened: what was sent in it is not sent"))
        row = Row(self._numbers[one.id], one.what, found)
        self._result.rows.append(row)
        if self._told is not None:
            self._told(row)

    async def _sent(self, one: Recorded) -> Recorded:
        """Send one request and read its answer, as far as the recorded client read it."""
        content = await self._content(one)
        answered = Recorded(one.id, time.time(), one.verb, self._url, HeaderMap(), content, one.body)
        try:
            async with asyncio.timeout(self._manner.patience):
                request = self._http.build_request(
                    one.verb, self._url, headers=self._headers(one), content=content or None
                )
                self._begun[one.id].set()
                response = await self._http.send(request, stream=True)
                try:
                    await self._read(one, answered, response)
                finally:
                    await response.aclose()
        except TimeoutError:
            if not (one.streams and one.by_client and answered.status is not None):
                answered.broken = f"no answer within {self._manner.patience:g} s"
                if not answered.streams:
                    answered.status = None
        except httpx.HTTPError as e:
            answered.broken = str(e) or type(e).__name__
        return answered

    async def _read(self, one: Recorded, answered: Recorded, response: httpx.Response) -> None:
        answered.status = response.status_code
        answered.answer_headers = HeaderMap(response.headers.raw)
        if answered.streams:
            expected = len(one.arrivals) if one.streams and not one.complete else None
            arrivals: list[Arrival] = []
            pieces = _limited(response)
            decoder = Decoder()
            if expected == 0:
                await self._rest(one)
                return
            async for piece in pieces:
                for event in decoder.feed(piece):
                    message = parse(event.data).first if event.data else None
                    arrivals.append(Arrival(time.time(), event, message))
                    answered.arrivals = tuple(arrivals)
                    await self._asks(one, answered, len(arrivals) - 1)
                if expected is not None and len(arrivals) >= expected:
                    await self._rest(one)
                    return
        else:
            answered.answer_content = b"".join([piece async for piece in _limited(response)])

    async def _rest(self, one: Recorded) -> None:
        """The recorded client hung up here: once all it did before that is done, so does this one."""
        for other in self._exchanges:
            if other is not one and other.at < one.ended_at and not (other.streams and not other.complete):
                await self._over[other.id].wait()

    async def _asks(self, one: Recorded, answered: Recorded, number: int) -> None:
        """An event of the live server: ids that it gives stand for the recorded ones from now on."""
        arrival = answered.arrivals[number]
        if number < len(one.arrivals) and one.arrivals[number].event.id and arrival.event.id:
            self._bindings.bind(str(one.arrivals[number].event.id), arrival.event.id)
        if arrival.message is None or arrival.message.kind is not Kind.REQUEST:
            return
        before, now = (
            [a.message for a in x.arrivals if a.message is not None and a.message.kind is Kind.REQUEST]
            for x in (one, answered)
        )
        if len(now) <= len(before):
            async with self._asked:
                self._bindings.bind(_key(before[len(now) - 1].id), arrival.message.id)
                self._asked.notify_all()

    async def _content(self, one: Recorded) -> bytes:
        """The body to send, with what the server calls things now."""
        if one.is_response and one.message is not None:
            key = _key(one.message.id)
            try:
                async with asyncio.timeout(self._manner.patience), self._asked:
                    await self._asked.wait_for(lambda: self._bindings.get(key) is not None)
            except TimeoutError:
                return one.content  # the server did not ask: the difference shows in the exchange where it should have
            return dump({**self._bindings.now(one.message.raw), "id": self._bindings.get(key)})
        if not one.body.messages or one.body.sniffed:
            return one.content
        values = [message.raw for message in one.body.messages]
        now = [self._bindings.now(value) for value in values]
        return one.content if now == values else dump(now if one.body.batch else now[0])

    def _headers(self, one: Recorded) -> list[tuple[str, str]]:
        headers: list[tuple[str, str]] = []
        for name, value in one.headers.items():
            if name in self._manner.headers or name in _OWN or name.startswith(":"):
                continue
            if name in h.OF_ONE_MESSAGE and name not in _KEPT:
                continue
            if PLACEHOLDER.search(value) and not name.startswith(h.PARAM_PREFIX):
                self._result.withheld.add(name)
                continue
            headers.append((name, value))
        if one.session and not one.is_initialize:
            live = self._bindings.get(one.session)
            headers.append((h.SESSION_ID, str(live if live is not None else one.session)))
        last = one.headers.get(h.LAST_EVENT_ID)
        if last is not None:
            headers.append((h.LAST_EVENT_ID, str(self._bindings.now(last))))
        return [*headers, *self._manner.headers.items()]


def _key(request_id: object) -> str:
    return f"request {request_id!r} of the server"


async def _limited(response: httpx.Response) -> AsyncIterator[bytes]:
    read = 0
    async for piece in response.aiter_bytes():
        read += len(piece)
        if read > CONTENT_LIMIT:
            raise httpx.ReadError(f"the answer is longer than {CONTENT_LIMIT} bytes")
        yield piece


__all__ = ["Manner", "Result", "Row", "replay"]
