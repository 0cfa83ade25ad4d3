"""What must hold for any bytes at all, parser by parser: each target takes bytes and fails if something does not.

Hypothesis runs them with the other tests (`test_targets.py`), atheris for as long as is wanted (`run.py`).
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from httpx_sse._decoders import SSEDecoder, SSELineDecoder

from mcp_sessions.recordings.reading import RecordingError, exchanges_in, flows_in
from mcp_sessions.recordings.redact import Redactor
from mcp_sessions.wire import headers as h
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import BATCH_LIMIT, Kind, Message, parse
from mcp_sessions.wire.recognition import is_mcp
from mcp_sessions.wire.sse import BOM, Decoder, Event

type Dispatched = tuple[str, str, str]
"""Type, data and the last id of an event, as a client sees it."""

PLANTED = "Zq7Planted9xWvB2"
"""A secret: whatever surrounds it, it must not survive."""

RECORDING = Path(__file__).resolve().parents[1] / "corpus" / "python1.mitm"


# Event streams


def cut(stream: bytes, sizes: bytes) -> list[bytes]:
    """A stream in pieces of these sizes, again and again."""
    pieces, at, turn = [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)] % 16 + 1 if sizes else len(stream)
        pieces.append(stream[at : at + size])
        at, turn = at + size, turn + 1
    return pieces


def by_reference(stream: bytes) -> list[Dispatched]:
    """The events by httpx-sse. It hands out events without data, too, which a client never sees."""
    lines, decoder, found = SSELineDecoder(), SSEDecoder(), []
    text = stream.removeprefix(BOM).decode("utf-8", "replace")
    for line in [*lines.decode(text), *(lines.flush() if text.endswith("\r") else [])] if text else []:
        event = decoder.decode(line)
        if event is not None and event.data:
            found.append((event.event or "message", event.data, event.id))
    return found


def dispatched(events: list[Event]) -> list[Dispatched]:
    """Our events as a client sees them."""
    found, last_id = [], ""
    for event in events:
        last_id = event.id if event.id is not None else last_id
        if event.data:
            found.append((event.type, event.data.decode("utf-8", "replace"), last_id))
    return found


def sse(data: bytes) -> None:
    """However a stream is cut, its events are those of the reference."""
    sizes, _, stream = data.partition(b"|")
    decoder = Decoder()
    events = [event for piece in cut(stream, sizes) for event in decoder.feed(piece)]
    assert events == Decoder().feed(stream), "chunk borders mean something"
    if max(map(len, stream.replace(b"\r", b"\n").split(b"\n"))) <= 256:  # longer types and ids are cut
        assert dispatched(events) == by_reference(stream)
    if decoder.between:
        assert not decoder.finish()
        rest = decoder.feed(b"data: x\n\n")
        if stream:
            assert [event.data for event in rest] == [b"x"], "it said that it stands between two events"
    small = Decoder(limit=20)
    for piece in cut(stream, sizes):
        for event in small.feed(piece):
            assert event.data is None or len(event.data) <= 20


# Messages


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _plain(value: Any) -> bool:
    """Whether a value is one about which all parsers agree."""
    match value:
        case float():
            return abs(value) < 1e300
        case int():
            return abs(value) < 10**300
        case dict():
            return all(_plain(item) for item in value.values())
        case list():
            return all(_plain(item) for item in value)
        case _:
            return True


def message(data: bytes) -> None:
    """What Python's own parser reads is read, and the same; what it refuses is no message."""
    body = parse(data)
    for one in body.messages:
        _asked_everything(one)
    assert body.messages or body.problem
    if b"\\u" in data or data.startswith(BOM):
        return
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        assert body.sniffed or not body.messages
        return
    if body.sniffed or not _plain(value):
        return
    assert [one.raw for one in body.messages] == (value[:BATCH_LIMIT] if isinstance(value, list) else [value])
    assert body.batch is isinstance(value, list)


def _asked_everything(one: Message) -> None:
    assert bool(one.lack) is (one.kind is Kind.INVALID)
    assert isinstance(one.params, dict)
    assert isinstance(one.what, str)
    assert isinstance(one.error_text, str)
    assert one.result is None or one.error is None
    assert one.error_code is None or isinstance(one.error_code, int)
    assert one.has_valid_id in (True, False)
    repr(one)


# Headers


