"""`python -m mcp_sessions`: prints the path that mitmproxy's `-s` takes, or one of the things named by a word."""

from __future__ import annotations

import json
import sys
from pathlib import Path

USAGE = """\
usage: python -m mcp_sessions              print the path for mitmproxy's -s
       python -m mcp_sessions rules        print the catalogue of rules as Markdown
       python -m mcp_sessions schema       print the JSON Schema of a line of mcp_log
       python -m mcp_sessions sarif FILE   print the violations in a file of mcp_log as SARIF 2.1.0
       python -m mcp_sessions readme FILE  make what is generated in a page of the documentation anew
       python -m mcp_sessions fleet URL    print the proxies that share a ledger (-h for more)
       python -m mcp_sessions export FILE OUT   write a saved recording without its secrets (-h for more)
       python -m mcp_sessions replay FILE --to URL   send it to a live server and compare the answers
       python -m mcp_sessions serve FILE   answer live clients as it was recorded"""


def main(arguments: list[str]) -> int:
    """Do what the arguments say; the exit status."""
    match arguments:
        case []:
            print(Path(__file__).with_name("script.py"))
        case ["rules"]:
            from .rules.pages import page

            print(page(), end="")
        case ["schema"]:
            from .core.records import schema

            print(json.dumps(schema(), indent=2))
        case ["sarif", path]:
            from .views.sarif import sarif

            try:
                with open(path, "rb") as lines:
                    print(sarif(lines))
            except (OSError, ValueError) as e:
                print(f"mcp_sessions sarif: {path}: {e}", file=sys.stderr)
                return 1
        case ["export" | "replay" | "serve", *_]:
            from .recordings.commandline import main as recordings

            return recordings(arguments)
        case ["fleet", *rest]:
            from .views.fleet import main as fleet

            return fleet(rest)
        case ["readme", name]:
            target = Path(name)
            target.write_text(readme(target.read_text("utf-8")), "utf-8")
        case ["-h" | "--help"]:
            print(USAGE)
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    return 0


def readme(page: str) -> str:
    """A page of the documentation, with what is generated in it made anew: tables and diagrams."""
    from .options import Settings
    from .recordings.addon import Recordings
    from .rules.clauses.pages import figures, tables
    from .views.commands import Commands
    from .views.diagrams import diagrams
    from .views.readme import commands, filled, options

    parts = {"options": options(Settings), "commands": commands(Commands, Recordings), **diagrams()}
    return filled(page, {**parts, "coverage": figures(), "clauses": tables()})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
