"""What is found in the catalogue's examples, word by word, and in what they become when something in them is changed.

As `findings.txt` has it. Whoever changes a check or its wording on purpose writes the file anew,
`REWRITE=1 uv run pytest tests/rules/test_findings.py`, and reads what has changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mcp_sessions.rules import catalogue, schema
from rules.transcripts import Gone, Player, Scene, read

FILE = Path(__file__).with_name("findings.txt")
CHANGES = 8
"""Changes of an example that are tried: evenly spread over all there are."""

type Scenes = list[Scene | Gone]


def members(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where everything stands in a document, three levels deep."""
    if len(path) < 4 and isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            yield from members(value[key], (*path, key))


def without(value: Any, path: tuple[str | int, ...], instead: Any = None) -> Any:
    """A document without what stands there, or with something else."""
    changed = deepcopy(value)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    if instead is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = instead
    return changed


def changes(scene: Scene) -> Iterator[tuple[str, Scene]]:
    """What can be changed in an exchange."""
    for number, (name, _) in enumerate(scene.headers):
        yield f"without {name}", replace(scene, headers=scene.headers[:number] + scene.headers[number + 1 :])
    for number, (name, _) in enumerate(scene.answer_headers):
        left = scene.answer_headers[:number] + scene.answer_headers[number + 1 :]
        yield f"answer without {name}", replace(scene, answer_headers=left)
    for status in (200, 202, 400, 404):
        if scene.status not in (None, status):
            yield f"status {status}", replace(scene, status=status)
    try:
        sent = json.loads(scene.content or b"null")
    except ValueError:
        sent = None
    for path in members(sent):
        where = ".".join(map(str, path))
        yield f"without {where}", replace(scene, content=json.dumps(without(sent, path)).encode())
        yield f"{where}: 7", replace(scene, content=json.dumps(without(sent, path, 7)).encode())
    for number, (at, chunk) in enumerate(scene.chunks):
        try:
            said = json.loads(chunk)
        except ValueError:
            continue
        for path in members(said):
            where = ".".join(map(str, path))
            for what, other in ((f"answer without {where}", None), (f"answer {where}: 7", 7)):
                chunks = [*scene.chunks]
                chunks[number] = (at, json.dumps(without(said, path, other)).encode())
                yield what, replace(scene, chunks=chunks)


def changed(scenes: Scenes) -> list[tuple[str, Scenes]]:
    """An example with one change each."""
    found = [
        (f"{number} {what}", [*scenes[:number], other, *scenes[number + 1 :]])
        for number, scene in enumerate(scenes)
        if isinstance(scene, Scene)
        for what, other in changes(scene)
    ]
    step = max(1, len(found) // CHANGES)
    return found[::step]


def findings(scenes: Scenes) -> list[str]:
    player = Player()
    player.play(scenes)
    return [
        f"{one.rule} {one.party} {one.level} {one.session or '-'} {one.flow} {one.detail} x{one.times}"
        for one in player.violations
    ]


def written() -> str:
    lines = []
    for rule in catalogue().values():
        for name, example in (("bad", rule.bad), ("good", rule.good)):
            scenes = read(example)
            lines.append(f"{rule.id} {name}")
            lines += [f"    {finding}" for finding in findings(scenes)]
            for what, other in changed(scenes):
                found = findings(other)
                lines.append(f"  {what}: {', '.join(one.split(' ', 1)[0] for one in found) or 'nothing'}")
    return "\n".join(lines) + "\n"


@pytest.mark.skipif(not schema.available(), reason="needs the extra schema, which is for Python 3.13 and later")
def test_every_finding() -> None:
    now = written()
    if os.environ.get("REWRITE"):
        FILE.write_text(now, "utf-8")
    assert now.split("\n") == FILE.read_text("utf-8").split("\n")
