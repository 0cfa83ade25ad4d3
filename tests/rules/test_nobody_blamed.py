"""Nobody is blamed wrongly: what conforms, or can not be told from it, and beside each its neighbour that breaks."""

from __future__ import annotations

from mcp_sessions.rules import catalogue
from rules.transcripts import Player, broken_by, read

VERSION = "> MCP-Protocol-Version: 2025-11-25"
NAMED = f"""> Accept: application/json, text/event-stream
> Content-Type: application/json
{VERSION}"""


def lines(*parts: str) -> str:
    return "\n".join(parts)


def request(*head: str, body: str = "", answer: str = "", at: str = "") -> str:
    """One exchange, told without its marks: the head of the request, its body, and the whole answer."""
    asked = [*head, *(["", *body.split("\n")] if body else [])]
    return lines(
        f"### client A at {at}" if at else "### client A",
        *(f"> {line}".rstrip() for line in asked),
        *(f"< {line}".rstrip() for line in (answer.split("\n") if answer else ())),
    )


def test_discovery_of_authorization_is_no_request_of_the_transport() -> None:
    for path in (
        "/.well-known/oauth-protected-resource/mcp",
        "/mcp/.well-known/openid-configuration",
        "/custom/metadata.json",
    ):
        for revision in ("2025-06-18", "2025-11-25", "2026-07-28"):
            for answer in ("404", "200\nContent-Type: application/json\n\n{}"):
                player = Player()
                head = f"GET {path}", f"MCP-Protocol-Version: {revision}", "Accept: */*"
                player.play(read(lines("%init", request(*head, answer=answer))))
                assert player.rules == []
                assert [str(endpoint) for endpoint in player.core.ledger.endpoints] == ["http://mcp.example:80/mcp"]


def test_a_get_of_an_endpoint_is_one_whatever_it_accepts() -> None:
    get = request("GET /mcp", "%headers -Accept -Content-Type", "Accept: */*", answer="405")
    assert broken_by(lines("%init", get)) == ["MCP102"]
    get = request("GET /mcp", "MCP-Protocol-Version: 2026-07-28", "Accept: text/event-stream", answer="405")
    assert broken_by(get) == ["MCP610"]


OLD = '"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"x","version":"1"}'
"""What a client of HTTP+SSE asks for in its `initialize`."""
MESSAGES = "POST /messages/?session_id=1", "Accept: */*", "Content-Type: application/json"


def older(number: int, method: str, params: str = "", at: str = "") -> str:
    """A request to the older transport's second endpoint; its answer comes on the stream."""
    body = f'{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{{{params}}}}}'
    return request(*MESSAGES, body=body, answer="202\nContent-Type: text/plain\n\nAccepted", at=at)


def test_the_transport_of_2024_is_named_once_and_judged_by_nothing() -> None:
    ready = request(*MESSAGES, body='{"jsonrpc":"2.0","method":"notifications/initialized"}', answer="202\n\nAccepted")
    calls = lines(older(1, "initialize", OLD), ready, older(2, "tools/list"), older(3, "tools/list"))
    for scenes in (calls, lines(calls, older(1, "initialize", OLD), older(2, "tools/list"))):
        player = Player()
        player.play(read(scenes))
        assert player.rules == []
        assert [record.line() for record in player.told] == [
            "mcp: http://mcp.example:80/messages/ speaks HTTP+SSE of 2024-11-05, which is not judged client=client[165]"
        ]


def test_an_endpoint_event_names_both_endpoints_of_the_older_transport() -> None:
    response = '{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}'
    stream = request(
        "GET /sse",
        "Accept: text/event-stream",
        answer="200\nContent-Type: text/event-stream\n\n"
        f"event: endpoint\ndata: /messages/?session_id=1\n\nevent: message\ndata: {response}\n",
    )
    # A client that tries the newer one first is what makes the endpoint known.
    body = f'{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{{OLD}}}}}'
    probe = request("POST /sse", "Accept: application/json, text/event-stream", body=body, answer="405")
    player = Player()
    player.play(read(lines(probe, stream, older(2, "tools/list"), older(3, "tools/list"))))
    assert player.rules == ["MCP103"]  # the probe is one of the newer transport
    assert [record.line() for record in player.told if not hasattr(record, "rule")] == [
        "mcp: http://mcp.example:80/sse speaks HTTP+SSE of 2024-11-05, which is not judged client=client[165]"
    ]


