"""What an exchange is like, as bits of one number: they tell which checks can find anything in it at all.

Most exchanges are like thousands before them. Which checks are asked is picked once for each distinct number.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core.exchange import Exchange
from ..wire.headers import PROTOCOL_VERSION, SESSION_ID, HeaderMap
from ..wire.jsonrpc import Body, Kind
from ..wire.revision import Era
from .facts import Notes, valid_key
from .talks import Talk

POST = 1 << 0
GET = 1 << 1
DELETE = 1 << 2
STATELESS = 1 << 3  # of the stateless era
OK = 1 << 4  # answered 2xx

# What a body holds: that of the request, or of an event.
REQUEST = 1 << 5
NOTIFICATION = 1 << 6
RESPONSE = 1 << 7
INVALID = 1 << 8  # a message that is no JSON-RPC
PROBLEM = 1 << 9  # no message, or not all of it
BATCH = 1 << 10

INITIALIZE = 1 << 11  # the request is an `initialize`, alone
TALK = 1 << 12  # it is known what was said before in its session
KNOWN = 1 << 13  # ... from the beginning
OVER = 1 << 14  # ... and that the session was lost or ended
QUERY = 1 << 15  # the URL has a query
MISMATCHED = 1 << 16  # its headers do not say what its body says
ON_OPEN = 1 << 17  # an `initialize` with the id of an open session

# Of an answer
RESULT = 1 << 18  # a response in it has a result
REFUSED = 1 << 19  # it is not 2xx, or begins with an error, or was read as "the session is lost"

# Of an event, or of a stream at its end
EVENT_AGAIN = 1 << 20  # it has an id that was used before
SEVERAL = 1 << 21  # the session has several open streams
STREAMED = 1 << 22
RESULTED = 1 << 23  # a result was among what came
DUE = 1 << 24  # something is still missing

ODD_ID = 1 << 25  # a request has an id that is none
OTHER_VERSION = 1 << 26  # the version that it names is not the one that was agreed upon

SHARED = 1 << 27  # its session has other clients, or was used with other credentials
CACHEABLE = 1 << 28  # what answers its method may be cached
UNTYPED = 1 << 29  # a result in the answer does not say of which type it is
ASKS_INPUT = 1 << 30  # a result in the answer asks for input

PLAIN = 1 << 31  # the answer is one response, and that of the one request: as nearly always

# What is asked for, by its method
CALL = 1 << 32  # a tool
LIST = 1 << 33  # a list that comes in pages
PING = 1 << 34
CANCEL = 1 << 35  # not to go on
LISTEN = 1 << 36  # to be told of changes
TASK = 1 << 37  # of a task, or to be made one
FEATURE = 1 << 38  # a tool, a prompt, a resource, a completion, or a list of them
RETRY = 1 << 39  # with the input that was asked for, or the state that came with that
DISCOVER = 1 << 40
METHODS = CALL | LIST | PING | CANCEL | LISTEN | TASK | FEATURE | RETRY | DISCOVER

GET_REFUSED = 1 << 41  # its session has refused a GET with 404, without a word of being lost

_FREE = 48
"""The first bit that no constant has: from there on each condition on headers has one of its own."""

CACHED = frozenset(
    {
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
    }
)
"""Methods of 2026-07-28 whose results may be cached."""

OF_METHOD = {
    "tools/call": CALL | FEATURE,
    "tools/list": LIST | FEATURE,
    "prompts/get": FEATURE,
    "prompts/list": LIST | FEATURE,
    "resources/read": FEATURE,
    "resources/list": LIST | FEATURE,
    "resources/templates/list": LIST | FEATURE,
    "completion/complete": FEATURE,
    "ping": PING,
    "notifications/cancelled": CANCEL,
    "subscriptions/listen": LISTEN,
    "server/discover": DISCOVER,
    "tasks/get": TASK,
    "tasks/result": TASK,
    "tasks/cancel": TASK,
    "tasks/list": TASK | LIST,
}

VERBS = {"POST": POST, "GET": GET, "DELETE": DELETE}
KINDS = {
    Kind.REQUEST: REQUEST,
    Kind.NOTIFICATION: NOTIFICATION,
    Kind.RESPONSE: RESPONSE,
    Kind.INVALID: INVALID,
}

type Condition = Callable[[HeaderMap], bool]
"""Whether headers are such that a check can find anything. It must never raise."""


def has_id(headers: HeaderMap) -> bool:
    """Whether they name a session."""
    return SESSION_ID in headers


_ASKED: dict[Condition, int] = {}
_TOLD: dict[Condition, int] = {}


def bit_of(condition: Condition | None, *, of_answer: bool = False) -> int:
    """The bit that says that this holds for a request's headers (or an answer's); 0 for no condition."""
    if condition is None:
        return 0
    return (_TOLD if of_answer else _ASKED).setdefault(condition, 1 << (_FREE + len(_ASKED) + len(_TOLD)))


def asked(headers: HeaderMap) -> int:
    """What holds for a request's headers: worked out once for each header set."""
    found: int | None = headers.memo.get("asked")
    if found is None:
        found = headers.memo["asked"] = sum(bit for holds, bit in _ASKED.items() if holds(headers))
    return found


