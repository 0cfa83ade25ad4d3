"""What only Redis as a ledger can do wrong: addresses, servers that can't be used, what stands in its keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.certificate import Certificate
from harness.ports import free_port
from harness.redis_server import RedisServer, running
from mcp_sessions.core.core import Core
from mcp_sessions.core.policy import Policy
from mcp_sessions.core.reporter import Reporter
from mcp_sessions.options import settings
from mcp_sessions.store import Key, Problem
from mcp_sessions.store.redis import Address, RedisStore, connection
from mcp_sessions.store.redis.coding import hashed
from mcp_sessions.store.redis.overview import Lookout

from .samples import NOW, a_row


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One of the test's own, to be maltreated."""
    server = RedisServer()
    yield server
    server.close()


def store_of(server: RedisServer, **more: str) -> RedisStore:
    return RedisStore(Address.parse(server.url(**more)), clock=lambda: NOW)


async def refusal(store: RedisStore) -> Problem:
    with pytest.raises(Problem) as found:
        await store.open()
    assert "\n" not in str(found.value)
    return found.value


# Addresses


@pytest.mark.parametrize(
    ("text", "shown", "user", "password", "prefix"),
    [
        ("redis://host", "redis://host:6379/0", None, None, "mcp"),
        ("redis://us%40er:p%2Fss@host:7/3?prefix=team.a", "redis://host:7/3", "us@er", "p/ss", "team.a"),
        ("rediss://:secret@[::1]/", "rediss://[::1]:6379/0", None, "secret", "mcp"),
        ("unix:///run/redis.sock?db=2&prefix=x", "unix:///run/redis.sock", None, None, "x"),
    ],
)
def test_an_address(text: str, shown: str, user: str | None, password: str | None, prefix: str) -> None:
    address = Address.parse(text)
    assert (str(address), address.user, address.password, address.prefix) == (shown, user, password, prefix)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://host:80", "'http' is none of redis, rediss, unix"),
        ("redis://user:SECRET@host:none/0", "no port that is a number"),
        ("redis://user:SECRET@/0", "no host"),
        ("redis://user:SECRET@host/none", "'none' is no number of a database"),
        ("redis://user:SECRET@host/0?prefx=a", "nothing is known by the name of 'prefx'"),
        ("redis://user:SECRET@host/0?prefix=a:b", "a prefix is of letters"),
        ("redis://host/0?db=1", "the number of the database stands in the path"),
        ("unix://", "no path"),
        ("redis://[::1", "a bracket too few"),
    ],
)
def test_a_wrong_address_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^mcp_ledger: ") as found:
        settings({"mcp_ledger": text})
    assert why in str(found.value)
    assert "SECRET" not in str(found.value)
    assert "\n" not in str(found.value)


def test_a_file_is_no_address() -> None:
    for name in ("ledger.sqlite", "/a/b", "off", "", "C:\\ledger"):
        assert settings({"mcp_ledger": name}).mcp_ledger == name


def test_without_the_extra_the_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_sessions.store.redis.url.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'mitmproxy-mcp-sessions\[fleet\]'"):
        settings({"mcp_ledger": "redis://host"})


# Servers that can't be used


async def test_nobody_listens(server: RedisServer) -> None:
    problem = await refusal(store_of(server))
    assert str(problem) == f"redis://127.0.0.1:{server.port}/0 can't be reached; {connection.NOT_NOW}"
    assert not problem.final


async def test_a_wrong_password(server: RedisServer) -> None:
    server.start()
    with server.client() as client:
        client.config_set("requirepass", "right")
    wrong = Address.parse(f"redis://:wrong@127.0.0.1:{server.port}/0")
    for address in (wrong, Address.parse(server.url())):
        problem = await refusal(RedisStore(address))
        assert str(problem) == f"redis://127.0.0.1:{server.port}/0: wrong user or password; {connection.NOT_SHARED}"
        assert problem.final
    assert await RedisStore(Address.parse(f"redis://:right@127.0.0.1:{server.port}/0")).open() == ""


