"""`mcp-sessions`, also as `python -m mcp_sessions`: what can be done without mitmproxy running, each by a word.

A command is a row of `COMMANDS`, and stands in the room that it is about; it is imported when it is asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import click

from . import __version__

NAME = "mcp-sessions"


class Row(NamedTuple):
    """A command of the executable."""

    module: str
    """Within this package."""
    attribute: str
    about: str
    hidden: bool = False


COMMANDS: dict[str, Row] = {
    "export": Row("recordings.commandline", "export", "Write a recording without its secrets."),
    "report": Row("recordings.commandline", "report", "Print what a recording shows, as Markdown."),
    "replay": Row("recordings.commandline", "replay", "Send a recording to a live server and compare the answers."),
    "serve": Row("recordings.commandline", "serve", "Answer live clients as the recorded server did."),
    "sarif": Row("views.commandline", "sarif", "Print the violations in a file of mcp_log as SARIF 2.1.0."),
    "junit": Row("views.commandline", "junit", "Print the violations in a file of mcp_log as JUnit XML."),
    "baseline": Row("views.commandline", "baseline", "Print the violations in a file of mcp_log as known ones."),
    "rules": Row("views.commandline", "rules", "Print the catalogue of rules as Markdown."),
    "schema": Row("views.commandline", "schema", "Print the JSON Schema of a line of mcp_log."),
    "fleet": Row("views.commandline", "fleet", "Print the proxies that share a ledger, and what each has."),
    "path": Row("__main__", "path", "Print the path that mitmproxy's -s takes."),
    "readme": Row("__main__", "readme", "Make what is generated in a page of the documentation anew.", hidden=True),
}

UNUSABLE = 2
"""Exit status for what can't be done: wrong arguments, files that are not what they should be, servers out of reach."""
BROKEN = 70
"""Exit status for a fault of this program's own, as sysexits.h has it."""


class Commands(click.Group):
    """The commands, each imported only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # as click calls it
        """Their names, in the order of the table."""
        return [name for name, row in COMMANDS.items() if not row.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as click calls it
        """The command of that name, with what all have."""
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        found: click.Command = getattr(import_module(f"{__package__}.{row.module}"), row.attribute)
        if not any(option.name == "version" for option in found.params):
            found.params.append(_version())
            found.context_settings.setdefault("help_option_names", ["-h", "--help"])
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].about) for name in self.list_commands(ctx)])


def _version() -> click.Option:
    def told(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(f"{NAME} {__version__}")
            ctx.exit()

    return click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=told, help="Say which version this is."
    )


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[_version()],
)
@click.pass_context
def program(ctx: click.Context) -> None:
    """Sessions of the Model Context Protocol: recordings, reports, rules, and the ledger of a fleet."""
    if ctx.invoked_subcommand is None:
        if ctx.info_name == NAME:
            click.echo(ctx.get_help())
        else:  # what has always been `mitmdump -s $(python -m mcp_sessions)`
            click.echo(_script())


@click.command
def path() -> None:
    """Print the path that mitmproxy's -s takes."""
    click.echo(_script())


@click.command
@click.argument("page", metavar="PAGE", type=click.Path(path_type=Path))
def readme(page: Path) -> None:
    """Make what is generated in a page of the documentation anew: tables and diagrams."""
    page.write_text(generated(page.read_text("utf-8")), "utf-8")


def generated(text: str) -> str:
    """A page of the documentation, with what is generated in it made anew: tables and diagrams."""
    from .options import Settings
    from .recordings.addon import Recordings
    from .rules.clauses.pages import figures, tables
    from .views.commands import Commands
    from .views.diagrams import diagrams
    from .views.readme import commands, filled, options
    from .views.telemetry.metrics import table

    shown = [f"| `{NAME} {name}` | {row.about} |" for name, row in COMMANDS.items() if not row.hidden]
    executable = "\n".join(["| command | what it does |", "|---|---|", *shown]) + "\n"
    parts = {"options": options(Settings), "commands": commands(Commands, Recordings), **diagrams()}
    parts |= {"executable": executable, "coverage": figures(), "clauses": tables(), "metrics": table()}
    return filled(text, parts)


def main(arguments: Sequence[str] | None = None, name: str = NAME) -> int:
    """Do what the arguments say; the exit status. Whatever is wrong is said in a line, on standard error."""
    try:
        done = program.main(arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # Whoever was to read has gone. Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as e:
        return _refused(f"{e.filename or 'error'}: {e.strerror or e}")
    except ValueError as e:  # what a file or an argument is not
        return _refused(str(e))
    except Exception as e:
        from .proxy.failing import described

        click.echo(f"Error: internal error, please report it: {described(e)}", err=True)
        return BROKEN
    return done if isinstance(done, int) else 0


def _refused(why: str) -> int:
    click.echo(f"Error: {why[:380]}", err=True)
    return UNUSABLE


def _script() -> Path:
    return Path(__file__).with_name("script.py")


if __name__ == "__main__":
    sys.exit(main(name="python -m mcp_sessions"))
