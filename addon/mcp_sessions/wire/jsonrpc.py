"""JSON-RPC 2.0 messages as they stand in a body: read once, tolerant of everything, bounded in size."""

from __future__ import annotations

import re
from contextlib import suppress
from enum import StrEnum
from typing import Any

from pydantic_core import from_json, to_json

from . import odd_json

PARSE_LIMIT = 4 * 1024 * 1024
"""Bytes up to which a body is parsed. A larger one is only sniffed, so that the event loop is never held up."""

SMALL = 512 * 1024
"""Bytes up to which a body is parsed whatever is in it."""

PARTS_LIMIT = 150_000
"""Commas and brackets of a larger body beyond which it is only sniffed: to parse four megabytes of `[]` takes 0.17 s,
of plain text 0.02 s."""

BATCH_LIMIT = 1000
"""Messages of one batch that are looked at."""

METHOD_NOT_FOUND = -32601
HEADER_MISMATCH = -32020

_SNIFF = 4096
_METHOD = re.compile(rb'"method"\s*:\s*"([A-Za-z0-9_./$-]{1,128})"')
_ID = re.compile(rb'"id"\s*:\s*("[^"\\]{0,128}"|-?\d{1,18})')


class Kind(StrEnum):
    """What a message is, decided by its members (JSON-RPC 2.0, 4 and 5)."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"
    INVALID = "invalid"


type MessageId = str | int


class Message:
    """One JSON-RPC message; `raw` is the value as parsed (untrusted, may be anything when invalid)."""

    __slots__ = ("error", "id", "kind", "method", "params", "raw", "result")

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.id: Any = None
        self.method: str | None = None
        self.kind = Kind.INVALID
        self.params: dict[str, Any] = {}
        """The parameters if they are an object, else an empty one."""
        self.result: dict[str, Any] | None = None
        """The result, if this is a response that carries an object."""
        self.error: dict[str, Any] | None = None
        """The error, if this is a response that carries one."""
        if not isinstance(raw, dict):
            return
        params = raw.get("params")
        if isinstance(params, dict):
            self.params = params
        if raw.get("jsonrpc") != "2.0":
            return
        self.id = raw.get("id")
        method = raw.get("method")
        if isinstance(method, str):
            self.method = method
            self.kind = Kind.REQUEST if "id" in raw else Kind.NOTIFICATION
        elif ("result" in raw) != ("error" in raw) and "method" not in raw:
            self.kind = Kind.RESPONSE
            result, error = raw.get("result"), raw.get("error")
            self.result = result if isinstance(result, dict) else None
            self.error = error if isinstance(error, dict) else None

    @property
    def what(self) -> str:
        """Its method and what that is applied to, as it stands on the wire: `tools/call echo`."""
        subject = self.params.get("name") or self.params.get("uri")
        return f"{self.method or ''} {subject}" if isinstance(subject, str) else self.method or ""

    @property
    def error_text(self) -> str:
        """The message of the error; empty if there is none."""
        text = self.error.get("message") if self.error else None
        return text if isinstance(text, str) else ""

    @property
    def error_code(self) -> int | None:
        """The code of the error, if there is a proper one."""
        code = self.error.get("code") if self.error else None
        return code if isinstance(code, int) and not isinstance(code, bool) else None

    @property
    def lack(self) -> str:
        """What makes it no JSON-RPC message, in a few words; empty if it is one."""
        raw = self.raw
        if self.kind is not Kind.INVALID:
            return ""
        if not isinstance(raw, dict):
            return "not an object"
        if raw.get("jsonrpc") != "2.0":
            return 'without "jsonrpc": "2.0"'
        if "method" in raw:
            return "a method that is no string"
        return "both result and error" if "result" in raw else "neither method nor result nor error"

    @property
    def has_valid_id(self) -> bool:
        """Whether the id is a string or an integer (MCP: never null)."""
        return isinstance(self.id, (str, int)) and not isinstance(self.id, bool)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.method or ''} id={self.id!r}>"


class Body:
    """What a POST body or a JSON answer holds.

    `problem` says in a few words why there is no message; `sniffed` that the body was too large, or too deep, to be
    parsed and its messages are known by method and id alone; `size` is its length in bytes, where it was read.
    """

    __slots__ = ("batch", "messages", "problem", "size", "sniffed")

    def __init__(
        self,
        messages: tuple[Message, ...] = (),
        *,
        batch: bool = False,
        problem: str = "",
        sniffed: bool = False,
        size: int = 0,
    ) -> None:
        self.messages = messages
        self.batch = batch
        self.problem = problem
        self.sniffed = sniffed
        self.size = size

    @property
    def cut(self) -> bool:
        """Whether there may be more messages in it than are looked at."""
        return len(self.messages) >= BATCH_LIMIT

    @property
    def first(self) -> Message | None:
        """The only message, or the first of a batch."""
        return self.messages[0] if self.messages else None


EMPTY = Body(problem="empty")
UNREAD = Body(problem="not read", sniffed=True)
"""A body that passed unread: it was streamed, or is compressed."""


def parse(data: bytes | None) -> Body:
    """Read a body. Never raises: what is wrong with it stands in `problem`."""
    if not data:
        return EMPTY
    if len(data) > PARSE_LIMIT:
        return _sniff(data, f"larger than {PARSE_LIMIT} bytes")
    if len(data) > SMALL and data.count(b",") + data.count(b"[") + data.count(b"{") > PARTS_LIMIT:
        return _sniff(data, f"of more than {PARTS_LIMIT} parts")
    try:
        value = from_json(data, allow_inf_nan=False, cache_strings="keys")
    except ValueError as e:
        return _odd(data, str(e)) if _is_utf8(data) else Body(problem="not UTF-8")
    return _holding(value, len(data))


def _holding(value: Any, size: int) -> Body:
    if isinstance(value, list):
        return Body(
            tuple(Message(item) for item in value[:BATCH_LIMIT]),
            batch=True,
            problem="" if value else "empty batch",
            size=size,
        )
    return Body((Message(value),), size=size)


def _odd(data: bytes, problem: str) -> Body:
    """What the parser has refused with this problem: it may be JSON all the same."""
    if odd_json.is_too_much(data, problem):
        return _sniff(data, "of too many escapes, or too deep")
    try:
        value, whole = odd_json.read(data, problem)
    except ValueError as e:
        return Body(problem=f"not JSON: {str(e)[:120]}")
    except RecursionError:
        return _sniff(data, "nested too deep")
    body = _holding(value, len(data))
    if not whole:
        body.sniffed, body.problem = True, odd_json.UNREAD
    return body


def dump(value: object) -> bytes:
    """The value as compact JSON in UTF-8."""
    return to_json(value)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _sniff(data: bytes, why: str) -> Body:
    """A large body by its head and tail: good enough to know what kind of message it is, not to judge it."""
    window = data[:_SNIFF] + data[-_SNIFF:]
    method = _METHOD.search(data[:_SNIFF]) or _METHOD.search(data[-_SNIFF:])
    found_id = _ID.search(window)
    raw: dict[str, Any] = {"jsonrpc": "2.0"}
    if found_id:
        with suppress(ValueError):  # it need not be UTF-8
            raw["id"] = from_json(found_id[1])
    if method:
        raw["method"] = method[1].decode("ascii")
    elif b'"result"' in window:
        raw["result"] = {}
    return Body((Message(raw),), sniffed=True, problem=f"{why}, not parsed")


def load(data: bytes | None) -> dict[str, Any] | None:
    """The object that this JSON of our own is; None for nothing."""
    value = from_json(data) if data is not None else None
    return value if isinstance(value, dict) else None
