"""What recordings are made of, without processes: redaction, harmless markup, answers from a recording."""

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sessions.recordings import naming, patterns
from mcp_sessions.recordings.bindings import Bindings
from mcp_sessions.recordings.markup import block, code, diagram
from mcp_sessions.recordings.naming import Pattern, TooSlowError, named
from mcp_sessions.recordings.recorded import Recorded
from mcp_sessions.recordings.redact import CUT_OUT, Redactor
from mcp_sessions.recordings.stand import NOT_RECORDED, Stand
from mcp_sessions.recordings.vault import Vault
from mcp_sessions.wire.headers import HeaderMap
from mcp_sessions.wire.jsonrpc import parse

JSON, SSE = "application/json", "text/event-stream"


def redact(content: bytes, media_type: str = JSON, words: tuple[str, ...] = ()) -> str:
    redactor = Redactor(named(words))
    redactor.body(content, media_type)
    redactor.replacing()
    return redactor.body(content, media_type).decode()


@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=9, max_size=40).filter(
        lambda text: "<" not in text and not text.isdigit()
    ),
    lead=st.text("abc", max_size=5),
)
def test_a_secret_is_found_in_every_spelling(secret: str, lead: str) -> None:
    wrapped = base64.b64encode((lead + secret + " tail").encode()).decode()
    document = {"password": secret, "a": wrapped, "b": quote(secret, safe=""), "c": json.dumps({"x": [secret]})}
    shown = redact(json.dumps(document).encode())
    result = json.loads(shown)
    assert result["password"] == "<secret-1>"
    assert secret not in shown
    assert secret not in json.loads(result["c"])["x"]
    core = base64.b64encode((lead + secret).encode()).decode().rstrip("=")[4 * len(lead) // 3 + 2 : -2]
    assert len(core) < 8 or core not in result["a"]


def test_equal_values_stay_equal_and_numbers_of_the_protocol_stay() -> None:
    said = {
        "jsonrpc": "2.0",
        "id": 1,
        "params": {"token": "abcdefgh", "_meta": {"progressToken": "p-1"}},
        "n": "abcdefgh",
    }
    shown = json.loads(redact(json.dumps(said).encode()))
    assert shown["id"] == 1
    assert shown["params"]["token"] == shown["n"] == "<secret-1>"
    assert shown["params"]["_meta"]["progressToken"] == "p-1"


def test_what_a_user_names_is_replaced() -> None:
    said = b'{"params":{"arguments":{"customer":"Bob","note":"see ACME-1234"}}}'
    shown = redact(said, words=("$.params.arguments.customer", "/ACME-[0-9]+/"))
    assert "Bob" not in shown
    assert "ACME-1234" not in shown
    with pytest.raises(ValueError, match="no JSON path"):
        named(["$["])
    with pytest.raises(ValueError, match="regular expression"):
        named(["/(/"])


EVIL = "/(x+x+)+y|ACME-[0-9]+/"
SLOW = "x" * 2_000
"""A text that it takes for ever for."""


def test_what_a_pattern_takes_too_long_for_is_cut_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "PATIENCE", 0.2)
    said = {"a": f"ACME-1 {SLOW}", "b": "see ACME-22", "c": ["fine", quote(f"%{SLOW}")], "password": "abcdefgh"}
    for content, kind in (
        (json.dumps(said).encode(), JSON),
        (b"data: " + json.dumps(said).encode() + b"\n\n", SSE),
    ):
        redactor = Redactor(named((EVIL,)))
        redactor.body(content, kind)
        redactor.replacing()
        shown = redactor.body(content, kind).decode()
        assert json.loads(shown.removeprefix("data: ")) == {
            "a": CUT_OUT, "b": "see <secret-1>", "c": ["fine", CUT_OUT], "password": "<secret-2>"
        }  # fmt: skip
        assert redactor.cut_out >= 2
    assert redact(f"ACME-1 {SLOW}".encode(), "text/plain", (EVIL,)) == CUT_OUT


