"""Credentials as hashes: equal when they are equal, and of no use to anybody else.

Kept in memory, where the credentials themselves are, they have no key. Written down they have one, which stands with
them: what was stolen from one place is worth nothing in another. `Fingerprints` knows both kinds.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from ..wire.headers import CREDENTIALS, HeaderMap
from ..wire.identity import credentials
from .session import UNKNOWN_CREDENTIALS, Whose

KEYED = "keyed:"
"""What a hash begins with that was written down."""

APART = "\u241f"
"""What parts a session's id, where it is written down, from whose it is; no id holds it, for ids are latin-1."""

SIZE = 12
"""Bytes of a hash."""

QUERY_LIMIT = 1024
"""Characters of a query up to which it is remembered what it hashes to."""


class Fingerprints:
    """Makes hashes, and compares them."""

    def __init__(self) -> None:
        self.key = b""
        """Of what is written down; empty while nothing is."""

    def of(self, headers: HeaderMap, url: str = "") -> str:
        """The credentials of a request; empty if it has none. A query counts as such: it often holds a key."""
        _, asked, query = url.partition("?")
        if CREDENTIALS.isdisjoint(headers):
            found = ""
        else:
            known: str | None = headers.memo.get("credentials")
            if known is None:
                known = headers.memo["credentials"] = _of_headers(headers)
            found = known
        if not asked:
            return found
        return (_of_query if len(query) <= QUERY_LIMIT else _hash)(found, query)

    def same(self, kept: str, found: str) -> bool:
        """Whether what is kept of a session are the credentials that were found on a request."""
        return kept == found or (kept.startswith(KEYED) and bool(found) and kept == KEYED + self._keyed(found))

    def written(self, kept: str) -> str | None:
        """What is kept of a session, as it is written down: empty for no credentials, None for unknown ones."""
        if kept.startswith(KEYED):
            return kept.removeprefix(KEYED)
        if kept and (not self.key or kept == UNKNOWN_CREDENTIALS):
            return None
        return self._keyed(kept) if kept else ""

    def read(self, found: str) -> str:
        """The credentials that were found on a request, as they are kept of a session that was written down."""
        return read(self.written(found))

    def name(self, client_id: str, whose: Whose | None) -> str:
        """By what a session is written down: its client's id, and whose it is if that is not enough."""
        if whose is None:
            return client_id
        host, credentials = whose
        return client_id + APART + self._keyed(f"{host}\0{self.written(credentials)}")

    def _keyed(self, found: str) -> str:
        return hashlib.blake2b(found.encode(), key=self.key, digest_size=SIZE).hexdigest()


def read(written: str | None) -> str:
    """What was written down, as it is kept of a session."""
    if written is None:
        return UNKNOWN_CREDENTIALS
    return KEYED + written if written else ""


def _of_headers(headers: HeaderMap) -> str:
    parts = [part for pair in credentials(headers) for part in pair]
    return _hash(*parts) if parts else ""


def _hash(*parts: str) -> str:
    digest = hashlib.blake2b(digest_size=SIZE, person=b"mcp-sessions")
    for part in parts:
        digest.update(f"{len(part)}\0{part}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


_of_query = lru_cache(maxsize=1024)(_hash)
