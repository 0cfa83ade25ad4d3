"""What in a request says who sends it, and what does not."""

from __future__ import annotations

import time

import pytest

from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.identity import COOKIES_LIMIT, credentials

BEARER = ("authorization", "Bearer abc")


def said(*fields: tuple[str, str]) -> list[tuple[str, str]]:
    return list(credentials(HeaderMap((name.encode(), value.encode()) for name, value in fields)))


@pytest.mark.parametrize(
    "passing",
    [
        ("dpop", "a-proof"),
        ("x-csrf-token", "1"),
        ("cookie", "AWSALB=1; AWSALBCORS=1"),
        ("cookie", "AWSALBTG-0=1"),
        ("cookie", "__cf_bm=1; _cfuvid=2"),
        ("cookie", "BIGipServer~Common~pool=1; TS01a1b2c3=2"),
        ("cookie", "ARRAffinity=1; ARRAffinitySameSite=1"),
        ("cookie", "visid_incap_1=2; incap_ses_3_4=5"),
        ("cookie", "csrftoken=1; XSRF-TOKEN=2; _csrf=3; __Host-xsrf=4"),
        ("cookie", "SERVERID=s1|a|b"),
        ("cookie", ";;; ,"),
    ],
)
def test_what_says_nothing_of_the_user(passing: tuple[str, str]) -> None:
    assert said(passing) == []
    assert said(BEARER, passing) == said(BEARER)
    key = ("x-api-key", "k")
    assert said(key, passing) == said(key)


@pytest.mark.parametrize(
    "lasting",
    [
        ("authorization", "Bearer xyz"),
        ("x-api-key", "k"),
        ("cookie", "session=1"),
        ("cookie", "AWSELBAuthSessionCookie-0=1"),
        ("cookie", "TSESSION=1"),
        ("cookie", "routes=1"),
        ("cookie", "_oauth2_proxy=1"),
    ],
)
def test_what_says_who_it_is(lasting: tuple[str, str]) -> None:
    assert said(lasting)
    assert said(lasting) != said((lasting[0], lasting[1] + "2"))


def test_cookies_in_any_order_are_the_same() -> None:
    assert said(("cookie", "a=1; AWSALB=1; b=2")) == said(("cookie", "b=2"), ("cookie", "a=1"))
    assert said(("cookie", "a=1; b=2")) != said(("cookie", "a=2; b=1"))


def test_cookies_do_not_count_beside_an_authorization() -> None:
    assert said(BEARER, ("cookie", "rolling=1")) == said(BEARER, ("cookie", "rolling=2"))
    assert said(("x-api-key", "shared"), ("cookie", "user=1")) != said(("x-api-key", "shared"), ("cookie", "user=2"))


SIGNED = (
    "AWS4-HMAC-SHA256 Credential=AKIA{user}/2026{turn}/eu/mcp/aws4_request, SignedHeaders=host, Signature={turn}",
    'Digest username="{user}", realm="r", nonce="{turn}", response="{turn}"',
    'OAuth oauth_consumer_key="{user}", oauth_nonce="{turn}", oauth_signature="{turn}"',
    'Hawk id="{user}", ts="{turn}", mac="{turn}"',
    'Signature keyId="{user}",signature="{turn}"',
)


@pytest.mark.parametrize("form", SIGNED)
def test_a_signature_is_none_and_its_key_is_one(form: str) -> None:
    one, again, other = (
        said(("authorization", form.format(user=user, turn=turn))) for user, turn in (("a", 1), ("a", 2), ("b", 2))
    )
    assert one == again != other


def test_a_scheme_that_names_nobody_counts_whole() -> None:
    assert said(("authorization", "Digest a")) != said(("authorization", "Digest b"))


@pytest.mark.parametrize("value", ["a=1;" * 16_000, ";" * 60_000, 'id="' * 15_000, "_csrf" * 12_000, "=" * 60_000])
@pytest.mark.parametrize("name", ["cookie", "authorization"])
def test_hostile_values_take_no_time(name: str, value: str) -> None:
    began = time.process_time()
    said((name, value), ("x-api-key", "k"))
    said((name, f"Hawk {value}"))
    said((name, value[:COOKIES_LIMIT]))
    assert time.process_time() - began < 0.05
