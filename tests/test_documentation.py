"""What is generated in the documentation is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcp_sessions.__main__ import generated

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": ["options", "commands", "executable"],
    "docs/architecture.md": ["client", "server", "words", "recovery", "delete", "dialects"],
    "docs/coverage.md": ["coverage", "clauses"],
    "docs/telemetry.md": ["metrics"],
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name: str) -> None:
    page = (REPOSITORY / name).read_text("utf-8")
    assert page == generated(page), f"run: uv run mcp-sessions readme {name}"
    for part in PAGES[name]:
        assert f"<!-- generated: {part} -->" in page


def test_it_can_be_out_of_date() -> None:
    page = "<!-- generated: words -->\nold\n<!-- end -->\nafter <!-- end -->\n"
    assert "old" not in generated(page)
    assert "| ALIVE |" in generated(page)
    assert generated(page).endswith("after <!-- end -->\n")


@pytest.mark.parametrize("page", ["<!-- generated: nothing -->\n<!-- end -->", "<!-- generated: words -->\nno end"])
def test_markers_that_make_no_sense_are_refused(page: str) -> None:
    with pytest.raises(ValueError, match="there is no"):
        generated(page)


def test_the_architecture_names_what_there_is() -> None:
    """Every file and folder that the page names exists."""
    page = (REPOSITORY / "docs/architecture.md").read_text("utf-8")
    package = REPOSITORY / "addon" / "mcp_sessions"
    named = {word.strip("`") for word in page.replace("|", " ").split() if word.startswith("`") and ("/" in word)}
    paths = {name.rstrip("`.,:)") for name in named if name.rstrip("`.,:)").endswith(".py")}
    assert paths
    there = [path for path in paths if (package / path).exists() or (REPOSITORY / path).exists()]
    assert paths - set(there) == {"rules/NAME.py"}, "a name to be filled in"


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/proof.md"])
def test_a_page_names_tests_that_exist(page: str) -> None:
    text = (REPOSITORY / page).read_text("utf-8")
    sources = "\n".join(path.read_text("utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", text))
    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in sources} == set()
    files = set(re.findall(r"`((?:tests/\w+/)?test_[a-z0-9_]+\.py)`", text))
    assert {name for name in files if not list((REPOSITORY / "tests").rglob(Path(name).name))} == set()
