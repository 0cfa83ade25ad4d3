"""One rule explained, and a rule's part of the page: to the letter, for each of its members that may be left out."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.rules import pages
from mcp_sessions.rules.entries import Rule
from mcp_sessions.rules.pages import explain, page

SITE = "https://modelcontextprotocol.io/specification"


def rule(**more: Any) -> Rule:
    """A rule that no catalogue has."""
    entry = {
        "id": "MCP999",
        "name": "made-up",
        "party": "server",
        "level": "MUST",
        "revisions": ("2025-06-18", "2025-11-25"),
        "summary": "nothing|is wrong",
        "why": "\nIt hurts.\n",
        "bad": "\n! cut\n",
        "good": "\n@ 1\n",
        "clause": "page#anchor",
        "quote": "It MUST NOT.",
    }
    return Rule(**entry | more)


TOLD = f"""\
MCP999 made-up (server, MUST), 2025-06-18, 2025-11-25
nothing|is wrong

It hurts.

"It MUST NOT."
{SITE}/2025-11-25/page#anchor

Breaks it:
! cut

Keeps it:
@ 1

> is the client, < is the server
@ N: what follows arrives N seconds after the beginning
! cut: the client hangs up before the answer"""

OTHERWISE = {"clause_by_revision": {"2025-06-18": "old#it"}, "quote_by_revision": {"2025-06-18": "It must not."}}

SHOWN = f"""\
## MCP999 made-up

Nothing|is wrong.

- party: server
- level: MUST
- revisions: 2025-06-18, 2025-11-25
- clause: <{SITE}/2025-11-25/page#anchor>

> It MUST NOT.

It hurts.

Breaks it:

```text
! cut
```

Keeps it:

```text
@ 1
```
"""
CLAUSE = f"- clause: <{SITE}/2025-11-25/page#anchor>\n"


@pytest.mark.parametrize(
    ("more", "told", "shown"),
    [
        ({}, {}, {}),
        (
            {"extra": "schema"},
            {"It hurts.\n": "It hurts.\n\njudged only where the extra `schema` is installed.\n"},
            {CLAUSE: CLAUSE + "- judged only where the extra `schema` is installed\n"},
        ),
        (
            {"level_by_revision": {"2025-06-18": "SHOULD", "2025-11-25": "MUST"}},
            {"MUST)": "MUST, SHOULD in 2025-06-18, MUST in 2025-11-25)"},
            {"level: MUST": "level: MUST, SHOULD in 2025-06-18, MUST in 2025-11-25"},
        ),
        (
            OTHERWISE,
            {"page#anchor": f'page#anchor (2025-11-25)\n"It must not."\n{SITE}/2025-06-18/old#it (2025-06-18)'},
            {"It MUST NOT.": "It MUST NOT. (2025-11-25)\n\n> It must not. (2025-06-18)"},
        ),
        (
            {"quote": ""},
            {'"It MUST NOT."\n': "no clause forbids it; see "},
            {"> It MUST NOT.\n\n": ""},
        ),
        (
            {"quote": "", "clause": ""},
            {f'"It MUST NOT."\n{SITE}/2025-11-25/page#anchor': "no clause forbids it; see "},
            {"> It MUST NOT.\n\n": "", CLAUSE: ""},
        ),
        (
            {"parts": {"other": {"clause": "else#where", "quote": "Nor that."}}},
            {
                "page#anchor": "page#anchor (2025-06-18, 2025-11-25)\n"
                f'"Nor that."\n{SITE}/2025-11-25/else#where (2025-06-18, 2025-11-25)'
            },
            {
                CLAUSE: f"{CLAUSE}- clause for `other`: <{SITE}/2025-11-25/else#where>\n",
                "> It MUST NOT.": "> It MUST NOT. (2025-06-18, 2025-11-25)\n\n> Nor that. (2025-06-18, 2025-11-25)",
            },
        ),
    ],
)
def test_what_is_told_of_a_rule(
    more: dict[str, Any], told: dict[str, str], shown: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = rule(id="MCP998", name="earlier", level="PRACTICE", party="client")
    monkeypatch.setattr(pages, "catalogue", lambda: {"MCP999": rule(**more), "MCP998": other})
    text, whole = TOLD, SHOWN
    for old, new in told.items():
        assert old in text
        text = text.replace(old, new)
    for old, new in shown.items():
        assert old in whole
        whole = whole.replace(old, new)
    assert explain(rule(**more)).split("\n") == text.split("\n")
    lines = page().split("\n")
    assert lines[0] == "# Rules"
    assert lines[-whole.count("\n") - 1 :] == whole.split("\n")
    at = lines.index("| id | name | party | level | what is wrong |")
    assert lines[at : at + 6] == [
        "| id | name | party | level | what is wrong |",
        "|---|---|---|---|---|",
        "| [MCP998](#mcp998-earlier) | earlier | client | PRACTICE | nothing\\|is wrong |",
        "| [MCP999](#mcp999-made-up) | made-up | server | MUST | nothing\\|is wrong |",
        "",
        "## MCP998 earlier",
    ]
