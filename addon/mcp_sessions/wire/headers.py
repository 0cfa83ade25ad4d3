"""Header names of Streamable HTTP, and what may be copied from one request to another.

Names are lower case throughout; values are text in which each byte is one character (latin-1),
so that whatever comes from the wire can be compared, stored, and written back as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

SESSION_ID = "mcp-session-id"
PROTOCOL_VERSION = "mcp-protocol-version"
LAST_EVENT_ID = "last-event-id"
METHOD = "mcp-method"
NAME = "mcp-name"
PARAM_PREFIX = "mcp-param-"

JSON = "application/json"
SSE = "text/event-stream"

CREDENTIALS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "api-key",
        "x-auth-token",
        "x-access-token",
        "x-goog-api-key",
        "x-amz-security-token",
        "x-csrf-token",
        "dpop",
    }
)
"""Headers whose value is a secret: kept in memory only, never logged."""

FORWARDED = frozenset({"via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"})
"""Headers by which an intermediary says that it passes on what somebody else sends."""

OF_ONE_MESSAGE = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        LAST_EVENT_ID,
        METHOD,
        NAME,
        PROTOCOL_VERSION,
        SESSION_ID,
    }
)
"""Headers that belong to a single message and are never carried over to a request of the proxy's own."""

ADDRESSED = frozenset({"host", "origin", "referer", "sec-fetch-site"})
"""Headers that say from where, and whom, somebody asks: by these a server refuses pages of other sites."""

_EXCLUDED = re.compile(r";\s*q=0(\.0*)?\s*(;|$)")
"""A weight of nothing in a media range (RFC 9110, 12.4.2)."""

type Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields as they came from the wire: order, case and repetitions kept."""

SHARED_VALUE = 256
"""Bytes of a header's value up to which it is kept once for all who send it."""
CACHED_ENTRIES = 1_000
"""Header sets that are kept, the latest ones: a client sends the same few again and again."""
CACHED_BYTES = 1024 * 1024
"""Bytes of names and values that are kept in all."""
CACHED_SET = 8 * 1024
"""Bytes of names and values of one header set beyond which it is not kept."""


CARRIED_LIMIT = 16 * 1024
"""Bytes of the header fields that are kept of a session, to be carried over; servers take no more of one request."""
FIELD_SIZE = 32
"""Bytes that a field counts for besides its name and value (as in RFC 9113, 10.5.1)."""

CACHED_TEXT = 1024
"""Bytes of a text from the wire up to which it is kept what it means."""


@lru_cache(maxsize=512)
def _known(name: bytes) -> str:
    return name.decode("latin-1").lower()


def _lower(name: bytes) -> str:
    """A header name in lower case: the same few names come with every message."""
    return _known(name) if len(name) <= CACHED_TEXT else name.decode("latin-1").lower()


@lru_cache(maxsize=128)
def _listed(accept: str) -> frozenset[str]:
    """The media types that an `Accept` names: clients send the same few with every message."""
    ranges = accept.lower().split(",")
    if "q=0" in accept:
        ranges = [part for part in ranges if not _EXCLUDED.search(part)]
    return frozenset(part.split(";", 1)[0].strip() for part in ranges)


@lru_cache(maxsize=128)
def _media_type(content_type: str) -> str:
    return content_type.split(";", 1)[0].strip().lower()


