"""Whom a request names as its server, in reverse mode: passed on, so that a server of this host can refuse strangers.

A page of any site can have its own name resolved to 127.0.0.1 (DNS rebinding): a server knows it by its `Host`.
mitmproxy puts the server's own name there, whatever was asked for. So it is told not to, and only names that can't
belong to anybody else, those of this host, are replaced as it would have done. Elsewhere the name is needed to find the
server at all, and stays mitmproxy's matter.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

from mitmproxy import ctx, http
from mitmproxy.net.http import url
from mitmproxy.optmanager import unset
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode

from .flows import dialled

OPTION = "keep_host_header"

NAME_LIMIT = 255
"""Characters of a name; a longer one is none."""


class Hosts:
    """Mitmproxy's option `keep_host_header`, set for a while, and what it does not do then."""

    def __init__(self) -> None:
        self._kept = False

    @property
    def said(self) -> str:
        """What it is and why, if it is another than the user's; empty otherwise."""
        return f"{OPTION}=true so that the server can refuse foreign names" if self._kept else ""

    def keep(self) -> None:
        """Have names passed on if all servers are of this host, and the user has not chosen otherwise."""
        wanted = _all_of_this_host(ctx.options.mode)
        if wanted and not self._kept and not _chosen():
            ctx.options.update(**{OPTION: True})
            self._kept = True
        elif not wanted:
            self.undo()

    def undo(self) -> None:
        """Leave the option as it was found, unless somebody has chosen otherwise meanwhile."""
        if self._kept and ctx.options.keep_host_header:
            ctx.options.update(**{OPTION: False})
        self._kept = False

    def name(self, flow: http.HTTPFlow) -> None:
        """Put in the server's own name where a client has named this host."""
        request = flow.request
        if self._kept and flow.live and _is_this_host(request.host_header or "", dialled(flow.client_conn)):
            request.host_header = url.hostport(request.scheme, request.data.host, request.data.port)


def _chosen() -> bool:
    option = ctx.options._options.get(OPTION)
    return option is None or option.value is not unset


def _all_of_this_host(modes: list[str]) -> bool:
    """Whether there are servers behind the proxy, and all are of this host and spoken to in clear."""
    servers = [mode for mode in map(ProxyMode.parse, modes) if isinstance(mode, ReverseMode)]
    return bool(servers) and all(server.scheme == "http" and _is_loopback(server.address[0]) for server in servers)


@lru_cache(maxsize=1024)
def _is_this_host(name: str, dialled: str) -> bool:
    """Whether a `Host` names the address that was dialled in a server's place, or a loopback one."""
    if not dialled or len(name) > NAME_LIMIT:
        return False
    try:
        host, _ = url.parse_authority(name, check=True)
    except ValueError:
        return False
    return host == dialled or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
