"""The house: which room may import which, that nothing goes in circles, and what each room is kept free of.

Everything is read from the source, so that imports for types alone and imports within functions count, too. What these
tests say is tried on small houses first: each of them can fail.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.environments import REPOSITORY

PACKAGE = "mcp_sessions"

ORDER = (
    ("wire", "processes"),
    ("core",),
    ("rules", "store"),
    ("proxy",),
    ("views", "recordings"),
    ("options",),
    ("addon",),
    ("script", "launch", "__main__"),
)
"""From the ground up: each may import what stands lower than its own line, and nothing else."""

ROOMS, FILES, LINES = 8, 5, 400
"""How many rooms there may be, files beside them, and lines in a file."""

FREE_OF_MITMPROXY = ("wire", "processes", "core", "rules", "store")

RESEND, METADATA = "proxy.resend", "proxy.metadata"
"""The one module that may subclass what is within mitmproxy, and the one that names keys of flow metadata."""

TO_BE_SUBCLASSED = {
    "mitmproxy.contentviews.Contentview": "is made for addons",
    "mitmproxy.contentviews.InteractiveContentview": "is made for addons",
    "mitmproxy.tools.web.app.RequestHandler": "brings mitmweb's own authentication",
}


@dataclass(frozen=True)
class Arrow:
    """An import of one module of the package by another."""

    source: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}, imports {self.target}"


class House:
    """The modules of a package by their dotted names within it; a room's `__init__` has the name of the room."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.texts: dict[str, str] = {}
        self.packages: set[str] = set()
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
                self.packages.add(".".join(parts))
            self.texts[".".join(parts)] = path.read_text("utf-8")
        self.trees = {name: ast.parse(text) for name, text in self.texts.items()}

    def imports(self, module: str) -> Iterator[tuple[str, str, int]]:
        """What a module imports, wherever it does: a dotted name with the package's in front, the name that it is
        known by, and the line.
        """
        above = [PACKAGE, *(part for part in module.split(".") if part)]
        if module not in self.packages:
            above.pop()
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.Import):
                for one in node.names:
                    yield one.name, one.asname or one.name, node.lineno
            elif isinstance(node, ast.ImportFrom):
                start = above[: len(above) - node.level + 1] if node.level else []
                origin = ".".join([*start, *([node.module] if node.module else [])])
                for one in node.names:
                    yield f"{origin}.{one.name}", one.asname or one.name, node.lineno

    def arrows(self) -> Iterator[Arrow]:
        """Every import within the package; the rooms' `__init__`, which come along with each, are none."""
        for module in self.trees:
            for dotted, _, line in self.imports(module):
                package, _, name = dotted.partition(".")
                if package != PACKAGE:
                    continue
                if name not in self.trees:  # a name in a module
                    name = name.rpartition(".")[0]
                if name != module:
                    yield Arrow(module, name, line)


def room(module: str) -> str:
    return module.partition(".")[0]


def against_the_order(house: House) -> list[str]:
    line_of = {name: number for number, line in enumerate(ORDER, 1) for name in line} | {"": 0}
    found = [
        f"{name}: not in the order; put it into a room that there is, or say in ORDER where it stands"
        for name in sorted({room(module) for module in house.trees} - set(line_of))
    ]
    for arrow in house.arrows():
        source, target = room(arrow.source), room(arrow.target)
        if source != target and line_of.get(target, 0) >= line_of.get(source, len(ORDER)):
            found.append(
                f"{arrow}, but {source} stands no higher than {target}: hand it a value, a callable or a Protocol, or "
                "move what is needed to where both may have it"
            )
    return list(dict.fromkeys(found))


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups in which everything leads to everything."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = graph.get(ahead.pop(), set()) - seen
            seen |= new
            ahead += new
        reached[start] = seen
    groups = {frozenset(b for b in reached[a] if a in reached.get(b, ())) for a in graph if a in reached[a]}
    return sorted(sorted(group) for group in groups)


def circles_by(name: Callable[[str], str], house: House) -> list[str]:
    graph: dict[str, set[str]] = {}
    for arrow in house.arrows():
        source, target = name(arrow.source), name(arrow.target)
        if source != target:
            graph.setdefault(source, set()).add(target)
            graph.setdefault(target, set())
    return [
        f"{', '.join(group)}: they import each other; take out what they share, or let one know a Protocol of the other"
        for group in circles(graph)
    ]


def too_many(house: House) -> list[str]:
    rooms = {path.relative_to(house.root).parts[0] for path in house.root.rglob("*/*.py")}
    files = {path.stem for path in house.root.glob("*.py")} - {"__init__"}
    found = []
    if len(rooms) > ROOMS:
        found.append(
            f"{len(rooms)} rooms ({', '.join(sorted(rooms))}), and {ROOMS} are enough: join two of one subject"
        )
    if len(files) > FILES:
        found.append(f"{len(files)} files ({', '.join(sorted(files))}) beside the rooms: put one of them into a room")
    return found


