"""Carrying out a handshake in a client's place: `initialize`, `initialized`, and then what the session held."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from mitmproxy import connection

from ..core.core import Core
from ..core.recovery import handshake
from ..core.recovery.handshake import Step
from ..core.recovery.server_state import Listing
from ..core.session import Session
from ..wire import headers as h
from ..wire.headers import Fields, HeaderMap
from .outbound import Order, Outcome, OwnRequests

STEP_PATIENCE = 5.0
"""Seconds within which each message after the `initialize` must be answered; it is not waited for longer."""

AT_ONCE = 8
"""Messages that restore a session, under way at the same time."""

PAGES = 20
"""Pages of a list that are read."""


class Shaking:
    """One handshake: for which session, where to, and with whose headers."""

    def __init__(
        self,
        own: OwnRequests,
        core: Core,
        session: Session,
        url: str,
        fields: Fields,
        client: connection.Client | None,
    ) -> None:
        self._own = own
        self._core = core
        self._session = session
        self._url = url
        self._fields = fields
        self._client = client
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def perform(self, patience: float) -> str:
        """Shake hands; why there is no new session, or nothing if there is. Waits `patience` seconds for it at most."""
        order = Order(
            "initialize",
            "POST",
            self._url,
            self._fields,
            content=handshake.opening(self._session),
            session=self._session,
        )
        sent = await self._own.send(order, self._client, patience)
        headers = sent.headers or HeaderMap()
        if not self._core.shaken(self._session, sent.status or 0, headers, sent.answer, time.time()):
            return sent.problem or f"initialize was answered {sent.status}"
        following = self._core.recoveries.following(self._session)
        await self._send(following.initialized)
        if following.restore or following.lists:
            await asyncio.gather(*map(self._restore, following.restore), *map(self._read, following.lists))
        return ""

    async def _restore(self, step: Step) -> None:
        async with self._slots:
            sent = await self._send(step)
        message = sent.answer.first if sent.answer else None
        if message is None or message.result is None:
            why = sent.problem or f"answered {sent.status}"
            self._core.recoveries.not_restored(self._session, step.what, why)

    async def _read(self, listing: Listing) -> None:
        items: list[Any] = []
        cursor: str | None = None
        for page in range(PAGES):
            async with self._slots:
                sent = await self._send(handshake.list_request(listing, cursor, page))
            message = sent.answer.first if sent.answer else None
            if message is None or message.result is None:
                return  # what can't be read can't be compared
            found = message.result.get(listing.items)
            items += found if isinstance(found, list) else []
            cursor = message.result.get("nextCursor")
            if not isinstance(cursor, str):
                break
        self._core.recoveries.listed(self._session, listing, items)

    async def _send(self, step: Step) -> Outcome:
        headers = [(h.SESSION_ID, self._session.server_id)]
        if self._session.revision:
            headers.append((h.PROTOCOL_VERSION, self._session.revision))
        order = Order(step.what, "POST", self._url, self._fields, tuple(headers), step.body, self._session)
        return await self._own.send(order, self._client, STEP_PATIENCE)
