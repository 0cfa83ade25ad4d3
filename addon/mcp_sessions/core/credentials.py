"""Credentials as keyed hashes: equal when they are equal, and of no use to anybody else."""

from __future__ import annotations

import hashlib
import secrets

from ..wire.headers import CREDENTIALS, HeaderMap


class Fingerprints:
    """Makes them with a key of its own, which is nowhere written down."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)

    def of(self, headers: HeaderMap) -> str:
        """The credentials of a request; empty if it has none."""
        if CREDENTIALS.isdisjoint(headers):
            return ""
        known: tuple[bytes, str] | None = headers.memo.get("credentials")
        if known is None or known[0] is not self._key:
            known = headers.memo["credentials"] = (self._key, self._digest(headers))
        return known[1]

    def _digest(self, headers: HeaderMap) -> str:
        digest = hashlib.blake2b(key=self._key, digest_size=12)
        for name, value in sorted((name, value) for name, value in headers.items() if name in CREDENTIALS):
            digest.update(f"{name}\0{value}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
