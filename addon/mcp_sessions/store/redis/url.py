"""The address of a shared ledger: read, refused in one line, and shown without its password."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ...wire.text import lacking

SCHEMES = ("redis", "rediss", "unix")

PREFIX = "mcp"
"""What all keys begin with, if the user names nothing else."""

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FORM = "redis://[user:pass@]host:port/db[?prefix=mcp], rediss://…[?ca=FILE] or unix:///path[?db=0&prefix=mcp]"

_FILES = ("ca", "cert", "key")
"""Files of TLS: who has signed the server's certificate; this proxy's own certificate and its key."""


def is_address(text: str) -> bool:
    """Whether a user means a server by this, not a file."""
    return "://" in text or text.partition(":")[0].lower() in SCHEMES


class Address(NamedTuple):
    """Where the ledger is, and what all of its keys begin with."""

    scheme: str
    host: str
    port: int
    path: str
    """Of the socket."""
    db: int
    user: str | None
    password: str | None
    prefix: str
    ca: str = ""
    """File with the certificates of whoever has signed the server's; empty for those that this system trusts."""
    cert: str = ""
    """File with this proxy's own certificate, where the server wants one."""
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Raises:
            ValueError: one line that says what is wrong with it; without the password.
        """
        if find_spec("redis") is None:
            raise ValueError(f"a ledger in Redis {lacking('fleet')}")
        try:
            at = urlsplit(text)
            port = at.port
        except ValueError:
            raise ValueError(f"no port that is a number, or a bracket too few: it is to be {_FORM}") from None
        if at.scheme not in SCHEMES:
            raise ValueError(f"{at.scheme!r} is none of {', '.join(SCHEMES)}: it is to be {_FORM}")
        asked = dict(parse_qsl(at.query, keep_blank_values=True))
        db, prefix = _database(at, asked.pop("db", "")), asked.pop("prefix", PREFIX)
        files = {name: asked.pop(name) for name in _FILES if at.scheme == "rediss" and name in asked}
        if asked:
            raise ValueError(f"nothing is known by the name of {min(asked)!r}: it is to be {_FORM}")
        if not _PREFIX.fullmatch(prefix):
            raise ValueError("a prefix is of letters, digits and _.- only, 64 at most")
        if at.scheme == "unix" and not at.path:
            raise ValueError(f"no path of a socket: it is to be {_FORM}")
        if at.scheme != "unix" and not at.hostname:
            raise ValueError(f"no host: it is to be {_FORM}")
        user, password = (unquote(part) if part else None for part in (at.username, at.password))
        socket = unquote(at.path) if at.scheme == "unix" else ""
        _tls(files)
        return cls(at.scheme, at.hostname or "", port or 6379, socket, db, user, password, prefix, **files)

    def __str__(self) -> str:
        """The address as it may stand in a log."""
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.db}"

    @property
    def options(self) -> dict[str, Any]:
        """How the client library is told."""
        options: dict[str, Any] = {"db": self.db, "username": self.user, "password": self.password}
        if self.scheme == "unix":
            return {**options, "unix_socket_path": self.path}
        options |= {"host": self.host, "port": self.port}
        if self.scheme == "rediss":
            options |= {"ssl": True, "ssl_ca_certs": self.ca or None}
            options |= {"ssl_certfile": self.cert or None, "ssl_keyfile": self.key or None}
        return options


def _tls(files: Mapping[str, str]) -> None:
    """Whether these can be used: the client library says so only later, and less clearly."""
    if bool(files.get("cert")) != bool(files.get("key")):
        raise ValueError("cert and key belong together: the certificate of this proxy, and its key")
    try:
        context = ssl.create_default_context(cafile=files.get("ca"))
    except OSError as e:
        raise ValueError(f"ca={files['ca']}: {_why(e, 'no certificates in it')}") from None
    if files.get("cert"):
        try:
            context.load_cert_chain(files["cert"], files["key"])
        except OSError as e:
            raise ValueError(f"cert={files['cert']}, key={files['key']}: {_why(e, 'no pair')}") from None


def _why(error: OSError, otherwise: str) -> str:
    return otherwise if isinstance(error, ssl.SSLError) else error.strerror or otherwise


def _database(at: SplitResult, asked: str) -> int:
    text = asked if at.scheme == "unix" else at.path.strip("/")
    if at.scheme != "unix" and asked:
        raise ValueError(f"the number of the database stands in the path: it is to be {_FORM}")
    if text and not (text.isascii() and text.isdigit() and len(text) < 6):
        raise ValueError(f"{text[:20]!r} is no number of a database: it is to be {_FORM}")
    return int(text or 0)
