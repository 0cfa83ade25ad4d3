"""Credentials as they may be stored where others could read them: encrypted, for whoever has the key of the user's."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path

from ...wire.headers import Fields

SHORTEST = 16
"""Bytes that a key must have."""

_NONCE = 12


def read_key(text: str) -> bytes:
    """The key that a user names: `env:NAME`, or a file.

    Raises:
        ValueError: one line that says what is wrong with it.
    """
    if text.startswith("env:"):
        found = os.environ.get(text[4:], "").encode()
    else:
        try:
            found = Path(text).expanduser().read_bytes()
        except OSError as e:
            raise ValueError(f"{text} can't be read ({e.strerror or e}); a file, or env:NAME") from None
    if len(found.strip()) < SHORTEST:
        raise ValueError(f"{text} holds less than {SHORTEST} bytes: `openssl rand -hex 32` makes a key")
    return found.strip()


class Seal:
    """Encrypts with AES-GCM; what was sealed for one session opens for no other."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(hashlib.blake2b(key, digest_size=32, person=b"mcp-seal").digest())

    def close(self, name: str, url: str, fields: Fields) -> bytes:
        """The URL and the header fields of a session, by its name in keys; empty if there is nothing secret in them."""
        if not fields and "?" not in url:
            return b""
        nonce = secrets.token_bytes(_NONCE)
        told = [url, [[part.decode("latin-1") for part in field] for field in fields]]
        return nonce + self._cipher.encrypt(nonce, json.dumps(told).encode(), name.encode())

    def open(self, name: str, sealed: bytes) -> tuple[str, Fields] | None:
        """The same again; None if it was sealed with another key, or for another session."""
        from cryptography.exceptions import InvalidTag

        try:
            url, fields = json.loads(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode()))
            return str(url), tuple((one.encode("latin-1"), other.encode("latin-1")) for one, other in fields)
        except (InvalidTag, ValueError, TypeError):
            return None
