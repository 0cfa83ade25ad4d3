"""`mcp_proxy`, a fixture for pytest: the proxy before the server under test, and a verdict when the test is over.

Loaded with every pytest where the package is installed, hence it imports nothing until it is asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from ...rules.baseline import Baseline

LEVELS = ("must", "should", "practice", "never")
NOWHERE = "http://127.0.0.1:9/mcp"
"""Whom the proxy stands before when a recording answers: nobody is asked."""

_known: pytest.StashKey[Baseline] = pytest.StashKey()
"""What is known, and what of it the tests of this process have seen."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare what can be set, on the command line and in the configuration file."""
    group = parser.getgroup("mcp", "MCP servers behind a proxy")
    group.addoption("--mcp-server", metavar="URL|COMMAND", help="the server that mcp_proxy stands before")
    group.addoption("--mcp-record", metavar="DIR", help="record the traffic of each test there, without its secrets")
    group.addoption("--mcp-replay", metavar="DIR", help="let the recordings there answer in the server's place")
    group.addoption("--mcp-baseline", metavar="FILE", help="violations that are known: no test fails for them")
    group.addoption("--mcp-fail-on", choices=LEVELS, help="the level of violations from which on a test fails")
    group.addoption("--mcp-log", metavar="FILE", help="append what the proxy logs in each test, for mcp-sessions")
    parser.addini("mcp_server", "the same as --mcp-server; {port} is a free port, {python} this interpreter")
    parser.addini("mcp_path", "the path of a server that is started by a command with {port}", default="/mcp")
    parser.addini("mcp_baseline", "the same as --mcp-baseline, from the root folder")
    parser.addini("mcp_fail_on", f"the same as --mcp-fail-on: {', '.join(LEVELS)}", default="should")
    parser.addini("mcp_redact", "what else is secret in a recording, a line for each", type="linelist")
    parser.addini("mcp_options", "options of the proxy, NAME=VALUE, a line for each", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what makes no sense."""
    config.addinivalue_line(
        "markers", "mcp_allow(*what): what mcp_proxy lets pass: ids of rules, 'leaked-session', 'lost-call'"
    )
    if config.getoption("mcp_record") and config.getoption("mcp_replay"):
        raise pytest.UsageError("--mcp-record and --mcp-replay exclude each other")
    for word, value in pairwise(map(str, config.invocation_params.args)):
        # Before the plugins are loaded, pytest takes such a path for tests, and looks for their root folder from there.
        if word.startswith("--mcp-") and "=" not in word and config.inipath is None and Path(value).exists():
            raise pytest.UsageError(f"write {word}={value}: otherwise pytest finds no configuration file")
    if _level(config) not in LEVELS:
        raise pytest.UsageError(f"mcp_fail_on takes {', '.join(LEVELS)}, not {_level(config)!r}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what is in the baseline and was not seen, where tests have run in this process."""
    known = config.stash.get(_known, None)
    if known is None or not known.stale:
        return
    terminalreporter.section("known violations that were not seen")
    for place in known.stale:
        terminalreporter.write_line(f"stale, if all tests ran: {place}")


@pytest.fixture
def mcp_server(pytestconfig: pytest.Config) -> str | Sequence[str]:
    """What `mcp_proxy` stands before: a URL, or a command that starts a server. To be overridden."""
    given = pytestconfig.getoption("mcp_server") or pytestconfig.getini("mcp_server")
    if not given:
        pytest.fail("mcp_proxy: no server: set mcp_server, or override the fixture of that name", pytrace=False)
    return str(given)


@pytest.fixture
def mcp_proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a proxy before the server (`mcp_server`).

    When the test is over, it fails if a rule was broken that is not in the baseline, if a session was left behind, or
    if a call got no answer.
    """
    from .children import NotStartedError, Proxy, Server, exported

    config, problems = request.config, list[str]()
    server: Server | None = None
    before = ""
    known = _baseline(config)
    record, replay = config.getoption("mcp_record"), config.getoption("mcp_replay")
    options = dict(_option(line) for line in config.getini("mcp_options"))
    with ExitStack() as started:
        failed = ""
        try:
            if replay:
                recording = _file(replay, request.node.nodeid)
                if not recording.exists():
                    pytest.fail(f"mcp_proxy: no recording {recording}: run with --mcp-record {replay}", pytrace=False)
                options["mcp_replay"] = str(recording)
                upstream, before = NOWHERE, str(recording)
            else:
                given = request.getfixturevalue("mcp_server")
                upstream = given
                if not (isinstance(given, str) and urlsplit(given).scheme in ("http", "https")):
                    server = started.enter_context(Server(given, config.rootpath, config.getini("mcp_path")))
                    upstream = server.wait_url()
                before = upstream
            folder = tmp_path_factory.mktemp("mcp")
            proxy = started.enter_context(Proxy(upstream, folder, options, record=bool(record)))
            url = proxy.wait_url()
        except NotStartedError as e:
            failed = f"mcp_proxy: {e}"
        if failed:  # not above, where pytest would show both
            pytest.fail(failed, pytrace=False)
        yield url
        if proxy.process.poll() is not None or proxy.interrupt() is None:
            problems.append(proxy.report("did not end"))
        ended = server is not None and server.process.poll() is not None
        problems += [line.partition("mcp: ")[2] for line in proxy.lines if "mcp: replay: " in line]
    problems += _seen(request, proxy.log, known)
    if record and proxy.flows.exists() and proxy.flows.stat().st_size:
        trouble = exported(proxy.flows, _file(record, request.node.nodeid), config.getini("mcp_redact"))
        problems += [f"not recorded: {trouble}"] if trouble else []
    if problems and server is not None and ended:
        problems.append(server.report(""))
    if problems:
        pytest.fail("\n".join([f"mcp_proxy: before {before}", *problems]), pytrace=False)


def _seen(request: pytest.FixtureRequest, log: Path, known: Baseline) -> list[str]:
    """What the proxy's log has against the test; kept, if that is wanted."""
    from ...rules import Level
    from ..logged import records
    from .seen import seen

    text = log.read_bytes() if log.exists() else b""
    keep = request.config.getoption("mcp_log")
    if keep:
        with open(keep, "ab") as kept:
            kept.write(text)
    level = _level(request.config)
    allowed = {str(one) for marker in request.node.iter_markers("mcp_allow") for one in marker.args}
    return seen(records(text.splitlines()), known, None if level == "never" else Level(level.upper()), allowed).lines


def _baseline(config: pytest.Config) -> Baseline:
    from ...rules.baseline import Baseline

    if _known not in config.stash:
        given, named = config.getoption("mcp_baseline"), config.getini("mcp_baseline")
        file = given or (str(config.rootpath / named) if named else "")
        try:
            config.stash[_known] = Baseline.read(file) if file else Baseline()
        except ValueError as e:
            raise pytest.UsageError(f"mcp_baseline: {e}") from None
    return config.stash[_known]


def _level(config: pytest.Config) -> str:
    return str(config.getoption("mcp_fail_on") or config.getini("mcp_fail_on"))


def _option(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        raise pytest.UsageError(f"mcp_options: {line!r} is not NAME=VALUE")
    return name.strip(), value.strip()


def _file(folder: str, test: str) -> Path:
    """Where the recording of a test is: named after it, and unlike that of any other."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", test).strip("-")[-80:]
    return Path(folder) / f"{name}-{hashlib.blake2b(test.encode(), digest_size=4).hexdigest()}.mitm"
