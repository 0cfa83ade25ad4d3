"""HTTP+SSE, the transport of 2024-11-05: what shows it, and which endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.session import Endpoint
from mcp_sessions.rules.facts import Notes
from mcp_sessions.rules.older import ADDRESS_LIMIT, accepts, announced, is_of_it
from mcp_sessions.rules.places import Place
from mcp_sessions.wire.revision import Era
from mcp_sessions.wire.sse import Event
from rules.single import ENDPOINT, exchange, headers

INITIALIZE = {"id": 1, "method": "initialize"}


@pytest.mark.parametrize(
    ("older", "fields", "era", "found"),
    [
        (True, {}, Era.SESSION, True),
        (False, {}, Era.SESSION, False),
        (True, {"mcp_session_id": "s"}, Era.SESSION, False),
        (True, {}, Era.STATELESS, False),
    ],
)
def test_what_goes_by_it(older: bool, fields: dict[str, Any], era: Era, found: bool) -> None:
    x = exchange(INITIALIZE, **fields)
    x.era = era
    assert is_of_it(x, Notes(Place(older=older))) is found


@pytest.mark.parametrize(
    ("message", "status", "told", "found"),
    [
        (INITIALIZE, 202, None, True),
        (INITIALIZE, 202, headers(), True),
        (INITIALIZE, 202, headers(mcp_session_id="s"), False),
        (INITIALIZE, 200, None, False),
        (INITIALIZE, None, None, False),
        ({"id": 1, "method": "ping"}, 202, None, False),
    ],
)
def test_an_initialize_that_is_accepted(message: Any, status: int | None, told: Any, found: bool) -> None:
    assert accepts(exchange(message, status=status, told=told)) is found


def at(path: str, scheme: str = "http", host: str = "mcp.example", port: int = 80) -> Endpoint:
    return Endpoint(scheme, host, port, path)


@pytest.mark.parametrize(
    ("address", "messages"),
    [
        (b"/messages/?session_id=1", at("/messages/")),
        (b"messages", at("/messages")),
        (b" /messages\t", at("/messages")),
        (b"?session_id=1", at("/mcp")),
        (b"http://mcp.example/messages", at("/messages")),
        (b"http://mcp.example:80/messages", at("/messages")),
        (b"/caf\xe9", at("/caf\xe9")),
        (b"", at("/mcp")),
        (None, at("/mcp")),
        (b"/" + b"x" * (ADDRESS_LIMIT - 1), at("/" + "x" * (ADDRESS_LIMIT - 1))),
        # Not at the same server, or no address.
        (b"/" + b"x" * ADDRESS_LIMIT, None),
        (b"http://other.example/messages", None),
        (b"https://mcp.example/messages", None),
        (b"http://mcp.example:81/messages", None),
        (b"http://mcp.example:port/messages", None),
        (b"http://[mcp.example/messages", None),
        (b"mailto:mcp.example", None),
    ],
)
def test_what_an_event_announces(address: bytes | None, messages: Endpoint | None) -> None:
    found = announced(exchange(verb="GET"), Event(address, type="endpoint"))
    assert found == ((ENDPOINT,) if messages is None else (ENDPOINT, messages))


def test_the_usual_port_is_that_of_the_scheme() -> None:
    x = exchange(verb="GET", url="https://mcp.example/mcp")
    x.endpoint = at("/mcp", "https", port=443)
    assert announced(x, Event(b"/m", type="endpoint")) == (x.endpoint, at("/m", "https", port=443))
    x.endpoint = at("/mcp", "ftp", port=0)
    assert announced(x, Event(b"ftp://mcp.example/m", type="endpoint")) == (x.endpoint, at("/m", "ftp", port=0))
    x.endpoint = at("/mcp", "http", port=8080)
    assert announced(x, Event(b"http://mcp.example:8080/m", type="endpoint"))[1:] == (at("/m", port=8080),)


def test_an_address_without_a_host_names_nobody() -> None:
    x = exchange(verb="GET")
    x.endpoint = at("/mcp", "mailto", host="", port=0)
    assert announced(x, Event(b"mailto:x", type="endpoint")) == (x.endpoint, at("x", "mailto", "", 0))


def test_what_announces_nothing() -> None:
    event = Event(b"/messages", type="endpoint")
    assert announced(exchange(verb="GET"), Event(b"/messages")) == ()
    assert announced(exchange(INITIALIZE), event) == ()
    assert announced(exchange(verb="GET", mcp_session_id="s"), event) == ()