def test_what_is_no_endpoint_of_the_older_transport_is_judged() -> None:
    plain = request("POST /mcp", "%headers -Accept", "Accept: */*", body='{"jsonrpc":"2.0","id":9,"method":"ping"}')
    accepted = lines(plain, "< 202")
    assert sorted(broken_by(lines("%init", accepted))) == ["MCP101", "MCP202"]
    # 200 is no 202, and a session belongs to the newer transport even at an endpoint that speaks both.
    initialize = catalogue()["MCP101"].bad.replace("> %headers -Accept\n", "> Content-Type: application/json\n")
    initialize = initialize.replace("%init\n", "").replace(
        '"method":"tools/list"', f'"method":"initialize","params":{{{OLD}}}'
    )
    assert broken_by(initialize) == ["MCP101"]
    both = older(1, "initialize", OLD).replace("/messages/?session_id=1", "/mcp")
    assert sorted(broken_by(lines(both, "%init", accepted))) == ["MCP101", "MCP202"]
    elsewhere = "200\nContent-Type: text/event-stream\n\nevent: endpoint\ndata: http://other.example/mcp\n"
    stream = request("GET /sse", "Accept: text/event-stream", "MCP-Protocol-Version: 2025-11-25", answer=elsewhere)
    stranger = plain.replace("/mcp", "http://other.example:80/mcp").replace("> %headers -Accept", VERSION)
    assert "MCP101" in broken_by(lines(stream, stranger))


def call(number: object, *, at: str = "", token: str = "", stream: str = "", answer: str = "", head: str = "") -> str:
    """A call of a tool: answered with this, or with events (told as they come), or as usual."""
    meta = f',"_meta":{{"progressToken":"{token}"}}' if token else ""
    body = f'{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"x"{meta}}}}}'
    usual = f'200\nContent-Type: application/json\n\n{{"jsonrpc":"2.0","id":{number},"result":{{"content":[]}}}}'
    scene = request("POST /mcp", "%headers", *([head] if head else []), body=body, at=at)
    if stream:
        return lines(scene, "< 200\n< Content-Type: text/event-stream\n<", stream)
    return lines(scene, *(f"< {line}".rstrip() for line in (answer or usual).split("\n")))


def data(text: str, at: str = "", **fields: str) -> str:
    """One event of a stream."""
    given = [f"< {name}: {value}" for name, value in fields.items()]
    return lines(*([f"@ {at}"] if at else []), *given, f"< data: {text}".rstrip(), "<")


def progress(token: str, value: float) -> str:
    params = f'{{"progressToken":"{token}","progress":{value}}}'
    return f'{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}'


def done(number: int) -> str:
    return f'{{"jsonrpc":"2.0","id":{number},"result":{{"content":[]}}}}'


def test_two_clients_in_one_process_at_a_server_without_ids_are_not_one_party() -> None:
    """Each counts its requests from the same number, and its server the events of each."""

    def streamed(number: int, token: str, at: str) -> str:
        end = f"{float(at) + 0.5}"
        return call(number, at=at, token=token, stream=lines(data(progress(token, 1), id="1"), data(done(number), end)))

    one = [streamed(10, "p", "1"), streamed(10, "p", "2")]
    assert sorted(broken_by(lines("%init nosession", *one))) == ["MCP110", "MCP505"]
    assert broken_by(lines("%init nosession", "%init nosession", *one)) == []
    assert broken_by(lines("%init nosession", one[0], "%init nosession", one[1])) == []
    # One of them was there before the proxy.
    assert broken_by(lines(streamed(9, "q", "0"), "%init nosession", *one).replace("> %headers", NAMED)) == []
    # Sessions tell clients apart.
    two = lines("%init session=0123456789abcdef0123456789abcdef", "%init session=f3c2a5d87b91e4c6a0d2b8e7f6154c39")
    assert sorted(broken_by(lines(two, *one))) == ["MCP110", "MCP505"]


