"""The reference site has every page, and its links lead somewhere; `.ci/run` builds it."""

from __future__ import annotations

import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from harness.environments import REPOSITORY
from mcp_sessions.core.records import schema
from mcp_sessions.options import Settings
from mcp_sessions.rules import catalogue


def module() -> Any:
    spec = spec_from_file_location("build_site", REPOSITORY / "docs" / "build_site.py")
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def site() -> Any:
    made = module().Site()
    made.gather()
    return made


def in_nav(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [path for one in (nav.values() if isinstance(nav, dict) else nav) for path in in_nav(one)]


def test_every_page_is_on_the_site_and_in_its_navigation(site: Any) -> None:
    loader = YAML(typ="safe", pure=True)
    loader.constructor.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    config = loader.load((REPOSITORY / "mkdocs.yml").read_text("utf-8"))
    assert sorted(in_nav(config["nav"])) == sorted(
        path for path in site.pages if not re.fullmatch(r"rules/mcp\d+\.md", path)
    )
    assert {path for path in site.pages if path.startswith("rules/mcp")} == {
        f"rules/{rule.lower()}.md" for rule in catalogue()
    }
    written = {path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("docs/*.md")}
    written |= {path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("recipes/**/*.md")}
    assert written <= set(site.at)


def test_links_lead_somewhere(site: Any, tmp_path: Path) -> None:
    assert site.wrong == []
    site.write(tmp_path)
    led = 0
    for path, text in site.pages.items():
        for target in re.findall(r"\]\((?![a-z]+:)([^)#\s]+)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
            assert (tmp_path / path).parent.joinpath(target).exists(), f"{path}: {target}"
            led += 1
    assert led > 300
    assert json.loads((tmp_path / "log.schema.json").read_text()) == schema()


def test_what_is_made_from_the_code_is_there(site: Any) -> None:
    assert all(f"| `{name}` |" in site.pages["options.md"] for name in Settings.model_fields)
    assert "`mcp-sessions baseline`" in site.pages["commands.md"]
    for about in schema()["$defs"].values():
        assert all(f"| `{field}` |" in site.pages["log.md"] for field in about.get("properties", ()))
    assert "uvx --from" in site.pages["index.md"]
    assert "## Where secrets are" in site.pages["security.md"]


def test_a_link_that_leads_nowhere_is_found() -> None:
    made = module().Site()
    made.gather()
    made.pages = {}
    made._add("x.md", "[a](nowhere.md) [b](../README.md#options) [c](rules.md#mcp101-post-accept)", "docs/x.md")
    assert made.wrong == ["docs/x.md: nowhere.md leads nowhere"]
    assert made.pages["x.md"].endswith("[b](options.md) [c](rules/mcp101.md)")
