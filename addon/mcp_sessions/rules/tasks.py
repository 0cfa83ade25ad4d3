"""Checks of tasks, as 2025-11-25 has them: who may ask for one, what is said of it, and how it goes on."""

from __future__ import annotations

from typing import Any

from ..core.exchange import Exchange
from ..wire.headers import HeaderMap
from ..wire.jsonrpc import Kind, Message
from ..wire.text import printable
from .checks import Arrival, on_answer, on_event, on_request
from .facts import meta_of, talk_of, valid_key
from .history import Task
from .replies import on_error, on_reply
from .talks import history
from .traits import CALL, CANCEL, KNOWN, LIST, NOTIFICATION, OK, REQUEST, TASK

RELATED = "io.modelcontextprotocol/related-task"
FOR_TOOLS = "tasks.requests.tools.call"
OF_CLIENT = {
    "sampling/createMessage": "tasks.requests.sampling.createMessage",
    "elicitation/create": "tasks.requests.elicitation.create",
}
TERMINAL = frozenset({"completed", "failed", "cancelled"})
INVALID_PARAMS = -32602
SHORT_POLL = 200
"""Milliseconds below which a `pollInterval` is too short to tell whether it was kept."""


def _params(x: Exchange) -> dict[str, Any]:
    return x.message.params if x.message is not None and not x.body.sniffed else {}


def _declared(x: Exchange) -> bool:
    talk = talk_of(x)
    return talk is not None and talk.known and FOR_TOOLS in talk.server_can


def _makes_one(x: Exchange) -> bool:
    """Whether a task is asked for: of no other method may a server declare that, and some clients say it everywhere."""
    return x.method == "tools/call" and "task" in _params(x)


def _support(x: Exchange) -> str | None:
    """What the tool that is called says of tasks; None if it was not listed."""
    talk, name = talk_of(x), _params(x).get("name")
    if talk is None or talk.history is None or not isinstance(name, str) or not _declared(x):
        return None
    return talk.history.supports.get(name)


def _task(x: Exchange) -> Task | None:
    talk, task_id = talk_of(x), _params(x).get("taskId")
    if talk is None or talk.history is None or not isinstance(task_id, str):
        return None
    return talk.history.tasks.get(task_id)


# Who may ask for one


@on_request("MCP801", "POST", sent=REQUEST, needs=CALL | TASK | KNOWN)
def task_undeclared(x: Exchange) -> str | None:
    """A client makes tasks where the server has declared that."""
    return None if _declared(x) or "task" not in _params(x) else f"{printable(x.what)} needs {FOR_TOOLS}"


@on_event("MCP802", said=REQUEST, needs=KNOWN)
def client_task_undeclared(x: Exchange, it: Arrival) -> list[str] | None:
    """A server makes tasks where the client has declared that."""
    talk = talk_of(x)
    if it.body is None or talk is None:
        return None
    found = []
    for message in it.body.messages:
        needed = OF_CLIENT.get(message.method or "")
        if needed and message.kind is Kind.REQUEST and "task" in message.params and needed not in talk.client_can:
            found.append(f"{message.method} needs {needed}")
    return found or None


def note_support(x: Exchange, message: Message) -> None:
    """Note what the tools of a list say of tasks."""
    talk, tools = talk_of(x), (message.result or {}).get("tools")
    if x.method != "tools/list" or talk is None or FOR_TOOLS not in talk.server_can or not isinstance(tools, list):
        return
    for tool in tools[:1_000]:
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            execution = tool.get("execution")
            support = execution.get("taskSupport") if isinstance(execution, dict) else None
            history(talk).supports.put(tool["name"], support if isinstance(support, str) else "forbidden")


for _rule in ("MCP803", "MCP804", "MCP814"):  # whichever of them is silenced
    on_reply(_rule, needs=LIST | KNOWN)(note_support)