def test_what_one_of_two_clients_in_a_process_has_agreed_upon_is_not_what_the_other_has() -> None:
    asks = data('{"jsonrpc":"2.0","id":"s1","method":"roots/list"}')
    asked = call(10, stream=lines(asks, data(done(10))))
    assert broken_by(lines("%init nosession", asked)) == ["MCP405"]
    assert broken_by(lines('%init nosession caller={"roots":{}}', "%init nosession", asked)) == []


def test_one_token_for_two_requests_is_not_the_servers_fault() -> None:
    def running(number: int, token: str, at: float, value: float) -> str:
        stream = lines(data(progress(token, value), f"{at + 0.5}"), data(done(number), f"{at + 3}"))
        return call(number, at=f"{at}", token=token, stream=stream)

    assert broken_by(lines("%init", running(10, "p", 1, 5), running(11, "p", 1.1, 1))) == ["MCP112"]
    falling = lines(data(progress("p", 5)), data(progress("p", 1)), data(done(10)))
    assert broken_by(lines("%init", call(10, token="p", stream=falling))) == ["MCP509"]
    # Once they are answered it is a new one.
    falling = falling.replace(done(10), done(12))
    again = [running(10, "p", 1, 5), running(11, "p", 1.1, 1), call(12, at="9", token="p", stream=falling)]
    assert broken_by(lines("%init", *again)) == ["MCP112", "MCP509"]


def test_a_batch_where_the_revision_is_not_known_is_nobodys() -> None:
    head = "### client A\n> GET /mcp\n> Accept: text/event-stream\n> Mcp-Session-Id: x1\n"
    batch = '[{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}]'
    stream = lines("< 200\n< Content-Type: text/event-stream\n<", data(batch))
    assert broken_by(head + stream) == []
    assert broken_by(f"{head}> MCP-Protocol-Version: 2025-03-26\n{stream}") == []
    assert broken_by(f"{head}> MCP-Protocol-Version: 2025-06-18\n{stream}") == ["MCP501"]
    assert broken_by(head + stream.replace(batch, "{}")) == ["MCP501"]


def test_a_whole_number_is_an_integer_however_it_is_written() -> None:
    bad = catalogue()["MCP614"].bad.replace('"tools":[]', '"tools":[],"ttlMs":60000.0,"cacheScope":"private"')
    assert broken_by(bad) == []
    assert broken_by(bad.replace("60000.0", "60000.5")) == ["MCP614"]


def test_revisions_before_streamable_http_are_known_all_the_same() -> None:
    bad = catalogue()["MCP205"].bad
    for version in ("2024-11-05", "2024-10-07"):
        assert broken_by(bad.replace("MCP-Protocol-Version: 1900-01-01", f"MCP-Protocol-Version: {version}")) == []
    assert broken_by(bad.replace("1900-01-01", "2024-11-06")) == ["MCP205"]


def test_a_challenge_is_owed_by_the_revision_that_was_agreed_upon() -> None:
    asked = (
        catalogue()["MCP205"]
        .bad.replace("> MCP-Protocol-Version: 1900-01-01\n", "")
        .replace("2025-11-25", "2025-06-18")
    )
    refused = asked[: asked.index("< 200")] + "< 401"
    assert broken_by(refused) == []
    unauthorized = (
        '401\nContent-Type: application/json\n\n{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"x"}}'
    )
    assert broken_by(lines("%init 2025-06-18", call(10, answer=unauthorized))) == ["MCP702"]
    for revision in ("2025-03-26", "2025-11-25"):
        assert broken_by(lines(f"%init {revision}", call(10, answer=unauthorized))) == []


