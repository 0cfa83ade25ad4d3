"""Marks on flows: comments, markers and metadata, so that mitmproxy's own filters find what was found."""

from __future__ import annotations

from collections.abc import Sequence

from mitmproxy import flow

from ..rules import catalogue

RULES = "mcp_rules"
"""Flow metadata: ids of the rules that this flow shows to be broken (`~meta mcp_rules`, `~meta MCP305`)."""

MARKER = ":warning:"
COMMENT_LIMIT = 2_000


def mark_rules(flow: flow.Flow, rule_ids: Sequence[str]) -> None:
    """Say on a flow which rules it breaks; what others have said on it stays."""
    known = list(flow.metadata.get(RULES, []))
    fresh = [rule_id for rule_id in dict.fromkeys(rule_ids) if rule_id not in known]
    if not fresh:
        return
    flow.metadata[RULES] = [*known, *fresh]
    text = ", ".join(f"{rule_id} {catalogue()[rule_id].name}" for rule_id in fresh)
    flow.comment = f"{flow.comment}; {text}"[:COMMENT_LIMIT] if flow.comment else text
    if not flow.marked:
        flow.marked = MARKER
