"""The report: a recording as a page of Markdown that can be pasted into an issue as it is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic_core import to_json

from ..proxy.metadata import REFUSED
from ..wire.jsonrpc import Kind, Message, parse
from .faults import REPRODUCE, Broken, Fault, faults, headers_that_matter, told
from .markup import block, code, diagram, shown
from .recorded import Conversation, Recorded, conversations
from .redact import CUT_OUT

LIMIT = 60_000
"""Characters of a report; an issue takes 65,536."""
ARROWS = 150
"""Lines of one diagram."""
DIAGRAM_LIMIT = 18_000
MESSAGE_LIMIT = 3_000
MESSAGES_LIMIT = 24_000
SESSIONS = 20
"""Sessions that are told in full."""
TOLD = 20
"""Rules that are told in full."""
NAMED = 40
"""Exchanges that are named as left out."""
CASES = 3
"""Cases of each."""


@dataclass(frozen=True, slots=True)
class About:
    """What the report says of itself."""

    versions: Mapping[str, str] = field(default_factory=dict)
    redacted: bool = True
    secrets: int = 0
    cut_out: int = 0
    """Values through which a user's pattern could not be searched in time."""


def report(exchanges: Sequence[Recorded], broken: Sequence[Broken], about: About) -> str:
    """The whole page."""
    ordered = sorted(exchanges, key=lambda one: one.at)
    numbers = {one.id: number for number, one in enumerate(ordered, 1)}
    found = conversations(ordered)
    parts = ["\n".join(_head(ordered, found, about))]
    found_faults = faults(broken)
    if found_faults:
        by_id = {one.id: one for one in ordered}
        parts.append("## Violations\n\n" + "\n".join(_violations(found_faults)))
        parts += (
            f"### {fault.title}\n\n" + "\n".join(told(fault, CASES, numbers, by_id)) for fault in found_faults[:TOLD]
        )
    parts.append("## Reproduce\n\n" + REPRODUCE)
    left = LIMIT - sum(len(part) for part in parts)
    for shown_so_far, conversation in enumerate(found):
        section = "\n".join(_session(conversation, numbers, broken))
        if shown_so_far >= SESSIONS or len(section) + 200 > left:
            parts.append(f"… {len(found) - shown_so_far} more in the recording: export them one by one.")
            break
        parts.append(section)
        left -= len(section) + 2
    return "\n\n".join(parts) + "\n"


def _head(ordered: Sequence[Recorded], found: Sequence[Conversation], about: About) -> Iterator[str]:
    sessions = sum(bool(one.session) for one in found)
    yield "# MCP recording\n"
    yield f"{_count(sessions, 'session')}, {_count(len(ordered), 'exchange')}."
    if about.redacted:
        yield (
            f"{_count(about.secrets, 'secret')} replaced; equal placeholders, such as `<secret-1>`, mean equal values."
            if about.secrets
            else "No secrets were found in it."
        )
        if about.cut_out:
            yield f"{_count(about.cut_out, 'value')} cut out whole (`{CUT_OUT}`): a pattern took too long for them."
    else:
        yield "**Not redacted: it holds credentials. Do not publish it.**"
    yield "\n| | |\n|---|---|"
    if ordered:
        last = max(one.ended_at for one in ordered)
        yield f"| recorded | {_moment(ordered[0].at)} to {_moment(last)} |"
    for name, version in about.versions.items():
        yield f"| {name} | {code(version)} |"


def _session(conversation: Conversation, numbers: dict[str, int], broken: Sequence[Broken]) -> Iterator[str]:
    name = code(conversation.session, 60) if conversation.session else "without a session"
    yield f"## {'Session ' if conversation.session else 'Traffic '}{name}\n"
    yield "| | |\n|---|---|"
    for key, value in conversation.facts():
        if value:
            yield f"| {key} | {value} |"
    yield ""
    if any(one.own == REFUSED for one in conversation.exchanges):
        yield "A request that was refused stands here twice: with the refusal, and with the second attempt's answer."
    if conversation.renamed:
        yield "Since it was brought back, the server knows it by another id: requests are shown as the server got them,"
        yield "their answers as the client did."
    yield ""
    yield from _sequence(conversation, numbers)
    faulty = {one.exchange for one in broken}
    messages = list(_messages(conversation, numbers, faulty))
    if messages:
        yield "\n### Messages that matter\n"
        yield from messages
    others = [str(numbers[one.id]) for one in conversation.exchanges if not _matters(one, faulty)]
    if others:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        yield f"\nLeft out, for nothing is wrong with them: exchanges {', '.join(others[:NAMED])}{more}."