def test_an_answer_without_id_is_right_whatever_else_is_judged() -> None:
    def asked(number: str, **settings: str) -> list[str]:
        error = '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}}'
        player = Player(**settings)
        player.play(read(lines("%init", call(number, answer=f"200\nContent-Type: application/json\n\n{error}"))))
        return player.rules

    assert asked("null") == ["MCP109"]
    assert asked("null", mcp_silence="MCP109") == []
    assert asked("10", mcp_silence="MCP109") == ["MCP203"]


def test_an_error_without_id_within_a_batch_is_right() -> None:
    def batch(asked: str, answered: str) -> list[str]:
        answer = f"200\nContent-Type: application/json\n\n[{answered}]"
        return broken_by(lines("%init 2025-03-26", request("POST /mcp", "%headers", body=f"[{asked}]", answer=answer)))

    ping, pong = '{"jsonrpc":"2.0","id":10,"method":"ping"}', '{"jsonrpc":"2.0","id":10,"result":{}}'
    error = '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}}'
    assert batch(f"{ping},1", f"{pong},{error}") == ["MCP106"]
    assert batch(f"{ping},{ping.replace('10', '11')}", f"{pong},{error}") == []
    assert batch(ping, pong.replace("10", "11")) == ["MCP203"]
    assert batch(f"{ping},{ping.replace('10', '11')}", pong) == ["MCP203"]
    assert batch(ping, f"{pong},{pong}") == ["MCP203"]


def test_an_event_id_that_is_repeated_on_its_stream_before_that_closes_is_not_used_again() -> None:
    def stream(*events: str) -> list[str]:
        return broken_by(lines("%init", call(10, token="p", stream=lines(*events))))

    first, last = data(progress("p", 1), id="1"), data(done(10))
    assert stream(first, data("", id="1", retry="500"), last) == []
    assert stream(first, data("", id="1"), first, last) == []
    assert stream(first, "< id: 1\n< retry: 500\n<", last) == []
    assert stream(first, data(progress("p", 2), id="1"), last) == ["MCP505"]
    assert stream(data("", id="1"), first, last) == []
    assert stream(data("", id="1"), first, data(progress("p", 2), id="1"), last) == ["MCP505"]
    # It still stands for what it stood for.
    again = request(
        "GET /mcp", "%headers -Accept -Content-Type", "Accept: text/event-stream", "Last-Event-ID: 0", at="5"
    )
    again = lines(again, "< 200\n< Content-Type: text/event-stream\n<", first)
    once = call(10, token="p", stream=lines(first, data("", id="1", retry="500")))
    assert broken_by(lines("%init", once, again)) == []
    assert broken_by(lines("%init", once, again.replace('"progress":1', '"progress":7'))) == ["MCP505"]


def error(number: object, words: str, status: int = 400) -> str:
    """An answer that is a JSON-RPC error of this id."""
    message = f'{{"jsonrpc":"2.0","id":{number},"error":{{"code":-32000,"message":"{words}"}}}}'
    return f"{status}\nContent-Type: application/json\n\n{message}"


def test_a_tools_own_error_is_no_lost_session() -> None:
    """The tool has sessions of its own, and its server passes on what it says as the answer to the call."""
    for words in ("Terminal session not found: t1", "Browser session expired", "Session not found in the database"):
        for status in (200, 400, 410, 500):
            own = call(11, answer=error(11, words, status))
            assert broken_by(lines("%init", call(10), own, call(12))) == []
            assert broken_by(lines("%init", own, call(12))) == []
        # Neither does its client use a session that is gone, nor fail to start anew.
        own = call(11, answer=error(11, words, 404))
        assert broken_by(lines("%init", call(10), own, call(12, at="5"))) == []
        assert broken_by(lines("%init", own, call(12, at="5"))) == []


