"""How MCP flows look in mitmproxy's flow list: a short comment, a marker, and metadata to filter by.

Comments and markers that a user made are left alone: what the addon wrote before is replaced, nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mitmproxy import flow as mflow

from ..core.exchange import Exchange
from ..core.session import Session
from ..rules import catalogue
from ..rules.checks import ON_SESSION
from ..wire.text import printable
from .metadata import CLIENT, COMMENT, EVIDENCE, MARK, NUMBER, PRESENTED, RULES, SESSION

REFUSED = ":no_entry:"
VIOLATION = ":warning:"
RECOVERY = ":recycle:"
ENDING = ":checkered_flag:"
MEANINGS = {
    VIOLATION: "breaks a rule; the comment names it",
    REFUSED: "was refused by a server that had lost the session; it was sent again in a flow of its own",
    RECOVERY: "was answered after the session was brought back, or brought it back",
    ENDING: "ends a session",
}
"""Markers of the addon's own and what they mean, each more important than those after it."""

_RANK = ("", *reversed(MEANINGS))


def annotate(flow: mflow.Flow, x: Exchange) -> None:
    """Say in the flow list what is known of an exchange by now."""
    flow.metadata[CLIENT] = x.client.label
    session = x.session or x.opened
    words = [printable(x.what, 100)]
    if session is not None:
        words.append(f"session {belongs_to(flow, session)}")
    if x.stranger:
        words.append("not its client")
    if x.attempts:
        words.append("recovered")
        mark(flow, RECOVERY)
    if x.verb == "DELETE" and x.status is not None and session is not None:
        words.append(f"{session.state}")
        mark(flow, ENDING)
    if x.status is not None and not x.ok:
        words.append(f"answered {x.status}")
    if x.verdict:
        words.append(x.verdict)
    if x.finish is not None and x.finish.value != "complete":
        words.append(x.finish.value)
    write(flow, " · ".join(words))
    if x.findings:
        mark_rules(flow, x.findings)


def own(flow: mflow.Flow, session: Session, what: str, *, ending: bool) -> None:
    """A request of the proxy's own, such as the `DELETE session` of an ending."""
    belongs_to(flow, session)
    flow.metadata[CLIENT] = session.client_label
    flow.metadata[PRESENTED] = session.client_id
    words = [f"by the proxy: {what}", f"session {session.label}", session.evidence if ending else ""]
    write(flow, " · ".join(word for word in words if word))
    mark(flow, ENDING if ending else RECOVERY)
    if ending:
        flow.metadata[EVIDENCE] = session.evidence
        # What its client has left undone no flow of the client's shows.
        mark_rules(flow, [rule for rule, _ in ON_SESSION if rule in session.violations])


def refused(flow: mflow.Flow, x: Exchange, status: int, again: str) -> None:
    """The copy of an exchange that the server refused and that is sent again in the flow `again`."""
    flow.comment = ""
    for key in (COMMENT, MARK, RULES):
        flow.metadata.pop(key, None)
    flow.marked = ""
    words = [f"refused {status}: {printable(x.what, 100)}"]
    if x.session is not None:
        words.append(f"session {x.session.label}")
    words.append(f"sent again as {again[:8]}")
    write(flow, " · ".join(words))
    mark(flow, REFUSED)


def mark_rules(flow: mflow.Flow, rule_ids: Iterable[str]) -> None:
    """Mark a flow that breaks these rules, and name them in its comment."""
    before: list[str] = flow.metadata.get(RULES, [])
    rules = list(dict.fromkeys([*before, *rule_ids]))
    if rules == before:
        return
    flow.metadata[RULES] = rules
    base = str(flow.metadata.get(COMMENT, "")).removesuffix(_broken(before)).removesuffix(" · ")
    write(flow, " · ".join(part for part in (base, _broken(rules)) if part))
    mark(flow, VIOLATION)


def _broken(rules: Collection[str]) -> str:
    return f"breaks {', '.join(f'{rule} {catalogue()[rule].name}' for rule in rules)}" if rules else ""


def belongs_to(flow: mflow.Flow, session: Session) -> str:
    """Note whose session a flow is part of; the session's label."""
    metadata = flow.metadata
    if metadata.get(NUMBER) != session.number or SESSION not in metadata:  # a file may come from anybody
        metadata[NUMBER] = session.number
        metadata[SESSION] = session.label
    return str(metadata[SESSION])


def write(flow: mflow.Flow, text: str) -> None:
    """Put a text into the flow's comment: in the place of the one before, or behind what a user wrote."""
    before = flow.metadata.get(COMMENT)
    flow.metadata[COMMENT] = text
    if not flow.comment:
        if before is None:
            flow.comment = text  # else the user has emptied it
    elif not isinstance(before, str):
        flow.comment = f"{flow.comment} · {text}"
    elif before in flow.comment:
        flow.comment = flow.comment.replace(before, text, 1)


def mark(flow: mflow.Flow, marker: str) -> None:
    """Set a marker, unless the user has set one or a more important one stands there."""
    mine = flow.metadata.get(MARK, "")
    if flow.marked != mine or (mine in _RANK and _RANK.index(marker) <= _RANK.index(mine)):
        return
    flow.marked = flow.metadata[MARK] = marker


def flows_of(flows: Iterable[mflow.Flow], sessions: Collection[Session]) -> list[mflow.Flow]:
    """The flows that belong to these sessions: the client's, the proxy's own and the refused ones."""
    wanted = {(session.number, session.label) for session in sessions}
    return [flow for flow in flows if (flow.metadata.get(NUMBER), flow.metadata.get(SESSION)) in wanted]
