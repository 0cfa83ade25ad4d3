"""The reference site: `uv run --group docs docs/build_site.py`.

The pages are those of the repository, with their links brought in line, and what is made from the code: options,
commands, the log's schema. A link that leads nowhere ends the build.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcp_sessions.__main__ import generated
from mcp_sessions.core.records import schema

REPOSITORY = Path(__file__).resolve().parents[1]
BUILT = REPOSITORY / ".site"

PAGES = {
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changes.md",
    "recipes/container/container.md": "guides/container.md",
    "recipes/systemd/systemd.md": "guides/systemd.md",
}
"""Pages of the repository, and where they are on the site, beside those that lie in `docs` and `recipes`."""

ELSEWHERE = {
    "README.md": "index.md",
    "docs/rules.md": "rules/index.md",
    "docs/log.schema.json": "log.schema.json",
}
"""What is taken apart or made, and where a link to the whole of it leads."""

SECTIONS = {
    "what-is-judged": "rules/index.md",
    "options": "options.md",
    "commands": "commands.md",
    "recipes": "guides/index.md",
    "security": "security.md",
}
"""Sections of the README that are pages of their own."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


class Site:
    """The pages, by where they are on the site."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.files: dict[str, Path] = {}
        self.at = {page: Path(page).name for page in _pages("docs")}
        self.at |= {page: f"guides/{Path(page).name}" for page in _pages("recipes")} | PAGES | ELSEWHERE
        self.rules: dict[str, str] = {}
        """Where a rule is, by its anchor on the page of all."""
        self.wrong: list[str] = []

    def gather(self) -> None:
        """All pages, with their links."""
        rules = dict(self._rules())
        for path, text in rules.items():
            self._add(path, text, "docs/rules.md")
        sections = dict(self._readme())
        self._add("index.md", sections["index"], "README.md")
        self._add("guides/index.md", f"# Guides\n\n{sections['recipes']}", "README.md")
        self._add("options.md", f"# Options\n\n{sections['options']}", "README.md")
        self._add("commands.md", f"# Commands\n\n{sections['commands']}", "README.md")
        for source, path in self.at.items():
            if source not in ELSEWHERE:
                text = (REPOSITORY / source).read_text("utf-8")
                if path == "security.md":
                    text += f"\n## Where secrets are\n\n{sections['security']}"
                self._add(path, text, source)
        self._add("log.md", _log(), "docs/log.md")

    def _add(self, path: str, text: str, source: str) -> None:
        self.pages[path] = self._linked(generated(text) if source == "README.md" else text, path, source)

    def _readme(self) -> Iterator[tuple[str, str]]:
        """The README's sections that are pages of their own, by the anchor of each, and the rest as `index`."""
        rest = []
        for section in re.split(r"^(?=## )", (REPOSITORY / "README.md").read_text("utf-8"), flags=re.M):
            title, _, text = section.partition("\n")
            anchor = title.removeprefix("## ").strip().lower().replace(" ", "-")
            if anchor in SECTIONS:
                yield anchor, re.sub(r"^### ", "## ", text, flags=re.M).strip() + "\n"
            else:
                rest.append(section)
        yield "index", "".join(rest)

    def _rules(self) -> Iterator[tuple[str, str]]:
        """A page for each rule, and one with the table of all: on one page they would be a third of a megabyte."""
        table, *each = re.split(r"^(?=## MCP\d{3} )", (REPOSITORY / "docs/rules.md").read_text("utf-8"), flags=re.M)
        for text in each:
            title = text.partition("\n")[0].removeprefix("## ")
            path = f"rules/{title.partition(' ')[0].lower()}.md"
            self.rules[title.lower().replace(" ", "-")] = path
            yield path, text[1:]
        yield "rules/index.md", table

    def _linked(self, text: str, path: str, source: str) -> str:
        """A page with its links as they are on the site; what is in code stays as it is."""
        parts, position = [], 0
        for code in re.finditer(r"^```.*?^```", text, re.M | re.S):
            parts += [self._links(text[position : code.start()], path, source), code[0]]
            position = code.end()
        return "".join([*parts, self._links(text[position:], path, source)])

    def _links(self, text: str, path: str, source: str) -> str:
        return _LINK.sub(lambda link: self._link(link, path, source), text)

    def _link(self, link: re.Match[str], path: str, source: str) -> str:
        image, words, target = link.groups()
        if re.match(r"[a-z]+:", target):
            return link[0]
        file, _, anchor = target.partition("#")
        meant = posixpath.normpath(posixpath.join(posixpath.dirname(source), file)) if file else source
        if image:
            name = f"assets/{posixpath.basename(meant)}"
            self.files[name] = REPOSITORY / meant
            to = name
        elif meant == "docs/rules.md" and anchor:
            to, anchor = self.rules.get(anchor, ""), ""
        elif meant == "README.md" and anchor in SECTIONS:
            to, anchor = SECTIONS[anchor], ""
        elif meant in self.at:
            to = self.at[meant]
        elif (REPOSITORY / meant).exists():
            return f"{words} (`{meant}`)" if words.strip("`") not in meant else f"`{meant}`"
        else:
            to = ""
        if not to or (image and not (REPOSITORY / meant).exists()):
            self.wrong.append(f"{source}: {target} leads nowhere")
        there = posixpath.relpath(to or ".", posixpath.dirname(path) or ".")
        return f"{image}[{words}]({there}{'#' + anchor if anchor else ''})"

    def write(self, folder: Path) -> None:
        """Write all of it into a folder, which is made anew."""
        shutil.rmtree(folder, ignore_errors=True)
        for path, text in self.pages.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
        for path, file in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / path)
        (folder / "log.schema.json").write_text(json.dumps(schema(), indent=2), "utf-8")


def _pages(folder: str) -> list[str]:
    return sorted(page.relative_to(REPOSITORY).as_posix() for page in (REPOSITORY / folder).glob("*.md"))


def _log() -> str:
    """What a line of `mcp_log` may have, from its schema."""
    said = schema()
    lines = [
        "# The log",
        "",
        "`mcp_log=FILE` appends a line of JSON for each violation, each change of a session and each action of the "
        "proxy's. Sessions are shortened, and nothing in it is a secret. The file may be renamed at any time. "
        f"{said['title']}; its JSON Schema is [log.schema.json](log.schema.json), and `mcp-sessions schema` prints it.",
        "",
    ]
    for name, about in said["$defs"].items():
        if "properties" not in about:
            continue
        lines += [f"## {about['properties']['kind'].get('const', name)}", "", about.get("description", ""), ""]
        lines += ["| field | type | meaning |", "|---|---|---|"]
        for field, kind in about["properties"].items():
            meaning = " ".join(str(kind.get("description", "")).split()).replace("|", "\\|")
            lines.append(f"| `{field}` | {_type(kind, said)} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def _type(kind: dict[str, Any], whole: dict[str, Any]) -> str:
    if "$ref" in kind:
        kind = whole["$defs"][kind["$ref"].rpartition("/")[2]]
    values = kind.get("enum") or ([kind["const"]] if "const" in kind else [])
    return ", ".join(f"`{value}`" for value in values) or str(kind.get("type", ""))


def main() -> int:
    """Gather the pages and build the site; the exit status."""
    site = Site()
    site.gather()
    for wrong in site.wrong:
        print(wrong, file=sys.stderr)
    if site.wrong:
        return 1
    site.write(BUILT / "pages")
    shutil.rmtree(BUILT / "html", ignore_errors=True)
    tool = Path(sys.executable).with_name("zensical")
    return subprocess.run([tool, "build", "--strict"], cwd=REPOSITORY, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
