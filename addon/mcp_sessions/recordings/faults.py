"""A broken rule as a maintainer wants it told: what the clause says, why it matters, and what was sent instead."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..proxy.metadata import REFUSED
from ..rules import Level, Rule, catalogue
from ..wire import headers as h
from ..wire.headers import HeaderMap
from .markup import block, code, shown
from .recorded import Recorded

ALWAYS = (h.SESSION_ID, h.PROTOCOL_VERSION)
"""Headers whose absence says something, too."""

RELEVANT = (*ALWAYS, "accept", "content-type", "last-event-id", "mcp-method", "mcp-name", "www-authenticate", "allow")
"""Headers that matter to the transport."""

VALUE_LIMIT = 120
HAND_LIMIT = 1_000
"""Characters of a line for a shell."""
WHY_LIMIT = 600


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that an exchange breaks."""

    rule: str
    detail: str = ""
    clause: str = ""
    exchange: str = ""
    """Id of the exchange; empty if none shows it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule with all its cases."""

    rule: Rule
    cases: tuple[Broken, ...]

    @property
    def title(self) -> str:
        """`MCP104 version-header-missing (client, MUST), 3 times`."""
        times = f", {len(self.cases)} times" if len(self.cases) > 1 else ""
        return f"{self.rule.id} {self.rule.name} ({self.rule.party}, {self.rule.level}){times}"

    def clause(self) -> list[str]:
        """What the specification says, with its address; or that no clause says it."""
        address = next((case.clause for case in self.cases if case.clause), "") or self.rule.address()
        said = next((one for one in self.rule.wordings() if one.address == address), None)
        quote = said.quote if said else self.rule.quote
        if not quote:
            return ["No clause forbids it; it is a rule of practice."]
        return [f"> {quote.replace('<', '&lt;')}", ">", f"> <{address}>"]

    def why(self) -> str:
        """Why it hurts, in one line."""
        return shown(" ".join(self.rule.why.split()), WHY_LIMIT)


def faults(broken: Iterable[Broken]) -> list[Fault]:
    """The rules that are broken, the strongest first."""
    cases: dict[str, list[Broken]] = {}
    for one in broken:
        if one.rule in catalogue():
            cases.setdefault(one.rule, []).append(one)
    found = [Fault(catalogue()[rule], tuple(ones)) for rule, ones in cases.items()]
    return sorted(found, key=lambda fault: (-Level(fault.rule.level).weight, fault.rule.id))


def told(fault: Fault, limit: int, numbers: Mapping[str, int], exchanges: Mapping[str, Recorded]) -> Iterator[str]:
    """Lines of Markdown: the clause, why, what was expected, and what was sent, for so many of its cases."""
    yield from fault.clause()
    yield ""
    yield f"**Why it matters:** {fault.why()}\n"
    yield f"**Expected:** what the clause says. **Actual:** {fault.rule.summary}:\n"
    for case in fault.cases[:limit]:
        one = exchanges.get(case.exchange)
        where = ""
        if one is not None:
            by = "the proxy's own " if one.own not in ("", REFUSED) else ""
            where = f"exchange {numbers[case.exchange]}, {by}{code(one.what, 100)}: "
        yield f"- {where}{code(case.detail, 300) or fault.rule.summary}"
        if one is not None:
            yield f"  - request: {headers_that_matter(one.headers)}"
            if one.status is not None:
                yield f"  - answer {one.status}: {headers_that_matter(one.answer_headers, ())}"
    if len(fault.cases) > limit:
        yield f"- … and {len(fault.cases) - limit} more like it"
    one = exchanges.get(fault.cases[0].exchange)
    if fault.rule.party == "server" and one is not None and (line := curl(one)):
        yield f"\nTo ask the server the same by hand:\n\n{block(line, 'sh', HAND_LIMIT)}"


def curl(one: Recorded) -> str:
    """The request as a line for a shell, with the headers that matter; empty where that would be too long a line."""
    body = one.content.decode("utf-8", "replace")
    words = ["curl", "-i", *(("-X", one.verb) if one.verb != "POST" or not body else ())]
    for name in RELEVANT:
        value = one.headers.get(name)
        if value is not None:
            words += ["-H", f"{name}: {value}"]
    line = shlex.join([*words, *(("--data-binary", body) if body else ()), one.url])
    return line if len(line) <= HAND_LIMIT and line.isprintable() else ""


def headers_that_matter(headers: HeaderMap, always: Sequence[str] = ALWAYS) -> str:
    """Those that are there, and which of those that should be are not."""
    words = []
    for name in RELEVANT:
        value = headers.get(name)
        if value is not None:
            words.append(f"`{name}` {code(value, VALUE_LIMIT) or 'empty'}")
        elif name in always:
            words.append(f"no `{name}`")
    return ", ".join(words) or "none that matter"


REPRODUCE = """\
With the recording (`flows.mitm` of the same export) and mitmproxy-mcp-sessions (`pip install` takes its name, or a
wheel of it):

```sh
# a server: the client's part is sent to it; exit status 0 if it still answers as recorded, 1 if otherwise
mcp-sessions replay flows.mitm --to http://127.0.0.1:8000/mcp
# a client: let it connect to this, which answers as the recorded server did
mcp-sessions serve flows.mitm --port 8000
# everything, to be looked at; without it, any browser's developer tools open flows.har
mcp-mitmweb -r flows.mitm
```"""
"""How what is told can be seen by whoever reads it."""
