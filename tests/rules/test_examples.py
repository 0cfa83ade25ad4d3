"""Examples written out: a handshake and the usual headers in the place of `%` and a word, and what signs mean."""

from __future__ import annotations

import pytest

from mcp_sessions.rules.examples import SESSION, legend, written_out

USUAL = f"""\
> Accept: application/json, text/event-stream
> Content-Type: application/json
> Mcp-Session-Id: {SESSION}
> MCP-Protocol-Version: 2025-11-25"""

HANDSHAKE = f"""\
### client A
> POST /mcp
> Accept: application/json, text/event-stream
> Content-Type: application/json
>
> {{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},\
"clientInfo":{{"name":"example","version":"1.0"}}}}}}
< 200
< Content-Type: application/json
< Mcp-Session-Id: {SESSION}
<
< {{"jsonrpc":"2.0","id":1,"result":{{"protocolVersion":"2025-11-25","capabilities":\
{{"tools":{{"listChanged":true}},"resources":{{"subscribe":true}},"prompts":{{}},"logging":{{}}}},\
"serverInfo":{{"name":"example-server","version":"1.0"}}}}}}
### client A
> POST /mcp
{USUAL}
>
> {{"jsonrpc":"2.0","method":"notifications/initialized"}}
< 202"""

CAN = '"tools":{"listChanged":true},"resources":{"subscribe":true},"prompts":{},"logging":{}'


@pytest.mark.parametrize(
    ("sign", "changes"),
    [
        ("%init", {}),
        ("%init 2025-06-18", {"2025-11-25": "2025-06-18"}),
        ("%init 2025-03-26", {"\n> MCP-Protocol-Version: 2025-11-25": "", "2025-11-25": "2025-03-26"}),
        ("%init client=B", {"client A": "client B"}),
        ("%init session=s1", {SESSION: "s1"}),
        (
            "%init nosession",
            {f"\n> Mcp-Session-Id: {SESSION}": "", f"\n< Mcp-Session-Id: {SESSION}": ""},
        ),
        ('%init server={"a":{"b":1}}', {CAN: '"a":{"b":1}'}),
        ('%init caller={"roots":{}}', {'"capabilities":{},"clientInfo"': '"capabilities":{"roots":{}},"clientInfo"'}),
        ("%init client=B 2025-06-18 session=x", {"client A": "client B", "2025-11-25": "2025-06-18", SESSION: "x"}),
    ],
)
def test_a_handshake(sign: str, changes: dict[str, str]) -> None:
    expected = HANDSHAKE
    for old, new in changes.items():
        assert old in expected
        expected = expected.replace(old, new)
    assert written_out(sign).split("\n") == expected.split("\n")


@pytest.mark.parametrize(
    ("sign", "revision", "session"),
    [
        ("%init", "2025-11-25", SESSION),
        ("%init 2025-06-18 session=s1", "2025-06-18", "s1"),
        ("%init 2025-06-18 session=s1\n%init", "2025-11-25", SESSION),
        ("", "2025-11-25", SESSION),
    ],
)
def test_the_usual_headers_are_those_of_the_latest_handshake(sign: str, revision: str, session: str) -> None:
    wanted = USUAL.replace("2025-11-25", revision).replace(SESSION, session)
    assert written_out(f"{sign}\n> %headers\n> A: b").endswith(wanted + "\n> A: b")


def without(*left: int) -> str:
    """The usual headers without those lines."""
    return "\n".join(line for number, line in enumerate(USUAL.split("\n")) if number not in left)


MODERN = """\
> Accept: application/json, text/event-stream
> Content-Type: application/json
> MCP-Protocol-Version: 2026-07-28
> Mcp-Method: tools/call"""


@pytest.mark.parametrize(
    ("sign", "expected"),
    [
        ("> %headers", USUAL),
        ("> %headers -Accept", without(0)),
        ("> %headers -accept -Mcp-Session-Id", without(0, 2)),
        ("> %headers -Accept -Content-Type -Mcp-Session-Id -MCP-Protocol-Version\n> X: y", "> X: y"),
        ("> %headers\n> Accept: */*", without(0) + "\n> Accept: */*"),
        ("> %headers\n> Accept: a: b", without(0) + "\n> Accept: a: b"),
        ("> %headers\n> X: y\n> ACCEPT: */*", without(0) + "\n> X: y\n> ACCEPT: */*"),
        # What follows the head is its body, or the answer.
        ("> %headers\n>\n> Accept: */*", USUAL + "\n>\n> Accept: */*"),
        ("> %headers\n< Accept: */*", USUAL + "\n< Accept: */*"),
        ("> %headers\nAccept: */*", USUAL + "\nAccept: */*"),
        ("> %headers\n> Accept:*/*", USUAL + "\n> Accept:*/*"),
        ("> Accept: */*\n> %headers", "> Accept: */*\n" + USUAL),
        ("> %modern tools/call", MODERN),
        ("> %modern tools/call echo", MODERN + "\n> Mcp-Name: echo"),
        ("> %modern tools/call echo more", MODERN + "\n> Mcp-Name: echo"),
        ("> %modern -Mcp-Method tools/call echo", MODERN.replace("\n> Mcp-Method: tools/call", "\n> Mcp-Name: echo")),
        ("> %modern tools/call -Mcp-Name echo", MODERN),
        ("> %modern tools/call -Accept", MODERN.partition("\n")[2]),
        ("> %modern tools/call\n> Mcp-Name: other", MODERN + "\n> Mcp-Name: other"),
        ("> %other", "> %other"),
        ("\n\n> plain\n\n< 200\n\n", "> plain\n\n< 200"),
        ("\nX  \n", "X  "),
    ],
)
def test_headers(sign: str, expected: str) -> None:
    assert written_out(sign) == expected


USED = "> is the client, < is the server"


@pytest.mark.parametrize(
    ("example", "meaning"),
    [
        ("@ 1", "@ N: what follows arrives N seconds after the beginning"),
        ("### client A at 1.5", "at N: N seconds after the beginning"),
        ("### client A gone at 2", "gone: the process of the client has ended"),
        ("! cut", "! cut: the client hangs up before the answer"),
        ("! left-open", "! left-open: the stream stays open"),
        ("! server-breaks 3", "! server-breaks N: the server breaks off N seconds after the beginning"),
    ],
)
def test_what_signs_mean(example: str, meaning: str) -> None:
    assert legend(example) == [USED, meaning]
    assert legend(f"### client A\n> POST /mcp\n{example}\n< 200") == [USED, meaning]
    assert legend(f"> {example}") == [USED]


def test_signs_are_explained_in_one_order() -> None:
    assert legend("> POST /mcp") == [USED]
    assert [line.split(":")[0] for line in legend("! cut\n@ 1\n! left-open")[1:]] == ["@ N", "! cut", "! left-open"]
