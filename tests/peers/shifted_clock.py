# mypy: ignore-errors
"""A script for mitmproxy: the wall clock as somebody may set it. To be loaded before the addon.

`GET /shift/3600` sets it one hour ahead of the real one, `/shift/-3600` one hour back.
"""

import time

from mitmproxy import http

_real, _offset = time.time, 0.0


def _shifted() -> float:
    return _real() + _offset


time.time = _shifted


def request(flow: http.HTTPFlow) -> None:
    global _offset
    before, _, seconds = flow.request.path.rpartition("/")
    if before == "/shift":
        _offset = float(seconds)
        flow.response = http.Response.make(204)
