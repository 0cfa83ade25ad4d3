"""Many clients of each kind, a server that loses everything, a proxy that is killed: nothing is lost, nor left."""

import pytest

from endurance.course import Course, Run

pytestmark = pytest.mark.real


async def test_nothing_is_lost_and_nothing_is_left() -> None:
    found = await Run(Course(seconds=7, clients=6, life=3, losses=2, kills=1)).run()
    assert found.faults == []
    assert found.figures["calls"] > 50
    assert found.figures["deleted"] > 20


async def test_it_would_be_noticed() -> None:
    course = Course(seconds=4, clients=4, life=3, losses=1, kills=0, drained=1)
    found = await Run(course, mcp_recover="off", mcp_end="off").run()
    said = " ".join(found.faults)
    assert "calls were lost" in said
    assert "are left at the server" in said
    assert "are left in the ledger" in said
