"""What is noted of tasks, and of the tools that may be called as one."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sessions.core.exchange import Exchange
from mcp_sessions.rules import tasks
from mcp_sessions.rules.facts import talk_of
from mcp_sessions.rules.history import Task
from mcp_sessions.rules.talks import Talk, history
from mcp_sessions.rules.tasks import FOR_TOOLS
from mcp_sessions.wire.headers import HeaderMap
from rules.built import exchange, fields, known, message, notification, request, result

ABLE = frozenset({FOR_TOOLS})
CALL = request("tools/call", 7, name="echo")
AS_TASK = request("tools/call", 7, name="echo", task={"ttl": 1})
LISTED = request("tools/list", 7)


def able(**more: Any) -> Talk:
    """What is remembered of a session whose server makes tasks of calls."""
    return known(server_can=ABLE, **more)


def made(sent: Any, talk: Talk | None = None, at: float = 101.0) -> Exchange:
    x = exchange(sent, talk=talk)
    x.answered_at = at
    return x


def test_parameters_of_what_was_read() -> None:
    assert tasks._params(made(CALL)) == {"name": "echo"}
    assert tasks._params(made(None)) == {}
    x = made(CALL)
    x.body.sniffed = True
    assert tasks._params(x) == {}


def test_a_server_declares_that_it_makes_tasks_of_calls() -> None:
    assert tasks._declared(made(CALL, able()))
    assert not tasks._declared(made(CALL, known()))
    assert not tasks._declared(made(CALL, able(shared=True)))
    assert not tasks._declared(made(CALL))


@pytest.mark.parametrize(
    ("sent", "one"),
    [
        (AS_TASK, True),
        (request("tools/call", 7, task=None), True),
        (CALL, False),
        (request("tools/list", 7, task={}), False),
        (None, False),
    ],
)
def test_only_a_call_makes_a_task(sent: Any, one: bool) -> None:
    assert tasks._makes_one(made(sent)) is one


def test_what_a_tool_says_of_tasks() -> None:
    talk = able()
    assert tasks._support(made(CALL, talk)) is None, "nothing was listed"
    history(talk).supports.put("echo", "required")
    assert tasks._support(made(CALL, talk)) == "required"
    assert tasks._support(made(request("tools/call", 7, name="other"), talk)) is None
    assert tasks._support(made(request("tools/call", 7, name=["echo"]), talk)) is None
    assert tasks._support(made(CALL)) is None
    talk.server_can = frozenset()
    assert tasks._support(made(CALL, talk)) is None, "then it says nothing"


def test_the_task_that_a_request_is_about() -> None:
    talk, task = able(), Task()
    asked = request("tasks/get", 7, taskId="t1")
    assert tasks._task(made(asked, talk)) is None
    history(talk).tasks.put("t1", task)
    assert tasks._task(made(asked, talk)) is task
    assert tasks._task(made(request("tasks/get", 7, taskId="t2"), talk)) is None
    assert tasks._task(made(request("tasks/get", 7, taskId=["t1"]), talk)) is None
    assert tasks._task(made(asked)) is None


def test_a_stream_by_its_type() -> None:
    assert tasks._is_stream(fields({"content-type": "text/event-stream"}))
    assert not tasks._is_stream(fields({"content-type": "application/json"}))
    assert not tasks._is_stream(HeaderMap([]))


# Lists of tools


def supports(tools: Any, sent: Any = LISTED, talk: Talk | None = None) -> dict[str, str]:
    talk = talk or able()
    tasks.note_support(made(sent, talk), message(**result(7, tools=tools)))
    return dict(talk.history.supports) if talk.history is not None else {}


@pytest.mark.parametrize(
    ("tool", "found"),
    [
        ({"name": "a", "execution": {"taskSupport": "required"}}, {"a": "required"}),
        ({"name": "a", "execution": {"taskSupport": "optional"}}, {"a": "optional"}),
        ({"name": "a", "execution": {"taskSupport": 7}}, {"a": "forbidden"}),
        ({"name": "a", "execution": {}}, {"a": "forbidden"}),
        ({"name": "a", "execution": "required"}, {"a": "forbidden"}),
        ({"name": "a"}, {"a": "forbidden"}),
        ({"name": 7}, {}),
        ({"execution": {"taskSupport": "required"}}, {}),
        ("a", {}),
    ],
)
def test_a_tool_that_says_nothing_forbids_it(tool: Any, found: dict[str, str]) -> None:
    assert supports([tool, {"name": "b"}]) == {**found, "b": "forbidden"}


def test_where_nothing_is_noted_of_tools() -> None:
    tool = {"name": "a"}
    assert supports({"a": tool}) == {}
    assert supports(None) == {}
    assert supports([tool], request("prompts/list", 7)) == {}
    assert supports([tool], talk=known()) == {}
    tasks.note_support(made(LISTED), message(**result(7, tools=[tool])))
    talk = able()
    tasks.note_support(made(LISTED, talk), message(id=7, result=[tool]))
    assert talk.history is None


def test_so_many_tools_are_looked_at() -> None:
    talk = able()
    history(talk).supports.limit = 5_000
    found = supports([{"name": f"t{number}"} for number in range(1_002)], talk=talk)
    assert list(found)[-1] == "t999"
    assert len(found) == 1_000


# How a task stands


def noted(talk: Talk, sent: Any, at: float = 101.0, **members: Any) -> Task | None:
    tasks.note_task(made(sent, talk, at), message(**result(7, **members)))
    return talk.history.tasks.get("t1") if talk.history is not None else None


GET = request("tasks/get", 8, taskId="t1")


def test_a_task_begins_with_the_call_that_makes_it() -> None:
    talk = able()
    task = noted(talk, AS_TASK, task={"taskId": "t1", "status": "working", "pollInterval": 500})
    assert task is not None
    assert (task.status, task.poll, task.told_at, task.ended_at, task.resulted_at) == ("working", 500, 101.0, 0.0, None)
    assert list(history(talk).task_requests) == [7]
    again = noted(talk, GET, 105.0, taskId="t1", status="completed")
    assert again is task
    assert (task.status, task.poll, task.told_at, task.ended_at) == ("completed", None, 105.0, 105.0)
    assert list(history(talk).task_requests) == [7], "a question for it is no such request"


@pytest.mark.parametrize("status", sorted(tasks.TERMINAL))
def test_what_is_over_stays_so(status: str) -> None:
    talk = able()
    noted(talk, GET, 101.0, taskId="t1", status=status)
    task = noted(talk, GET, 105.0, taskId="t1", status="working")
    assert task is not None
    assert (task.status, task.ended_at, task.told_at) == (status, 101.0, 105.0)
    noted(talk, GET, 107.0, taskId="t1", status="cancelled")
    assert (task.status, task.ended_at) == (status, 101.0)


@pytest.mark.parametrize(
    ("status", "kept"), [("input_required", "input_required"), ("s" * 41, "s" * 40), (7, ""), (None, "")]
)
def test_a_status_is_a_text(status: Any, kept: str) -> None:
    task = noted(able(), GET, taskId="t1", status=status)
    assert task is not None
    assert (task.status, task.ended_at) == (kept, 0.0)


@pytest.mark.parametrize(("poll", "kept"), [(500, 500), (0.5, 0.5), (True, None), ("500", None), (None, None)])
def test_an_interval_is_a_number(poll: Any, kept: float | None) -> None:
    task = noted(able(), GET, taskId="t1", pollInterval=poll)
    assert task is not None
    assert task.poll == kept
    assert type(task.poll) is type(kept)


@pytest.mark.parametrize(
    ("sent", "members"),
    [
        (AS_TASK, {"taskId": "t1"}),
        (AS_TASK, {"task": "t1"}),
        (AS_TASK, {"task": {"taskId": 7}}),
        (GET, {"taskId": 7}),
        (GET, {"task": {"taskId": "t1"}}),
        (request("tasks/list", 7), {"taskId": "t1"}),
        (request("tasks/result", 7, taskId="t1"), {"taskId": "t1"}),
    ],
)
def test_what_tells_of_no_task(sent: Any, members: dict[str, Any]) -> None:
    talk = able()
    assert noted(talk, sent, **members) is None
    assert talk.history is None or not talk.history.tasks
    tasks.note_task(made(GET), message(**result(7, taskId="t1")))


@pytest.mark.parametrize("id", [None, [7], 1.5])
def test_a_request_by_an_odd_id_is_not_remembered(id: Any) -> None:
    talk = able()
    assert noted(talk, {**AS_TASK, "id": id}, task={"taskId": "t1"}) is not None
    assert not history(talk).task_requests


def test_the_result_of_a_task() -> None:
    talk = able()
    task = noted(talk, GET, 101.0, taskId="t1", status="working")
    asked = request("tasks/result", 9, taskId="t1")
    assert task is not None
    noted(talk, asked, 107.0, content=[], status="completed", taskId="t1")
    assert (task.resulted_at, task.status, task.told_at) == (107.0, "working", 101.0)
    noted(talk, request("tasks/result", 9, taskId="t2"), 108.0)
    assert task.resulted_at == 107.0
    x = made(notification("a"), talk)
    assert talk_of(x) is talk