def fields(data: bytes) -> h.Fields:
    """Lines of `name: value`."""
    found = (line.partition(b":") for line in data.split(b"\n"))
    return tuple((name, value.strip()) for name, _, value in found)


def headers(data: bytes) -> None:
    """A map holds what the fields hold, and a request of the proxy's own takes what it may, and nothing else."""
    given = fields(data)
    found = HeaderMap(given)
    assert found.fields == given
    for name, value in found.items():
        values = [v for n, v in given if n.decode("latin-1").lower() == name]
        assert value.encode("latin-1") == b", ".join(values)
    assert set(found) == {name.decode("latin-1").lower() for name, _ in given}
    carried = h.carried_over(found)
    again = iter(given)
    assert all(field in again for field in carried), "in the order in which they came"
    assert sum(len(name) + len(value) for name, value in carried) <= h.CARRIED_LIMIT
    for taken, _ in carried:
        lower = taken.decode("latin-1").lower()
        assert lower not in h.OF_ONE_MESSAGE
        assert not lower.startswith((h.PARAM_PREFIX, ":"))
    assert h.carried_over(HeaderMap(carried)) == carried
    assert h.carried_on((), found) == carried
    assert h.left_out(found) >= 0
    h.coded(found)
    h.open_ended(found)
    assert found.lists() is True
    found.lists(h.JSON, h.SSE)
    assert found.content_type == found.content_type.lower().strip()
    for verb in ("GET", "POST", "DELETE"):
        for known in (True, False):
            is_mcp(verb, "/mcp", found, data, known)


# Redaction

MEDIA = ("application/json", "text/event-stream", "application/x-www-form-urlencoded", "text/plain", "")


def redaction(data: bytes) -> None:
    """A secret that a header shows survives nowhere, be it written plainly, in base64 or in hexadecimal digits."""
    media_type = MEDIA[data[0] % len(MEDIA)] if data else ""
    secret = PLANTED.encode()
    content = (
        data[1:].replace(b"@", secret).replace(b"#", base64.b64encode(secret)).replace(b"~", secret.hex().encode())
    )
    redactor = Redactor()
    shown = b""
    for last in (False, True):
        redactor.fields(((b"Authorization", b"Bearer " + secret),))
        shown = redactor.body(content, media_type)
        if not last:
            assert shown == content, "to learn changes nothing"
            redactor.replacing()
    for spelling in (secret, base64.b64encode(secret).rstrip(b"=")[:-1], secret.hex().encode()):
        assert spelling not in shown, spelling
    again = Redactor()
    again.body(shown, media_type)
    again.replacing()
    if shown == content and secret not in content:
        assert again.body(shown, media_type) == shown, "what has no secret stays as it is"


# Recordings


@cache
def _whole() -> bytes:
    return RECORDING.read_bytes()[:40_000]


def recording(data: bytes) -> None:
    """A damaged recording is read or refused in a line, whatever the damage. Three bytes say where the others go."""
    content = bytearray(_whole())
    for number in range(0, len(data), 8):
        piece = data[number : number + 8]
        at = int.from_bytes(piece[:3], "big") % (len(content) + 1)
        content[at : at + len(piece[3:])] = piece[3:]
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file:
        file.write(content)
        file.flush()
        flows: list[Any] = []
        with suppress(RecordingError):
            flows.extend(flows_in(file.name))
        exchanges_in(flows)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "sse": sse,
    "message": message,
    "headers": headers,
    "redaction": redaction,
    "recording": recording,
}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "sse": (b"\1\5|id: 1\r\nevent: message\r\ndata: {}\r\ndata: x\r\n\r\nretry: 5\n\n: c\n\ndata\n\n",),
    "message": (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}',
        b'[{"jsonrpc":"2.0","id":"a","error":{"code":-32601,"message":"m"}},{"jsonrpc":"2.0","id":1e3,"result":{}}]',
    ),
    "headers": (
        b"Authorization: Bearer x\nMCP-Session-Id: abc\nAccept: application/json;q=0.5, text/event-stream\nvia: 1.1 p",
    ),
    "redaction": (
        b'\0{"password":"@","a":["#",{"b":"~"}],"c":"%40@"}',
        b'\1event: message\ndata: {"token":"@"}\n\ndata: @\ndata: #\n\n',
        b"\2code=@&x=%7B%22password%22%3A1%7D",
    ),
    "recording": (b"\0\0\1abcde\0\1\0zzzzz",),
}
"""What a search begins with."""
