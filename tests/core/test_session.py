"""A session as it is shown and asked: its names, its reasons, its owners; and what is kept of it once for all."""

from __future__ import annotations

import pytest

from core.test_tables import a_client, a_session
from core.world import ENDPOINT
from mcp_sessions.core.client import Client, ClientKey
from mcp_sessions.core.session import (
    HISTORY_LIMIT,
    PARAMETERS_LIMIT,
    SHARED_LIMIT,
    Endpoint,
    packed,
    shorten,
)
from mcp_sessions.core.states import STANDINGS, ClientSide, Reason, ServerSide, State, Why
from mcp_sessions.wire.jsonrpc import load


@pytest.mark.parametrize(
    ("session_id", "label"),
    [
        ("", ""),
        ("a", "a"),
        ("abcde", "a"),
        ("abcdef", "ab"),
        ("abcdefghijklmnopqrstuvw", "abcdefg"),
        ("abcdefghijklmnopqrstuvwx", "abcdefgh"),
        ("abcdefghijklmnopqrstuvwxyz0123456789", "abcdefgh"),
        ("a-b_c.d\u00e9f\x1b[31m34567890123", "a-b-c-d-"),
    ],
)
def test_a_label_gives_at_most_a_third_of_the_id_away(session_id: str, label: str) -> None:
    assert shorten(session_id) == label


def test_an_endpoint_is_an_url_without_its_query() -> None:
    assert str(ENDPOINT) == "http://server:80/mcp"
    assert str(Endpoint("https", "::1", 8443, "/")) == "https://[::1]:8443/"


def test_parameters_are_kept_up_to_a_size_and_small_ones_once() -> None:
    def of_size(size: int) -> bytes | None:
        return packed({"a": "x" * (size - len('{"a":""}'))})

    assert packed(None) is None
    assert of_size(SHARED_LIMIT) is of_size(SHARED_LIMIT)
    large = of_size(SHARED_LIMIT + 1)
    assert (large is not of_size(SHARED_LIMIT + 1), len(large or b"")) == (True, SHARED_LIMIT + 1)
    assert len(of_size(PARAMETERS_LIMIT) or b"") == PARAMETERS_LIMIT
    assert of_size(PARAMETERS_LIMIT + 1) is None
    assert load(packed({"a": [1, "\u00fc"]})) == {"a": [1, "\u00fc"]}


def test_who_has_ended_it_and_why() -> None:
    session = a_session()
    assert (session.ended_by, session.evidence, session.over, session.left) == ("", "", False, False)
    session.reason = Reason(Why.IDLE, "idle for long")
    session.outcome = Reason(Why.NO_ANSWER, "connection refused, 7 times")
    assert (session.ended_by, session.evidence) == ("", "idle for long; connection refused, 7 times")
    session.outcome = None
    session.standing = STANDINGS[ClientSide.GONE, ServerSide.DELETED, False]
    assert (session.ended_by, session.evidence, session.over, session.left) == ("proxy", "idle for long", True, False)
    session.standing = STANDINGS[ClientSide.LEFT, ServerSide.DELETED, True]
    session.reason = Reason(Why.CLIENT_DELETE, "DELETE of the client answered 200")
    assert (session.ended_by, session.evidence, session.left, session.kept) == ("client", "", True, True)
    session.reason = None
    assert (session.ended_by, session.evidence, session.state) == ("client", "", State.CLOSED)


def test_whether_its_server_has_given_or_accepted_its_id() -> None:
    session = a_session()
    session.opened_by = "unknown"
    assert not session.given
    session.answered = 1
    assert session.given
    session.answered, session.generation = 0, 1
    assert session.given
    session.generation, session.opened_by = 0, "client"
    assert session.given


def test_its_client_is_who_used_it_last_and_addresses_that_may_be_a_process_do_not_count() -> None:
    session = a_session()
    assert (session.client, session.client_label, session.settled_owners) == (None, "unknown", {})
    process = a_client(7)
    far, near = (Client(ClientKey(host=host), host, host, first_seen=1, last_seen=1) for host in ("far", "near"))
    session.owners = {far: 1.0}
    assert session.settled_owners == {far: 1.0}
    session.owners = {process: 1.0, far: 2.0, near: 3.0}
    session.vouched = (near,)
    assert session.settled_owners == {process: 1.0, near: 3.0}
    assert (session.client, session.client_label) == (near, "near")
    process.carrier = "it forwards"
    assert session.settled_owners == session.owners


def test_what_it_holds_is_made_when_it_is_written_to() -> None:
    session = a_session()
    assert session.held is None
    assert session.holding() is session.holding() is session.held


def test_an_entry_of_its_history_says_when_what_and_what_it_was_then() -> None:
    session = a_session()
    session.note(5.0, "lost", "404", State.LOST)
    session.note(6.0, "noted")
    assert [tuple(entry) for entry in session.history] == [(5.0, "lost", "404", State.LOST), (6.0, "noted", "", None)]
    for n in range(HISTORY_LIMIT - 2):
        session.note(n, "more")
    assert len(session.history) == HISTORY_LIMIT