def told(headers: HeaderMap) -> int:
    """What holds for an answer's headers."""
    found: int | None = headers.memo.get("told")
    if found is None:
        found = headers.memo["told"] = sum(bit for holds, bit in _TOLD.items() if holds(headers))
    return found


def held(body: Body) -> int:
    """What a body holds."""
    found = BATCH if body.batch else 0
    if body.problem or not body.messages:
        found |= PROBLEM
    for message in body.messages:
        found |= KINDS[message.kind]
        if message.kind is Kind.REQUEST and not valid_key(message.id):
            found |= ODD_ID
    return found


def of_request(x: Exchange, kept: Notes) -> int:
    """What stays the same about an exchange from its request on."""
    found = VERBS.get(x.verb, 0) | asked(x.headers)
    if x.verb == "POST":
        found |= held(x.body)
        if x.is_initialize:
            found |= INITIALIZE
        elif x.method is not None:
            found |= OF_METHOD.get(x.method, 0)
            if found & FEATURE and x.message is not None:
                params = x.message.params
                if "task" in params:
                    found |= TASK
                if "requestState" in params or "inputResponses" in params:
                    found |= RETRY
    if x.era is Era.STATELESS:
        found |= STATELESS
        if kept.mismatch is not None:
            found |= MISMATCHED
        if x.method in CACHED:
            found |= CACHEABLE
    elif kept.talk is not None:
        talk, session = kept.talk, x.session
        if x.headers.get(PROTOCOL_VERSION) != talk.revision:
            found |= OTHER_VERSION
        if session is not None and (
            talk.replaced is not None or len(session.owners) != 1 or x.client not in session.owners
        ):
            found |= SHARED
    if "?" in x.url:
        found |= QUERY
    return found


def of_talk(talk: Talk | None) -> int:
    """What is known of what was said before."""
    if talk is None:
        return 0
    found = TALK
    if talk.known_at is not None and not talk.shared:
        found |= KNOWN
    if talk.deleted_at is not None or talk.lost_at is not None:
        found |= OVER
    if talk.history is not None and talk.history.get_404_at is not None:
        found |= GET_REFUSED
    return found


def of_answer(x: Exchange) -> int:
    """What an answer is like."""
    found = told(x.answer_headers) if x.answer_headers is not None else 0
    if x.ok:
        found |= OK
    answer = x.answer
    first = None
    if answer is not None:
        for message in answer.messages:
            if message.kind is Kind.RESPONSE and "result" in message.raw:
                found |= RESULT
                result = message.raw["result"]
                if isinstance(result, dict):
                    if not isinstance(result.get("resultType"), str):
                        found |= UNTYPED
                    if "inputRequests" in result:
                        found |= ASKS_INPUT
        first = answer.first
        if x.responded and first is not None and not answer.batch and not answer.problem and not x.body.batch:
            kind = type(first.id)
            if (kind is int or kind is str) and x.message is not None and kind is type(x.message.id):
                found |= PLAIN if first.kind is Kind.RESPONSE else 0
    if not found & OK or x.dialect or (first is not None and first.kind is Kind.RESPONSE and "error" in first.raw):
        found |= REFUSED
    return found