async def test_one_that_is_too_old(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.start()
    monkeypatch.setattr(connection, "OLDEST", (99, 0))
    problem = await refusal(store_of(server))
    assert "is too old, 99.0 or Valkey is needed; sessions are shared with no other proxy in this run" in str(problem)
    assert problem.final


async def test_a_replica_that_can_only_be_read(server: RedisServer) -> None:
    server.options += ["--replicaof", "127.0.0.1", "1"]
    server.start()
    problem = await refusal(store_of(server))
    assert "is a replica that can only be read; sessions are not shared until it can be" in str(problem)
    assert not problem.final


async def test_one_that_is_full(server: RedisServer) -> None:
    server.start()
    store = store_of(server)
    await store.open()
    with server.client() as client:
        client.config_set("maxmemory", "1")
    with pytest.raises(Problem, match=r"is full \(maxmemory\)") as found:
        await store.write([a_row()])
    assert not found.value.final
    with server.client() as client:
        client.config_set("maxmemory", "0")
    await store.write([a_row()])


async def test_one_that_does_not_answer(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_sessions.store.redis.backend.WRITING", 0.1)
    server.start()
    store = store_of(server)
    await store.open()
    server.pause()
    began = asyncio.get_running_loop().time()
    with pytest.raises(Problem, match="does not answer"):
        await store.write([a_row()])
    assert asyncio.get_running_loop().time() - began < 1
    server.resume()
    await store.write([a_row()])


async def test_one_that_was_restarted_without_its_data(server: RedisServer) -> None:
    server.start()
    one, two = store_of(server), store_of(server)
    await one.open()
    await two.open()
    await one.write([a_row()])
    server.kill()
    server.start()
    await one.take_over()  # which enters it anew
    await one.write([a_row()])
    assert await two.claim(a_row()[:5]) == a_row()


async def test_leaving_one_that_is_away(server: RedisServer) -> None:
    server.start()
    store = store_of(server)
    await store.open()
    server.kill()
    with pytest.raises(Problem, match=r"can't be reached; the last changes of sessions are not shared"):
        store.leave([a_row()], [], 1.0)


async def test_what_an_acl_must_allow(server: RedisServer) -> None:
    """As docs/fleet.md says: nothing but this, on these keys."""
    server.start()
    rule = "+@connection +@scripting +@pubsub +get +set +del +hset +hsetnx +hget +hmget +hgetall +hdel +hkeys +hlen"
    rule += (
        " +hexists +zadd +zrem +zrange +zrangebyscore +zscore +sadd +srem +smembers +scard +sscan +sunionstore +pexpire"
    )
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "proxy", "on", ">pw", "~mcp:*", "&mcp:*", *rule.split())
        client.execute_command("ACL", "SETUSER", "other", "on", ">pw", "~other:*", "&other:*", *rule.split())
    store = RedisStore(Address.parse(f"redis://proxy:pw@127.0.0.1:{server.port}/0"))
    await store.open()
    await store.write([a_row("one"), a_row("two")])
    await store.take_over()
    assert await store.claim(a_row("one")[:5]) == a_row("one")
    await store.forget([a_row("one")[:5]])
    overview = await Lookout(Core(Policy(), Reporter(lambda _: None)), store).look()
    assert (overview.problem, len(overview.members)) == ("", 1)
    store.leave([a_row("two")], [], 1.0)
    problem = await refusal(RedisStore(Address.parse(f"redis://other:pw@127.0.0.1:{server.port}/0")))
    assert "its ACL does not allow what is needed" in str(problem)


# TLS


class Tls:
    """A server that speaks TLS, which may ask for a certificate, and another certificate that it knows nothing of."""

    def __init__(self, *, asks: bool) -> None:
        self.asks = asks
        self.mine, self.other = Certificate(), Certificate()
        self.port = free_port()
        options = ["--tls-port", str(self.port), "--tls-cert-file", str(self.mine.path)]
        options += ["--tls-key-file", str(self.mine.key), "--tls-ca-cert-file", str(self.mine.path)]
        options += ["--tls-auth-clients", "yes" if asks else "no", "--bind", "127.0.0.1", "127.0.0.2"]
        self.server = RedisServer(*options).start()

    def store(self, scheme: str = "rediss", *, port: int = 0, host: str = "127.0.0.1", **query: Path) -> RedisStore:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        return RedisStore(Address.parse(f"{scheme}://{host}:{port or self.port}/0?{asked}"), clock=lambda: NOW)

    def close(self) -> None:
        self.server.close()
        self.mine.remove()
        self.other.remove()


@pytest.fixture(scope="module", params=[False, True], ids=["", "asks for a certificate"])
def tls(request: pytest.FixtureRequest) -> Iterator[Tls]:
    made = Tls(asks=request.param)
    yield made
    made.close()


async def test_tls_with_a_certificate_of_ones_own(tls: Tls) -> None:
    mine = tls.mine
    store = tls.store(ca=mine.path, cert=mine.path, key=mine.key) if tls.asks else tls.store(ca=mine.path)
    assert await store.open() == ""
    await store.write([a_row()])
    assert await store.claim(a_row()[:5]) == a_row()
    store.leave([a_row()], [], 1.0)  # the connection that blocks, too
    await store.close()


async def test_a_certificate_that_is_not_trusted_is_one_clear_line(tls: Tls) -> None:
    at = f"rediss://127.0.0.1:{tls.port}/0"
    untrusted = "can't be trusted: self-signed certificate"
    problem = await refusal(tls.store())
    assert str(problem).partition(";")[0] == f"{at} {untrusted}: ?ca=FILE names who has signed it"
    assert not problem.final  # it may be renewed
    assert str(await refusal(tls.store(ca=tls.other.path))).partition(";")[0] == f"{at} {untrusted}"
    problem = await refusal(tls.store(host="127.0.0.2", ca=tls.mine.path))
    assert "can't be trusted: IP address mismatch, certificate is not valid for '127.0.0.2'" in str(problem)


async def test_what_speaks_another_way_is_one_clear_line(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.5)
    plain = str(await refusal(tls.store("redis")))
    assert "breaks the connection off: does it speak TLS (rediss://)?" in plain
    other = str(await refusal(tls.store(port=tls.server.port, ca=tls.mine.path)))
    assert "does not answer, or does not speak TLS" in other or "can't be reached" in other
    if tls.asks:
        for _ in range(20):  # it is a matter of luck whether its reason arrives before it hangs up
            asked = str(await refusal(tls.store(ca=tls.mine.path)))
            assert "breaks the connection off: does it want a certificate (?cert=FILE&key=FILE)?" in asked


def test_files_of_tls_that_are_none_are_refused_at_once(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.write_text("")
    certificate, other = Certificate(), Certificate()
    for query, why in {
        "ca=/nowhere": "ca=/nowhere: No such file or directory",
        f"ca={nothing}": f"ca={nothing}: no certificates in it",
        "cert=/nowhere": "cert and key belong together: the certificate of this proxy, and its key",
        "cert=/nowhere&key=/nowhere": "cert=/nowhere, key=/nowhere: No such file or directory",
        f"cert={certificate.path}&key={other.key}": f"cert={certificate.path}, key={other.key}: no pair",
    }.items():
        with pytest.raises(ValueError) as refused:
            Address.parse(f"rediss://host/?{query}")
        assert str(refused.value) == why
    with pytest.raises(ValueError, match="nothing is known by the name of 'ca'"):
        Address.parse("redis://host/?ca=/nowhere")
    certificate.remove()
    other.remove()


# What is stored


async def test_ids_are_in_keys_only_as_keyed_hashes() -> None:
    server = running()
    address = Address.parse(server.url(prefix="hashes"))
    store = RedisStore(address)
    await store.open()
    row = a_row("an-id-that-is-secret")
    await store.write([row])
    await store.forget([a_row("another-id")[:5]])
    with server.client() as client:
        keys = [name.decode() for name in client.scan_iter("hashes:*")]
        members = [name.decode() for name in client.smembers(f"hashes:of:{store.proxy.id}")]
    assert f"hashes:s:{hashed(store.secret, row[:5])}" in keys
    assert not [name for name in [*keys, *members] if "id" in name.split(":")[-1]]
    assert hashed(b"another", row[:5]) != hashed(store.secret, row[:5])


async def test_every_key_of_a_session_has_its_end() -> None:
    server = running()
    store = RedisStore(Address.parse(server.url(prefix="ends")))
    await store.open()
    await store.write([a_row("one"), a_row("two")])
    await store.forget([a_row("one")[:5]])
    with server.client() as client:
        lives = sorted(client.ttl(name) for name in client.scan_iter("ends:s:*"))
    assert lives == pytest.approx([3600, 14 * 86400], abs=5)


async def test_a_row_of_a_later_version_is_read_and_one_of_nonsense_passed_over() -> None:
    server = running()
    one, two = (RedisStore(Address.parse(server.url(prefix="later"))) for _ in range(2))
    await one.open()
    await one.write([a_row("one"), a_row("two")])
    with server.client() as client:
        name = f"later:s:{one.name(a_row('one')[:5])}"
        row = json.loads(client.hget(name, "row"))
        client.hset(name, mapping={"row": json.dumps({**row, "new": [1]}), "newer": "x", "v:later": "{}"})
        client.hset(f"later:s:{one.name(a_row('two')[:5])}", "row", "{")
    await two.open()
    assert await two.claim(a_row("one")[:5]) == a_row("one")
    assert await two.claim(a_row("two")[:5]) is None


async def test_who_is_behind_writes_nothing_and_is_told() -> None:
    server = running()
    one, two = (store_of(server, prefix="behind") for _ in range(2))
    told: list[Key] = []
    two.behind = told.extend
    await one.open()
    await two.open()
    await two.write([a_row(server_id="old", generation=1)])
    await one.write([a_row(server_id="new", generation=2)])
    assert told == []
    await two.write([a_row(server_id="old", generation=1), a_row("other")])
    assert told == [a_row()[:5]]
    row = await one.claim(a_row()[:5])
    assert row is not None
    assert (row.server_id, row.generation) == ("new", 2)
    await one.forget([a_row()[:5]])
    await two.write([a_row(server_id="new", generation=2)])  # it has ended meanwhile
    assert told == [a_row()[:5]] * 2
    assert await two.claim(a_row()[:5]) is None
    await two.write([a_row(server_id="next", generation=3)])  # brought back by a proxy whose client turned up
    assert await one.claim(a_row()[:5]) is not None
