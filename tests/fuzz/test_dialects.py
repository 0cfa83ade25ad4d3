"""What a refusal is taken for, whatever the server answers and whatever is known: what is promised always holds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.world import ENDPOINT, Peer, World, forwarded_as, request
from mcp_sessions.core.decisions import PASS, Deliver, Reply
from mcp_sessions.core.recovery.dialects import OPTIONAL, REFUSALS, Verdict, reading
from mcp_sessions.core.states import STANDINGS, ClientSide, ServerSide
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import parse

ID = "s-one-two-three-four"
CODES = st.sampled_from([-32601, -32600, -32000, -32001, 404, "x", None, True])
WORDS = st.sampled_from(
    ["Session not found", "session expired", "Not found", "No valid session ID provided", "Unknown event", "", "nope",
     "Tool not found", "Session not found in your account", "invalid session", 7, None]
)  # fmt: skip
STATUSES = st.sampled_from(sorted(REFUSALS | {201, 202, 204, 301, 405, 406, 429, 500, 502}))
MESSAGES: st.SearchStrategy[Any] = st.sampled_from(
    [
        request("tools/call", {"name": "echo"}),
        request("tools/list", id="7"),
        {"jsonrpc": "2.0", "method": "notifications/x"},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        [request("ping"), request("ping", id=2)],
        "nonsense",
        None,
    ]
)


def bodies() -> st.SearchStrategy[bytes | None]:
    ids = st.sampled_from([None, 1, "1", 1.0, 2, "7", "x"])
    error = st.fixed_dictionaries({}, optional={"code": CODES, "message": WORDS, "data": st.none()})
    message = st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0")}, optional={"id": ids, "error": error, "result": st.just({})}
    )
    written = (message | st.lists(message, max_size=2) | WORDS).map(lambda value: json.dumps(value).encode())
    stream = written.map(lambda data: b"event: message\ndata: " + data + b"\n\n")
    return st.none() | written | stream | st.binary(max_size=30) | written.map(lambda data: data[:-1])


@settings(max_examples=200, deadline=None)
@given(
    message=MESSAGES,
    verb=st.sampled_from(["POST", "POST", "GET", "DELETE"]),
    status=STATUSES,
    body=bodies(),
    headers=st.sampled_from([(), ((b"www-authenticate", b"Bearer"),), ((b"content-type", b"text/event-stream"),)]),
    resumes=st.booleans(),
    stateless=st.booleans(),
    stranger=st.booleans(),
    opened=st.booleans(),
    worked=st.booleans(),
    client=st.sampled_from(ClientSide),
    server=st.sampled_from(ServerSide),
    dialects=st.sets(st.sampled_from(sorted(OPTIONAL))),
)
def test_what_is_promised_of_refusals(
    message: Any,
    verb: str,
    status: int,
    body: bytes | None,
    headers: tuple[tuple[bytes, bytes], ...],
    resumes: bool,
    stateless: bool,
    stranger: bool,
    opened: bool,
    worked: bool,
    client: ClientSide,
    server: ServerSide,
    dialects: set[int],
) -> None:
    world = World()
    session = world.open(ID)
    x, _ = world.send(
        message if verb == "POST" else None,
        verb=verb,
        session=ID,
        peer=Peer(pid=None, host="192.0.2.9", token="other", connection="c9") if stranger else None,
        headers={
            "mcp-protocol-version": "2026-07-28" if stateless else None,
            "last-event-id": "3" if resumes else None,
        },
    )
    session.standing = STANDINGS[client, server, False]
    session.answered = int(worked)
    if not opened:
        session.parameters, session.opened_by = None, "unknown"
    x.status, x.answer_headers = status, HeaderMap(headers)
    x.answer = parse(body) if body else None
    found = reading(x, body, dialects)
    if found is None:
        return
    lost = found.verdict is Verdict.LOST
    assert status in REFUSALS
    assert x.akin is not None or not x.stranger
    first = x.answer.first if x.answer else None
    if lost:
        assert status == 404 or status in dialects, "only what the user wants to be understood"
        assert client in (ClientSide.USING, ClientSide.GONE), "what its client has ended is never brought back"
        assert server is not ServerSide.DELETED
        assert server is not ServerSide.DELETING
        assert first is None or first.error_code != -32601
        if status != 404:
            assert worked
    if found.unprocessed and verb == "POST" and first is not None and x.message is not None and not x.body.batch:
        asked = x.message.id if x.message.method is not None and "id" in x.message.raw else None
        assert asked is None or first.id != asked, "no server answers a request by its id before it has processed it"
    assert found.reason
    assert "{" not in found.reason


@settings(max_examples=150, deadline=None)
@given(STATUSES, bodies(), MESSAGES)
def test_a_refusal_does_no_harm_whatever_it_says(status: int, body: bytes | None, message: Any) -> None:
    """Whatever is decided about it: somebody is given an answer, and a session whose client lives is not ended."""
    world = World(mcp_recover_dialects=[str(one) for one in OPTIONAL])
    session = world.open(ID)
    world.works(world.call(ID)[0])
    x, _ = world.send(message, session=ID)
    world.head(x, status, HeaderMap(((b"content-type", b"application/json"),)), world.now)
    decision = world.answered(x, body, world.now)
    world.wait(100)
    assert isinstance(decision, Deliver | Reply) or [one for one in world.released() if one.exchange is x]
    assert world.deleting == []
    assert not session.over


IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).filter(
    lambda text: text != ID
)


@settings(max_examples=100, deadline=None)
@given(st.lists(IDS, max_size=4, unique=True), IDS)
def test_the_client_sees_one_id_and_the_server_its_own_whatever_they_are(given_ids: list[str], other: str) -> None:
    world = World()
    session = world.open(ID)
    late, _ = world.call(ID)
    for server_id in given_ids:
        world.lose(world.call(ID)[0])
        world.shake(session, server_id)
        x, decision = world.call(ID)
        assert forwarded_as(decision) == server_id
        shown = world.head(x, 200, HeaderMap(((b"Mcp-Session-Id", server_id.encode()),)), world.now)
        assert shown.session_id == ID
        world.answered(x, b'{"jsonrpc":"2.0","id":1,"result":{}}', world.now)
    current = given_ids[-1] if given_ids else ID
    # An id of an earlier generation, or one that is nobody's, passes as it is, unless the request went out with it.
    x, decision = world.call(ID)
    assert forwarded_as(decision) == (current if given_ids else None)
    if other not in given_ids:
        shown = world.head(x, 200, HeaderMap(((b"mcp-session-id", other.encode()),)), world.now)
        assert shown.session_id is None
    assert world.head(late, 200, HeaderMap(((b"mcp-session-id", ID.encode()),)), world.now).session_id in (None, ID)
    # Another client that presents the server's id gets what the server knows by it.
    if given_ids:
        stranger = Peer(pid=None, host="192.0.2.9", token="other", connection="c9")
        assert world.call(current, peer=stranger)[1] == PASS
    assert world.core.ledger.find(ENDPOINT, ID) is session
