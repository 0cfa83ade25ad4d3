"""What a session holds at its server: what is kept of it, up to which size, and when the client is told of a change."""

from __future__ import annotations

from typing import Any

import pytest

from core.test_tables import a_session
from core.world import LATEST
from mcp_sessions.core.recovery import server_state
from mcp_sessions.core.recovery.handshake import differences, opening, presumed, restoring
from mcp_sessions.core.recovery.server_state import (
    KEEPERS,
    LISTINGS,
    PAGE_SIZE,
    SUBSCRIPTION_LIMIT,
    SUBSCRIPTIONS_SIZE,
    TOOL_LIMIT,
    URI_LIMIT,
    Held,
    compare,
    digests,
    promised,
    remember,
    worth_comparing,
)
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import Message, dump, load

TOOLS, PROMPTS, RESOURCES, TEMPLATES = LISTINGS
SAFE = {"readOnlyHint": True}


def kept(held: Held, method: str, params: Any = None, result: Any = None) -> bool:
    request = Message({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}})
    return remember(held, request, Message({"jsonrpc": "2.0", "id": 1, "result": {} if result is None else result}))


def subscribed(*uris: str) -> Held:
    return Held(subscriptions=dict.fromkeys(uris))


# What is kept


def test_nothing_is_kept_of_what_failed_or_means_nothing() -> None:
    held = Held()
    request = Message({"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": {"level": "debug"}})
    assert remember(held, request, Message({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}}))
    assert remember(held, Message({"jsonrpc": "2.0", "id": 1, "result": {}}), Message({"jsonrpc": "2.0", "result": {}}))
    assert kept(held, "tools/call", {"name": "x"})
    assert held == Held()
    assert kept(held, "logging/setLevel", {"level": "l" * 65})
    assert held == Held(level="l" * 64)


