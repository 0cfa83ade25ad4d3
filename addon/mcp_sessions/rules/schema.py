"""Is this a valid message of its revision? Asked of the SDK's own types, where they are installed (extra `schema`).

They are generated from the specification's JSON Schema. Taken strictly, so that `"true"` is no boolean. What they know
nothing of (extensions, tasks) is not judged, nor what another rule is about. Importing them takes half a second, and
a long message its time: while the traffic passes, these checks are made later and in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..wire.jsonrpc import Kind, Message
from ..wire.revision import META_CAPABILITIES, META_VERSION, STATELESS_REVISIONS
from ..wire.text import printable
from .checks import Said, on_message
from .entries import Party

LIBRARY = "mcp_types"

ELEMENTS_LIMIT = 1_000
"""Elements of lists that are looked at in one message: a wrong one makes a dozen problems, while nobody else runs."""
MEMBERS_LIMIT = 5_000
"""Members of objects up to which a message is looked at."""

SHOWN = 3
"""Problems of one message that are named."""

OTHERS = {
    ("params",): "MCP611",
    ("params", "_meta"): "MCP611",
    ("params", "_meta", META_CAPABILITIES): "MCP611",
    ("params", "_meta", META_VERSION): "MCP605",
    ("resultType",): "MCP613",
    ("ttlMs",): "MCP614",
    ("cacheScope",): "MCP614",
}
"""Places in stateless messages that another rule looks after."""

SINCE = {
    ("title",): "2025-06-18",
    ("context",): "2025-06-18",
    ("elicitation",): "2025-06-18",
    ("lastModified",): "2025-06-18",
    ("outputSchema",): "2025-06-18",
    ("structuredContent",): "2025-06-18",
    ("icons",): "2025-11-25",
    ("execution",): "2025-11-25",
    ("task",): "2025-11-25",
    ("tasks",): "2025-11-25",
    ("toolChoice",): "2025-11-25",
    ("websiteUrl",): "2025-11-25",
    ("default",): "2025-11-25",
    ("serverInfo", "description"): "2025-11-25",
    ("clientInfo", "description"): "2025-11-25",
    ("sampling", "tools"): "2025-11-25",
    ("params", "tools"): "2025-11-25",
    ("sampling", "context"): "2025-11-25",
    ("elicitation", "form"): "2025-11-25",
    ("elicitation", "url"): "2025-11-25",
    ("params", "mode"): "2025-11-25",
    ("params", "url"): "2025-11-25",
    ("params", "elicitationId"): "2025-11-25",
}
"""Members by the revision that they came with: in an earlier one they are extensions, and may be anything.

