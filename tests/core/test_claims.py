"""Whose a session is, asked part by part: hashes of credentials, the session of one's own, who is found by what."""

from __future__ import annotations

import pytest

from core.test_tables import a_client, a_session
from core.world import ENDPOINT, LATEST, Peer, World, request
from mcp_sessions.core import claims as module
from mcp_sessions.core import credentials as hashes
from mcp_sessions.core.claims import Claims
from mcp_sessions.core.client import Client, ClientKey, Connection
from mcp_sessions.core.credentials import APART, KEYED, QUERY_LIMIT, Fingerprints, read
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.ledger import Ledger
from mcp_sessions.core.recovery.server_state import Held
from mcp_sessions.core.session import UNKNOWN_CREDENTIALS, Endpoint, Session
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import Body, load

ID = "s-one-two-three-four"


def token() -> HeaderMap:
    """Of its own, for what it hashes to is remembered."""
    return HeaderMap([(b"authorization", b"Bearer secret"), (b"x-api-key", b"key")])


def nobodys() -> HeaderMap:
    """Without anything that says who sends it."""
    return HeaderMap([(b"accept", b"*/*"), (b"x-csrf-token", b"of one request")])


# Hashes


def test_what_one_version_writes_down_the_next_one_understands() -> None:
    hashes._of_query.cache_clear()
    prints = Fingerprints()
    found = prints.of(token())
    assert (found, prints.of(nobodys())) == ("a66462597c536f59ecee6be7", "")
    assert prints.of(token(), "http://h/?key=1?2") == "46b822aa68173b2e1712a694"
    assert prints.of(HeaderMap(), "http://h/?key=1") == "668229dc9b6483be739139db"
    prints.key = b"k" * 16
    assert prints.written(found) == "e6d291b2c2bb00505caad047"
    assert prints.name("abc", ("10.0.0.1", found)) == f"abc{APART}6c6ab63c8778cbfb561113d0"
    assert prints.name("abc", ("10.0.0.1", "")) == f"abc{APART}14f7e7c864dcd9aaf794d29d"
    assert prints.name("abc", None) == "abc"


def test_credentials_are_worked_out_once_for_equal_headers() -> None:
    prints, headers = Fingerprints(), HeaderMap([(b"authorization", b"Bearer other")])
    headers.memo["credentials"] = "known"
    assert prints.of(headers) == prints.of(headers, "http://h/") == "known"
    assert prints.of(headers, "http://h/?a") not in ("known", prints.of(nobodys(), "http://h/?a"))
    fresh = HeaderMap([(b"authorization", b"Bearer other")])
    assert fresh.memo == {}
    assert prints.of(fresh) == fresh.memo["credentials"] != "known"


def test_a_long_query_counts_as_a_short_one_does() -> None:
    prints = Fingerprints()
    queries = ["k" * size for size in (0, 1, QUERY_LIMIT, QUERY_LIMIT + 1)]
    found = [prints.of(nobodys(), f"http://h/?{query}") for query in queries]
    assert len({"", *found}) == 5
    assert found == [prints.of(nobodys(), f"http://other/?{query}") for query in queries]
    assert prints.of(HeaderMap(), "http://h/?\udcff"), "whatever is in it"


def test_hashes_are_compared_however_they_are_kept() -> None:
    prints = Fingerprints()
    prints.key = b"k" * 16
    found = prints.of(token())
    kept = prints.read(found)
    assert kept.startswith(KEYED)
    for one, other, same in (
        (found, found, True),
        ("", "", True),
        (kept, found, True),
        (kept, prints.of(token(), "?key"), False),
        (found, kept, False),
        (kept, "", False),
        (prints.read(""), "", True),
        (KEYED + "0" * 24, found, False),
        (UNKNOWN_CREDENTIALS, found, False),
    ):
        assert prints.same(one, other) is same, (one, other)


def test_what_is_written_down_of_credentials() -> None:
    prints = Fingerprints()
    found = prints.of(token())
    assert (prints.written(""), prints.written(found), prints.written(UNKNOWN_CREDENTIALS)) == ("", None, None)
    prints.key = b"k" * 16
    written = prints.written(found)
    assert written is not None
    assert written != found
    assert (prints.written(""), prints.written(UNKNOWN_CREDENTIALS)) == ("", None)
    assert prints.written(KEYED + written) == written
    assert [read(one) for one in ("", None, written)] == ["", UNKNOWN_CREDENTIALS, KEYED + written]


# Who is found by what


