"""`mcp-sessions export|report|replay|serve`: what can be done with a saved recording without mitmproxy running."""

from __future__ import annotations

import asyncio
import math
import re
import signal
import ssl
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import click

from ..rules.baseline import Baseline
from ..wire.text import printable
from .compare import Yardstick
from .export import Export
from .naming import named, path
from .reading import ALL, KEEP_SECRETS, RecordingError, chosen, exchanges_in, flows_in
from .recorded import Recorded
from .replay_client import Manner, Result
from .replay_client import replay as replayed
from .replay_server import ReplayServer
from .report import table

SAME, DIFFERENT, FAILED = 0, 1, 2
"""Exit statuses: answered as recorded, answered differently, could not be done."""

_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*:[ \t]*([\x20-\x7e\t]*)")


def _of_a_recording[F: Callable[..., object]](command: F) -> F:
    """What all take: a file, and what of it."""
    command = click.option(
        "--only", metavar="WHICH", default=ALL, help="One session (label, #number, id), one client, or all (default)."
    )(command)
    return click.argument("file", metavar="FILE")(command)


def _redacting[F: Callable[..., object]](command: F) -> F:
    """What all take that write a recording down."""
    command = click.option(KEEP_SECRETS, is_flag=True, help="Leave all secrets in.")(command)
    return click.option(
        "--redact",
        metavar="WHAT",
        multiple=True,
        help="What else is secret: a header name, a JSON path ($.params.arguments.name), a pattern (/ACME-\\d+/), or "
        "a text as it stands (text:hunter2). May be given several times.",
    )(command)


@click.command
@_of_a_recording
@click.argument("out", metavar="OUT")
@_redacting
def export(file: str, out: str, only: str, redact: Sequence[str], keep_secrets: bool) -> None:
    """Write a recording without its secrets.

    FILE is what mitmproxy saved with -w, or an export. OUT is a folder, or a file that ends in .mitm, .har, .md or
    .zip; nothing is overwritten.
    """
    made = _made(file, only, redact, keep_secrets)
    for written in made.write(out):
        click.echo(written)
    _account(made)
    if not made.redacted:
        click.echo("not redacted: these files hold credentials", err=True)


@click.command
@_of_a_recording
@click.option("--short", is_flag=True, help="In less than 60 lines, to be pasted into an issue.")
@click.option("--baseline", metavar="KNOWN", default="", help="Leave out what this file of known violations has.")
@_redacting
def report(file: str, only: str, short: bool, baseline: str, redact: Sequence[str], keep_secrets: bool) -> None:
    """Print what a recording shows, as Markdown: what is broken, by whom, and how to see it.

    FILE is what mitmproxy saved with -w, or an export.
    """
    made = _made(file, only, redact, keep_secrets, Baseline.read(baseline) if baseline else None)
    click.echo((made.issue() if short else made.report()).decode(), nl=False)
    _account(made)


def _made(file: str, only: str, redact: Sequence[str], keep_secrets: bool, known: Baseline | None = None) -> Export:
    words = named(redact)
    if redact and keep_secrets:
        raise ValueError(f"--redact and {KEEP_SECRETS} exclude each other")
    return Export(chosen(flows_in(file), only), words, keep_secrets=keep_secrets, known=known)


def _account(made: Export) -> None:
    for _, said in made.account():
        click.echo(f"--redact {said}", err=True)
    if made.redactor.cut_out:
        click.echo(made.cut_out_said, err=True)


def _url(_: click.Context, __: click.Parameter, given: str) -> str:
    try:
        target = urlsplit(given)
        fits = target.scheme in ("http", "https") and bool(target.hostname) and target.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise click.BadParameter(f"{printable(given, 100)!r} is no address such as http://127.0.0.1:8000/mcp")
    return given


def _headers(_: click.Context, __: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    headers = {}
    for one in given:
        found = _HEADER.fullmatch(one)
        if not found:
            raise click.BadParameter("it takes NAME:VALUE, on one line and in ASCII")
        headers[found[1].lower()] = found[2].strip()
    return headers


def _seconds(_: click.Context, __: click.Parameter, given: float) -> float:
    if not (math.isfinite(given) and given > 0):
        raise click.BadParameter(f"{given:g} is no time to wait")
    return given


@click.command
@_of_a_recording
@click.option("--to", "url", metavar="URL", required=True, callback=_url, help="The MCP endpoint of the live server.")
@click.option("--pauses", is_flag=True, help="Keep the recorded pauses.")
@click.option(
    "--header", "headers", metavar="NAME:VALUE", multiple=True, callback=_headers, help="Send this header instead."
)
@click.option("--ignore", metavar="PATH", multiple=True, help="A JSON path that is not compared.")
@click.option("--shape", is_flag=True, help="Compare the shape of results, not their values.")
@click.option(
    "--timeout", metavar="SECONDS", type=float, default=30.0, callback=_seconds, help="Patience for each answer; 30."
)
@click.option("--ca", metavar="FILE", default="", help="Certificate authorities to trust.")
def replay(
    file: str,
    only: str,
    url: str,
    pauses: bool,
    headers: dict[str, str],
    ignore: Sequence[str],
    shape: bool,
    timeout: float,
    ca: str,
) -> int:
    """Send what a client sent to a live server, and compare the answers with the recorded.

    The exit status is 0 if it answers as recorded, 1 if differently, and 2 if that could not be found out.
    """
    yardstick = Yardstick(tuple(path(text) for text in ignore), shape)
    manner = Manner(
        pauses=pauses, patience=timeout, headers=headers, verify=_authorities(ca) if ca else True, yardstick=yardstick
    )
    exchanges = exchanges_in(chosen(flows_in(file), only))
    result = asyncio.run(replayed(exchanges, url, manner))
    click.echo(summary(result, url))
    if not result.sent:
        return FAILED
    return DIFFERENT if result.different else SAME


def _authorities(file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as e:
        raise ValueError(f"--ca: {file}: {e.strerror or e}") from None


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


@click.command
@_of_a_recording
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; default any.")
@click.option("--host", default="127.0.0.1", help="Address to listen on; default 127.0.0.1.")
@click.option("--no-pauses", is_flag=True, help="Send everything at once, not in its recorded time.")
def serve(file: str, only: str, port: int, host: str, no_pauses: bool) -> None:
    """Answer live clients as the recorded server did."""
    exchanges = exchanges_in(chosen(flows_in(file), only))
    asyncio.run(_serving(exchanges, port, host, pauses=not no_pauses))


async def _serving(exchanges: Sequence[Recorded], wanted: int, host: str, *, pauses: bool) -> None:
    server = ReplayServer(exchanges, pauses=pauses, told=click.echo)
    try:
        port = server.listen(wanted, host)
    except OSError as e:
        raise RecordingError(f"{host}:{wanted}: {e.strerror}") from None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: Ctrl-C ends it all the same
            break
    click.echo(f"serving the recording at http://{host}:{port}/mcp (any path will do); Ctrl-C ends it")
    await stop.wait()
    await server.close()
