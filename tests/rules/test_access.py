"""Tokens and challenges: what is read out of a header, and near misses of how a server refuses."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.session import Session
from mcp_sessions.rules import access, authorization
from mcp_sessions.rules.facts import notes
from mcp_sessions.rules.places import Place
from mcp_sessions.rules.talks import Talk
from rules.single import ENDPOINT, exchange, headers

PING = {"id": 1, "method": "ping"}


def challenged(challenge: str | None, status: int = 401, **fields: Any) -> Exchange:
    told = headers() if challenge is None else headers(www_authenticate=challenge)
    return exchange(PING, status=status, told=told, **fields)


@pytest.mark.parametrize(
    ("challenge", "found"),
    [
        ('Bearer realm="a b", scope="x y"', {"realm": "a b", "scope": "x y"}),
        ("Bearer error=invalid_token,scope=x", {"error": "invalid_token", "scope": "x"}),
        ('Bearer SCOPE = "x"', {"scope": "x"}),
        ('Bearer scope=""', {"scope": ""}),
        ("Bearer", {}),
        (None, {}),
        ("Bearer " + "x" * 3985 + " scope=y", {"scope": "y"}),
        ("Bearer " + "x" * 3985 + " scope=yz", {"scope": "y"}),  # 4,000 characters are looked at
    ],
)
def test_what_a_challenge_says(challenge: str | None, found: dict[str, str]) -> None:
    assert access._challenge(challenged(challenge)) == found


def test_without_an_answer_nothing_is_said() -> None:
    assert access._challenge(exchange(PING)) == {}


@pytest.mark.parametrize(
    ("authorization", "bears"),
    [("Bearer x", True), ("bearer x", True), ("BEARER x", True), ("Bearer", False), ("Basic x", False), ("", False)],
)
def test_who_bears_a_token(authorization: str, bears: bool) -> None:
    sent = headers(authorization=authorization)
    assert access._bears(sent) is bears
    assert access._authorized(sent)
    assert not access._not_authorized(sent)
    assert not access._bears(headers())
    assert not access._authorized(headers())
    assert access._not_authorized(headers())


@pytest.mark.parametrize(
    ("challenge", "found"),
    [
        ("Bearer", True),
        ("bearer x=y", True),
        ("BEARER x=y", True),
        ("Basic realm=x", False),
        ("", False),
        (None, False),
    ],
)
def test_what_is_a_challenge(challenge: str | None, found: bool) -> None:
    told = challenged(challenge).answer_headers
    assert told is not None
    assert access._challenges(told) is found
    assert authorization._has_no_challenge(told) is (challenge is None)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (challenged("Bearer error=invalid_token", 400), "invalid_token with status 400"),
        (challenged("Bearer error=invalid_token", 400, authorization="Bearer x"), "invalid_token with status 400"),
        (challenged("Bearer error=invalid_token"), None),
        (challenged("Bearer realm=x", 403), "no token was sent, status 403"),
        (challenged("Bearer realm=x", 403, authorization="Bearer x"), None),
        (challenged("Bearer error=insufficient_scope", 403), None),
    ],
)
def test_the_status_of_a_challenge(x: Exchange, said: str | None) -> None:
    assert access.challenge_status(x) == said


@pytest.mark.parametrize(
    ("challenge", "status", "said"),
    [
        ("Bearer realm=x", 401, "no scope"),
        ('Bearer scope=""', 401, "no scope"),
        ('Bearer scope="a offline_access"', 401, "scope has offline_access"),
        ('Bearer scope="a offline_access_b"', 401, None),
        ("Bearer scope=a", 401, None),
        ("Bearer realm=x", 403, None),
    ],
)
def test_the_scope_of_a_challenge(challenge: str, status: int, said: str | None) -> None:
    x = challenged(challenge, status)
    assert [access.challenge_scope(x) for _ in range(2)] == [said, None]


@pytest.mark.parametrize(
    ("challenge", "status", "said"),
    [
        ("Bearer error=insufficient_scope, scope=a, resource_metadata=b", 403, None),
        ("Bearer error=insufficient_scope, scope=a, resource_metadata=b", 401, "status 401"),
        ("Bearer error=insufficient_scope, scope=a", 403, "without resource_metadata"),
        ("Bearer error=insufficient_scope, resource_metadata=b", 403, "without scope"),
        ('Bearer error=insufficient_scope, scope=""', 403, "without scope and resource_metadata"),
        ("Bearer error=invalid_token", 403, None),
    ],
)
def test_who_lacks_a_scope(challenge: str, status: int, said: str | None) -> None:
    assert access.insufficient_scope(challenged(challenge, status)) == said


@pytest.mark.parametrize(
    ("scheme", "host", "dialled", "told"),
    [
        ("http", "mcp.example", "", True),
        ("https", "mcp.example", "", False),
        ("http", "127.0.0.1", "", False),
        ("http", "mcp.example", "10.0.0.1", False),
    ],
)
def test_a_token_in_clear(scheme: str, host: str, dialled: str, told: bool) -> None:
    x = exchange(PING, authorization="Bearer x")
    x.endpoint, x.connection.dialled = ENDPOINT._replace(scheme=scheme, host=host), dialled
    assert [access.token_in_clear(x) for _ in range(2)] == ["ping" if told else None, None]


def test_a_token_that_is_left_out() -> None:
    place, session = Place(), Session(ENDPOINT, "c", "s", 0.0, 0.0, "2025-11-25")
    talk = Talk(place)
    first, second = exchange(PING, place=place), exchange(PING, place=place)
    second.client = first.client
    for x in (first, second):
        x.session, notes(x).talk = session, talk
    session.owners = {first.client: 0.0}
    assert access.authorization_dropped(second) is None, "it has never sent one"
    access.note_authorized(first)
    stranger = exchange(PING, place=place, client="B")
    stranger.session, notes(stranger).talk = session, talk
    assert access.authorization_dropped(stranger) is None
    session.owners = {first.client: 0.0, stranger.client: 0.0}
    assert access.authorization_dropped(second) is None, "it has several clients"
    session.owners = {stranger.client: 0.0}
    assert access.authorization_dropped(second) is None
    session.owners = {first.client: 0.0}
    assert [access.authorization_dropped(second) for _ in range(2)] == ["ping", None]
    access.note_authorized(exchange(PING))
    assert access.authorization_dropped(exchange(PING)) is None


@pytest.mark.parametrize(
    ("query", "header", "said"),
    [
        ("access_token=t", "", "in the parameter access_token"),
        ("a=b&access_token=t", "", "in the parameter access_token"),
        ("access_token=", "", None),
        ("token=t", "", None),
        ("k=t", "Bearer t", "in the parameter k"),
        ("k=t", "BEARER  t ", "in the parameter k"),
        ("k=t", "Basic t", None),
        ("k=", "Bearer ", None),
        ("k=u", "Bearer t", None),
        ("k\n=t", "Bearer t", "in the parameter k\N{REPLACEMENT CHARACTER}"),
        ("k=" + "x" * 16_368 + "&access_token=t", "", None),  # where nobody looks any more
    ],
)
def test_a_token_in_the_url(query: str, header: str, said: str | None) -> None:
    x = exchange(PING, url=f"http://mcp.example/mcp?{query.replace(chr(10), '%0A')}", authorization=header)
    assert authorization.token_in_query(x) == said


def test_a_401_without_a_challenge() -> None:
    assert authorization.challenge_missing(challenged(None)) == "ping answered 401"
    assert authorization.challenge_missing(challenged(None, 403)) is None
