"""Where figures are served: what the user has written, as an address."""

from __future__ import annotations

from importlib.util import find_spec
from ipaddress import ip_address
from typing import NamedTuple, Self
from urllib.parse import urlsplit

_FORM = "HOST:PORT, such as 127.0.0.1:9464"


class ListenAt(NamedTuple):
    """An address of this host."""

    host: str
    port: int
    """0: any that is free."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address; `localhost` is the only name that is taken.

        Raises:
            ValueError: one line that says what is wrong, or which extra is missing.
        """
        if find_spec("prometheus_client") is None:
            raise ValueError("needs the extra prometheus: pip install 'mitmproxy-mcp-sessions[prometheus]'")
        try:
            at = urlsplit(f"//{text}")
            host, port = at.hostname, at.port
            if host is None or port is None or at.netloc != text or at.username is not None:
                raise ValueError
            return cls(str(ip_address("127.0.0.1" if host == "localhost" else host)), port)
        except ValueError:
            raise ValueError(f"{text[:60]!r} is not {_FORM}") from None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
