"""When streams that are quiet are given a sign of life."""

from dataclasses import dataclass

from mcp_sessions.core.quiet import LATEST, SOONEST, quiet

NEVER = float("inf")


@dataclass
class Stream:
    quiet_since: float


def test_who_is_due_and_when_to_look_again() -> None:
    streams = [Stream(100.0), Stream(103.0), Stream(90.0), Stream(NEVER)]
    assert quiet(streams, 10, 110.0) == ([streams[0], streams[2]], 3.0)
    assert quiet(streams, 10, 101.0) == ([streams[2]], LATEST)
    assert quiet(streams[1:2], 10, 112.99) == ([], SOONEST)
    assert quiet([], 10, 0.0) == ([], LATEST)
    assert quiet([], 2, 0.0) == ([], 2)
