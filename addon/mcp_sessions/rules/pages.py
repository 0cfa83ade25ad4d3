"""The catalogue as text: one rule for whoever asks for it, all rules as a page of Markdown."""

from __future__ import annotations

from .entries import Rule, catalogue
from .examples import legend, written_out

_PREFACE = """\
# Rules

What the addon calls a violation: each rule with the clause it stands on, why breaking it hurts, an exchange that breaks
it and one that comes close and keeps it. Generated from the catalogue by `mcp-sessions rules`; do not edit.

MUST and SHOULD are worded so in the specification; PRACTICE is what it says without such a word, or not at all, but is
seen to hurt. A rule is
judged in the revisions that it names, on evidence in the traffic alone; how each is decided, and when it stays silent,
is in [spec-notes.md](spec-notes.md).

In the examples `>` is the client and `<` the server. `%init` is a complete handshake, `%headers` are the headers that
a client sends in that session (`-Name` leaves one out), `%modern` those of 2026-07-28; `@` is the time in seconds at
which what follows arrives.
"""


def explain(rule: Rule) -> str:
    """All that the catalogue says about a rule, as plain text."""
    lines = [f"{rule.id} {rule.name} ({rule.party}, {_level(rule)}), {', '.join(rule.revisions)}", rule.summary, ""]
    lines += [rule.why.strip(), ""]
    if rule.extra:
        lines += [_needs(rule) + ".", ""]
    wordings = rule.wordings()
    for quote, address, revisions in wordings:
        if quote:
            where = f"{address} ({', '.join(revisions)})" if len(wordings) > 1 else address
            lines += [f'"{quote}"', where]
        else:
            lines.append(f"no clause forbids it; see {address}")
    lines += ["", "Breaks it:", written_out(rule.bad), "", "Keeps it:", written_out(rule.good)]
    return "\n".join([*lines, "", *legend(f"{rule.bad}\n{rule.good}")])


def page() -> str:
    """All rules as Markdown."""
    rules = sorted(catalogue().values(), key=lambda rule: rule.id)
    table = ["| id | name | party | level | what is wrong |", "|---|---|---|---|---|"]
    for rule in rules:
        link = f"[{rule.id}](#{rule.id.lower()}-{rule.name})"
        table.append(
            f"| {link} | {rule.name} | {rule.party} | {rule.level} | {rule.summary.replace('|', chr(92) + '|')} |"
        )
    return "\n".join([_PREFACE, *table, "", *(_section(rule) for rule in rules)])


def _section(rule: Rule) -> str:
    lines = [f"## {rule.id} {rule.name}", "", rule.summary[0].upper() + rule.summary[1:] + ".", ""]
    lines += [f"- party: {rule.party}", f"- level: {_level(rule)}", f"- revisions: {', '.join(rule.revisions)}"]
    if rule.address():
        lines.append(f"- clause: <{rule.address()}>")
    lines += [f"- clause for `{name}`: <{rule.address(part=name)}>" for name in rule.parts]
    if rule.extra:
        lines.append(f"- {_needs(rule)}")
    lines.append("")
    wordings = [wording for wording in rule.wordings() if wording.quote]
    for quote, _, revisions in wordings:
        lines += [f"> {quote}" + (f" ({', '.join(revisions)})" if len(wordings) > 1 else ""), ""]
    lines += [rule.why.strip(), "", "Breaks it:", "", "```text", rule.bad.strip(), "```", ""]
    lines += ["Keeps it:", "", "```text", rule.good.strip(), "```", ""]
    return "\n".join(lines)


def _needs(rule: Rule) -> str:
    return f"judged only where the extra `{rule.extra}` is installed"


def _level(rule: Rule) -> str:
    others = [f"{level} in {revision}" for revision, level in rule.level_by_revision.items()]
    return ", ".join([str(rule.level), *others])