The types know two schemas, that of 2025-11-25 and that of 2026-07-28; the earlier revisions are judged by the first.
"""

PLAIN = frozenset({"str", "int", "float", "bool"})
"""How pydantic names alternatives that are no models."""

RESULT_TYPES = {"complete": 0, "input_required": 1}
"""Values of `resultType`, and which of the alternatives of a result each means. Extensions define others."""

type Place = tuple[int | str, ...]


class Wrong(NamedTuple):
    """One thing that is wrong with a value."""

    place: Place
    kind: str
    """As pydantic names it."""
    words: str


class TooLongError(Exception):
    """A message has more members than can be looked at."""


type Surface = Mapping[tuple[str, str], Any]


class Surfaces(NamedTuple):
    """What one side may send: types by method and revision; results by the method that they answer."""

    requests: Surface
    notifications: Surface
    results: Surface


@cache
def available() -> bool:
    """Whether the extra is installed."""
    return find_spec(LIBRARY) is not None


@on_message("MCP111")
def client_message(said: Said) -> str | None:
    """What a client sends is a valid message of its revision."""
    return _problem(said, "client")


@on_message("MCP207")
def server_message(said: Said) -> str | None:
    """What a server sends is a valid message of its revision."""
    return _problem(said, "server")


def _problem(said: Said, party: Party) -> str | None:
    message, revision = said.message, said.revision
    raw = message.raw
    surfaces = _surfaces(party)
    match message.kind:
        case Kind.REQUEST | Kind.NOTIFICATION:
            what, frame = message.method or "", {**raw, "id": 0} if message.kind is Kind.REQUEST else raw
            table = surfaces.requests if message.kind is Kind.REQUEST else surfaces.notifications
            expected = table.get((what, revision))
        case Kind.RESPONSE if "error" in raw:
            what, frame, expected = "error", raw["error"], import_module(LIBRARY).ErrorData
        case Kind.RESPONSE if said.answers:
            what, frame = f"{said.answers} result", raw["result"]
            expected = surfaces.results.get((said.answers, revision))
            if revision in STATELESS_REVISIONS and expected is not None:
                expected = _alternative(expected, message)
        case _:
            return None
    if expected is None:
        return None
    found = [wrong for wrong in _wrong(expected, frame) if not _left_alone(wrong.place, revision)]
    shown = [f"{'.'.join(map(str, wrong.place)) or 'it'}: {wrong.words}" for wrong in found[:SHOWN]]
    if len(found) > SHOWN:
        shown.append(f"and {len(found) - SHOWN} more")
    return printable(f"{what}: {'; '.join(shown)}", 300) if shown else None


@cache
def _surfaces(party: Party) -> Surfaces:
    methods = import_module(f"{LIBRARY}.methods")
    side = party.upper()
    return Surfaces(*(getattr(methods, f"{side}_{kind}") for kind in ("REQUESTS", "NOTIFICATIONS", "RESULTS")))


def _alternative(expected: Any, message: Message) -> Any:
    """The type of a result that its `resultType` asks for; None for one of an extension, or of other methods."""
    kind = (message.result or {}).get("resultType")
    which = RESULT_TYPES.get(kind) if isinstance(kind, str) else 0
    alternatives = get_args(expected) or (expected,)
    return None if which is None or which >= len(alternatives) else alternatives[which]


def _left_alone(place: Place, revision: str) -> bool:
    if revision in STATELESS_REVISIONS:
        return place in OTHERS
    if place[:2] == ("params", "arguments"):
        return False  # the names there are the user's
    shown = tuple(part for part in place if isinstance(part, str))
    runs = (shown[i : i + n] for n in (1, 2) for i in range(len(shown) - n + 1))
    return any(SINCE.get(run, "") > revision for run in runs)


# What is wrong with a value


@cache
def _adapter(expected: type[BaseModel]) -> TypeAdapter[Any]:
    return TypeAdapter(expected)


def _wrong(expected: type[BaseModel], value: Any) -> list[Wrong]:
    """What is wrong with a value."""
    try:
        _adapter(expected).validate_python(_bounded(value), strict=True, by_name=False)
    except TooLongError:
        return []  # it can't be told
    except ValidationError as e:
        errors = e.errors(include_url=False, include_context=False, include_input=False)
        models = _models(expected.__module__)
        return _likeliest([Wrong(error["loc"], error["type"], error["msg"]) for error in errors], models)
    return []


def _bounded(value: Any) -> Any:
    """A copy with lists cut after `ELEMENTS_LIMIT` elements in all, and 10 for 10.0, which JSON does not tell apart.

    Raises:
        TooLongError: when there are too many members of objects, which can't be left out.
    """
    elements, members = ELEMENTS_LIMIT, MEMBERS_LIMIT

    def copied(value: Any) -> Any:
        nonlocal elements, members
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, dict):
            members -= len(value)
            if members < 0:
                raise TooLongError
            return {key: copied(item) for key, item in value.items()}
        if isinstance(value, list):
            kept = value[:elements]
            elements -= len(kept)
            return [copied(item) for item in kept]
        return value

    return copied(value)


def _likeliest(found: list[Wrong], models: frozenset[str], start: int = 0) -> list[Wrong]:
    """Where a value may be one of several types, what is wrong with it as the type that it most likely is.

    A place in such a value names the type that was tried: `content, 0, TextContent, text`.
    """
    plain: list[Wrong] = []
    unions: dict[Place, dict[int | str, list[Wrong]]] = {}
    for wrong in found:
        place = wrong.place
        at = next((i for i in range(start, len(place)) if _is_alternative(place[i], models)), None)
        if at is None:
            plain.append(wrong)
        else:
            unions.setdefault(place[:at], {}).setdefault(place[at], []).append(wrong)
    for place, alternatives in unions.items():
        depth = len(place) + 1
        fitting = [
            _likeliest(tried, models, depth)
            for tried in alternatives.values()
            if not any(_rules_out(wrong, depth) for wrong in tried)
        ]
        likeliest = min(fitting, key=lambda tried: (_missing(tried, depth), len(tried)), default=None)
        if likeliest is None:
            plain.append(Wrong(place, "union", "Input should be one of the types that the schema lists"))
        else:
            plain += [wrong._replace(place=place + wrong.place[depth:]) for wrong in likeliest]
    return plain


def _missing(found: list[Wrong], depth: int) -> int:
    """How many members of its own an alternative lacks that begins there."""
    return sum(len(wrong.place) == depth + 1 and wrong.kind == "missing" for wrong in found)


def _rules_out(wrong: Wrong, depth: int) -> bool:
    """Whether a value is not meant as the alternative that begins there: it is of another kind, or names another."""
    return (len(wrong.place) == depth and wrong.kind.endswith("_type")) or (
        len(wrong.place) == depth + 1 and wrong.kind == "literal_error"
    )


def _is_alternative(part: int | str, models: frozenset[str]) -> bool:
    return isinstance(part, str) and (part in models or part in PLAIN or part.startswith(("list[", "dict[")))


@cache
def _models(module: str) -> frozenset[str]:
    """The names of the types, as they stand in places."""
    return frozenset(name for name, value in vars(import_module(module)).items() if isinstance(value, type))
