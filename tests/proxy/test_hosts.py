"""Which servers a client's own names for them are passed on to, and which names are those of this host."""

from __future__ import annotations

import pytest

from mcp_sessions.proxy.hosts import _all_of_this_host, _is_this_host


@pytest.mark.parametrize(
    ("modes", "wanted"),
    [
        (["reverse:http://127.0.0.1:8000"], True),
        (["reverse:http://localhost:8000@127.0.0.1:8080"], True),
        (["reverse:http://[::1]:8000", "regular@8081"], True),
        (["regular"], False),
        (["reverse:http://10.0.0.7:8000"], False),
        (["reverse:https://localhost:8443"], False),  # the name in TLS goes with it
        (["reverse:http://localhost:8000", "reverse:https://mcp.example.com"], False),
    ],
)
def test_names_are_passed_on_to_servers_of_this_host(modes: list[str], wanted: bool) -> None:
    assert _all_of_this_host(modes) is wanted


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("127.0.0.1:8080", True),
        ("127.8.9.1", True),
        ("LOCALHOST:1", True),
        ("[::1]:8080", True),
        ("192.0.2.1:8080", True),
        ("192.0.2.2:8080", False),
        ("0.0.0.0:8080", False),
        ("localhost.rebound.example", False),
        ("rebound.example:8080", False),
        ("", False),
        ("[", False),
        ("127.0.0.1:port", False),
        ("1" * 100_000, False),
    ],
)
def test_names_of_this_host(name: str, own: bool) -> None:
    assert _is_this_host(name, "192.0.2.1") is own
    assert not _is_this_host(name, "")
