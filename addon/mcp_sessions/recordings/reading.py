"""Saved flows: read one by one, told apart, chosen, and understood as the exchanges of a recording."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mitmproxy import exceptions, http, io

from ..proxy.metadata import ARRIVALS, CLIENT, NUMBER, OWN, PRESENTED, PROCESS, RULES, SESSION, TRUNCATED
from ..proxy.said import body_of
from ..wire.headers import HeaderMap
from ..wire.jsonrpc import Body, parse
from ..wire.recognition import is_mcp
from ..wire.text import printable
from . import recorded
from .recorded import Recorded
from .soundness import problem

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes that a body may grow to when its content coding is undone."""

TOTAL_LIMIT = 512 * 1024 * 1024
"""Bytes of bodies that are held at once; a longer recording is taken apart by session or client first."""

ALL = "all"
"""What is chosen when a user chooses nothing less."""

KEEP_SECRETS = "--keep-secrets"
"""What has to be typed in full for an export with its secrets."""


class RecordingError(ValueError):
    """A recording can't be read, or holds nothing that was asked for; the text is one line for the user."""


def flows_in(path: str | os.PathLike[str]) -> Iterator[http.HTTPFlow]:
    """The HTTP flows of a file, one by one.

    Raises:
        RecordingError: when there is no such file, or it is no recording.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            for number, flow in enumerate(io.FlowReader(file).stream(), 1):
                if not isinstance(flow, http.HTTPFlow):
                    continue
                if wrong := problem(flow):
                    raise RecordingError(f"{os.fspath(path)}: flow {number} is damaged at {printable(wrong)}")
                yield flow
    except RecordingError:
        raise
    except OSError as e:
        raise RecordingError(f"{os.fspath(path)}: {e.strerror}") from None
    except exceptions.FlowReadException as e:
        raise RecordingError(f"{os.fspath(path)}: {e}"[:300]) from None
    except Exception as e:  # whatever mitmproxy trips over in a file that it did not write like this
        raise RecordingError(f"{os.fspath(path)}: damaged, or of another mitmproxy ({type(e).__name__})") from None


def chosen(flows: Iterable[http.HTTPFlow], which: str = ALL) -> list[http.HTTPFlow]:
    """The MCP flows of one session (its label, `#number`, or id), of one client, or all.

    Raises:
        RecordingError: when there are none, or more than can be held.
    """
    choice = Choice(which)
    for flow in flows:
        choice.offer(flow)
    return choice.made()


class Choice:
    """The same, one flow after the other."""

    def __init__(self, which: str = ALL) -> None:
        self._which = which
        self._endpoints: set[tuple[str, int, str]] = set()
        self._found: list[http.HTTPFlow] = []
        self._held = 0

    def offer(self, flow: http.HTTPFlow) -> None:
        """Take a flow, if it is one of those.

        Raises:
            RecordingError: when it is one more than can be held.
        """
        if not _is_mcp(flow, self._endpoints):
            return
        if self._which != ALL and not _matches(exchange_of(flow, light=True), self._which):
            return
        self._found.append(flow)
        self._held += len(flow.request.raw_content or b"") + len((flow.response and flow.response.raw_content) or b"")
        if self._held > TOTAL_LIMIT:
            raise RecordingError(f"more than {TOTAL_LIMIT >> 20} MB of bodies; choose one session or one client")

    def made(self) -> list[http.HTTPFlow]:
        """Those that were taken.

        Raises:
            RecordingError: when there are none.
        """
        if not self._found:
            which = self._which
            raise RecordingError(
                "no MCP traffic in it" if which == ALL else f"no session and no client {which[:60]!r} in it"
            )
        return self._found


def exchanges_in(flows: Iterable[http.HTTPFlow]) -> list[Recorded]:
    """What the flows say, in the order in which they began."""
    return sorted((exchange_of(flow) for flow in flows), key=lambda one: one.at)


def exchange_of(flow: http.HTTPFlow, *, light: bool = False) -> Recorded:
    """What a flow says; with `light` without the bodies."""
    request, response, metadata = flow.request, flow.response, flow.metadata
    headers = HeaderMap(request.headers.fields)
    content = (
        b"" if light and b'"initialize"' not in (request.raw_content or b"")[:4096] else body_of(request, BODY_LIMIT)
    )
    answer = HeaderMap(response.headers.fields) if response else HeaderMap()
    began = request.timestamp_start
    ended = (response.timestamp_end if response else None) or (flow.error.timestamp if flow.error else None) or began
    one = Recorded(
        flow.id,
        began,
        request.method,
        request.url,
        headers,
        content,
        parse(content) if request.method == "POST" else Body(),
        own=_word(metadata.get(OWN)),
        client=_word(metadata.get(CLIENT)) or _client(flow),
        label=_word(metadata.get(SESSION)),
        number=number if isinstance(number := metadata.get(NUMBER), int) else None,
        ended_at=ended,
        broken=flow.error.msg if flow.error else "",
        by_client=flow.error is not None and "lient disconnected" in flow.error.msg,
        rules=tuple(_words(metadata.get(RULES))),
    )
    if response is not None:
        one.status, one.answer_headers = response.status_code, answer
        one.complete = flow.error is None and response.timestamp_end is not None
        one.answered_at = response.timestamp_start or began
        one.cut_off = cut if isinstance(cut := metadata.get(TRUNCATED), int) else 0
        if not light:
            one.answer_content = body_of(response, BODY_LIMIT)
            if one.streams:
                times = metadata.get(ARRIVALS)
                known = [at for at in (times if isinstance(times, list) else []) if isinstance(at, (int, float))]
                one.arrivals, one.timed = recorded.arrivals(one.answer_content, known, ended)
    presented = metadata.get(PRESENTED)
    one.session = recorded.as_known_to_client(
        headers, presented if isinstance(presented, str) else None, answer, one.is_initialize and one.ok and not one.own
    )
    return one


def _is_mcp(flow: http.HTTPFlow, endpoints: set[tuple[str, int, str]]) -> bool:
    request = flow.request
    endpoint = (request.host, request.port, request.path.partition("?")[0])
    known = endpoint in endpoints
    if OWN in flow.metadata or CLIENT in flow.metadata:
        endpoints.add(endpoint)
        return True
    if is_mcp(request.method, request.path, HeaderMap(request.headers.fields), request.raw_content, known):
        endpoints.add(endpoint)
        return True
    return False


def _matches(exchange: Recorded, which: str) -> bool:
    if which.startswith("#"):
        return str(exchange.number) == which[1:]
    return which in (exchange.label, exchange.session, exchange.client, exchange.client.partition("[")[0]) or bool(
        len(which) >= 4 and exchange.session.startswith(which)
    )


def _client(flow: http.HTTPFlow) -> str:
    match flow.metadata.get(PROCESS):
        case [str(name), int(pid), *_]:
            return f"{name}[{pid}]"
    peer = flow.client_conn.peername
    return str(peer[0]) if peer else ""


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, (list, tuple)) else []
