"""A script for mitmproxy that takes long over a request to `/slow`, in processor time."""

import time

from mitmproxy.http import HTTPFlow

LONG = 0.08


def request(flow: HTTPFlow) -> None:
    """Hold up the event loop."""
    until = time.thread_time() + (LONG if flow.request.path == "/slow" else 0)
    while time.thread_time() < until:
        pass
