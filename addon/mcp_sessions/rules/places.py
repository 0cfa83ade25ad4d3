"""What is remembered of an endpoint: what it hands out, how it behaves, which headers its tools ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core.client import ClientKey
from .tables import Recent

ASSIGNED_LIMIT = 10_000
"""Session ids of an endpoint of which it is known that they were handed out (as hashes)."""
TOOLS_LIMIT = 2_000
"""Tools of an endpoint whose `x-mcp-header` annotations are known."""

PAGES_LIMIT = 1_000
"""Pages of lists of an endpoint of which it is known who may keep them."""
ROUNDS_LIMIT = 1_000
"""Requests of an endpoint that wait for their next round."""
DECLARED_LIMIT = 100
"""Credentials for which it is known what an endpoint has declared."""


class Annotated(NamedTuple):
    """A parameter of a tool that is to be mirrored into a header."""

    path: tuple[str, ...]
    header: str
    kind: str


@dataclass(slots=True, eq=False)
class Place:
    """What is remembered of an endpoint."""

    assigns: bool = False
    """It assigned a session id to some `initialize`."""
    modern: bool = False
    """It has shown that it speaks 2026-07-28."""
    only_modern: bool = False
    """It has said that it speaks nothing else."""
    older: bool = False
    """It has shown that it speaks HTTP+SSE, the transport of 2024-11-05."""
    refuses_delete: bool = False
    latest: Recent[str, None] = field(default_factory=lambda: Recent(16))
    handed_out: Recent[int, None] = field(default_factory=lambda: Recent(ASSIGNED_LIMIT))
    tools: Recent[tuple[tuple[ClientKey, str], str], tuple[float, tuple[Annotated, ...]]] = field(
        default_factory=lambda: Recent(TOOLS_LIMIT)
    )
    """By client, credentials and name: until when it holds, and what is annotated."""
    declared: Recent[str, frozenset[str]] = field(default_factory=lambda: Recent(DECLARED_LIMIT))
    """What it has declared in `server/discover`, by credentials: see `talks.OF_SERVERS`."""
    pages: Recent[int, str] = field(default_factory=lambda: Recent(PAGES_LIMIT))
    """Who may keep the page before, by the cursor that it gave."""
    orders: Recent[str, tuple[int, int]] = field(default_factory=lambda: Recent(DECLARED_LIMIT))
    """The latest list of tools by credentials: hashes of what is in it, and of that in its order."""
    misannotated: Recent[tuple[str, str], float | None] = field(default_factory=lambda: Recent(TOOLS_LIMIT))
    """When a tool was listed whose `x-mcp-header` annotations are invalid; None for the others."""
    rounds: Recent[int, tuple[Any, ...]] = field(default_factory=lambda: Recent(ROUNDS_LIMIT))
    """Results that asked for input, by the request: see `rounds`."""
    outputs: Recent[tuple[str, str], Any] = field(default_factory=lambda: Recent(TOOLS_LIMIT))
    """The `outputSchema` of tools, by credentials and name; None for those that have none."""
    said: set[str] = field(default_factory=set)
