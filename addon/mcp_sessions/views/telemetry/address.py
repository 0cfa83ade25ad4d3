"""Where figures are served and spans are sent to: what the user has written, as an address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from ipaddress import ip_address
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from ...wire.text import lacking

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
            raise ValueError(lacking("prometheus"))
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


ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT" for signal in ("", "TRACES_", "METRICS_"))
"""Variables of the environment that say where a collector is; the first stands for all signals."""

PROTOCOL, SPOKEN = "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"


def collector(asked: str, environment: Mapping[str, str] | None = None) -> dict[str, str] | None:
    """The environment for what sends spans, by what the user has asked for; None if none are to be sent.

    Raises:
        ValueError: one line that says what is wrong, or which extra is missing.
    """
    given = os.environ if environment is None else environment
    if asked == "off" or (not asked and not any(given.get(name) for name in ENDPOINTS)):
        return None
    if not asked and given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    protocol = given.get(PROTOCOL, SPOKEN)
    if protocol != SPOKEN and asked in ("", "on"):
        if not asked:
            return None  # the environment speaks to all programs
        raise ValueError(f"only {SPOKEN} is spoken, and {PROTOCOL} asks for something else")
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter.otlp.proto.http") is None:
        if not asked:
            return None
        raise ValueError(lacking("otel"))
    if asked in ("", "on"):
        return dict(given)
    try:
        at = urlsplit(asked)
        known = at.scheme in ("http", "https") and at.hostname and at.port != 0
    except ValueError:
        known = False
    if not known:  # not what: there may be a password in it
        raise ValueError("takes on, off or an address such as http://127.0.0.1:4318")
    return {**{name: value for name, value in given.items() if name not in ENDPOINTS}, ENDPOINTS[0]: asked}
