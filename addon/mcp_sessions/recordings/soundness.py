"""Whether a flow that was read from a file is like those that mitmproxy writes: a file may come from anybody.

mitmproxy takes over what stands there without looking at it, and so a status may be a text.
"""

from __future__ import annotations

from types import NoneType
from typing import Annotated, Any, TypedDict

from mitmproxy import flow as mflow
from mitmproxy import http
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

_STRICT = ConfigDict(strict=True, extra="ignore")

type Time = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
type Address = tuple[str, int] | tuple[str, int, Any, Any] | None


@with_config(_STRICT)
class _Message(TypedDict):
    http_version: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    content: bytes | None
    trailers: tuple[tuple[bytes, bytes], ...] | None
    timestamp_start: Time
    timestamp_end: Time | None


@with_config(_STRICT)
class _Request(_Message):
    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    host: str
    port: int


@with_config(_STRICT)
class _Response(_Message):
    status_code: Annotated[int, Field(ge=100, le=999)]
    reason: bytes


@with_config(_STRICT)
class _Error(TypedDict):
    msg: str
    timestamp: Time


@with_config(_STRICT)
class _Connection(TypedDict):
    id: str
    peername: Address
    sockname: Address


@with_config(_STRICT)
class _Flow(TypedDict):
    id: str
    request: _Request
    response: _Response | None
    error: _Error | None
    client_conn: _Connection
    server_conn: _Connection
    comment: str
    marked: str
    metadata: dict[str, Any]


_FLOW = TypeAdapter(_Flow)

_PARTS = (("request", http.Request), ("response", (http.Response, NoneType)), ("error", (mflow.Error, NoneType)))
"""What mitmproxy writes down as if it were not there if it is something else that is empty."""


def problem(flow: http.HTTPFlow) -> str:
    """Where it is not; empty if it is."""
    for name, kind in _PARTS:
        if not isinstance(getattr(flow, name), kind):
            return name
    try:
        _FLOW.validate_python(flow.get_state())
    except ValidationError as e:
        return ".".join(str(part) for part in e.errors()[0]["loc"])[:100]
    except Exception as e:  # what mitmproxy trips over in writing it down again
        return type(e).__name__
    return ""
