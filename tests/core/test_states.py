"""The table of a session's states."""

from hypothesis import given
from hypothesis import strategies as st

from mcp_sessions.core.states import LIVE, RECOVERABLE, TRANSITIONS, Cause, State, step


def test_every_state_has_a_row_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(State)
    reached = {State.OPEN} | {state for row in TRANSITIONS.values() for state in row.values()}
    assert reached == set(State)


def test_closed_is_the_end_and_everything_leads_there() -> None:
    # The one way back is for a session that the proxy ended and whose client turns up after all.
    assert TRANSITIONS[State.CLOSED] == {Cause.RETURNED: State.LOST}
    ends = {State.CLOSED}
    while True:
        more = {state for state, row in TRANSITIONS.items() if ends & set(row.values())} - ends
        if not more:
            break
        ends |= more
    assert ends == set(State)


def test_every_cause_means_something_somewhere() -> None:
    assert {cause for row in TRANSITIONS.values() for cause in row} == set(Cause) - set()


@given(st.lists(st.sampled_from(list(Cause))))
def test_whoever_sent_delete_is_not_brought_back_by_the_proxy(causes: list[Cause]) -> None:
    """From the client's DELETE on there is no handshake, until the server refuses it or another client turns up.

    That nobody returns to a session which its client has ended is up to `Endings.returned`.
    """
    state = State.LEAVING
    for cause in causes:
        if cause in (Cause.DELETE_REFUSED, Cause.ADOPTED, Cause.RETURNED):
            return
        state = step(state, cause) or state
        assert state not in RECOVERABLE


def test_live_states_are_the_ones_a_client_may_hold() -> None:
    assert State.CLOSED not in LIVE
    assert State.ABANDONED not in LIVE
    assert RECOVERABLE < LIVE
