"""The README's tables of options and commands, made from the models and classes that declare them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import get_args

from pydantic import BaseModel


def filled(page: str, parts: Mapping[str, str]) -> str:
    """The page, with these parts between the markers of their names.

    Raises:
        ValueError: when the page lacks the markers of a part.
    """
    for name, part in parts.items():
        begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
        page, found = re.subn(
            f"({re.escape(begin)}\n).*?({re.escape(end)})",
            lambda match, part=part: f"{match[1]}{part}{match[2]}",  # type: ignore[misc]
            page,
            count=1,
            flags=re.S,
        )
        if not found:
            raise ValueError(f"there is no {begin} ... {end}")
    return page


def options(settings: type[BaseModel]) -> str:
    """A table of all options; the values are those that an option is limited to."""
    rows = ["| option | default | values | meaning |", "|---|---|---|---|"]
    for name, field in settings.model_fields.items():
        default = ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)
        values = " ".join(f"`{value}`" for value in get_args(field.annotation) if isinstance(value, str))
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{name}` | {f'`{default}`' if default else ''} | {values} | {meaning} |")
    return "\n".join(rows) + "\n"


def commands(*classes: type) -> str:
    """A table of the commands that these classes have, with their parameters."""
    rows = ["| command | what it does |", "|---|---|"]
    for member in (member for one in classes for member in vars(one).values()):
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