class HeaderMap(dict[str, str]):
    """Header fields by lower-case name; repeated fields are joined with a comma (RFC 9110, 5.3).

    A dictionary because it is asked some twenty times for each exchange; nobody writes to it, for it may be shared.
    """

    __slots__ = ("fields", "memo")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.fields: Fields = tuple(fields)
        self.memo: dict[str, Any] = {}
        """What somebody has worked out from the fields, to be found again when the same fields come again."""
        super().__init__([(_lower(name), value.decode("latin-1")) for name, value in self.fields])
        if len(self) != len(self.fields):
            self._join()

    def _join(self) -> None:
        """Read it once more: some names occur several times."""
        self.clear()
        for raw_name, raw_value in self.fields:
            name = _lower(raw_name)
            value = raw_value.decode("latin-1")
            self[name] = f"{self[name]}, {value}" if name in self else value

    def lists(self, *media_types: str) -> bool:
        """Whether `Accept` names every one of these media types itself; a wildcard lists nothing, nor does `q=0`."""
        return _listed(self.get("accept", "")[:CACHED_TEXT]).issuperset(media_types)

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case; empty if there is none."""
        return _media_type(self.get("content-type", "")[:CACHED_TEXT])


class _Cache(dict[Fields, HeaderMap]):
    """The latest header sets, bounded in their number and in their bytes; the oldest go first."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def keep(self, made: HeaderMap) -> None:
        """Keep a header set, unless it is large."""
        size = _size(made.fields)
        if size > CACHED_SET:
            return
        while self and (len(self) >= CACHED_ENTRIES or self.bytes + size > CACHED_BYTES):
            oldest = next(iter(self))
            del self[oldest]
            self.bytes -= _size(oldest)
        self[made.fields] = made
        self.bytes += size


_cache = _Cache()


def header_map(fields: Fields) -> HeaderMap:
    """The header map of these fields: the same one each time they come, with its `memo`, while it is remembered.

    To be called by one thread alone.
    """
    found = _cache.get(fields)
    if found is None:
        _cache.keep(found := HeaderMap(fields))
    return found


def _size(fields: Fields) -> int:
    return sum(len(name) + len(value) for name, value in fields)


def coded(headers: HeaderMap) -> bool:
    """Whether the body is not as it reads: it has a content coding."""
    return headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def open_ended(headers: HeaderMap | None) -> bool:
    """Whether something can be put before a body: not if it is compressed, or of a length that was given."""
    return headers is not None and "content-length" not in headers and "content-encoding" not in headers


def carried_over(headers: HeaderMap) -> Fields:
    """What a request of the proxy's own takes from a client's request: credentials and custom headers."""
    carried: Fields | None = headers.memo.get("carried")
    if carried is None:
        wanted = tuple(
            (name, value) if len(name) + len(value) > SHARED_VALUE or lower in CREDENTIALS else _shared((name, value))
            for name, value in headers.fields
            if (lower := _lower(name)) not in OF_ONE_MESSAGE and not lower.startswith((PARAM_PREFIX, ":"))
        )
        carried = headers.memo["carried"] = _fitting(wanted)
        headers.memo["left out"] = len(wanted) - len(carried)
    return carried


def carried_on(before: Fields, headers: HeaderMap) -> Fields:
    """What requests of the proxy's own take from a client's next request: the same, but who asks and whom stays.

    A later request may name a page or a host that the server refuses, and nobody is to be refused for that.
    """
    carried = carried_over(headers)
    if carried is before or not before:
        return carried
    wanted = _addressed(before)
    if wanted == _addressed(carried):
        return carried
    return (*(field for field in carried if _lower(field[0]) not in ADDRESSED), *wanted)


def _addressed(fields: Fields) -> Fields:
    return tuple(field for field in fields if _lower(field[0]) in ADDRESSED)


def left_out(headers: HeaderMap) -> int:
    """How many fields are not carried over, for want of room."""
    carried_over(headers)
    count: int = headers.memo["left out"]
    return count


def _fitting(fields: Fields) -> Fields:
    """What of these fields there is room for: credentials first, in the order in which they came."""
    if _size(fields) + FIELD_SIZE * len(fields) <= CARRIED_LIMIT:
        return fields
    room, fitting = CARRIED_LIMIT, list[int]()
    for number in sorted(range(len(fields)), key=lambda number: _lower(fields[number][0]) not in CREDENTIALS):
        size = _size((fields[number],)) + FIELD_SIZE
        if size <= room:
            room -= size
            fitting.append(number)
    return tuple(fields[number] for number in sorted(fitting))


@lru_cache(maxsize=4096)
def _shared(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """The same object for all sessions of clients that send the same."""
    return field


def of_session(session_id: str, revision: str) -> tuple[tuple[str, str], ...]:
    """The headers by which a request belongs to a session; without a revision where that is not known."""
    return ((SESSION_ID, session_id), (PROTOCOL_VERSION, revision)) if revision else ((SESSION_ID, session_id),)
