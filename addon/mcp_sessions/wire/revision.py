"""Revisions of the specification, and the two eras they fall into.

The session era has `initialize`, `Mcp-Session-Id` and `DELETE`; the stateless era has none of them and names its
revision in every request. The era belongs to an exchange: one connection may carry both.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

SESSION_REVISIONS = ("2025-03-26", "2025-06-18", "2025-11-25")
STATELESS_REVISIONS = ("2026-07-28",)
REVISIONS = SESSION_REVISIONS + STATELESS_REVISIONS
EARLIER = ("2024-10-07", "2024-11-05")
"""Revisions from before Streamable HTTP, which servers go on accepting by it: the TypeScript SDK names both."""

FIRST_STATELESS = STATELESS_REVISIONS[0]

META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
DISCOVER, LISTEN = "server/discover", "subscriptions/listen"
STATELESS_METHODS = frozenset({DISCOVER, LISTEN})


class Era(StrEnum):
    """Which rules of the game an exchange is played by."""

    SESSION = "session"
    STATELESS = "stateless"


def is_revision(text: str) -> bool:
    """Whether the text looks like a revision at all: a date, YYYY-MM-DD (basic/versioning)."""
    return len(text) == 10 and text[4] == text[7] == "-" and text[:4].isdigit() and text[5:7].isdigit()


def is_stateless(method: str | None, params: Any) -> bool:
    """Whether the body of a request says by itself that it is of the stateless era."""
    if method in STATELESS_METHODS:
        return True
    meta = params.get("_meta") if method != "initialize" and isinstance(params, dict) else None
    return isinstance(meta, dict) and META_VERSION in meta


def era(version_header: str | None, method: str | None, params: Any) -> Era:
    """The era of a request, from its version header, else from its body. `initialize` is always of the session era."""
    if method == "initialize":
        return Era.SESSION
    if version_header is not None and is_revision(version_header):
        return Era.STATELESS if version_header >= FIRST_STATELESS else Era.SESSION
    return Era.STATELESS if is_stateless(method, params) else Era.SESSION
