"""Header names of Streamable HTTP, and what may be copied from one request to another.

Names are lower case throughout; values are text in which each byte is one character (latin-1),
so that whatever comes from the wire can be compared, stored, and written back as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

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

_EXCLUDED = re.compile(r";\s*q=0(\.0*)?\s*(;|$)")
"""A weight of nothing in a media range (RFC 9110, 12.4.2)."""

type Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields as they came from the wire: order, case and repetitions kept."""


@lru_cache(maxsize=512)
def _lower(name: bytes) -> str:
    """A header name in lower case: the same few names come with every message."""
    return name.decode("latin-1").lower()


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

    A dictionary because it is asked some twenty times for each exchange; nobody writes to it.
    """

    __slots__ = ("fields",)

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__()
        self.fields: Fields = tuple(fields)
        for raw_name, raw_value in self.fields:
            name = _lower(raw_name)
            value = raw_value.decode("latin-1")
            self[name] = f"{self[name]}, {value}" if name in self else value

    def lists(self, *media_types: str) -> bool:
        """Whether `Accept` names every one of these media types itself; a wildcard lists nothing, nor does `q=0`."""
        return _listed(self.get("accept", "")).issuperset(media_types)

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case; empty if there is none."""
        return _media_type(self.get("content-type", ""))


def coded(headers: HeaderMap) -> bool:
    """Whether the body is not as it reads: it has a content coding."""
    return headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def carried_over(fields: Fields) -> Fields:
    """What a request of the proxy's own takes from a client's request: credentials and custom headers."""
    return tuple(
        (name, value)
        for name, value in fields
        if (lower := name.decode("latin-1").lower()) not in OF_ONE_MESSAGE and not lower.startswith((PARAM_PREFIX, ":"))
    )
