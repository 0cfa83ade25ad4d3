"""What is generated in the documentation: tables of options and commands, from what declares them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import get_args

from pydantic import BaseModel


def filled(page: str, parts: Mapping[str, str]) -> str:
    """The page, with what stands between the markers of each part's name made anew.

    Raises:
        ValueError: when it has markers of a part that there is not, or that have no end.
    """

    def part(match: re.Match[str]) -> str:
        if match[2] not in parts:
            raise ValueError(f"there is no part {match[2]!r}: {', '.join(parts)}")
        if match[3] is None:
            raise ValueError(f"there is no <!-- end --> after <!-- generated: {match[2]} -->")
        return f"{match[1]}{parts[match[2]]}{match[3]}"

    return re.sub(r"(<!-- generated: (\w+) -->\n)(?:(?:(?!<!-- generated).)*?(<!-- end -->))?", part, page, flags=re.S)


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