def test_what_was_not_searched_once_is_not_shown_though_it_is_searched_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a search takes depends on what else the machine does."""
    redactor = Redactor(named((EVIL,)))
    monkeypatch.setattr(naming, "PATIENCE", 0.1)
    redactor.text(SLOW)
    monkeypatch.setattr(Pattern, "found_in", lambda self, text: iter(()))
    redactor.replacing()
    assert redactor.text(SLOW) == CUT_OUT


def test_a_pattern_that_takes_too_long_for_all_ends_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "PATIENCE", 0.1)
    monkeypatch.setattr(naming, "BUDGET", 0.3)
    redactor = Redactor(named((EVIL,)))
    texts = [f"{number} {SLOW}" for number in range(100)]
    with pytest.raises(TooSlowError, match="takes too long; nothing is exported"):
        redactor.anything(texts)


def test_a_pattern_lets_others_go_on() -> None:
    """Or an export in its thread would hold up all traffic."""
    gaps = list[float]()

    def search() -> None:
        with suppress(TimeoutError):
            list(Pattern(EVIL[1:-1]).found_in(SLOW))

    thread = threading.Thread(target=search)
    thread.start()
    before = time.monotonic()
    while thread.is_alive():
        time.sleep(0.001)
        now = time.monotonic()
        gaps.append(now - before)
        before = now
    assert len(gaps) > 100


@pytest.mark.parametrize(
    "word", ["$..[?match(@.a, '(a+)+b')]", "$[?@.a =~ /(a+)+b/]", "$..[?search (@, 'x')]", "$..*..*..*"]
)
def test_a_path_whose_time_nobody_can_bound_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(word))):
        named([word])


def test_a_body_without_secrets_stays_byte_by_byte() -> None:
    for body, kind in ((b'{ "a" : 1.50 , "b":"x" }', JSON), (b": hi\r\nid: 1\r\ndata: {}\r\n\r\ndata:x\n\n", SSE)):
        assert redact(body, kind).encode() == body


def test_events_keep_their_number() -> None:
    stream = b'data: {"token":\ndata: "abcdefgh"}\n\nid: abcdefgh\ndata: x\n\n'
    shown = redact(stream, SSE)
    assert shown.count("\n\n") == 2
    assert "abcdefgh" not in shown


HOSTILE = "```\n# end\n| x | `a` @me #1 <b> %% ; end \u202e"


def test_hostile_text_stays_text() -> None:
    fenced = block("````\nx\n```", "json", 100)
    assert fenced.splitlines()[0] == "`````json"
    assert fenced.splitlines()[-1] == "`````"
    assert "\n" not in code(HOSTILE)
    assert code(HOSTILE).startswith("````")
    drawn = diagram(HOSTILE)
    assert "\n" not in drawn
    assert " end" not in drawn
    for mark in "`<>@%|":
        assert mark not in drawn


@given(st.text(max_size=200))
def test_no_text_ends_its_block(text: str) -> None:
    lines = block(text, "json", 500).split("\n")
    fence = lines[-1]
    assert all(not line.strip().startswith(fence) for line in lines[1:-1])


def exchange(
    number: int, verb: str, said: object, status: int, answer: object, session: str = "<session-1>"
) -> Recorded:
    content = json.dumps(said).encode() if said else b""
    opens = isinstance(said, dict) and said.get("method") == "initialize"
    asked = [] if opens else [(b"mcp-session-id", session.encode())]
    told = [(b"content-type", b"application/json"), *([(b"mcp-session-id", session.encode())] if opens else [])]
    return Recorded(
        str(number), float(number), verb, "http://x/mcp", HeaderMap(asked), content, parse(content), session=session,
        status=status, answer_headers=HeaderMap(told), answer_content=json.dumps(answer).encode(), complete=True,
        ended_at=number + 0.5,
    )  # fmt: skip


def call(number: int, text: str) -> dict[str, object]:
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"t": text}},
    }


def test_a_stand_maps_ids_and_answers_a_lost_session_as_recorded() -> None:
    lost = {"jsonrpc": "2.0", "id": "server-error", "error": {"code": -32600, "message": "Session not found"}}
    stand = Stand(
        [
            exchange(
                1,
                "POST",
                {"jsonrpc": "2.0", "id": 0, "method": "initialize"},
                200,
                {"jsonrpc": "2.0", "id": 0, "result": {}},
            ),
            exchange(2, "POST", call(1, "<secret-1>"), 200, {"jsonrpc": "2.0", "id": 1, "result": "<secret-1>!"}),
            exchange(3, "POST", call(2, "b"), 404, lost),
        ],
        lambda: "live",
    )
    opened = stand.answer("POST", HeaderMap(), b'{"jsonrpc":"2.0","id":"a","method":"initialize"}', 1.0)
    assert ("mcp-session-id", "live") in opened.headers
    assert json.loads(opened.content)["id"] == "a"
    mine = HeaderMap([(b"mcp-session-id", b"live")])

    answered = stand.answer("POST", mine, json.dumps(call(70, "real")).encode(), 2.0)
    assert json.loads(answered.content) == {"jsonrpc": "2.0", "id": 70, "result": "real!"}
    unknown = stand.answer("POST", mine, json.dumps(call(71, "zz")).encode(), 2.0)
    assert json.loads(unknown.content)["error"]["code"] == NOT_RECORDED
    assert unknown.note
    assert stand.answer("POST", mine, json.dumps(call(72, "b")).encode(), 3.0).status == 404
    assert stand.answer("POST", mine, json.dumps(call(73, "zz")).encode(), 4.0).status == 404


def test_a_placeholder_means_one_value() -> None:
    bindings = Bindings()
    assert bindings.match({"a": "<secret-1>"}, {"a": "x"})
    assert not bindings.match("<secret-1>", "y")
    assert bindings.match("say <secret-1>", "say x")
    assert bindings.now({"k": ["<secret-1>"]}) == {"k": ["x"]}


HOSTILE_UNITS = (
    "aaa%zz", "%41", "%2541", "a%4", "eyJ", "eyJa.", "awskey", "awspw/", "artif", "artif\n", "jfrog =AP", "AKC",
    "a/", "a", "a.", "0123456789abcdef", "password=", "secret: ", "bearer ", "a://", "a://a:", "http://a",
    "-----BEGIN PRIVATE KEY-----", "BEGIN PRIVATE KEY-----\naaaaaaaaaaa\n", "\n", "NPM TOKEN", "sk-",
    "xoxb-1-", "1-", "PuTTY-User-Key-File-2:", "[", "é",
)  # fmt: skip


def seconds(call: Callable[[], object]) -> float:
    """Processor time of one call."""
    before = time.thread_time()
    call()
    return time.thread_time() - before


@pytest.mark.parametrize("unit", HOSTILE_UNITS)
def test_redaction_takes_time_in_proportion_to_the_text(unit: str) -> None:
    assert seconds(lambda: redact((unit * (100_000 // len(unit))).encode(), "text/plain")) < 5


@pytest.mark.parametrize("unit", ["aaa%zz", "a/", "eyJ", "password=", "awskey", "é"])
def test_a_megabyte_takes_seconds(unit: str) -> None:
    """By a pattern whose time grows with the square it would be hours."""
    text = unit * (1_000_000 // len(unit))
    assert seconds(lambda: redact(text.encode(), "text/plain")) < 20
    assert seconds(lambda: redact(json.dumps({"text": text}).encode())) < 20


def test_no_search_holds_up_the_process() -> None:
    """A search keeps all other threads from going on until it is over."""
    for shape in patterns.shapes():
        for unit in HOSTILE_UNITS:
            text = unit * (100_000 // len(unit))
            assert seconds(lambda: shape.search(text, 0, patterns.WINDOW)) < 0.05, (shape.pattern, unit)  # noqa: B023
            assert seconds(lambda: list(patterns.matches(shape, text))) < 1, (shape.pattern, unit)  # noqa: B023


def test_a_secret_is_found_across_the_borders_of_what_is_searched_at_once() -> None:
    token, key = "eyJ" + "a" * 150_000 + ".bbbb.cccc", "ghp_" + "A1" * 18
    for at in (0, patterns.WINDOW - 20, patterns.WINDOW, 2 * patterns.WINDOW - 3):
        assert key in patterns.secrets_in("x " * (at // 2) + key + " tail")
        assert token in patterns.secrets_in(" " * at + token + " tail")


def test_keys_by_the_words_before_them_are_found() -> None:
    aws, artifactory = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AP" + "6Zq1" * 5
    assert aws in patterns.secrets_in(f'aws_secret_access_key = "{aws}"')
    assert aws not in patterns.secrets_in(f"the hash {aws}")
    assert artifactory in patterns.secrets_in(f"jfrog: {artifactory}")
    assert artifactory not in patterns.secrets_in(f"the word {artifactory}")
    assert "AKIAIOSFODNN7EXAMPLE" in patterns.secrets_in("id AKIAIOSFODNN7EXAMPLE")


def test_many_secrets_that_begin_alike_are_replaced_in_little_time() -> None:
    tokens = [f"aaaaaa{number:06}" for number in range(5_000)]
    body = json.dumps([{"token": token} for token in tokens] + ["aaaaaa" * 20_000]).encode()
    shown: list[str] = []
    assert seconds(lambda: shown.append(redact(body))) < 10
    assert not any(token in shown[0] for token in tokens)


def test_the_longest_of_secrets_that_begin_alike_is_replaced() -> None:
    vault = Vault()
    for secret in ("abcdef", "abcdefgh", "abcdefgz", "abcdefghij"):
        vault.learn(secret)
    assert vault.replace("abcdefghij abcdefghi abcdefgy") == "<secret-1> <secret-2>i <secret-3>gy"


def test_many_documents_with_secrets_are_learnt_in_little_time() -> None:
    stream = "".join(f'data: {{"token": "abcdef-{number:06}"}}\n\n' for number in range(1_000)).encode()
    assert seconds(lambda: redact(stream, SSE)) < 10