def too_long(house: House) -> list[str]:
    lengths = {module: len(text.splitlines()) for module, text in house.texts.items()}
    return [
        f"{module}: {length} lines, and {LINES} are enough: give one of its subjects a file of its own"
        for module, length in lengths.items()
        if length > LINES
    ]


def mitmproxy_below(house: House) -> list[str]:
    return [
        f"{module}, line {line}, imports {dotted}: {room(module)} is to work without mitmproxy; do this in proxy"
        for module in house.trees
        if room(module) in FREE_OF_MITMPROXY
        for dotted, _, line in house.imports(module)
        if room(dotted) == "mitmproxy"
    ]


def subclasses_of_internals(house: House) -> list[str]:
    found = []
    for module, tree in house.trees.items():
        known = {alias: dotted for dotted, alias, _ in house.imports(module)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef) or module == RESEND:
                continue
            for base in node.bases:
                first, _, rest = ast.unparse(base).partition("[")[0].partition(".")
                dotted = ".".join(part for part in (known.get(first, first), rest) if part)
                if room(dotted) == "mitmproxy" and dotted not in TO_BE_SUBCLASSED:
                    found.append(
                        f"{module}, line {node.lineno}: {node.name} is a subclass of {dotted}, which may change with "
                        f"any mitmproxy: do without, or do it in {RESEND}, which has a contract test"
                    )
    return found


def keys_elsewhere(house: House) -> list[str]:
    keys = {value for value, _ in _texts(house.trees.get(METADATA, ast.Module([], []))) if value.startswith("mcp_")}
    found: list[str] = []
    for module, tree in house.trees.items():
        if module == METADATA:
            continue
        own = dict(_constants(tree))
        used = [own.get(key.id, key) if isinstance(key, ast.Name) else key for key in _keys(tree)]
        written = {(value, line) for key in used for value, line in _texts(key) if value.startswith("mcp_")}
        written |= {(value, line) for value, line in _texts(tree) if value in keys}
        found += (
            f"{module}, line {line}: {value!r} is a key of flow metadata: import it from {METADATA}, or name it there"
            for value, line in sorted(written)
        )
    return found


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value


