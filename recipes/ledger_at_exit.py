"""A script that prints the ledger when mitmdump ends: `mitmdump -s addon/main.py -s recipes/ledger_at_exit.py`.

mitmproxy and mitmweb have a prompt for commands, mitmdump has none.
"""

from mitmproxy import ctx


def done() -> None:
    ctx.master.commands.call("mcp.sessions")
