"""The tables of `core.states` as diagrams, for docs/architecture.md: Mermaid, made from the tables themselves."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from ..core.recovery.dialects import ROWS, Needs, Verdict
from ..core.states import CLIENT, DELETE, JOINT, RECOVERY, SERVER, WORDS, ClientSide


def machine[S: StrEnum, T: StrEnum](table: Mapping[S, Mapping[T, S]]) -> str:
    """A table of transitions as a state diagram; triggers that lead the same way share an arrow."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(table)).name}"]
    for state, row in table.items():
        arrows: dict[S, list[str]] = {}
        for trigger, following in row.items():
            arrows.setdefault(following, []).append(trigger.value)
        lines += [f"    {state.name} --> {to.name}: {', '.join(triggers)}" for to, triggers in arrows.items()]
        if not row:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join([*lines, "```", ""])


def words() -> str:
    """The words that users read, by the two sides; a dash for pairs that never are."""
    rows = ["| server \\ client | " + " | ".join(ClientSide.__members__) + " |", "|---" * (len(ClientSide) + 1) + "|"]
    for server, row in WORDS.items():
        shown = ["-" if (client, server) in JOINT else word for client, word in zip(ClientSide, row, strict=True)]
        rows.append(f"| {server.name} | " + " | ".join(shown) + " |")
    return "\n".join(rows) + "\n"


def dialects() -> str:
    """The ways to say that a session is lost."""
    rows = [
        "| status | what says so | if of the session it is known that | only if asked for | seen at |",
        "|---" * 5 + "|",
    ]
    for row in ROWS:
        if row.verdict is Verdict.LOST:
            reason = row.reason.format(status=row.status, code="error")
            needs = "" if row.needs is Needs.NOTHING else row.needs.value
            cells = (str(row.status), reason, needs, "yes" if row.optional else "", row.seen_at)
            rows.append(f"| {' | '.join(cell.replace('|', '\\|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def diagrams() -> dict[str, str]:
    """All that is drawn, by the name of its place in the page."""
    return {
        "client": machine(CLIENT),
        "server": machine(SERVER),
        "words": words(),
        "recovery": machine(RECOVERY),
        "delete": machine(DELETE),
        "dialects": dialects(),
    }