def _texts(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def _keys(tree: ast.AST) -> Iterator[ast.expr]:
    """What flow metadata is asked for."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=asked, slice=key) if _is_metadata(asked):
                yield key
            case ast.Call(func=ast.Attribute(value=asked, attr="get" | "pop" | "setdefault"), args=[key, *_]) if (
                _is_metadata(asked)
            ):
                yield key
            case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[asked]) if _is_metadata(asked):
                yield key


def _is_metadata(asked: ast.expr) -> bool:
    return ast.unparse(asked).rpartition(".")[2].endswith("metadata")


# The house as it is

HOUSE = House(REPOSITORY / "addon" / PACKAGE)


def none_of(complaints: list[str]) -> None:
    assert not complaints, "\n".join(["", *complaints])


def test_imports_go_one_way() -> None:
    none_of(against_the_order(HOUSE))


def test_no_rooms_import_each_other() -> None:
    none_of(circles_by(room, HOUSE))


def test_no_files_import_each_other() -> None:
    none_of(circles_by(str, HOUSE))


def test_it_stays_small() -> None:
    none_of(too_many(HOUSE))


def test_no_file_is_long() -> None:
    none_of(too_long(HOUSE))


def test_what_decides_knows_no_mitmproxy() -> None:
    none_of(mitmproxy_below(HOUSE))


def test_one_module_subclasses_what_is_within_mitmproxy() -> None:
    none_of(subclasses_of_internals(HOUSE))


def test_keys_of_flow_metadata_have_one_home() -> None:
    none_of(keys_elsewhere(HOUSE))


# Small houses

type Build = Callable[..., House]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def built(**files: str) -> House:
        """A house of these files; `core_client` is core/client.py, and every room has its `__init__`."""
        for name, text in files.items():
            path = (
                tmp_path.joinpath(*name.split("_", 1)).with_suffix(".py")
                if "_" in name.strip("_")
                else tmp_path / f"{name}.py"
            )
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            if path.parent != tmp_path:
                (path.parent / "__init__.py").touch()
        return House(tmp_path)

    return built


@pytest.mark.parametrize(
    "line",
    [
        "from ..views.page import shown",
        "from ..views import page",
        "from .. import views",
        "import mcp_sessions.views.page",
        "from mcp_sessions.views.page import shown as s",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..views.page import shown",
        "def late() -> None:\n    from ..views.page import shown",
        "from ..options import Settings",
    ],
)
def test_an_import_against_the_order_is_found(build: Build, line: str) -> None:
    house = build(core_a=line, views_page="from ..core import a", options="")
    assert len(against_the_order(house)) == 1
    assert "core.a, line" in against_the_order(house)[0]
    assert "a Protocol" in against_the_order(house)[0]


@pytest.mark.parametrize(("one", "other"), [("wire", "processes"), ("rules", "store"), ("views", "recordings")])
def test_neighbours_do_not_import_each_other(build: Build, one: str, other: str) -> None:
    [found] = against_the_order(build(**{f"{one}_a": f"from ..{other} import b", f"{other}_b": ""}))
    assert f"{one} stands no higher than {other}" in found


def test_imports_of_what_stands_above_and_of_the_same_room_are_fine(build: Build) -> None:
    house = build(
        wire_a="",
        core_b="from ..wire import a\nfrom . import c",
        core_c="import json",
        addon="from .core.b import x",
        script="from mcp_sessions.addon import x",
    )
    assert against_the_order(house) == circles_by(str, house) == circles_by(room, house) == []


def test_a_room_that_nobody_knows_is_found(build: Build) -> None:
    [found] = against_the_order(build(odds_a="from ..core import b", core_b=""))
    assert found.startswith("odds: not in the order")


def test_a_circle_by_room_is_found(build: Build) -> None:
    house = build(core_a="from ..rules import b", rules_b="", rules_c="from ..core import d", core_d="")
    [found] = circles_by(room, house)
    assert found.startswith("core, rules: they import each other")
    assert circles_by(str, house) == []


def test_a_circle_by_file_is_found(build: Build) -> None:
    for_types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import x"
    house = build(core_a="from .b import x", core_b="from .c import x", core_c=for_types, core_d="from .a import x")
    [found] = circles_by(str, house)
    assert found.startswith("core.a, core.b, core.c: they import each other")
    assert circles_by(room, house) == []


def test_a_room_too_many_and_a_file_too_many_are_found(build: Build) -> None:
    rooms = {f"room{n}_a": "" for n in range(ROOMS)}
    files = {f"file{n}": "" for n in range(FILES)}
    assert too_many(build(**rooms, **files, __init__="")) == []
    found = too_many(build(ninth_a="", sixth=""))
    assert [one.split(" (")[0] for one in found] == ["9 rooms", "6 files"]


def test_a_long_file_is_found(build: Build) -> None:
    assert too_long(build(core_a="x = 1\n" * LINES)) == []
    [found] = too_long(build(core_a="x = 1\n" * (LINES + 1)))
    assert found.startswith("core.a: 401 lines")


@pytest.mark.parametrize(
    "line", ["import mitmproxy", "from mitmproxy import http", "def f():\n    import mitmproxy.io"]
)
def test_mitmproxy_below_proxy_is_found(build: Build, line: str) -> None:
    [found] = mitmproxy_below(build(core_a=line, proxy_b=line))
    assert found.startswith("core.a, line")


@pytest.mark.parametrize(
    "text",
    [
        "from mitmproxy.proxy.layers.http import HttpStream\nclass S(HttpStream): ...",
        "from mitmproxy.proxy.layers import http as h\nclass S(h.HttpStream): ...",
        "import mitmproxy.types\nclass S(mitmproxy.types._BaseType): ...",
        "from mitmproxy.types import _BaseType as B\nclass S(B[int]): ...",
    ],
)
def test_a_subclass_of_what_is_within_mitmproxy_is_found(build: Build, text: str) -> None:
    allowed = "from mitmproxy.contentviews import Contentview\nclass S(Contentview): ..."
    [found] = subclasses_of_internals(build(views_a=text, views_b=allowed, proxy_resend=text))
    assert found.startswith("views.a, line")


@pytest.mark.parametrize(
    "text",
    [
        'flow.metadata["mcp_new"] = 1',
        'x = flow.metadata.get("mcp_new")',
        'KEY = "mcp_new"\nflow.metadata.pop(KEY, None)',
        'KEY: Final = "mcp_new"\nflow.metadata[KEY] = 1',
        'x = "mcp_new" in self._metadata',
        'KEY = "mcp_known"',
    ],
)
def test_a_key_of_metadata_elsewhere_is_found(build: Build, text: str) -> None:
    fine = 'from .metadata import KNOWN\nflow.metadata[KNOWN] = "mcp_option"\noptions["mcp_option"]'
    [found] = keys_elsewhere(build(proxy_metadata='KNOWN = "mcp_known"', proxy_a=text, proxy_b=fine))
    assert found.startswith("proxy.a, line")
