"""The tables of a session, a recovery and a DELETE, enumerated: what can be reached, and what never is."""

from itertools import product

import pytest

from mcp_sessions.core.states import (
    CLIENT,
    DELETE,
    JOINT,
    LIVE,
    OPENED,
    RECOVERY,
    SERVER,
    STANDINGS,
    WORDS,
    ClientSide,
    DeleteState,
    DeleteTrigger,
    RecoveryState,
    RecoveryTrigger,
    ServerSide,
    Standing,
    State,
    Trigger,
    step,
)


def reachable(start: Standing = OPENED) -> set[Standing]:
    found, look = {start}, [start]
    while look:
        for following in look.pop().following.values():
            if following not in found:
                found.add(following)
                look.append(following)
    return found


REACHABLE = reachable()
PAIRS = {(standing.client, standing.server) for standing in REACHABLE}


def test_all_pairs_but_three_can_be_reached() -> None:
    """The three are exactly those of a session whose client lives and that is being ended, stuck or deleted."""
    never = set(product(ClientSide, ServerSide)) - PAIRS
    assert never == set(JOINT)
    assert never == {
        (ClientSide.USING, server) for server in (ServerSide.DELETING, ServerSide.STUCK, ServerSide.DELETED)
    }


def test_a_session_is_brought_back_for_a_client_that_uses_it_and_nobody_else() -> None:
    for standing in REACHABLE:
        for trigger, following in standing.following.items():
            if following.server is ServerSide.RECOVERING is not standing.server:
                assert trigger is Trigger.HANDSHAKE
                assert standing.client is ClientSide.USING


def test_a_session_is_ended_only_for_a_client_that_does_not_use_it() -> None:
    for standing in REACHABLE:
        for trigger, following in standing.following.items():
            if following.server is ServerSide.DELETING is not standing.server:
                assert trigger is Trigger.PROXY_DELETE
                assert standing.client in (ClientSide.GONE, ClientSide.LEFT)
                assert not standing.kept


def test_what_its_client_has_ended_is_brought_back_for_nobody() -> None:
    for standing in REACHABLE:
        if standing.client is ClientSide.LEFT:
            assert all(following.client is ClientSide.LEFT for following in reachable(standing))


@pytest.mark.parametrize("pair", sorted(PAIRS))
def test_the_end_can_be_reached_from_everywhere(pair: tuple[ClientSide, ServerSide]) -> None:
    assert any(following.server is ServerSide.DELETED for following in reachable(STANDINGS[*pair, False]))


def test_a_client_that_turns_up_never_finds_its_session_gone() -> None:
    for standing in REACHABLE:
        following = standing.following.get(Trigger.RETURNED)
        assert (following is not None) == (standing.client is ClientSide.GONE)
        if following is not None:
            assert following.word in (State.OPEN, State.LOST, State.RECOVERING)


def test_every_trigger_means_something_and_every_row_is_there() -> None:
    assert {trigger for standing in REACHABLE for trigger in standing.following} == set(Trigger)
    assert set(CLIENT) == set(ClientSide)
    assert set(SERVER) == set(WORDS) == set(ServerSide)


def test_there_is_one_object_for_each_standing() -> None:
    for key, standing in STANDINGS.items():
        assert (standing.client, standing.server, standing.kept) == key
        for trigger, following in standing.following.items():
            assert following is STANDINGS[step(*key, trigger)]
            assert following is not standing


def test_the_words() -> None:
    words: dict[State, set[ClientSide]] = {}
    for standing in REACHABLE:
        words.setdefault(standing.word, set()).add(standing.client)
    assert set(words) == set(State)
    assert words[State.OPEN] == words[State.LOST] == {ClientSide.USING}
    assert words[State.LEAVING] == {ClientSide.LEAVING}
    assert words[State.ABANDONED] == {ClientSide.GONE, ClientSide.LEFT}
    assert State.CLOSED not in LIVE
    assert State.ABANDONED not in LIVE


def test_keeping_protects_and_ending_by_hand_overrides_it() -> None:
    kept = STANDINGS[ClientSide.GONE, ServerSide.ALIVE, True]
    assert Trigger.PROXY_DELETE not in kept.following
    by_hand = kept.following[Trigger.ENDED_BY_HAND]
    assert by_hand.following[Trigger.PROXY_DELETE].server is ServerSide.DELETING


def test_a_recovery_always_comes_to_rest() -> None:
    assert set(RECOVERY) == set(RecoveryState)
    assert {trigger for row in RECOVERY.values() for trigger in row} == set(RecoveryTrigger)
    for state in RecoveryState:
        seen = {state}
        while len(more := seen | {after for one in seen for after in RECOVERY[one].values()}) > len(seen):
            seen = more
        assert RecoveryState.IDLE in seen


def test_a_delete_always_comes_to_an_end() -> None:
    assert set(DELETE) == set(DeleteState)
    assert {trigger for row in DELETE.values() for trigger in row} == set(DeleteTrigger)
    for state in DeleteState:
        seen = {state}
        while len(more := seen | {after for one in seen for after in DELETE[one].values()}) > len(seen):
            seen = more
        assert DeleteState.DONE in seen or not DELETE[state]
