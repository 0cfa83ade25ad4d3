"""The report and its short form: what a maintainer gets to read."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from mitmproxy import http

from mcp_sessions.__main__ import main
from mcp_sessions.proxy.marks import mark_rules
from mcp_sessions.proxy.metadata import CLIENT, EVIDENCE, NUMBER, OWN, PRESENTED, REFUSED, RULES, SENT_AGAIN
from mcp_sessions.recordings.export import ENDINGS, FORMS, Export, violations
from mcp_sessions.recordings.faults import Broken, curl, faults, headers_that_matter
from mcp_sessions.recordings.issue import issue
from mcp_sessions.recordings.reading import exchanges_in
from mcp_sessions.rules import catalogue
from mcp_sessions.rules.baseline import Baseline, Place
from mcp_sessions.wire.headers import HeaderMap
from views.flows import ANSWER, CALL, INITIALIZE, answer, post

RESULT = {
    "jsonrpc": "2.0",
    "id": 0,
    "result": {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "shop", "version": "2.1"},
    },
}
SESSION = "7f3a9c1e5b2d4680aa"


def export() -> Export:
    """A session whose client leaves the version out, of every call but the first."""
    flows = [answer(post(INITIALIZE), RESULT, 200, **{"mcp-session-id": SESSION})]
    for number in range(3):
        version = {"mcp-protocol-version": "2025-06-18"} if number == 0 else {}
        flows.append(answer(post({**CALL, "id": number + 1}, SESSION, **version), {**ANSWER, "id": number + 1}))
    for number, flow in enumerate(flows):
        flow.request.timestamp_start = 1000.0 + number
        assert flow.response is not None
        flow.response.timestamp_end = 1000.5 + number
    return Export(flows)


def test_the_report_says_what_the_clause_says_why_and_what_was_sent() -> None:
    text = export().report().decode()
    rule = catalogue()["MCP104"]
    assert "### MCP104 version-header-missing (client, MUST), 2 times" in text
    assert f"> <{rule.address('2025-06-18')}>" in text
    assert "**Why it matters:** Without the header" in text
    assert "**Expected:** what the clause says. **Actual:**" in text
    assert "- exchange 3, `tools/call echo`:" in text
    assert "request: `mcp-session-id` `<session-1>`, no `mcp-protocol-version`, `accept`" in text
    assert "answer 200: `content-type` `application/json`" in text
    # Versions of both sides, how to see it, and what is not shown.
    assert "| client says it is | `tester 1` |" in text
    assert "| server says it is | `shop 2.1` |" in text
    assert "mcp-sessions serve flows.mitm" in text
    assert "Left out, for nothing is wrong with them: exchanges 2." in text
    assert SESSION not in text


def test_what_is_known_is_not_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is it for having been noted when it was recorded."""
    recording, known = tmp_path / "r.mitm", tmp_path / "known.json"
    made = export()
    for flow in made.flows[2:]:
        mark_rules(flow, ["MCP104"])
    recording.write_bytes(made.recording())
    assert main(["report", str(recording)]) == 0
    assert "### MCP104" in capsys.readouterr().out
    known.write_text('{"known": [{"rule": "MCP104", "call": "tools/call echo", "path": "/mcp"}]}')
    assert main(["report", str(recording), "--baseline", str(known)]) == 0
    assert "### MCP104" not in capsys.readouterr().out
    known.write_text(known.read_text().replace("echo", "other"))
    assert main(["report", str(recording), "--baseline", str(known)]) == 0
    assert "### MCP104" in capsys.readouterr().out
    known.write_text("[]")
    assert main(["report", str(recording), "--baseline", str(known)]) == 2


def recovered() -> list[http.HTTPFlow]:
    """The server has lost the session, the proxy has brought it back, and ended it when its client was gone."""
    again = "c0ffee1234567890bb"
    opened = answer(post(INITIALIZE), RESULT, 200, **{"mcp-session-id": SESSION})
    gone = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}
    version = {"mcp-protocol-version": "2025-06-18"}
    worked = answer(post({**CALL, "id": 6}, SESSION, **version), {**ANSWER, "id": 6})
    refused = answer(post(CALL, SESSION, **version), gone, 404)
    refused.metadata[OWN] = REFUSED
    handshake = answer(post(INITIALIZE), RESULT, 200, **{"mcp-session-id": again})
    handshake.metadata[OWN] = "initialize"
    call = answer(post(CALL, again, **version), ANSWER)
    call.metadata[PRESENTED] = SESSION
    ends = []
    for known in (again, SESSION):
        end = answer(post({}, known), {}, 200)
        end.request.method, end.request.content = "DELETE", b""
        end.metadata |= {OWN: "DELETE session", EVIDENCE: "process gone: agent[7]", RULES: ["MCP308"]}
        ends.append(end)
    flows = [opened, worked, refused, handshake, call, *ends]
    for number, flow in enumerate(flows):
        flow.metadata |= {NUMBER: 1, CLIENT: "agent[7]"} | ({PRESENTED: SESSION} if OWN in flow.metadata else {})
        flow.request.timestamp_start = 1000.0 + 100 * number
        assert flow.response is not None
        flow.response.timestamp_start = flow.response.timestamp_end = 1000.5 + 100 * number
    return flows


