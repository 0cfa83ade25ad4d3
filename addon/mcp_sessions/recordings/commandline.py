"""`python -m mcp_sessions export|replay|serve`: what can be done with a saved recording without mitmproxy running."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

import httpx

from ..wire.text import printable
from .compare import Yardstick
from .export import Export
from .naming import named, path
from .reading import ALL, KEEP_SECRETS, RecordingError, chosen, exchanges_in, flows_in
from .recorded import Recorded
from .replay_client import Manner, Result, replay
from .replay_server import ReplayServer
from .report import table

SAME, DIFFERENT, FAILED = 0, 1, 2
"""Exit statuses: answered as recorded, answered differently, could not be done."""

_WHICH = "one session (label, #number, id), one client, or all; default all"


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit status."""
    chosen_arguments = _parser().parse_args(arguments)
    try:
        status: int = chosen_arguments.do(chosen_arguments)
    except ValueError as e:  # also RecordingError and what a user named wrongly
        print(f"mcp_sessions {arguments[0]}: {e}", file=sys.stderr)
        return FAILED
    return status


def _parser() -> argparse.ArgumentParser:
    # No abbreviations: whoever wants the secrets has to type that out.
    parser = argparse.ArgumentParser(prog="python -m mcp_sessions", allow_abbrev=False)
    commands = parser.add_subparsers(required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, description=text, allow_abbrev=False)
        made.add_argument("file", metavar="FILE", help="what mitmproxy saved with -w, or an export")
        made.add_argument("--only", metavar="WHICH", default=ALL, help=_WHICH)
        return made

    export = command("export", "Write a recording without its secrets: flows.mitm, flows.har and report.md.")
    export.add_argument("out", metavar="OUT", help="a folder, or a file that ends in .mitm, .har, .md or .zip")
    export.add_argument(
        "--redact",
        metavar="WHAT",
        action="append",
        default=[],
        help="what else is secret: a header name, a JSON path ($.params.arguments.name), a pattern (/ACME-\\d+/), or "
        "a text as it stands (text:hunter2)",
    )
    export.add_argument(KEEP_SECRETS, action="store_true", help="leave all secrets in")
    export.set_defaults(do=_export)

    again = command("replay", "Send what a client sent to a live server, and compare the answers with the recorded.")
    again.add_argument("--to", metavar="URL", required=True, help="the MCP endpoint of the live server")
    again.add_argument("--pauses", action="store_true", help="keep the recorded pauses")
    again.add_argument("--header", metavar="NAME:VALUE", action="append", default=[], help="send this header instead")
    again.add_argument("--ignore", metavar="PATH", action="append", default=[], help="a JSON path not to be compared")
    again.add_argument("--shape", action="store_true", help="compare the shape of results, not their values")
    again.add_argument("--timeout", metavar="SECONDS", type=float, default=30.0, help="patience for each answer")
    again.add_argument("--ca", metavar="FILE", default="", help="certificate authorities to trust")
    again.set_defaults(do=_replay)

    serve = command("serve", "Answer live clients as the recorded server did.")
    serve.add_argument("--port", type=int, default=0, help="port to listen on; default any")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on; default 127.0.0.1")
    serve.add_argument("--no-pauses", action="store_true", help="send everything at once, not in its recorded time")
    serve.set_defaults(do=_serve)
    return parser


def _export(chosen_arguments: argparse.Namespace) -> int:
    words = named(chosen_arguments.redact)
    if chosen_arguments.redact and chosen_arguments.keep_secrets:
        raise ValueError(f"--redact and {KEEP_SECRETS} exclude each other")
    flows = chosen(flows_in(chosen_arguments.file), chosen_arguments.only)
    made = Export(flows, words, keep_secrets=chosen_arguments.keep_secrets)
    for written in made.write(chosen_arguments.out):
        print(written)
    for _, said in made.account():
        print(f"--redact {said}", file=sys.stderr)
    if made.redactor.cut_out:
        print(made.cut_out_said, file=sys.stderr)
    if not made.redacted:
        print("not redacted: these files hold credentials", file=sys.stderr)
    return SAME


def _replay(chosen_arguments: argparse.Namespace) -> int:
    headers = {}
    for given in chosen_arguments.header:
        name, mark, value = given.partition(":")
        if not mark or not name.strip():
            raise ValueError("--header takes NAME:VALUE")
        headers[name.strip().lower()] = value.strip()
    manner = Manner(
        pauses=chosen_arguments.pauses,
        patience=chosen_arguments.timeout,
        headers=headers,
        verify=chosen_arguments.ca or True,
        yardstick=Yardstick(tuple(path(text) for text in chosen_arguments.ignore), chosen_arguments.shape),
    )
    exchanges = exchanges_in(chosen(flows_in(chosen_arguments.file), chosen_arguments.only))
    try:
        result = asyncio.run(replay(exchanges, chosen_arguments.to, manner))
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as e:
        raise ValueError(f"--to: {e}") from None
    except OSError as e:
        raise ValueError(f"--ca: {chosen_arguments.ca}: {e.strerror}") from None
    print(summary(result, chosen_arguments.to))
    if not result.sent:
        return FAILED
    return DIFFERENT if result.different else SAME


def summary(result: Result, url: str) -> str:
    """What came of a replay, in a line, and a table of the differences."""
    count = sum(len(row.differences) for row in result.different)
    where = printable(url.partition("?")[0], 200)
    lines = [
        f"{result.sent} of {result.recorded} recorded exchanges sent to {where}: "
        f"{count or 'no'} {'difference' if count == 1 else 'differences'}"
    ]
    if result.withheld:
        names = ", ".join(sorted(printable(name, 60) for name in result.withheld))
        lines.append(f"not sent, for it was taken out of the recording: {names} (give it with --header)")
    if count:
        rows = [
            (str(row.number), row.what, one.where, one.recorded, one.now)
            for row in result.different
            for one in row.differences
        ]
        lines.append(table([("no.", "exchange", "where", "recorded", "now"), *rows]))
    return "\n".join(lines)


def _serve(chosen_arguments: argparse.Namespace) -> int:
    exchanges = exchanges_in(chosen(flows_in(chosen_arguments.file), chosen_arguments.only))
    asyncio.run(_serving(exchanges, chosen_arguments))
    return SAME


async def _serving(exchanges: Sequence[Recorded], chosen_arguments: argparse.Namespace) -> None:
    server = ReplayServer(exchanges, pauses=not chosen_arguments.no_pauses, told=_say)
    try:
        port = server.listen(chosen_arguments.port, chosen_arguments.host)
    except OSError as e:
        raise RecordingError(f"{chosen_arguments.host}:{chosen_arguments.port}: {e.strerror}") from None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: Ctrl-C ends it all the same
            break
    _say(f"serving the recording at http://{chosen_arguments.host}:{port}/mcp (any path will do); Ctrl-C ends it")
    await stop.wait()
    await server.close()


def _say(text: str) -> None:
    print(text, flush=True)
