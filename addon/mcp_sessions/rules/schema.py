"""Is this a valid message of its revision? Asked of the SDK's own types, where they are installed (extra `schema`).

They are generated from the specification's JSON Schema. Taken strictly, so that `"true"` is no boolean. What they know
nothing of (extensions, tasks) is not judged, nor what another rule is about. Importing them takes half a second, and
a long message its time: these checks are made later, in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import takewhile
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..ledger import printable
from ..wire.jsonrpc import Kind, Message
from ..wire.revision import STATELESS_REVISIONS
from .checks import Party, Said, on_message

LIBRARY = "mcp_types"

SIZE_LIMIT = 1024 * 1024
"""Bytes of a body up to which its messages are checked: nobody else runs while they are."""

SHOWN = 3
"""Problems of one message that are named."""
ERRORS_LIMIT = 2_000
"""Problems of one message up to which they are looked at one by one."""

OTHERS = {
    "io.modelcontextprotocol/protocolVersion": "MCP605",
    "io.modelcontextprotocol/clientCapabilities": "MCP611",
    "resultType": "MCP613",
    "ttlMs": "MCP614",
    "cacheScope": "MCP614",
}
"""Members that another rule looks after."""

RESULT_TYPES = {"complete": 0, "input_required": 1}
"""Values of `resultType`, and which of the alternatives of a result each means. Extensions define others."""

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


@on_message("MCP111", "client")
def client_message(said: Said) -> str | None:
    """What a client sends is a valid message of its revision."""
    return _problem(said, "client")


@on_message("MCP207", "server")
def server_message(said: Said) -> str | None:
    """What a server sends is a valid message of its revision."""
    return _problem(said, "server")


def _problem(said: Said, party: Party) -> str | None:
    message = said.message
    raw = message.raw
    surfaces = _surfaces(party)
    stateless = said.revision in STATELESS_REVISIONS
    match message.kind:
        case Kind.REQUEST | Kind.NOTIFICATION:
            what, frame = message.method or "", {**raw, "id": 0} if message.kind is Kind.REQUEST else raw
            table = surfaces.requests if message.kind is Kind.REQUEST else surfaces.notifications
            expected = table.get((what, said.revision))
        case Kind.RESPONSE if "error" in raw:
            what, frame, expected = "error", raw["error"], import_module(LIBRARY).ErrorData
        case Kind.RESPONSE if said.answers:
            what, frame = f"{said.answers} result", raw["result"]
            expected = surfaces.results.get((said.answers, said.revision))
            if stateless and expected is not None:
                expected = _alternative(expected, message)
        case _:
            return None
    if expected is None:
        return None
    problems = _validate(expected, frame, stateless=stateless)
    return printable(f"{what}: {problems}", 300) if problems else None


@cache
def _surfaces(party: Party) -> Surfaces:
    methods = import_module(f"{LIBRARY}.methods")
    side = party.upper()
    return Surfaces(*(getattr(methods, f"{side}_{kind}") for kind in ("REQUESTS", "NOTIFICATIONS", "RESULTS")))


def _alternative(expected: Any, message: Message) -> Any:
    """The type of a result that its `resultType` asks for; None for one that an extension defines."""
    kind = (message.result or {}).get("resultType")
    which = RESULT_TYPES.get(kind) if isinstance(kind, str) else 0
    alternatives = get_args(expected) or (expected,)
    return None if which is None else alternatives[min(which, len(alternatives) - 1)]


@cache
def _adapter(expected: type[BaseModel]) -> TypeAdapter[Any]:
    return TypeAdapter(expected)


def _validate(expected: type[BaseModel], value: Any, *, stateless: bool) -> str:
    """What is wrong with a value, in words; empty if nothing is."""
    try:
        _adapter(expected).validate_python(value, strict=True, by_name=False)
    except ValidationError as e:
        if e.error_count() > ERRORS_LIMIT:
            return f"{e.error_count()} problems"
        errors = e.errors(include_url=False, include_context=False)
    else:
        return ""
    found = [error for error in _of_one_alternative(errors) if not _left_to_others(error, stateless)]
    shown = [f"{_place(error['loc'])}: {error['msg']}" for error in found[:SHOWN]]
    if len(found) > SHOWN:
        shown.append(f"and {len(found) - SHOWN} more")
    return "; ".join(shown)


def _left_to_others(error: Any, stateless: bool) -> bool:
    place, kind, value = error["loc"], error["type"], error["input"]
    if isinstance(value, float) and value.is_integer() and (kind == "int_type" or place[-1:] == ("str",)):
        return True  # JSON does not tell 10.0 from 10, which may be a whole number or else a string
    if place and place[-1] in OTHERS:
        return True
    # Without them there are no capabilities, either.
    return stateless and kind == "missing" and place in (("params",), ("params", "_meta"))


def _of_one_alternative(errors: list[Any]) -> list[Any]:
    """Where a value may be one of several types, what is wrong with it as the type that it says it is.

    A place in such a value names the type that was tried: `content, 0, TextContent, text`.
    """
    ruled_out = {error["loc"][:-1] for error in errors if error["type"] == "literal_error"}
    ruled_out = {place for place in ruled_out if place and _is_alternative(place[-1])}
    left = [error for error in errors if not any(error["loc"][: len(place)] == place for place in ruled_out)]
    if left:
        return left
    place = tuple(takewhile(lambda part: not _is_alternative(part), errors[0]["loc"]))
    return [{**errors[0], "loc": place, "msg": "Input should be one of the types that the schema lists"}]


def _is_alternative(name: object) -> bool:
    return isinstance(name, str) and name[:1].isupper()


def _place(place: tuple[int | str, ...]) -> str:
    """Where it is wrong; which of several types was tried there is in the words that follow."""
    return ".".join(str(part) for part in place if part not in ("str", "int") and not _is_alternative(part)) or "it"