def test_what_a_tool_says_of_nothing_but_a_session_is_looked_at_twice() -> None:
    """It may be one of its own all the same: then the session goes on."""
    lost = "Session not found"
    for status in (200, 400):
        first, second = call(11, answer=error(11, lost, status)), call(12, answer=error(12, lost, status))
        assert broken_by(lines("%init", call(10), first, call(13))) == []
        assert broken_by(lines("%init", call(10), first, call(13), second)) == []
        assert broken_by(lines("%init", call(10), first, second)) == ([] if status == 200 else ["MCP305"])
        # What no tool answers is the server's own word.
        listed = call(12, answer=error(12, lost, status)).replace("tools/call", "tools/list")
        assert broken_by(lines("%init", call(10), listed)) == ["MCP305"]
    for number in ("null", '"server-error"'):
        assert broken_by(lines("%init", call(10), call(11, answer=error(number, lost)))) == ["MCP305"]


def test_one_answer_is_blamed_once() -> None:
    dead = call(10, answer=error("null", "Bad Request: No valid session ID provided"))
    assert broken_by(lines("%init", dead)) == ["MCP315"]
    assert broken_by(lines("%init", dead, dead.replace("10", "11"))) == ["MCP315"]
    assert broken_by(lines("%init", call(9), dead)) == ["MCP305"]
    assert broken_by(lines("%init", dead.replace("### client A", "### client A at 90"))) == ["MCP305"]
    assert broken_by(lines("%init", "### client A gone at 5.0")) == ["MCP314"]
    assert broken_by(lines("%init", call(9), "### client A gone at 5.0")) == ["MCP308"]


GET = "GET /mcp", "%headers -Accept -Content-Type", "Accept: text/event-stream"


def test_a_bare_404_to_a_get_on_a_session_that_lives_is_the_servers_fault() -> None:
    for answer in ("404", "404\nContent-Type: text/html\n\nCannot GET /mcp"):
        refused = request(*GET, answer=answer)
        assert broken_by(lines("%init", refused, call(10, at="5"), call(11))) == ["MCP204"]
        assert broken_by(lines("%init", call(9), refused, call(10, at="5"))) == ["MCP204"]
        # It may be lost: nobody can tell, before it has answered again.
        gone = "### client A gone at 9.0"
        assert broken_by(lines("%init", call(9), refused, gone)) == []
        lost = call(10, at="5", answer=error("null", "Session not found", 404))
        assert broken_by(lines("%init", call(9), refused, lost, call(11, at="8", answer="404"))) == ["MCP306"]
        assert broken_by(lines("%init nosession", request(*GET, answer=answer))) == ["MCP204"]
    said = request(*GET, answer=error("null", "Session not found", 404))
    assert broken_by(lines("%init", call(9), said, call(10, at="5", answer="404"))) == ["MCP306"]


def test_a_get_is_answered_with_a_stream_or_405() -> None:
    for status in (400, 406, 500, 501):
        assert broken_by(lines("%init", request(*GET, answer=f"{status}"))) == ["MCP204"]
        assert broken_by(lines("%init nosession", request(*GET, answer=f"{status}"))) == ["MCP204"]
    for status in (401, 403, 405, 409, 429, 502, 503, 504):
        assert broken_by(lines("%init", request(*GET, answer=f"{status}"))) == []
    # What the client has done wrong, and what there may be other reasons for.
    plain = GET[0], GET[1], "Accept: */*"
    assert broken_by(lines("%init", request(*plain, answer="406"))) == ["MCP102"]
    unversioned = GET[0], f"{GET[1]} -MCP-Protocol-Version", GET[2]
    assert broken_by(lines("%init", request(*unversioned, answer="400"))) == ["MCP104"]
    for status in (400, 404):
        resumed = request(*GET, "Last-Event-ID: e1", answer=f"{status}")
        assert broken_by(lines("%init", call(9), resumed, call(10))) == []
    assert broken_by(lines("%init", call(9), request(*GET, answer=error("null", "No valid session ID")))) == ["MCP305"]
    bare = GET[0], VERSION[2:], GET[2]
    assert broken_by(lines("%init", request(*bare, answer="400"))) == ["MCP303"]