@on_request("MCP803", "POST", sent=REQUEST, needs=CALL | KNOWN)
def task_support(x: Exchange) -> str | None:
    """A tool is called as a task if it must be, and not if it must not."""
    support, as_task = _support(x), "task" in _params(x)
    wrong = (support == "required" and not as_task) or (support == "forbidden" and as_task)
    return f"{printable(x.what)}: taskSupport {support}" if wrong else None


@on_reply("MCP804", needs=CALL | KNOWN)
def task_required_accepted(x: Exchange, _: Message) -> str | None:
    """A tool that must be called as a task is not called otherwise."""
    return printable(x.what) if _support(x) == "required" and "task" not in _params(x) else None


@on_reply("MCP814", needs=CALL | TASK | KNOWN)
def task_forbidden_accepted(x: Exchange, _: Message) -> str | None:
    """A tool that must not be called as a task is not."""
    return printable(x.what) if _support(x) == "forbidden" and "task" in _params(x) else None


@on_request("MCP810", "POST", sent=NOTIFICATION, needs=CANCEL | KNOWN)
def task_cancelled_by_notification(x: Exchange) -> str | None:
    """A task is cancelled by `tasks/cancel`."""
    talk, request_id = talk_of(x), _params(x).get("requestId")
    if talk is None or talk.history is None or not valid_key(request_id) or not _declared(x):
        return None
    return f"id {printable(request_id)}" if request_id in talk.history.task_requests else None


# What is said of it


@on_reply("MCP805", needs=TASK | KNOWN)
def task_fields(x: Exchange, message: Message) -> str | None:
    """What is said of a task is complete."""
    result = message.result or {}
    created = _makes_one(x)
    if created and not _declared(x):
        return None  # the server may leave it out of account
    if not created and x.method not in ("tasks/get", "tasks/cancel"):
        return None
    task = result.get("task") if created else result
    if not isinstance(task, dict):
        return f"{printable(x.method)} as a task answered without one"
    if not isinstance(task.get("taskId"), str):
        return f"{printable(x.method)}: taskId is no string"
    lacking = [name for name in ("status", "createdAt", "lastUpdatedAt") if not isinstance(task.get(name), str)]
    if "ttl" not in task and x.method == "tasks/get":
        lacking.append("ttl")
    if lacking:
        return f"{printable(x.method)} without {', '.join(lacking)}"
    talk = talk_of(x)
    known = talk.history.tasks if talk is not None and talk.history is not None else {}
    return f"{printable(x.method)}: taskId given before" if created and task["taskId"] in known else None


@on_reply("MCP806", needs=TASK | KNOWN)
def task_transition(x: Exchange, message: Message) -> str | None:
    """What is over stays so."""
    status, before = (message.result or {}).get("status"), _task(x)
    if x.method not in ("tasks/get", "tasks/cancel") or before is None or before.status not in TERMINAL:
        return None
    if not isinstance(status, str) or status == before.status or before.ended_at > x.at:
        return None
    return f"from {before.status} to {printable(status, 40)}"


@on_reply("MCP809", needs=TASK | KNOWN)
def task_result_early(x: Exchange, message: Message) -> str | None:
    """The result of a task comes when it is over."""
    before, status = _task(x), (message.result or {}).get("status")
    if x.method != "tasks/get" or before is None or before.resulted_at is None or before.resulted_at > x.at:
        return None
    return f"its result came before, and it is {status}" if status in ("working", "input_required") else None


@on_reply("MCP808", needs=TASK | KNOWN)
def task_cancel_accepted(x: Exchange, message: Message) -> str | None:
    """A task that is over cannot be cancelled, and one that is cancelled says so."""
    before, status = _task(x), (message.result or {}).get("status")
    if x.method != "tasks/cancel":
        return None
    if before is not None and before.status in TERMINAL and before.ended_at < x.at:
        return f"answered with a result, it was {before.status}"
    return f"its status is {printable(status, 40)}" if isinstance(status, str) and status != "cancelled" else None