def _sequence(conversation: Conversation, numbers: dict[str, int]) -> Iterator[str]:
    arrows = sorted(_arrows(conversation, numbers), key=lambda arrow: arrow[0])
    began = conversation.exchanges[0].at
    by_proxy = any(one.own for one in conversation.exchanges)
    lines = ["sequenceDiagram", "  participant C as Client"]
    if by_proxy:
        lines.append("  participant P as Proxy")
    lines.append("  participant S as Server")
    size = sum(len(line) for line in lines)
    for number, (at, arrow, text) in enumerate(arrows):
        line = f"  {arrow}: {diagram(text)} (+{at - began:.3f} s)"
        size += len(line) + 1
        if number >= ARROWS or size > DIAGRAM_LIMIT:
            lines.append(f"  Note over C,S: {len(arrows) - number} more messages")
            break
        lines.append(line)
    yield "```mermaid"
    yield from lines
    yield "```"


def _arrows(conversation: Conversation, numbers: dict[str, int]) -> Iterator[tuple[float, str, str]]:
    for one in conversation.exchanges:
        if one.own == REFUSED:
            yield one.ended_at, "S--xP", f"{numbers[one.id]}. refused with {one.status}: {one.what}"
            continue
        sender = "P" if one.own else "C"
        yield one.at, f"{sender}->>S", f"{numbers[one.id]}. {one.what}"
        if one.streams:
            for arrival in one.arrivals:
                if arrival.message is not None:
                    yield arrival.at, f"S-->>{sender}", f"{numbers[one.id]}. {_said(arrival.message)}"
        elif one.status is not None:
            response = one.response()
            said = f"{one.status} {_said(response)}" if response is not None else f"{one.status}"
            yield one.ended_at, f"S-->>{sender}" if one.ok else f"S--x{sender}", f"{numbers[one.id]}. {said}"
        if one.broken:
            arrow = f"{sender}--xS" if one.by_client else f"S--x{sender}"
            yield one.ended_at, arrow, f"{numbers[one.id]}. broken off: {one.broken}"


def _said(message: Message) -> str:
    match message.kind:
        case Kind.RESPONSE:
            return "result" if message.error is None else f"error {message.error_code}"
        case Kind.INVALID:
            return "not JSON-RPC"
        case _:
            return message.method or ""


def _violations(found: Sequence[Fault]) -> Iterator[str]:
    yield "| rule | by | level | times | what is wrong |"
    yield "|---|---|---|---|---|"
    for fault in found:
        rule = fault.rule
        yield f"| {rule.id} {rule.name} | {rule.party} | {rule.level} | {len(fault.cases)} | {rule.summary} |"
    if len(found) > TOLD:
        yield f"\nThe first {TOLD} of them are told in full."


def _messages(conversation: Conversation, numbers: dict[str, int], faulty: set[str]) -> Iterator[str]:
    size = 0
    for one in conversation.exchanges:
        if not _matters(one, faulty):
            continue
        for title, text in _both(one):
            headers = headers_that_matter(*((one.headers,) if title == "request" else (one.answer_headers, ())))
            heading = f"**{numbers[one.id]}. {code(one.what, 100)}, {title}** ({headers})"
            entry = f"{heading}\n\n{block(text, 'json', MESSAGE_LIMIT)}\n"
            size += len(entry)
            if size > MESSAGES_LIMIT:
                yield "… the others are in the recording.\n"
                return
            yield entry


def _matters(one: Recorded, faulty: set[str]) -> bool:
    if one.is_initialize or one.own or one.broken or one.id in faulty or not one.ok:
        return True
    return any(message.error is not None for message in one.messages())


def _both(one: Recorded) -> Iterator[tuple[str, str]]:
    yield "request", _pretty(one.content) if one.content else "(no body)"
    for message in one.messages():
        if message.kind is not Kind.NOTIFICATION:
            yield f"answer {one.status}", to_json(message.raw, indent=2).decode()
    if one.answer_content and not one.streams and not parse(one.answer_content).messages:
        yield f"answer {one.status}", one.answer_content[: MESSAGE_LIMIT + 1].decode("utf-8", "replace")
    elif one.status is not None and not one.answer_content:
        yield f"answer {one.status}", "(no body)"


def _pretty(content: bytes) -> str:
    body = parse(content)
    if not body.messages or body.sniffed:
        return content[: MESSAGE_LIMIT + 1].decode("utf-8", "replace")
    values = [message.raw for message in body.messages]
    return to_json(values if body.batch else values[0], indent=2).decode()


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03d} UTC"


def _count(number: int, what: str) -> str:
    return f"{number} {what if number == 1 else what + 's'}"


def table(rows: Iterable[Sequence[str]], limit: int = 60) -> str:
    """Rows as columns of text, the first row as the heading."""
    cells = [[shown(cell, limit) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