def test_where_the_revision_is_not_known_only_what_holds_in_all_four_is_judged() -> None:
    unknown = request(
        "POST /mcp",
        "Accept: application/json, text/event-stream",
        "Content-Type: application/json",
        "Mcp-Session-Id: x1",
        body='{"jsonrpc":"2.0","id":10,"method":"ping"}',
        answer='200\nContent-Type: application/json\nMcp-Session-Id: x2\n\n{"jsonrpc":"2.0","id":10,"result":{}}',
    )
    assert broken_by(unknown) == []  # 2026-07-28 has another rule for that
    named = unknown.replace("> Mcp-Session-Id: x1", "> Mcp-Session-Id: x1\n> MCP-Protocol-Version: 2025-06-18")
    assert broken_by(named) == ["MCP312"]
    assert broken_by(unknown.replace('"id":10,"result"', '"id":11,"result"')) == ["MCP203"]


TEXT = '{"type":"text","text":"x"}'


def test_what_cannot_be_read_is_json_all_the_same() -> None:
    deep = "[" * 250 + "]" * 250
    for odd in (r'"\ud83d"', deep):
        sent = call(10).replace('"name":"x"', f'"name":"x","arguments":{{"a":{odd}}}')
        assert broken_by(lines("%init", sent)) == []
        result = f'{{"jsonrpc":"2.0","result":{{"content":[{TEXT}],"structuredContent":{{"id":3,"a":{odd}}}}},"id":10}}'
        assert broken_by(lines("%init", call(10, answer=f"200\nContent-Type: application/json\n\n{result}"))) == []
        assert broken_by(lines("%init", call(10, stream=data(result)))) == []
        cut = result[:-1]
        assert broken_by(lines("%init", call(10, answer=f"200\nContent-Type: application/json\n\n{cut}"))) == ["MCP203"]
        assert sorted(broken_by(lines("%init", call(10, stream=data(cut))))) == ["MCP501", "MCP502"]
        assert "MCP106" in broken_by(lines("%init", sent.replace('"jsonrpc":"2.0","id":10,"method"', '"method')))


def test_it_is_said_what_a_message_lacks() -> None:
    def said(body: str) -> list[str]:
        player = Player()
        player.play(read(lines("%init 2025-03-26", request("POST /mcp", "%headers", body=body, answer="400"))))
        return [violation.detail for violation in player.violations if violation.rule == "MCP106"]

    assert said("{")[0].startswith("not JSON: ")
    assert said("1") == ["not an object"]
    assert said('{"id":10,"method":"ping"}') == ['without "jsonrpc": "2.0"']
    assert said('{"jsonrpc":"2.0","id":10}') == ["neither method nor result nor error"]
    assert said('{"jsonrpc":"2.0","id":10,"method":5}') == ["a method that is no string"]
    assert said('{"jsonrpc":"2.0","id":10,"result":{},"error":{}}') == ["both result and error"]
    ping = '{"jsonrpc":"2.0","id":10,"method":"ping"}'
    assert said(f"[{ping},1,{{}}]") == ["2 of 3 messages of the batch, the first: not an object"]
    empty = request("POST /mcp", "%headers", answer="400")
    player = Player()
    player.play(read(lines("%init", empty)))
    assert [violation.detail for violation in player.violations] == ["empty"]


def test_an_origin_is_foreign_to_the_address_that_the_client_dialled() -> None:
    bad = catalogue()["MCP206"].bad
    assert broken_by(bad) == ["MCP206"]
    for dialled, found in (("127.0.0.1", ["MCP206"]), ("::1", ["MCP206"]), ("192.0.2.7", [])):
        player = Player()
        player.dialled = dialled  # as by a reverse proxy in front of a server on loopback
        player.play(read(bad))
        assert player.rules == found


