"""`mcp-sessions sarif|junit|baseline|rules|schema|fleet`: what is shown without mitmproxy running."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..rules.baseline import Baseline


_known = click.option(
    "--baseline",
    metavar="KNOWN",
    default="",
    help="Leave out what this file of known violations has; say what is stale.",
)


@click.command
@click.argument("file", metavar="FILE")
@_known
@click.option(
    "--at",
    metavar="PATH",
    default="",
    help="Show them at this file of the repository, such as the server's source; default FILE itself, line by line.",
)
def sarif(file: str, baseline: str, at: str) -> None:
    """Print the violations in FILE, which mcp_log has written, as SARIF 2.1.0 that GitHub's code scanning takes.

    Paths are written as they are from the current folder: run it at the root of the repository.
    """
    from .logged import unknown
    from .sarif import sarif as written

    known = _read(baseline)
    made = _of(file, lambda lines: written(unknown(lines, known), at or file, at=bool(at)))
    click.echo(made.text)
    if made.note:
        click.echo(made.note, err=True)
    _account(known)


@click.command
@click.argument("file", metavar="FILE")
@_known
@click.option(
    "--fail-on",
    type=click.Choice(["must", "should", "practice"]),
    default="practice",
    help="The level from which on a violation is a failure; default practice, which is all.",
)
def junit(file: str, baseline: str, fail_on: str) -> None:
    """Print the violations in FILE, which mcp_log has written, as JUnit XML: a test case for each rule and endpoint."""
    from ..rules import Level
    from .junit import junit as written

    known = _read(baseline)
    click.echo(_of(file, lambda lines: written(lines, known, Level(fail_on.upper()))))
    _account(known)


@click.command
@click.argument("file", metavar="FILE")
def baseline(file: str) -> None:
    """Print the violations in FILE, which mcp_log has written, as a baseline: from now on they are known.

    What looks like an id or a token in a call or a path becomes *, so that the file may lie in a repository.
    """
    from ..rules.baseline import written
    from .logged import violations

    click.echo(_of(file, lambda lines: written(violations(lines))), nl=False)


def _of[T](file: str, made: Callable[[Iterable[bytes]], T]) -> T:
    """What is made of the lines of a file."""
    with open(file, "rb") as lines:
        try:
            return made(lines)
        except ValueError as e:
            raise ValueError(f"{file}: {e}") from None


def _read(file: str) -> Baseline:
    from ..rules.baseline import Baseline

    return Baseline.read(file) if file else Baseline()


def _account(known: Baseline) -> None:
    for place in known.stale:
        click.echo(f"stale, take it out of the baseline: {place}", err=True)


@click.command
def rules() -> None:
    """Print the catalogue of rules as Markdown."""
    from ..rules.pages import page

    click.echo(page(), nl=False)


@click.command
def schema() -> None:
    """Print the JSON Schema of a line of mcp_log."""
    from ..core.records import schema as described

    click.echo(json.dumps(described(), indent=2))


@click.command
@click.argument("url", metavar="URL")
@click.option("--check", is_flag=True, help="Exit with status 1 if sessions are left that no proxy sees to.")
def fleet(url: str, check: bool) -> int:
    """Print the proxies that share the ledger at URL, their sessions, and what is under way."""
    from ..store.redis import Address
    from .fleet import shown

    owed, lines = asyncio.run(shown(Address.parse(url), check))
    click.echo("\n".join(lines))
    return 1 if check and owed else 0