class Asked:
    """Claims over a ledger of their own."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.prints = Fingerprints()
        self.prints.key = b"k" * 16
        self.claims = Claims(self.ledger, self.prints)

    def asks(self, credentials: str = "a", *, host: str = "far", session: str | None = ID, pid: int = 0) -> Exchange:
        """A request of somebody."""
        shown = [(b"mcp-session-id", session.encode())] if session else []
        connection = Connection("c1", (host, 1), ("127.0.0.1", 2), opened=1, last_active=1)
        x = Exchange("x1", 5.0, "POST", ENDPOINT, str(ENDPOINT), HeaderMap(shown), Body(), connection)
        x.client = a_client(pid) if pid else Client(ClientKey(host=host), host, host, first_seen=1, last_seen=1)
        x.credentials = credentials
        return x

    def knows(self, credentials: str = "a", *, host: str = "far", beside: bool = False) -> Session:
        session = a_session()
        owner = Client(ClientKey(host=host), host, host, first_seen=1, last_seen=1)
        session.owners, session.credentials = {owner: 1.0}, credentials
        self.ledger.open(session, 1.0, (host, credentials) if beside else None)
        return session


def test_a_session_is_its_clients_by_address_and_credentials() -> None:
    asked = Asked()
    for x in (asked.asks(), asked.asks(session=None)):
        assert (asked.claims.own(x, ID), asked.claims.known(x, ID), asked.claims.meant(x)) == (None, None, None)
        assert not asked.claims.plain(x), "nothing is known of the endpoint"
    session = asked.knows()
    for x, own in (
        (asked.asks(), True),
        (asked.asks("b"), False),
        (asked.asks(host="near"), False),
    ):
        assert asked.claims.owns(session, x) is own
        assert asked.claims.plain(x) is own
        assert asked.claims.meant(x) is session
        assert x.stranger is not own
        assert asked.claims.own(x, ID) is (session if own else None)
    assert not asked.claims.plain(asked.asks(session="other"))
    x = asked.asks(session=None)
    assert (asked.claims.meant(x), asked.claims.plain(x)) == (None, False)
    session.credentials = asked.prints.read("a")
    assert asked.claims.owns(session, asked.asks())
    x = asked.asks(host="another", pid=7)
    session.owners[x.client] = 1.0
    assert asked.claims.owns(session, x), "from another address, but the same process"


def test_who_stands_beside_the_first_is_found_by_his_own() -> None:
    asked = Asked()
    first, second = asked.knows(), asked.knows("b", host="near", beside=True)
    keyed = asked.knows(asked.prints.read("c"), host="third", beside=True)
    for x, own in (
        (asked.asks(), first),
        (asked.asks("b", host="near"), second),
        (asked.asks("c", host="third"), keyed),
        (asked.asks("d", host="third"), None),
    ):
        assert asked.claims.own(x, ID) is own
        assert asked.claims.known(x, ID) is own
        assert asked.claims.plain(x) is (own is not None)
        assert asked.claims.meant(x) is (own or first)
        assert x.stranger is (own is None)


def test_a_stranger_may_be_akin_by_address_or_process() -> None:
    asked = Asked()
    session = asked.knows()
    x = asked.asks("b")
    assert (asked.claims.meant(x), x.stranger, x.akin) == (session, True, session)
    x = asked.asks("b", host="near")
    assert (asked.claims.meant(x), x.stranger, x.akin) == (session, True, None)
    x = asked.asks("b", host="near", pid=7)
    session.owners[x.client] = 1.0
    assert (asked.claims.meant(x), x.akin) == (session, session)
    again = asked.asks()
    again.stranger, again.akin = True, session
    found = asked.claims.meant(again)
    assert [found, again.stranger, again.akin] == [session, False, None]


def test_a_stranger_means_what_the_server_knows_by_that_id_and_first_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    first, second = asked.knows(), asked.knows("b", host="near", beside=True)
    third = asked.knows("c", host="third", beside=True)
    asked.ledger.remap(first, "new")
    x = asked.asks("x", host="near")
    assert asked.claims.meant(x) is second, "the first is known by another id"
    x = asked.asks("x", host="elsewhere", pid=7)
    third.owners[x.client] = 1.0
    assert (asked.claims.meant(x), x.akin) == (third, third)
    asked.ledger.remap(second, "newer")
    asked.ledger.remap(third, "newest")
    assert asked.claims.meant(asked.asks("x", host="other")) is first
    monkeypatch.setattr(module, "LOOKS", 1)
    assert asked.claims.meant(asked.asks("x", host="other")) is first


def test_a_session_is_found_by_its_id_at_the_server() -> None:
    asked = Asked()
    one, other = asked.knows(), asked.knows("b", host="near", beside=True)
    asked.ledger.remap(one, "same")
    asked.ledger.remap(other, "same")
    assert asked.claims.known(asked.asks(), "same") is one
    assert asked.claims.known(asked.asks("b", host="near"), "same") is other
    assert asked.claims.known(asked.asks("c"), "same") is None
    assert asked.claims.known(asked.asks(), ID) is None, "that is not what the server knows it by"


def test_by_what_a_session_may_have_been_written_down() -> None:
    asked = Asked()
    x = asked.asks()
    name = asked.prints.name(ID, ("far", "a"))
    assert asked.claims.names(x) == [ID, name]
    assert asked.claims.names(asked.asks(session=None)) == []
    asked.knows()
    assert asked.claims.names(x) == []
    stranger = asked.asks("b")
    assert asked.claims.names(stranger) == [asked.prints.name(ID, ("far", "b"))]
    assert asked.claims.names(asked.asks(session="other")) == ["other", asked.prints.name("other", ("far", "a"))]
    asked.prints.key = b""
    assert asked.claims.names(stranger) == []


# A session of one's own


def test_a_session_of_ones_own_is_made_of_the_one_that_is_meant() -> None:
    asked = Asked()
    means = asked.knows()
    means.parameters, means.result, means.route, means.revision = b'{"a":1}', b'{"b":2}', "a way", "2025-06-18"
    means.opener = means.confirmer = a_client(9)
    means.held = Held("debug")
    x = asked.asks("b")
    x.headers = HeaderMap([(b"authorization", b"Bearer b"), (b"mcp-session-id", ID.encode())])
    x.url, x.answered_at, x.akin, x.stranger = "http://server/mcp?k=1", 7.0, means, True
    own = asked.claims.apart(x)
    assert (x.session, x.stranger) == (own, False)
    assert own is not means
    assert (own.endpoint, own.client_id, own.server_id) == (ENDPOINT, ID, ID)
    assert (own.opened, own.last_used, own.opened_by) == (7.0, 7.0, "unknown")
    assert (own.revision, own.parameters, own.result, own.route) == ("2025-06-18", b'{"a":1}', b'{"b":2}', "a way")
    assert (own.owners, own.credentials, own.whose) == ({x.client: 7.0}, "b", ("far", "b"))
    assert (own.fields, own.url) == (((b"authorization", b"Bearer b"),), "http://server/mcp?k=1")
    assert (own.opener, own.confirmer, own.held) == (None, None, None), "who it is is not known"
    x.stranger, x.session = True, None
    assert asked.claims.apart(x) is own, "the same until the server has decided"
    asked.claims.accepted(own, x)
    assert own.owners == {}
    asked.claims.accepted(own, x)
    assert asked.claims.apart(x) is not own


def test_of_a_session_that_nobody_saw_begin_the_request_says_what_is_to_be_known() -> None:
    asked = Asked()
    means = asked.knows()
    means.revision = ""
    x = asked.asks("b")
    x.headers = HeaderMap([(b"mcp-protocol-version", b"2025-06-18"), (b"user-agent", b"agent/1")])
    x.akin = means
    x.presented = ID
    own = asked.claims.apart(x)
    assert own.revision == "2025-06-18"
    assert load(own.parameters) == {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "agent", "version": "1"},
    }


def test_a_process_that_has_renewed_its_credentials_takes_along_what_it_held_and_did() -> None:
    for holds in (True, False):
        asked = Asked()
        means = asked.knows()
        x = asked.asks("b", pid=7)
        means.owners[x.client] = 1.0
        means.opener, means.confirmer = x.client, a_client(8)
        means.held = Held("debug", {"file:///a": None}) if holds else None
        x.akin = means
        own = asked.claims.apart(x)
        assert (own.opener, own.confirmer) == (means.opener, means.confirmer)
        assert own.held == means.held
        assert own.held is not means.held or not holds
    asked = Asked()
    means = asked.knows()
    means.held = Held("debug")
    x = asked.asks("b", pid=7)  # another process of that host
    x.akin = means
    assert asked.claims.apart(x).held is None


def test_only_so_many_of_their_own_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIED_LIMIT", 2)
    asked = Asked()
    means, made = asked.knows(), []
    for credentials in ("b", "c", "d"):
        x = asked.asks(credentials)
        x.akin = means
        made.append(asked.claims.apart(x))
    for credentials, known in (("d", True), ("c", True), ("b", False)):
        x = asked.asks(credentials)
        x.akin = means
        assert (asked.claims.apart(x) in made) is known


# In the core


def test_the_same_id_at_two_endpoints_is_two_sessions() -> None:
    world = World()
    session = world.open(ID, peer=Peer(token="a"))
    other = Endpoint("http", "other", 80, "/mcp")
    connection = world.connect("c1", None, world.now)
    shown = HeaderMap([(b"mcp-session-id", ID.encode()), (b"mcp-protocol-version", LATEST.encode())])
    x, _ = world.request("POST", str(other), other, shown, b"{}", connection, world.now)
    assert x.session is None
    x, _ = world.send(request("ping"), session=ID, peer=Peer(token="a"))
    assert x.session is session
