"""Header maps: names in any case, repeated fields, and which of them are kept for the next time they come."""

import pytest

from mcp_sessions.wire import headers
from mcp_sessions.wire.headers import CACHED_BYTES, CACHED_ENTRIES, CACHED_SET, HeaderMap, header_map

FIELDS = ((b"Accept", b"a/b"), (b"X-One", b"1"), (b"ACCEPT", b"c/d"), (b"x-odd", b"\xff"))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "_cache", headers._Cache())


def test_what_is_carried_over_is_bounded_and_credentials_come_first() -> None:
    large = HeaderMap(
        (
            *((f"x-{number}".encode(), b"v" * 1000) for number in range(20)),
            (b"Authorization", b"Bearer t"),
            (b"x-huge", b"v" * 100_000),
            (b"x-last", b"v"),
        )
    )
    names = [name for name, _ in headers.carried_over(large)]
    assert names == [*(f"x-{number}".encode() for number in range(15)), b"Authorization", b"x-last"]
    assert headers.left_out(large) == 6
    assert len(headers.carried_over(HeaderMap((b"x%d" % number, b"") for number in range(100_000)))) < 500
    small = HeaderMap(((b"x-a", b"1"), (b"accept", b"*/*")))
    assert headers.carried_over(small) == ((b"x-a", b"1"),)
    assert headers.left_out(small) == 0


def test_names_are_lower_case_and_repeated_fields_joined() -> None:
    assert HeaderMap(FIELDS) == {"accept": "a/b, c/d", "x-one": "1", "x-odd": "\xff"}
    assert HeaderMap(iter(FIELDS)).fields == FIELDS
    assert HeaderMap() == {}


def test_the_same_fields_have_the_same_map_and_its_memo() -> None:
    first = header_map(FIELDS)
    first.memo["something"] = 1
    again = header_map(tuple((bytes(bytearray(name)), value) for name, value in FIELDS))
    assert again is first
    assert header_map((*FIELDS, (b"x", b"y"))).memo == {}
    assert HeaderMap(FIELDS).memo == {}


def test_the_oldest_go_when_there_are_many() -> None:
    made = [header_map(((b"n", b"%d" % number),)) for number in range(CACHED_ENTRIES + 1)]
    assert len(headers._cache) == CACHED_ENTRIES
    assert header_map(made[-1].fields) is made[-1]
    assert header_map(made[0].fields) is not made[0]
    assert headers._cache.bytes == sum(headers._size(fields) for fields in headers._cache)


def test_the_oldest_go_when_they_are_long() -> None:
    for number in range(2 * CACHED_BYTES // CACHED_SET):
        header_map(((b"%05d" % number, b"x" * (CACHED_SET - 5)),))
        assert headers._cache.bytes <= CACHED_BYTES
    assert len(headers._cache) == CACHED_BYTES // CACHED_SET


def test_a_large_set_is_not_kept() -> None:
    large = ((b"cookie", b"x" * CACHED_SET),)
    assert header_map(large) is not header_map(large)
    assert not headers._cache


def test_who_asks_and_whom_stays_what_it_was_at_first() -> None:
    def carried(before: headers.Fields, *fields: tuple[bytes, bytes]) -> headers.Fields:
        return headers.carried_on(before, HeaderMap(fields))

    page, other, first, later = (b"Origin", b"http://a"), (b"origin", b"http://b"), (b"X-Key", b"1"), (b"X-Key", b"2")
    before = carried((), (b"Accept", b"*/*"), page, first)
    assert before == (page, first)
    assert carried(before, page, later) == (page, later)
    assert carried(before, other, later) == (later, page)
    assert carried(before, later) == (later, page)
    assert carried((first,), other, later) == (later,)