def test_who_serves_older_clients_too_may_name_a_session() -> None:
    """The clause is for a server that supports only this revision: it has said so, or nobody knows."""
    bad = catalogue()["MCP602"].bad
    assert broken_by(bad) == ["MCP602"]
    assert broken_by(bad.replace('["2026-07-28"]', '["2026-07-28","2025-11-25"]')) == []
    assert broken_by(bad[bad.rindex("### client") :]) == []


def test_what_a_list_says_of_its_tools_holds_however_soon_it_is_stale() -> None:
    bad = catalogue()["MCP612"].bad
    for ttl in ("0", "1", "60000", "0.0"):
        stale = bad.replace('"ttlMs":60000', f'"ttlMs":{ttl}')
        assert broken_by(stale) == ["MCP612"]
        accepted = stale[: stale.rindex("< 400")] + lines(
            "< 200",
            "< Content-Type: application/json",
            "<",
            '< {"jsonrpc":"2.0","id":11,"result":{"resultType":"complete","content":[]}}',
        )
        assert sorted(broken_by(accepted)) == ["MCP606", "MCP612"]
    called = bad.rindex("### client A")
    # Who has not seen the list does not know.
    assert broken_by(f"{bad[:called]}### client B{bad[called + len('### client A') :]}") == []
    listen = request("POST /mcp", "%modern subscriptions/listen", body=LISTEN)
    changed = '{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"s":9}}}'
    changed = changed.replace('"s"', '"io.modelcontextprotocol/subscriptionId"')
    ended = data('{"jsonrpc":"2.0","id":9,"result":{"resultType":"complete","_meta":{"s":9}}}')
    ended = ended.replace('"s"', '"io.modelcontextprotocol/subscriptionId"')
    stream = lines(listen, "< 200\n< Content-Type: text/event-stream\n<", data(ACKNOWLEDGED), data(changed), ended)
    assert broken_by(bad[:called] + stream + "\n" + bad[called:]) == []


META = (
    '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
)
LISTEN = (
    '{"jsonrpc":"2.0","id":9,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},'
    f"{META}}}}}"
)
ACKNOWLEDGED = (
    '{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":'
    '{"toolsListChanged":true},"_meta":{"io.modelcontextprotocol/subscriptionId":9}}}'
)


def test_a_result_without_type_is_complete() -> None:
    bad = catalogue()["MCP614"].bad
    untyped = bad.replace('"resultType":"complete",', "")
    assert broken_by(untyped) == []  # a server of an earlier revision, as far as anybody knows
    discovered = catalogue()["MCP613"].bad[: catalogue()["MCP613"].bad.rindex("### client")]
    assert sorted(broken_by(lines(discovered.strip("\n"), untyped))) == ["MCP613", "MCP614"]
    hinted = untyped.replace('"tools":[]', '"tools":[],"ttlMs":0,"cacheScope":"public"')
    assert broken_by(lines(discovered.strip("\n"), hinted)) == ["MCP613"]


def test_input_that_is_asked_for_where_it_may_not_be_is_one_rules_matter() -> None:
    bad = catalogue()["MCP614"].bad
    result = '"resultType":"input_required","requestState":"c3RhdGU"'
    assert broken_by(bad.replace('"resultType":"complete","tools":[]', result)) == ["MCP623"]
    assert broken_by(catalogue()["MCP614"].good) == []


def test_what_a_stranger_is_told_of_a_session_is_not_told_of_its_loss() -> None:
    """With other credentials somebody presents its id: to him it is none."""
    stranger = "> Authorization: Bearer another's"
    for status in (400, 401, 404):
        refused = call(11, answer=error("null", "Session not found", status), head=stranger[2:])
        refused = refused.replace("### client A", "### client B")
        malformed = call(12, answer=error("null", "Parse error"))
        assert broken_by(lines("%init", call(10), refused, malformed)) == ["MCP313"]
        assert broken_by(lines("%init", refused, malformed)) == ["MCP313"]
    lost = call(11, answer=error("null", "Session not found", 404))
    assert broken_by(lines("%init", call(10), lost, malformed)) == ["MCP305"]
