"""The targets of the fuzzer with what hypothesis comes up with: bytes at random, and pieces of what is usual."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import SEEDS, TARGETS

PIECES: dict[str, bytes] = {
    "sse": b"data: x|data|data:  |: c|id: 1|id|id: a\0b|event: e|event|retry: 9|retry: x|\n|\r|\r\n|\xef\xbb\xbf|\xff|"
    b"\xe2\x80|\xe2\x80\xa8|\0|:",
    "message": b'{|}|[|]|,|:|"|"jsonrpc":"2.0"|"id":|1|-0|1e400|null|true|"method":"ping"|"result":{}|'
    b'"error":{"code":-32601}|\\ud800|NaN| |\xff',
    "headers": b"accept: |Accept:|application/json|text/event-stream|;q=0|; Q=0.0|,|\n|mcp-session-id: x|"
    b"MCP-Param-a: 1|:path: /|cookie: a=b|origin: http://a|\xff|x: y",
    "redaction": b'@|#|~|{"password":"|"}|"a":|data: |\n|\n\n|%|%40|&|=|{"|"|:|[|]|,|null|\\|Bearer |\xff|'
    b"\xef\xbb\xbf|eyJ|<|>",
    "recording": b"\0\0\0|\0\1\0|9999:|0:~|}|]|-1|\xff\xff",
}
"""What is put together at random, besides bytes at random."""


def inputs(name: str) -> st.SearchStrategy[bytes]:
    pieces = st.lists(st.sampled_from([*PIECES[name].split(b"|"), b"|"]) | st.binary(max_size=4), max_size=30).map(
        b"".join
    )
    return pieces | st.binary(max_size=100) | st.tuples(st.binary(max_size=3), pieces).map(b"".join)


@pytest.mark.parametrize(("name", "target"), TARGETS.items(), ids=TARGETS)
def test_whatever_comes(name: str, target: Callable[[bytes], None]) -> None:
    for seed in SEEDS[name]:
        target(seed)

    @settings(max_examples=30 if name == "recording" else 300, deadline=None)
    @given(inputs(name))
    def holds(data: bytes) -> None:
        target(data)

    holds()