def test_subscriptions_are_kept_up_to_a_number_and_a_size() -> None:
    full = subscribed(*(f"{n}" for n in range(SUBSCRIPTION_LIMIT - 1)))
    assert kept(full, "resources/subscribe", {"uri": "one"})
    assert not kept(full, "resources/subscribe", {"uri": "one more"})
    assert kept(full, "resources/subscribe", {"uri": "one"}), "it is kept already"
    assert len(full.subscriptions) == SUBSCRIPTION_LIMIT
    large = subscribed(*(f"{n:{URI_LIMIT}}" for n in range(SUBSCRIPTIONS_SIZE // URI_LIMIT - 1)))
    assert kept(large, "resources/subscribe", {"uri": "u" * URI_LIMIT}), "it fits just so"
    assert not kept(large, "resources/subscribe", {"uri": "u"})
    assert kept(large, "resources/unsubscribe", {"uri": "u" * URI_LIMIT})
    assert kept(large, "resources/subscribe", {"uri": "u"})


def test_a_copy_is_the_same_and_shares_nothing() -> None:
    held = Held("debug", {"a": None}, {"tools/list": frozenset({b"1"})}, frozenset({"safe"}), True, ["told"])
    copy = held.copy()
    assert copy == held
    copy.subscriptions["b"] = None
    copy.lists["prompts/list"] = frozenset()
    copy.untold.append("more")
    assert held == Held("debug", {"a": None}, {"tools/list": frozenset({b"1"})}, frozenset({"safe"}), True, ["told"])


# Lists


def test_there_is_a_keeper_for_each_list_that_changes() -> None:
    assert [(one.method, one.items, one.capability, one.notification) for one in LISTINGS] == [
        ("tools/list", "tools", "tools", "notifications/tools/list_changed"),
        ("prompts/list", "prompts", "prompts", "notifications/prompts/list_changed"),
        ("resources/list", "resources", "resources", "notifications/resources/list_changed"),
        ("resources/templates/list", "resourceTemplates", "resources", "notifications/resources/list_changed"),
    ]
    assert {one.method for one in LISTINGS} < KEEPERS.keys()


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda one: one.method)
def test_pages_of_a_list_are_put_together_and_the_first_one_begins_anew(listing: Any) -> None:
    held, method = Held(untold=[listing.notification]), listing.method
    first, second = [{"name": "a"}], [{"name": "b", "annotations": SAFE}]
    assert kept(held, method, {}, {listing.items: first})
    assert held.untold == [], "it has just seen for itself"
    assert held.lists == {method: digests(first, frozenset())[0]}
    assert kept(held, method, {"cursor": "2"}, {listing.items: second})
    assert held.lists == {method: digests(first + second, frozenset())[0]}
    assert kept(held, method, {"cursor": "3"}, {"other": []})
    assert len(held.lists[method]) == 2, "what is no list says nothing"
    assert kept(held, method, {}, {listing.items: second})
    assert held.lists == {method: digests(second, frozenset())[0]}
    assert held.safe_tools == ({"b"} if listing is TOOLS else set())


def test_a_digest_is_of_what_an_item_holds_in_whatever_order() -> None:
    one, whole = digests([{"a": 1, "b": {"c": 2, "d": 3}}], frozenset())
    other, _ = digests([{"b": {"d": 3, "c": 2}, "a": 1}], frozenset())
    assert (one, whole) == (other, True)
    assert {len(digest) for digest in one} == {8}
    assert digests([{"a": 2}], one)[0] > one


def test_of_a_list_so_many_items_and_bytes_are_looked_at() -> None:
    items = [{"n": n} for n in range(TOOL_LIMIT + 1)]
    assert len(digests(items[:-1], frozenset())[0]) == TOOL_LIMIT
    assert digests(items[:-1], frozenset())[1]
    found, whole = digests(items, frozenset())
    assert (len(found), whole) == (TOOL_LIMIT, False)
    assert digests([1], found) == (found, False)
    assert digests([], found) == (found, True)
    assert digests([1, 2], frozenset([*found][:-1]))[1] is False
    text = "x" * (PAGE_SIZE - len(dump({"a": "", "b": 1})) - len(dump("")))
    fits: list[Any] = ["", {"a": text, "b": 1}]
    assert digests(fits, frozenset())[1]
    assert digests(["x", *fits[1:]], frozenset()) == (digests(["x"], frozenset())[0], False)


def test_tools_that_do_no_harm_are_known_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_state, "TOOL_LIMIT", 3)
    held = Held()
    tools = [{"name": f"t{n}", "annotations": SAFE} for n in range(5)]
    assert not kept(held, "tools/list", {}, {"tools": tools})
    assert len(held.safe_tools) == 3
    assert not kept(held, "tools/list", {}, {"tools": [{"name": "t0"}, *tools[1:]]})
    assert held.safe_tools == {"t1", "t2"}


def test_equal_sets_are_kept_once_unless_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_state, "SHARED_LIMIT", 2)
    for size, once in ((2, True), (3, False)):
        one, other = Held(), Held()
        for held in (one, other):
            kept(held, "tools/list", {}, {"tools": [{"name": f"n{n}", "annotations": SAFE} for n in range(size)]})
        assert (one.lists["tools/list"] is other.lists["tools/list"]) is once
        assert (one.safe_tools is other.safe_tools) is once
        assert one == other


