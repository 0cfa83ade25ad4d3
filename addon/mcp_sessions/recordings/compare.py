"""What is different: a recorded exchange beside the live one, by status, kind of answer, result or error, and shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from ..wire.jsonrpc import Kind, Message
from .bindings import DEPTH, Bindings
from .recorded import Recorded

SHOWN = 20
"""Differences of one exchange that are listed; the others are counted."""

ISSUED = frozenset(
    {"nextCursor", "taskId", "sessionId", "subscriptionId", "elicitationId", "requestState", "resumptionToken"}
)
"""Members whose value the server makes up: what it is now is used where the recorded one was used."""

_FORMS = (
    re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?([.,]\d{1,9})?(Z|[+-]\d\d:?\d\d)?"),
    re.compile(r"(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}"),
)
"""Texts that are never the same twice: times and UUIDs. Another one of the same form is no difference."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: where it is in the answer, what was recorded there, and what came now."""

    where: str
    recorded: str
    now: str


@dataclass(frozen=True, slots=True)
class Yardstick:
    """How closely to compare: the places that do not matter, and whether values do."""

    ignored: tuple[Any, ...] = ()
    """JSON paths below a message, such as `$.result.content[*].text`."""
    shape_only: bool = False


def differences(recorded: Recorded, now: Recorded, bindings: Bindings, yardstick: Yardstick) -> list[Difference]:
    """Compare two answers; what the server calls differently now is remembered."""
    found: list[Difference] = []
    if now.status is None:
        return [] if recorded.status is None else [Difference("answer", str(recorded.status), now.broken or "none")]
    if recorded.status is None:
        # It was given up: what would have been the answer is not known.
        return []
    if recorded.status != now.status:
        found.append(Difference("status", str(recorded.status), str(now.status)))
    if recorded.answer_headers.content_type != now.answer_headers.content_type and recorded.ok and now.ok:
        kinds = (one.answer_headers.content_type or "none" for one in (recorded, now))
        found.append(Difference("content type", *kinds))
    if not recorded.cut_off:
        found += _told(recorded, now)
        found += _responses(recorded, now, bindings, yardstick)
    if len(found) > SHOWN:
        found = [*found[:SHOWN], Difference(f"{len(found) - SHOWN} more places", "", "")]
    return found


def _told(recorded: Recorded, now: Recorded) -> Iterator[Difference]:
    """Requests and notifications that came along, by their methods."""
    before, after = (
        [message.method or "" for message in one.messages() if message.kind in (Kind.REQUEST, Kind.NOTIFICATION)]
        for one in (recorded, now)
    )
    if recorded.verb == "GET":  # what comes there comes when it comes
        before, after = sorted(before), sorted(after)
    if before != after:
        yield Difference("messages on the way", _counted(before), _counted(after))


def _responses(recorded: Recorded, now: Recorded, bindings: Bindings, yardstick: Yardstick) -> Iterator[Difference]:
    before, after = _responses_of(recorded), _responses_of(now)
    pairs: list[tuple[Message | None, Message | None]]
    if recorded.body.batch:
        pairs = [(one, next((other for other in after if other.id == one.id), None)) for one in before]
    else:
        pairs = [(before[0] if before else None, after[0] if after else None)] if before or after else []
    for old, new in pairs:
        if old is None or new is None:
            yield Difference("response", _kind(old), _kind(new))
            continue
        ignored = _ignored(yardstick, old) | _ignored(yardstick, new)
        if (old.error is None) != (new.error is None):
            yield Difference("response", _kind(old), _kind(new))
        elif old.error is not None:
            yield from _values("error", old.raw["error"], new.raw["error"], bindings, yardstick, ignored)
        else:
            yield from _values("result", old.raw.get("result"), new.raw.get("result"), bindings, yardstick, ignored)


def _responses_of(one: Recorded) -> list[Message]:
    return [message for message in one.messages() if message.kind is Kind.RESPONSE]


def _ignored(yardstick: Yardstick, message: Message) -> set[str]:
    found = set()
    for path in yardstick.ignored:
        for match in path.finditer(message.raw):
            found.add("".join(_part(part) for part in match.parts).lstrip("."))
    return found


def _values(
    where: str,
    old: Any,
    new: Any,
    bindings: Bindings,
    yardstick: Yardstick,
    ignored: set[str],
    depth: int = 0,
) -> Iterator[Difference]:
    if where in ignored or depth > DEPTH:
        return
    name = where.rpartition(".")[2]
    if name in ISSUED and isinstance(old, str) and isinstance(new, str):
        bindings.bind(old, new)
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            place = where + _part(key)
            if key not in new or key not in old:
                if place not in ignored:
                    yield Difference(place, _short(old.get(key, _NONE)), _short(new.get(key, _NONE)))
            else:
                yield from _values(place, old[key], new[key], bindings, yardstick, ignored, depth + 1)
    elif isinstance(old, list) and isinstance(new, list):
        for number, (a, b) in enumerate(zip(old, new, strict=False)):
            yield from _values(f"{where}[{number}]", a, b, bindings, yardstick, ignored, depth + 1)
        for number in range(min(len(old), len(new)), max(len(old), len(new))):
            place = f"{where}[{number}]"
            if place not in ignored:
                yield Difference(
                    place,
                    _short(old[number] if number < len(old) else _NONE),
                    _short(new[number] if number < len(new) else _NONE),
                )
    elif yardstick.shape_only:
        if _type(old) != _type(new):
            yield Difference(where, _type(old), _type(new))
    elif not _same(old, new, bindings):
        yield Difference(where, _short(old), _short(new))


def _same(old: Any, new: Any, bindings: Bindings) -> bool:
    if bindings.match(old, new):
        return True
    if isinstance(old, str) and isinstance(new, str):
        return any(form.fullmatch(old) and form.fullmatch(new) for form in _FORMS)
    return False


class _Nothing:
    """Stands where there is no value."""


_NONE = _Nothing()


def _type(value: Any) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case None:
            return "null"
        case _:
            return "nothing"


def _short(value: Any) -> str:
    if value is _NONE:
        return "nothing"
    text = to_json(value).decode()
    return text if len(text) <= 200 else text[:199] + "…"


def _part(part: str | int) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"


def _kind(message: Message | None) -> str:
    if message is None:
        return "none"
    if message.error is not None:
        return f"error {message.error_code}"
    return "result"


def _counted(methods: Sequence[str]) -> str:
    counts = {method: methods.count(method) for method in dict.fromkeys(methods)}
    return ", ".join(method if times == 1 else f"{times} × {method}" for method, times in counts.items()) or "none"
