"""Whether an answer is one to the request itself: by the request's own id, however oddly that is written.

What was answered by its id was processed. A refusal that proves the contrary has no JSON-RPC in it, or another id.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ...wire.jsonrpc import Body, Kind, Message
from ..exchange import Exchange

ACCEPTED = 202
"""The status of an answer to what is no request."""

PLAIN_LIMIT = 1_000
"""Characters of an id up to which it is looked for in what is no JSON."""

LARGE = 10**300
"""From which on a number is not written out: Python takes long for that, or refuses."""

ODD = "an odd id"
"""In the place of an id that is neither a text nor a number: one of these may be any other."""

WINDOW = 64 * 1024
"""Bytes at the beginning and at the end of what is no JSON in which an id is looked for."""


def answers(x: Exchange) -> bool:
    """Whether an answer that was read is one to the request: then it may be a tool that speaks of its own sessions."""
    if x.answer is None:
        return False
    asked = _asked(x)
    told = (m.id for m in x.answer.messages if m.kind not in (Kind.REQUEST, Kind.NOTIFICATION))
    return any(_spelt(one) in asked for one in told)


def may_answer(x: Exchange, content: bytes | None) -> bool | None:
    """The same, also of what can't be parsed; None if it was not read at all (`content` is None), so that it may be."""
    if answers(x):
        return True
    asked, told = _asked(x), x.answer or Body()
    if told.cut or (x.body.cut and any(m.id is not None for m in told.messages)):
        return None  # not all ids are known
    if not asked or (x.answer is not None and x.answer.messages and not x.answer.problem):
        return False
    if content is None:
        return None
    # An event stream, a second value after the first, UTF-16: JSON-RPC it is all the same.
    seen = (content if len(content) <= 2 * WINDOW else content[:WINDOW] + content[-WINDOW:]).replace(b"\0", b"")
    if b'"jsonrpc"' not in seen:
        return False
    if x.body.cut or not all(_is_plain(m.id) for m in x.body.messages if m.kind is Kind.REQUEST):
        return None
    ids = "|".join(re.escape(spelling) for one in asked for spelling in _spellings(one))
    return re.search(rf'"id"\s*:\s*"?(?:{ids})(?:\.0+)?"?\s*[,}}\]\r\n]'.encode(), seen) is not None


def grants(x: Exchange, message: Message) -> bool:
    """Whether a message shows that the server has taken the request: its result, or what it says before that."""
    if message.kind is not Kind.RESPONSE:
        return message.kind is not Kind.INVALID
    asked = _asked(x)
    return "result" in message.raw and (not asked or _spelt(message.id) in asked)


def accepted(x: Exchange) -> bool:
    """Whether an answer that was read whole, with 2xx, shows the same: a page with 200, or an error, does not."""
    if x.verb != "POST" or x.answer is None:
        return False
    responses = [m for m in x.answer.messages if m.kind is Kind.RESPONSE]
    if _asked(x) or responses:
        return any(grants(x, one) for one in responses)
    return x.status == ACCEPTED or not (x.answer.messages or x.answer.problem)


def _asked(x: Exchange) -> set[str | None]:
    return {_spelt(m.id) for m in x.body.messages if m.kind is Kind.REQUEST} - {None}


def _spelt(id: Any) -> str | None:
    """An id as a text, for some servers make a text of a number; None for what is none. Odd ones are ids as well."""
    if id is None or isinstance(id, str):
        return id
    if isinstance(id, bool) or not isinstance(id, (int, float)):
        return ODD
    return (
        str(id)
        if isinstance(id, float) and id != id // 1
        else f"{id + 0.0:.0f}"
        if isinstance(id, float)
        else _digits(id)
    )


def _digits(id: int) -> str:
    return str(id) if abs(id) < LARGE else hex(id)  # which knows no limit


def _spellings(id: str | None) -> set[str]:
    return {json.dumps(id)[1:-1], json.dumps(id, ensure_ascii=False)[1:-1]} if id is not None else set()


def _is_plain(id: Any) -> bool:
    """Whether an id can be looked for in a text: others can be written in too many ways, or are too long."""
    if isinstance(id, str):
        return len(id) <= PLAIN_LIMIT
    return isinstance(id, int) and not isinstance(id, bool) and abs(id) < LARGE