@on_error("MCP808", needs=TASK | KNOWN)
def task_cancel_refused(x: Exchange, message: Message) -> str | None:
    """... which is told by -32602."""
    before = _task(x)
    if x.method != "tasks/cancel" or before is None or before.status not in TERMINAL or before.ended_at >= x.at:
        return None
    code = message.error_code
    return f"answered {code}, it was {before.status}" if code not in (INVALID_PARAMS, None) and x.ok else None


@on_reply("MCP807", needs=TASK | KNOWN)
def task_unrelated(x: Exchange, message: Message) -> str | None:
    """The result of a task says of which."""
    if x.method != "tasks/result":
        return None
    meta = (message.result or {}).get("_meta")
    related = meta.get(RELATED) if isinstance(meta, dict) else None
    said = related.get("taskId") if isinstance(related, dict) else None
    return None if said == _params(x).get("taskId") else "without related-task" if said is None else "of another task"


@on_request("MCP811", "POST", sent=REQUEST, needs=TASK)
def task_related_superfluous(x: Exchange) -> str | None:
    """What names its task needs no more."""
    asked = (x.method or "").startswith("tasks/")
    return printable(x.method) if asked and RELATED in meta_of(x.message) else None


@on_reply("MCP812", needs=TASK)
def task_answer_related(x: Exchange, message: Message) -> str | None:
    """An answer that is about a task needs no more."""
    meta = (message.result or {}).get("_meta")
    about = x.method in ("tasks/get", "tasks/list", "tasks/cancel")
    return printable(x.method) if about and isinstance(meta, dict) and RELATED in meta else None


@on_request("MCP813", "POST", sent=REQUEST, needs=TASK | KNOWN)
def task_polled_early(x: Exchange) -> str | None:
    """A client asks again when the server said, not sooner."""
    before = _task(x)
    if x.method != "tasks/get" or before is None or before.poll is None or before.poll < SHORT_POLL:
        return None
    waited = (x.at - before.told_at) * 1000
    if waited < 0 or waited >= before.poll - max(100, before.poll * 0.1):
        return None
    talk = talk_of(x)
    return f"after {waited:.0f} ms, pollInterval {before.poll:g}" if talk is not None and talk.once("MCP813") else None


def _is_stream(headers: HeaderMap) -> bool:
    return headers.content_type == "text/event-stream"


@on_answer("MCP815", "POST", needs=TASK | OK, told=_is_stream)
def task_get_streamed(x: Exchange) -> str | None:
    """A question for a task is answered at once."""
    return "tasks/get" if x.method == "tasks/get" else None


@on_reply("MCP816", needs=TASK)
def task_failed_silently(x: Exchange, message: Message) -> str | None:
    """A task that failed says why."""
    result = message.result or {}
    failed = x.method == "tasks/get" and result.get("status") == "failed"
    return "" if failed and not result.get("statusMessage") else None


# What became of it: noted after everything that asks how it stood


def note_task(x: Exchange, message: Message) -> None:
    """Note how a task stands."""
    talk, result = talk_of(x), message.result or {}
    created = _makes_one(x)
    if talk is None:
        return
    if x.method == "tasks/result":
        known = _task(x)
        if known is not None:
            known.resulted_at = x.answered_at
        return
    task = result.get("task") if created else result
    if not isinstance(task, dict) or not isinstance(task.get("taskId"), str) or x.method == "tasks/list":
        return
    tasks = history(talk).tasks
    if created and x.message is not None and valid_key(x.message.id):
        history(talk).task_requests.put(x.message.id, None)
    known = tasks.get(task["taskId"])
    if known is None:
        tasks.put(task["taskId"], known := Task())
    status, poll = task.get("status"), task.get("pollInterval")
    if isinstance(status, str) and known.status not in TERMINAL:
        known.status = status[:40]
        if status in TERMINAL:
            known.ended_at = x.answered_at
    known.poll = poll if isinstance(poll, (int, float)) and not isinstance(poll, bool) else None
    known.told_at = x.answered_at


for _rule in ("MCP805", "MCP806", "MCP808", "MCP809", "MCP810", "MCP813"):
    on_reply(_rule, needs=TASK | KNOWN)(note_task)