# What the client is told


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"capabilities": {"tools": {"listChanged": True}}}, True),
        ({"capabilities": {"tools": {"listChanged": "yes"}}}, False),
        ({"capabilities": {"tools": {}}}, False),
        ({"capabilities": {"tools": True}}, False),
        ({"capabilities": {"prompts": {"listChanged": True}}}, False),
        ({"capabilities": []}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_change_is_told_of_where_that_was_promised(answer: dict[str, Any] | None, told: bool) -> None:
    assert promised(answer, TOOLS) is told
    held = Held(lists={"tools/list": frozenset(), "prompts/list": frozenset()})
    assert worth_comparing(held, answer) == ([TOOLS] if told else [PROMPTS] if "prompts" in str(answer) else [])
    assert worth_comparing(Held(), answer) == []


def test_a_list_that_is_another_one_is_told_of_once() -> None:
    held, one, other = Held(), frozenset({b"1"}), frozenset({b"2"})
    held.lists = {RESOURCES.method: one, TEMPLATES.method: one}
    assert not compare(held, RESOURCES, one)
    assert held.untold == []
    assert compare(held, RESOURCES, other)
    assert compare(held, TEMPLATES, other)
    assert held.untold == ["notifications/resources/list_changed"]
    assert held.lists == {RESOURCES.method: other, TEMPLATES.method: other}
    assert not compare(held, RESOURCES, other)


# The handshake that restores it


def test_what_is_sent_to_restore_it() -> None:
    session = a_session()
    assert restoring(session) == []
    session.held = Held("debug", {"file:///a": None, "file:///b": None}, {"tools/list": frozenset()})
    session.result = dump({"capabilities": {"tools": {"listChanged": True}}})
    steps = restoring(session)
    assert [(step.kind.name, step.what) for step in steps] == [
        ("RESTORE", "logging/setLevel"),
        ("RESTORE", "resources/subscribe"),
        ("RESTORE", "resources/subscribe"),
        ("LIST", "tools/list"),
    ]
    asked = [load(step.body) for step in steps]
    ids = [one["id"] for one in asked if one]
    assert ids == [
        "mcp-sessions:logging/setLevel-0",
        "mcp-sessions:resources/subscribe-1",
        "mcp-sessions:resources/subscribe-2",
        "mcp-sessions:tools/list-0",
    ]
    assert [one["params"] for one in asked if one] == [
        {"level": "debug"},
        {"uri": "file:///a"},
        {"uri": "file:///b"},
        {},
    ]


def test_the_opening_of_a_session_of_which_nothing_is_known() -> None:
    session = a_session()
    session.revision = ""
    assert load(opening(session).body) == {
        "jsonrpc": "2.0",
        "id": "mcp-sessions:initialize",
        "method": "initialize",
        "params": {
            "capabilities": {},
            "clientInfo": {"name": "unknown", "version": "0"},
            "protocolVersion": "2025-03-26",
        },
    }


@pytest.mark.parametrize(
    ("shown", "revision", "name", "version"),
    [
        ({"mcp-protocol-version": "2025-06-18", "user-agent": "agent/1.2 (x; y)"}, "2025-06-18", "agent", "1.2"),
        ({"mcp-protocol-version": LATEST, "user-agent": "agent"}, LATEST, "agent", "0"),
        ({"mcp-protocol-version": "2099-01-01", "user-agent": "/3"}, "2025-03-26", "unknown", "3"),
        ({"user-agent": " x"}, "2025-03-26", "unknown", "0"),
        ({}, "2025-03-26", "unknown", "0"),
    ],
)
def test_what_is_presumed_of_a_client_whose_handshake_nobody_saw(
    shown: dict[str, str], revision: str, name: str, version: str
) -> None:
    found = presumed(HeaderMap((key.encode(), value.encode()) for key, value in shown.items()))
    info = {"name": name, "version": version}
    assert found == (revision, {"protocolVersion": revision, "capabilities": {}, "clientInfo": info})


def test_how_a_server_differs_from_the_one_that_the_client_knows() -> None:
    old = {"serverInfo": {"name": "a", "version": "1"}, "capabilities": {"tools": {}, "prompts": {}, "logging": {}}}
    new = {"protocolVersion": LATEST, **old}
    assert differences(old, new, LATEST) == []
    assert differences(None, {}, LATEST) == [f"negotiates None where the client speaks {LATEST}"]
    changed = {**new, "serverInfo": {"name": "b", "version": "2"}, "capabilities": {"prompts": {}}}
    assert differences(old, changed, "2025-06-18") == [
        f"negotiates {LATEST} where the client speaks 2025-06-18",
        "server name a is now b",
        "server version 1 is now 2",
        "no longer offers logging, tools",
    ]
    assert differences(old, {**new, "capabilities": None}, LATEST) == ["no longer offers logging, prompts, tools"]
    assert differences(old, {**new, "serverInfo": "b"}, LATEST) == []
    assert differences({**old, "capabilities": []}, {**new, "capabilities": {}}, LATEST) == []
