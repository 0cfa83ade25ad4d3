"""One exchange: a request of a client, the answer to it, and what was made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ..wire.headers import SESSION_ID, HeaderMap
from ..wire.jsonrpc import Body, Kind, Message
from ..wire.revision import LISTEN, Era
from .client import Client, Connection
from .session import Endpoint, Session


class Finish(StrEnum):
    """How an exchange came to its end."""

    COMPLETE = "complete"
    CLIENT = "client hung up"
    SERVER = "server broke off"
    PROXY = "proxy closed a quiet connection"


@dataclass(slots=True, eq=False)
class Exchange:
    """What the core is told of one HTTP exchange, and what it makes of it. Times are seconds since the epoch.

    The request part is filled by the shell when the request was read, the answer part by the core as the answer
    arrives. After a refusal that is answered by sending the request again, the answer part starts anew and `attempts`
    counts up.
    """

    id: str
    at: float
    verb: str
    endpoint: Endpoint
    url: str
    headers: HeaderMap
    body: Body
    connection: Connection

    era: Era = Era.SESSION
    client: Client = field(init=False)
    """Known as soon as the core has seen the request."""
    credentials: str = ""
    """Hash of the request's credentials; empty if it has none."""
    session: Session | None = None
    kept_back: bool = False
    """Whether it has waited until it was known which process is behind its connection."""
    stranger: bool = False
    """Presents the id of somebody else's session, as far as is known: until the server accepts it, it has no say."""
    akin: Session | None = None
    """The session that a stranger means who may yet be its client: of that address, with other credentials."""
    generation: int = 0
    """Generation of the session that the request went out with."""
    server_id: str = field(default="", repr=False)
    """The session id that it went out with."""
    answered_before: int = 0
    """How many requests of the session were answered with success by then."""

    status: int | None = None
    answer_headers: HeaderMap | None = None
    answered_at: float = 0.0
    answer: Body | None = None
    """The answer's body, when it was not a stream."""
    streamed: bool = False
    unproven: bool = False
    """What comes on the stream is to show whether the server has accepted who asks."""
    events: int = 0
    response: Message | None = None
    """The response to the request, once it was seen, in a body or on a stream."""
    finish: Finish | None = None
    finished_at: float = 0.0

    verdict: str = ""
    """What a refusal was read as, with the reason."""
    attempts: int = 0
    """How often the request was sent again."""
    hung_up: bool = False
    """Its client hung up while it was kept waiting."""
    findings: list[str] = field(default_factory=list)
    """Ids of the rules that it broke."""
    opened: Session | None = None
    """The session that its answer has opened, or that it was the first to be seen in."""
    dialect: str = ""
    """The dialect by which its answer says that the session is lost, where that is not the specification's 404."""
    unread: bool = False
    """Part of its answer could not be read."""
    untimed: bool = False
    """The times of its events are not known: it was recorded without them."""
    notes: object = None
    """What an observer keeps of it."""

    # Asked for again and again, hence worked out once.
    presented: str | None = field(init=False)
    """The session id in the request, as the client knows it."""
    message: Message | None = field(init=False)
    """The request's message, or the first of a batch."""
    method: str | None = field(init=False)
    """The JSON-RPC method of the request, if it has one."""
    kind: Kind | None = field(init=False)
    """What kind of message was sent; None for GET and DELETE and for what is no JSON-RPC."""
    is_initialize: bool = field(init=False)
    """Whether it asks for a new session."""

    def __post_init__(self) -> None:
        self.presented = self.headers.get(SESSION_ID)
        self.message = message = self.body.first
        self.method = message.method if message else None
        self.kind = message.kind if message else None
        self.is_initialize = self.verb == "POST" and self.method == "initialize" and not self.body.batch

    @property
    def responded(self) -> bool:
        """Whether the response to the request was seen."""
        return self.response is not None

    @property
    def ok(self) -> bool:
        """Whether it was answered 2xx."""
        return is_success(self.status)

    @property
    def listens(self) -> bool:
        """Whether the answer is a stream without end whatever its type: that to `subscriptions/listen` is."""
        return self.method == LISTEN and self.ok

    @property
    def delivered(self) -> bool:
        """Whether its client was given an answer, or the beginning of one; known when it is over."""
        return self.finish is Finish.COMPLETE or self.events > 0

    @property
    def what(self) -> str:
        """The request in two words: `tools/call echo`, `GET stream`, `DELETE session`."""
        return in_two_words(self.verb, self.body)


def is_success(status: int | None) -> bool:
    """Whether a status is 2xx; not so if there was no answer."""
    return status is not None and 200 <= status < 300


def in_two_words(verb: str, body: Body) -> str:
    """A request in two words, by its verb and body. Text from the wire: not printable as it is."""
    if verb == "GET":
        return "GET stream"
    if verb == "DELETE":
        return "DELETE session"
    message = body.first
    if message is None:
        return f"POST ({body.problem or 'no message'})"
    if message.method is None:
        return "response" if message.kind is Kind.RESPONSE else "not JSON-RPC"
    return message.what
