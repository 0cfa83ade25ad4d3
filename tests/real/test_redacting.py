"""What a user names as secret, in a real export: what each name has found is said, and nothing found is a warning."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from conftest import StartClient, StartProxy, StartServer
from harness.process import Process
from harness.web import Mitmweb

pytestmark = pytest.mark.real

NOTE = "hunter2secret"
WRAPPED = base64.b64encode(f"note: {NOTE}!".encode()).decode()


async def export(*arguments: str | Path) -> tuple[int, list[str]]:
    """Run it: the exit status, and what was said on the side."""
    async with Process([sys.executable, "-m", "mcp_sessions", "export", *arguments], name="export") as process:
        return await process.wait(60), list(process.errors)


@pytest_asyncio.fixture
async def recording(sdk_server: StartServer, sdk_client: StartClient, mitmdump: StartProxy, tmp_path: Path) -> Path:
    """Of two sessions at a server whose ids are good ones."""
    file = tmp_path / "recorded.mitm"
    server = await sdk_server(1)
    proxy = await mitmdump(server.port, write=file)
    for team in ("red", "blue"):
        client = await sdk_client(1, proxy.url, headers={"X-Team": team})
        assert (await client.call("echo", text=f"{NOTE} ACME-1 ACME-22")).text
        assert (await client.call("echo", text=WRAPPED)).text == WRAPPED
        await client.close()
    await proxy.stop()
    return file


async def test_what_was_named_and_not_found_is_said(recording: Path, tmp_path: Path) -> None:
    status, said = await export(recording, tmp_path / "out", "--redact", NOTE, "--redact", "$.params.nothing")
    assert status == 0
    assert said == [
        "--redact hu… (13 characters): no header of that name, but the text stands in the export: name it as text:…",
        "--redact $.params.nothing: nothing found at this JSON path",
    ]
    assert NOTE.encode() in (tmp_path / "out" / "flows.mitm").read_bytes()


async def test_what_was_named_and_found_is_counted(recording: Path, tmp_path: Path) -> None:
    words = (f"text:{NOTE}", "text:nowhere", "x-team", "/ACME-[0-9]+/", "$.params.clientInfo.name")
    status, said = await export(recording, tmp_path / "out", *(part for word in words for part in ("--redact", word)))
    assert status == 0
    assert said == [
        "--redact text:hu… (13 characters): found",
        "--redact text:no… (7 characters): this text is not in it",
        "--redact x-team: 2 values of this header",
        "--redact /ACME-[0-9]+/: 2 values match",
        "--redact $.params.clientInfo.name: 1 value at this JSON path",
    ]
    for file in (tmp_path / "out").iterdir():
        content = file.read_bytes()
        for secret in (NOTE, WRAPPED, "ACME-1", "ACME-22"):
            assert secret.encode() not in content, (file.name, secret)


async def test_secrets_can_not_be_both_named_and_kept(recording: Path, tmp_path: Path) -> None:
    status, said = await export(recording, tmp_path / "out", "--redact", "x-team", "--keep-secrets")
    assert status == 2
    assert said[-1].endswith("--redact and --keep-secrets exclude each other")
    assert not (tmp_path / "out").exists()


async def test_an_export_read_again_accuses_nobody_by_its_placeholders(
    recording: Path, tmp_path: Path, mitmdump: StartProxy
) -> None:
    assert (await export(recording, tmp_path / "out"))[0] == 0
    found = []
    for file in (recording, tmp_path / "out" / "flows.mitm"):
        proxy = await mitmdump(read=file)
        assert await proxy.finished() == 0
        found.append(sorted(line.partition("MCP")[2].split()[0] for line in proxy.logged("MCP[0-9]{3} ")))
        assert len(proxy.logged("session .* opened")) == 2
    assert found[0] == found[1]


async def test_within_mitmproxy_it_is_said_in_the_log(recording: Path, tmp_path: Path) -> None:
    script = tmp_path / "export.py"
    script.write_text(
        "import asyncio\n"
        "from mitmproxy import ctx\n"
        "def running():\n"
        f"    ctx.master.commands.call_strings('view.flows.load', [{str(recording)!r}])\n"
        f"    ctx.master.commands.call_strings('mcp.export', ['all', {str(tmp_path / 'out')!r}])\n"
    )
    options = {"mcp_redact": ["x-team", "x-taem"]}
    async with Mitmweb(9, options=options, args=["-s", str(script)]) as proxy:
        await proxy.wait_log("mcp.export: mcp_redact x-team: 2 values of this header")
        await proxy.wait_log("mcp.export: mcp_redact x-taem: no header of that name")
