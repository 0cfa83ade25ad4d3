"""The README's tables of options and commands, made from the settings and the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import get_args

from ..options import Settings
from ..recordings.addon import Recordings
from .commands import Commands

PARTS: dict[str, Callable[[], str]] = {}
"""The parts of a page that are generated, by the name in their markers."""


def filled(page: str) -> str:
    """The page, with what stands between its markers made anew.

    Raises:
        ValueError: when the page lacks the markers of a part.
    """
    for name, make in PARTS.items():
        begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
        page, found = re.subn(
            f"({re.escape(begin)}\n).*?({re.escape(end)})",
            lambda match, make=make: f"{match[1]}{make()}{match[2]}",  # type: ignore[misc]
            page,
            count=1,
            flags=re.S,
        )
        if not found:
            raise ValueError(f"there is no {begin} ... {end}")
    return page


def options() -> str:
    """A table of all options; the values are those that an option is limited to."""
    rows = ["| option | default | values | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)
        values = " ".join(f"`{value}`" for value in get_args(field.annotation) if isinstance(value, str))
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{name}` | {f'`{default}`' if default else ''} | {values} | {meaning} |")
    return "\n".join(rows) + "\n"


def commands() -> str:
    """A table of all commands, with their parameters."""
    rows = ["| command | what it does |", "|---|---|"]
    for member in (*vars(Commands).values(), *vars(Recordings).values()):
        name = getattr(member, "command_name", None)
        if name is None:
            continue
        given = [
            f"[{one.name}]" if one.default is not one.empty else one.name
            for one in inspect.signature(member).parameters.values()
            if one.name != "self"
        ]
        rows.append(f"| `{' '.join([name, *given])}` | {inspect.cleandoc(member.__doc__ or '')} |")
    return "\n".join(rows) + "\n"


PARTS.update(options=options, commands=commands)
