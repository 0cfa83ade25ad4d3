"""Every recipe runs as it is and shows what it says; every page has its script, and the README's tables are current."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from harness.environments import REPOSITORY
from harness.process import Process

RECIPES = REPOSITORY / "recipes"
OTHERS = {"demo", "ledger_at_exit", "pictures"}
"""Run by .ci/run; a script of mitmproxy's; writes the README's pictures."""
SCRIPTS = sorted(path for path in RECIPES.glob("*.py") if path.stem not in OTHERS)

TELLING = {
    "400-for-404": r"MCP305 lost-session-not-404.*answered 400",
    "dry-run": r"would be ended .*process gone",
    "fleet": r"^not possible here: no \S|42 of 42 calls over three proxies, 1 handshake, 1 DELETE",
    "local-capture": r"^not possible here: \S|recovered",
    "lost-sessions": r"Of 9 calls [0-6] succeed without the addon's help, and 9 with it",
    "never-deletes": r"after 3 runs: 3 without the addon, 0 with it",
    "regular-proxy": r"DELETE answered 200",
    "remote-https": r"before the loss: before; after it: after",
    "report": r"files for an issue, and none of the planted secrets",
    "reproduce": r'tools/call add .*"3" +"43"',
    "team-web": r"the password: 200",
    "violations-check": r"exit status 3",
}
"""A line that each must print. A recipe that is not here fails."""


@pytest.mark.real
@pytest.mark.parametrize("script", SCRIPTS, ids=[path.stem for path in SCRIPTS])
async def test_a_recipe_shows_what_it_says(script: Path) -> None:
    async with Process([sys.executable, script], name=script.name) as process:
        assert await process.wait(90) == 0, process.report()
    assert [line for line in process.lines if re.search(TELLING[script.stem], line)], process.report()


def test_every_script_has_its_page_and_every_page_its_script() -> None:
    pages = {path.stem for path in RECIPES.glob("*.md")}
    assert pages == {path.stem for path in SCRIPTS} == set(TELLING)
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    assert [name for name in sorted(pages) if f"(recipes/{name}.md)" not in readme] == []
