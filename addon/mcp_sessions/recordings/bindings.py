"""What a recorded value is called now: session ids, cursors, and the placeholders of what was redacted."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from urllib.parse import unquote

from pydantic_core import from_json

from .vault import PLACEHOLDER

BINDING_LIMIT = 50_000
"""Values that are remembered; beyond, nothing more is learnt."""

DEPTH = 200
"""Levels of nesting that are compared; deeper values count as different."""


class Bindings:
    """Recorded values and the live ones that stand in their place: equal recorded values stay equal."""

    def __init__(self) -> None:
        self._live: dict[str, Any] = {}

    def bind(self, recorded: str, live: Any) -> None:
        """From now on, `live` is meant where `recorded` was written."""
        if recorded and len(self._live) < BINDING_LIMIT:
            self._live[recorded] = live

    def get(self, recorded: str) -> Any:
        """What stands for it now; None if that is not known."""
        return self._live.get(recorded)

    def now(self, value: Any) -> Any:
        """A recorded value as it is to be said now."""
        match value:
            case str():
                if value in self._live:
                    return self._live[value]
                if "<" not in value:
                    return value
                return PLACEHOLDER.sub(lambda found: str(self._live.get(found[0], found[0])), value)
            case dict():
                return {key: self.now(item) for key, item in value.items()}
            case list():
                return [self.now(item) for item in value]
            case _:
                return value

    def match(self, recorded: Any, live: Any) -> bool:
        """Whether a live value is the recorded one; what placeholders stand for is remembered if so."""
        found: dict[str, Any] = {}
        if not self._same(recorded, live, found, 0):
            return False
        for name, value in found.items():
            self.bind(name, value)
        return True

    def _same(self, recorded: Any, live: Any, found: dict[str, Any], depth: int) -> bool:
        if depth > DEPTH:
            return False
        match recorded:
            case str():
                return self._same_text(recorded, live, found, depth)
            case dict():
                return (
                    isinstance(live, dict)
                    and recorded.keys() == live.keys()
                    and all(self._same(item, live[key], found, depth + 1) for key, item in recorded.items())
                )
            case list():
                return (
                    isinstance(live, list)
                    and len(recorded) == len(live)
                    and all(self._same(a, b, found, depth + 1) for a, b in zip(recorded, live, strict=True))
                )
            case _:
                return bool(recorded == live) and isinstance(recorded, bool) == isinstance(live, bool)

    def _same_text(self, recorded: str, live: Any, found: dict[str, Any], depth: int) -> bool:
        if recorded == live:
            return True
        known = found.get(recorded, self._live.get(recorded))
        if known is not None:
            return bool(known == live)
        if PLACEHOLDER.fullmatch(recorded):
            found[recorded] = live
            return isinstance(live, (str, int, float))
        if not isinstance(live, str):
            return False
        if PLACEHOLDER.search(recorded):
            if _document(recorded) is not None:
                return self._same(_document(recorded), _document(live), found, depth + 1)
            if self._fill(recorded, live, found):
                return True
        for undo in (unquote, _decoded):
            inner = undo(recorded)
            if inner != recorded and PLACEHOLDER.search(inner):
                return self._same_text(inner, undo(live), found, depth + 1)
        return False

    def _fill(self, recorded: str, live: str, found: dict[str, Any]) -> bool:
        """Placeholders within a text: what stands in their places, each the same wherever it stands."""
        pattern, names, position = "", dict[str, str](), 0
        for place in PLACEHOLDER.finditer(recorded):
            pattern += re.escape(recorded[position : place.start()])
            position = place.end()
            known = found.get(place[0], self._live.get(place[0]))
            if known is not None:
                pattern += re.escape(str(known))
            elif place[0] in names:
                pattern += f"(?P={names[place[0]]})"
            else:
                names[place[0]] = f"p{len(names)}"
                pattern += f"(?P<{names[place[0]]}>.+?)"
        if len(names) > 20:  # what such a pattern costs grows with each of them
            return False
        match = re.fullmatch(pattern + re.escape(recorded[position:]), live, re.S)
        if match is None:
            return False
        found.update({name: match[group] for name, group in names.items()})
        return True


def _document(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return from_json(text)
    except ValueError:
        return None


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return text
