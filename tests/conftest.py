"""Fixtures that start real peers and end them."""

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from harness.exchange import Handler
from harness.proxy import Mitmdump
from harness.raw import RawClient
from harness.scripted import ScriptedServer
from harness.sdk import Major, SdkClient, SdkServer
from harness.session_client import SessionClient

# How long something takes to be drawn says more of what else runs on the machine than of the test.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

StartServer = Callable[..., Awaitable[SdkServer]]
StartClient = Callable[..., Awaitable[SdkClient]]
StartProxy = Callable[..., Awaitable[Mitmdump]]
StartScripted = Callable[..., Awaitable[ScriptedServer]]
StartRaw = Callable[..., Awaitable[RawClient]]
StartSession = Callable[..., Awaitable[SessionClient]]
StartBetween = Callable[..., Awaitable[tuple[Mitmdump, RawClient]]]


collect_ignore = ["sample_project"]
"""Run by a pytest of its own, for most of its tests are to fail."""

REAL = ("tests/real/", "tests/processes/", "tests/test_harness.py")
LONGEST = tuple(
    f"tests/real/test_{name}.py"
    for name in (
        "record",
        "recipes",
        "pytest_plugin",
        "rules",
        "views_page",
        "recovery_cases",
        "ending_evidence",
        "ending_ledger",
    )
)


def pytest_xdist_auto_num_workers() -> int:
    """Three workers for two cores: tests with real processes wait for them most of the time."""
    cores = os.cpu_count() or 1
    return cores + cores // 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, or one worker would be left with it when the others are done.

    Give tests that have real processes, and so real deadlines, a second chance; who fails twice has failed.
    `-p no:rerunfailures` shows the first failure.
    """
    items.sort(key=_turn)
    for item in items if config.pluginmanager.hasplugin("rerunfailures") else ():
        if item.nodeid.startswith(REAL):
            item.add_marker(pytest.mark.flaky(reruns=1))


def _turn(item: pytest.Item) -> int:
    """When it is its module's turn."""
    module = item.nodeid.partition("::")[0]
    if module in LONGEST:
        return LONGEST.index(module)
    return len(LONGEST) if module.startswith(REAL) else len(LONGEST) + 1


@pytest.fixture
def timed() -> Iterator[None]:
    """What pytest and the tests before have left is not looked at for garbage while something is timed."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest_asyncio.fixture
async def started() -> AsyncIterator[AsyncExitStack]:
    """Whatever a test starts, ended in reverse order."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def sdk_server(started: AsyncExitStack) -> StartServer:
    """Start an SDK server: `server = await sdk_server(2, json_response=True)`."""

    async def start(major: Major = 1, **more: Any) -> SdkServer:
        return await started.enter_async_context(SdkServer(major, **more))

    return start


@pytest.fixture
def sdk_client(started: AsyncExitStack) -> StartClient:
    """Start a process for SDK clients: `client = await sdk_client(1)`; with a URL it is connected, too."""

    async def start(
        major: Major = 1, url: str | None = None, *, env: dict[str, str] | None = None, **more: Any
    ) -> SdkClient:
        client = await started.enter_async_context(SdkClient(major, env=env))
        if url is not None:
            await client.connect(url, **more)
        return client

    return start


@pytest.fixture
def client_of(started: AsyncExitStack) -> StartSession:
    """Start a raw client as a process of its own, which can be killed: `client = await client_of(proxy.url)`."""

    async def start(url: str, **more: Any) -> SessionClient:
        return await started.enter_async_context(SessionClient(url, **more))

    return start


LONGEST_TURN = 0.05
"""Seconds of processor time that one turn of mitmdump's event loop may take."""

TURN = "longest turn"
"""The property of a test's report that says which it was: seconds, and what was run."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the longest turn of each test; they come with the reports, for the tests run in processes of their own."""
    reports = [
        one for some in terminalreporter.stats.values() for one in some if getattr(one, "when", "") == "teardown"
    ]
    turns = [(*value, one.nodeid) for one in reports for name, value in one.user_properties if name == TURN]
    if turns:
        terminalreporter.section("longest turns of mitmproxy's event loop, processor time")
        for seconds, what, test in sorted(turns, reverse=True):
            terminalreporter.write_line(f"{seconds * 1000:6.1f} ms  {test}  {what[:100]}")


def check_turns(node: pytest.Item, proxies: Sequence[Mitmdump]) -> None:
    """Note the longest turn of these proxies' event loops, and fail if it took too long."""
    seconds, what = max((proxy.longest_turn for proxy in proxies), default=(0.0, ""))
    node.user_properties.append((TURN, (seconds, what)))
    if node.get_closest_marker("slow_turns") is None:
        assert seconds <= LONGEST_TURN, f"a turn of the event loop took {seconds * 1000:.0f} ms: {what}"


@pytest.fixture
def mitmdump(started: AsyncExitStack, request: pytest.FixtureRequest) -> Iterator[StartProxy]:
    """Start mitmdump with the addon: `proxy = await mitmdump(server.url, options={...})`.

    A test fails if one turn of its event loop takes too long, unless it is marked `slow_turns`, with the reason.
    """
    proxies: list[Mitmdump] = []
    started.callback(check_turns, request.node, proxies)  # the last of all: the proxies have ended by then

    async def start(upstream: str | int | None = None, **more: Any) -> Mitmdump:
        proxies.append(await started.enter_async_context(Mitmdump(upstream, **more)))
        return proxies[-1]

    yield start
    # The addon lets traffic pass when it fails, so a failure shows in the log only.
    assert [line for proxy in proxies for line in proxy.logged(r"mcp: error|has crashed|Traceback|Addon error")] == []


@pytest.fixture
def scripted(started: AsyncExitStack) -> StartScripted:
    """Start a scripted server: `server = await scripted(handler, tls=True)`."""

    async def start(handler: Handler, **more: Any) -> ScriptedServer:
        return await started.enter_async_context(ScriptedServer(handler, **more))

    return start


@pytest.fixture
def between_tls(mitmdump: StartProxy, raw_client: StartRaw) -> StartBetween:
    """A proxy of a mode before a server with TLS, and its client: `await between_tls(server, mode, http2=True)`."""

    async def start(server: ScriptedServer, mode: str, *, http2: bool, **options: str) -> tuple[Mitmdump, RawClient]:
        options["ssl_insecure"] = "true"
        if mode == "reverse":
            proxy = await mitmdump(mode=f"reverse:https://127.0.0.1:{server.port}", options=options)
            url = f"https://127.0.0.1:{proxy.port}/mcp"
            return proxy, await raw_client(url, verify=False, http2=http2)
        proxy = await mitmdump(mode="regular", options=options)
        return proxy, await raw_client(server.url, verify=False, http2=http2, proxy=proxy.base)

    return start


@pytest.fixture
def raw_client(started: AsyncExitStack) -> StartRaw:
    """A raw client: `client = await raw_client(proxy.url)`."""

    async def start(url: str, **more: Any) -> RawClient:
        return await started.enter_async_context(RawClient(url, **more))

    return start
