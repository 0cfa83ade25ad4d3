"""The ledger as the page gets it: plain values, no session id, bounded."""

from __future__ import annotations

from itertools import islice
from typing import Any

from ..core.client import Client
from ..core.ledger import Ledger
from ..core.session import Session
from ..core.states import State
from ..rules import catalogue
from .journal import Journal
from .table import says, totals

PAGE = 500
"""Sessions in one answer."""

MOMENTS = 16
"""Entries of a session's history that its time line shows; all that are kept stand in its details."""

STREAMS = 20


def changes(ledger: Ledger, journal: Journal, since: int, now: float) -> dict[str, Any]:
    """What has changed after that version: sessions (a page of them), their clients, rules, and the totals."""
    sessions, version, more = journal.since(since, PAGE)
    clients = {client.number: client for session in sessions if (client := session.client)}
    counted = totals(ledger)
    counted["clients"] = sum(not client.gone for client in ledger.clients.values())
    counted["violations"] = sum(broken.times for broken in journal.rules.values())
    return {
        "version": version,
        "more": more,
        "now": now,
        "totals": counted,
        "clients": [_client(client) for client in clients.values()],
        "sessions": [_session(session) for session in sessions],
        "rules": [_rule(rule, journal) for rule, broken in journal.rules.items() if broken.version > since],
    }


def details(session: Session) -> dict[str, Any]:
    """All that is kept of one session."""
    return {
        **_session(session),
        "history": [[entry.at, entry.what, entry.detail] for entry in session.history],
        "owners": [[owner.label, says(owner), owner.gone, at] for owner, at in islice(session.owners.items(), 50)],
    }


def _session(session: Session) -> dict[str, Any]:
    client = session.client
    ended = next((e for e in reversed(session.history) if e.state is State.CLOSED), None)
    return {
        "n": session.number,
        "label": session.label,
        "state": session.state.value,
        "client": client.number if client else 0,
        "endpoint": str(session.endpoint),
        "revision": session.revision,
        "requests": session.requests,
        "recoveries": session.recoveries,
        "opened": session.opened,
        "by": session.opened_by,
        "used": session.last_used,
        "kept": session.kept,
        "evidence": session.evidence,
        "ended": ended.at if ended else None,
        "enders": session.ended_by,
        "streams": [[flow, since] for flow, since in islice(session.streams.items(), STREAMS)],
        "violations": dict(sorted(session.violations.items())),
        "moments": [[entry.at, entry.what, entry.state] for entry in session.history[-MOMENTS:]],
    }


def _client(client: Client) -> dict[str, Any]:
    return {
        "n": client.number,
        "label": client.label,
        "says": says(client),
        "gone": client.gone_at,
        "connections": len(client.connections),
    }


def _rule(rule_id: str, journal: Journal) -> dict[str, Any]:
    rule, broken = catalogue()[rule_id], journal.rules[rule_id]
    return {
        "id": rule_id,
        "name": rule.name,
        "party": rule.party,
        "level": broken.latest[-1].level,
        "summary": rule.summary,
        "times": broken.times,
        "latest": [
            {
                "at": v.at,
                "client": v.client,
                "session": v.session,
                "detail": v.detail,
                "clause": v.clause,
                "flow": v.flow,
            }
            for v in broken.latest
        ],
    }
