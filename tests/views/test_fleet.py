"""The fleet from outside: who lives, who has what, and what nobody sees to."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from harness.redis_server import running
from mcp_sessions.__main__ import main
from mcp_sessions.core.states import ClientSide
from mcp_sessions.store.redis import Address, RedisStore
from store.backends import a_proxy
from store.samples import a_row


def fleet(address: str, *, dead: bool = False) -> RedisStore:
    return RedisStore(Address.parse(address), a_proxy(dead=dead))


def test_what_is_printed_and_whether_anything_is_owed(capsys: pytest.CaptureFixture[str]) -> None:
    url = running().url(prefix=f"t{secrets.token_hex(5)}")

    async def begin() -> None:
        living, dead = fleet(url), fleet(url, dead=True)
        for store in (living, dead):
            await store.open()
        await living.write([a_row("one"), a_row("two")])
        await dead.write([a_row("an-id-of-some-length", ClientSide.LEFT)])
        await living.lease(a_row("one")[:5], "token", 5)
        for store in (living, dead):
            await store.close()

    asyncio.run(begin())
    assert main(["fleet", url]) == 0
    shown = capsys.readouterr().out
    assert "1 proxy, 3 sessions" in shown
    assert "lives, heard of 0 s ago; has 2 alive" in shown
    assert "dead, heard of 0 s ago; has 1 left" in shown
    assert "under way: 1\n" in shown
    assert "owed, and nobody sees to it: 1\n  an-id- example.com: left" in shown
    assert "an-id-of-some-length" not in shown


def test_check_waits_for_whoever_lives_and_then_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_sessions.views.fleet.PATIENCE", 0.6)
    url = running().url(prefix=f"t{secrets.token_hex(5)}")

    async def begin() -> None:
        living, dead = fleet(url), fleet(url, dead=True)
        for store in (living, dead):
            await store.open()
        await dead.write([a_row("one")])
        for store in (living, dead):
            await store.close()

    async def take() -> None:
        store = fleet(url)
        await store.open()
        assert len(await store.take_over()) == 1
        await store.close()

    asyncio.run(begin())
    assert main(["fleet", url, "--check"]) == 1
    asyncio.run(take())
    assert main(["fleet", url, "--check"]) == 0
    capsys.readouterr()


def test_what_cannot_be_known_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "redis://127.0.0.1:1/0", "--check"]) == 2
    assert capsys.readouterr().err == "Error: redis://127.0.0.1:1/0 can't be reached\n"
    assert main(["fleet", "http://127.0.0.1"]) == 2
    assert "is none of redis, rediss, unix" in capsys.readouterr().err
