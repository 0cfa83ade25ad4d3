"""`mcp-sessions sarif|rules|schema|fleet`: what is shown without mitmproxy running."""

from __future__ import annotations

import asyncio
import json

import click


@click.command
@click.argument("file", metavar="FILE")
def sarif(file: str) -> None:
    """Print the violations in FILE, which mcp_log has written, as SARIF 2.1.0."""
    from .sarif import sarif as written

    with open(file, "rb") as lines:
        try:
            text = written(lines)
        except ValueError as e:
            raise ValueError(f"{file}: {e}") from None
    click.echo(text)


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
