"""What a test fails for, by what the proxy has told."""

from __future__ import annotations

from mcp_sessions.core.records import Action, AnyRecord, Change, Violation
from mcp_sessions.rules import Level
from mcp_sessions.rules.baseline import Baseline, Place
from mcp_sessions.views.testing.seen import LEAKED, LOST, SHOWN, seen

AT = "http://127.0.0.1:1/mcp"


def changes(*what: str, session: str = "7f3a1c2d", endpoint: str = AT) -> list[AnyRecord]:
    return [Change(at=1.0, what=word, session=session, client="c[1]", endpoint=endpoint) for word in what]


def violation(rule: str = "MCP101", level: str = "MUST") -> Violation:
    about = {"name": "n", "party": "client", "clause": "", "call": "tools/list", "endpoint": AT}
    return Violation(at=1.0, rule=rule, level=level, **about)


def shown(*records: AnyRecord, known: Baseline | None = None, allowed: tuple[str, ...] = ()) -> list[str]:
    found = seen(records, known or Baseline(), Level.SHOULD, allowed).lines
    return [line.partition(":")[0] for line in found]


def test_a_session_is_to_be_ended_by_its_client() -> None:
    assert shown(*changes("opened", "closed")) == []
    assert shown(*changes("opened", "lost", "recovered", "closed")) == []
    assert shown(*changes("opened")) == ["leaked session"]
    assert shown(*changes("opened", "ending", "closed")) == ["leaked session"]
    assert shown(*changes("opened", "would be ended")) == ["leaked session"]
    assert shown(*changes("opened", "closed"), *changes("opened", endpoint="http://b/mcp")) == ["leaked session"]
    assert shown(*changes("opened"), allowed=(LEAKED,)) == []
    assert shown(*changes("has ended", session="")) == [], "that was a client"


def test_a_call_is_to_be_answered() -> None:
    lost = Action(at=1.0, what="got no answer", detail="tools/call x", lost=True)
    assert seen([lost], Baseline(), None, ()).lines == ["lost call: tools/call x: got no answer"]
    assert shown(lost.model_copy(update={"lost": False})) == []
    assert shown(*changes("opened", "lost", "not recovered")) == ["lost call"]
    assert shown(*changes("opened", "lost")) == ["lost call"]
    assert shown(lost, *changes("opened", "lost"), allowed=(LOST,)) == []


def test_rules_are_to_be_kept_unless_that_is_known_or_allowed() -> None:
    assert shown(violation(), violation(level="PRACTICE")) == ["violation"]
    assert seen([violation()], Baseline(), None, ()).lines == []
    assert shown(violation(), violation("MCP102"), allowed=("MCP101",)) == ["violation"]
    known = Baseline([Place.of(violation())])
    assert shown(violation(), known=known) == []
    assert known.stale == []


def test_it_is_bounded() -> None:
    [*lines, last] = seen([violation()] * (SHOWN + 5), Baseline(), Level.MUST, ()).lines
    assert len(lines) == SHOWN
    assert last == "violation: and 5 more"
