# mypy: ignore-errors
"""Command line and socket of a peer server."""

import argparse
import contextlib
import os
import socket
import sys
import threading

import uvicorn
from recording import Journal, Recorder, forget_sessions
from starlette.applications import Starlette
from starlette.routing import Route


class Endpoint:
    """The ASGI application behind /mcp (an instance, because Starlette wraps plain functions)."""

    def __init__(self, manager) -> None:
        self._manager = manager

    async def __call__(self, scope, receive, send) -> None:
        await self._manager.handle_request(scope, receive, send)


class AnnouncingServer(uvicorn.Server):
    """Says READY on stdout once connections are accepted."""

    def __init__(self, config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets=sockets)
        print(f"READY {self._url}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="answer JSON instead of streams")
    parser.add_argument("--log", help="a file, or - for stdout")
    parser.add_argument("--no-get", action="store_true", help="answer 405 to GET")
    parser.add_argument("--idle-timeout", type=float, default=1800.0)
    parser.add_argument("--follow-stdin", action="store_true", help="end when stdin ends, so as to outlive nobody")
    return parser.parse_args()


def guard(settings):
    """The SDK's settings that refuse whoever names another host than this one, if that is asked for."""
    return settings(allowed_hosts=["127.0.0.1:*", "localhost:*"]) if os.environ.get("PEER_GUARDED") else None


def serve(manager, options: argparse.Namespace) -> None:
    """Serve the session manager until the process is ended."""

    @contextlib.asynccontextmanager
    async def lifespan(_app):
        async with manager.run():
            yield

    app = Starlette(routes=[Route("/mcp", endpoint=Endpoint(manager))], lifespan=lifespan)
    recorder = Recorder(
        app,
        Journal(options.log),
        refuse_get=options.no_get,
        forget=lambda session: forget_sessions(manager, session),
    )
    # The protocol is named, or asyncio leaves Nagle's algorithm on: an answer in two writes then takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":
        # A restart takes the port over although connections of the killed process still linger.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    if options.follow_stdin:

        def follow() -> None:
            sys.stdin.buffer.read()
            os._exit(0)

        threading.Thread(target=follow, daemon=True).start()
    config = uvicorn.Config(recorder, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    AnnouncingServer(config, url).run(sockets=[listener])