def test_what_the_proxy_did_for_a_session_is_told_with_it() -> None:
    made = Export(recovered())
    text = made.report().decode()
    assert "1 session, 7 exchanges." in text
    assert text.count("\n## Session ") == 1
    assert "P->>S: 4. initialize" in text
    assert "S-->>P: 4. 200 result" in text
    lost = "the server did not know it any more (answered 404, once); the proxy brought it back"
    assert lost in text
    assert lost in made.issue().decode()
    assert "A request that was refused stands here twice" in text
    assert "the server knows it by another id" in text
    assert SESSION not in text


def test_what_a_client_has_left_undone_is_shown_by_the_proxys_request() -> None:
    made = Export(recovered())
    for text in (made.report().decode(), made.issue().decode()):
        assert "## MCP308 session-not-deleted (client, SHOULD)\n" in text  # once, though two ids were deleted
        assert "- exchange 6, the proxy's own `DELETE session`: `process gone: agent[7]`" in text
    assert made.issue().decode().startswith("# MCP traffic that does not follow the specification\n")


def test_what_a_client_leaves_undone_may_be_known() -> None:
    flows = recovered()
    known = Baseline([Place("MCP308", "", "/mcp")])
    assert [one.rule for one in violations(flows, Baseline())].count("MCP308") == 1
    assert "MCP308" not in [one.rule for one in violations(flows, known)]
    assert known.stale == []


def dead_id_answered_400() -> Export:
    """The same, but with a server that answers a dead id otherwise than it must."""
    flows = recovered()
    refused, call = flows[2], flows[4]
    assert refused.response is not None
    refused.response.status_code = 400
    call.metadata |= {SENT_AGAIN: 1, RULES: ["MCP305"]}  # as the proxy has noted it
    return Export(flows)


def test_a_request_that_was_sent_again_is_one_case_and_the_clients_own() -> None:
    made = dead_id_answered_400()
    text = made.report().decode()
    assert "### MCP305 lost-session-not-404 (server, MUST)\n" in text
    assert "- exchange 3, `tools/call echo`: `answered 400`" in text


def test_the_server_can_be_asked_the_same_by_hand() -> None:
    made = dead_id_answered_400()
    for text in (made.report().decode(), made.issue().decode()):
        line = text.partition("```sh\n")[2].partition("\n")[0]
        words = shlex.split(line)
        assert words[:2] == ["curl", "-i"]
        assert "mcp-session-id: <session-1>" in words
        assert json.loads(words[words.index("--data-binary") + 1])["method"] == "tools/call"
        assert words[-1] == "http://127.0.0.1:9/mcp"
    [end] = [one for one in exchanges_in(made.flows) if one.verb == "DELETE"][:1]
    assert curl(end).startswith("curl -i -X DELETE -H 'mcp-session-id: ")
    end.content = b"x" * 2_000
    assert curl(end) == ""


def test_the_short_form_closes_what_it_opens() -> None:
    made = dead_id_answered_400()
    exchanges = exchanges_in(made.flows)
    server = [rule for rule, entry in catalogue().items() if entry.party == "server"]
    for first, second in pairwise(server):
        broken = [Broken(rule, "detail", "", exchanges[1].id) for rule in (first, second) for _ in range(3)]
        lines = issue(exchanges, broken, "made by a test").splitlines()
        assert len(lines) < 60
        assert sum(line.startswith("```") for line in lines) % 2 == 0


def test_a_report_of_nothing_wrong_does_not_claim_it() -> None:
    flow = answer(post(INITIALIZE), RESULT, 200, **{"mcp-session-id": SESSION})
    assert Export([flow]).issue().decode().startswith("# MCP traffic\n")


def test_the_short_form_is_shorter_than_60_lines_whatever_is_broken() -> None:
    made = export()
    text = made.issue().decode()
    assert "## MCP104 version-header-missing (client, MUST), 2 times" in text
    assert "mcp-sessions replay flows.mitm" in text
    assert "Left out here: 3 of 4 exchanges" in text
    exchanges = exchanges_in(made.flows)
    everything = [Broken(rule, "detail " * 50, "", one.id) for rule in catalogue() for one in exchanges]
    for broken in (everything, []):
        assert len(issue(exchanges, broken, "made by a test").splitlines()) < 60
    assert "No rule of the specification was seen to be broken." in issue(exchanges, [], "a test")


def test_the_strongest_comes_first_and_what_nobody_knows_is_left_out() -> None:
    practice = next(rule for rule, entry in catalogue().items() if entry.level == "PRACTICE")
    found = faults([Broken(practice), Broken("MCP999"), Broken("MCP104"), Broken("MCP101"), Broken("MCP104")])
    assert [fault.rule.id for fault in found] == ["MCP101", "MCP104", practice]
    assert len(found[1].cases) == 2


def test_headers_are_bounded_and_never_markup() -> None:
    hostile = HeaderMap(((b"mcp-session-id", b"`</code>|" * 100), (b"x-other", b"1")))
    line = headers_that_matter(hostile)
    assert len(line) < 300
    assert "x-other" not in line
    assert line.startswith("`mcp-session-id` `` `</code>\\|")


def test_a_folder_gets_all_forms_and_a_name_chooses_one() -> None:
    made = export()
    assert list(FORMS) == ["flows.mitm", "flows.har", "report.md", "issue.md"]
    assert next(form for end, form in ENDINGS.items() if "my-issue.md".endswith(end)) is Export.issue
    assert next(form for end, form in ENDINGS.items() if "my.md".endswith(end)) is Export.report
    assert json.loads(made.har())["log"]["entries"]
