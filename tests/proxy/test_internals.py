"""The contract with what is within mitmproxy: it is as expected, and where it is not nothing is touched."""

from collections.abc import Callable

import pytest
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy.layers import http as layers_http
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream
from mitmproxy.proxy.server import ConnectionHandler, TimeoutWatchdog
from mitmproxy.test import taddons

from mcp_sessions.proxy import in_use, resend


def test_it_is_as_expected() -> None:
    uninstall = resend.install()
    assert layers_http.HttpStream is resend.ResendingStream
    uninstall()
    assert layers_http.HttpStream is HttpStream


def _gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(HttpStream, "start_request_stream")


def _other_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpStream, "flow_done", lambda self, early: None)


def _another_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_stream(self: HttpLayer, stream_id: int) -> None:
        """It makes them in another way."""

    monkeypatch.setattr(HttpLayer, "make_stream", make_stream)


CHANGES = [
    (_gone, "HttpStream has no start_request_stream"),
    (_other_parameters, "HttpStream.flow_done takes other parameters"),
    (_another_place, "HttpLayer.make_stream makes its streams in another way"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_it_is_not(change: Callable[[pytest.MonkeyPatch], None], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch)
    with pytest.raises(RuntimeError, match=said):
        resend.install()
    assert layers_http.HttpStream is HttpStream


# The watchdog of quiet connections


def test_the_watchdog_is_as_expected() -> None:
    with taddons.context(Proxyserver()):
        assert in_use.misfit() == ""


def test_there_may_be_no_connections_to_be_found() -> None:
    with taddons.context():
        assert in_use.misfit() == "its proxyserver has no connections"


def _deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(TimeoutWatchdog, "register_activity")


def _without_transports(monkeypatch: pytest.MonkeyPatch) -> None:
    def __init__(self: ConnectionHandler) -> None:
        self.timeout_watchdog = TimeoutWatchdog(1, self.on_timeout)

    monkeypatch.setattr(ConnectionHandler, "__init__", __init__)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_deaf, "TimeoutWatchdog has no register_activity"),
        (_without_transports, "ConnectionHandler has no transports"),
    ],
)
def test_the_watchdog_is_not(
    change: Callable[[pytest.MonkeyPatch], None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taddons.context(Proxyserver()):
        change(monkeypatch)
        assert in_use.misfit() == said
