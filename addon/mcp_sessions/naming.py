"""A session as an argument of a command: typed like mitmproxy's own types, and completed from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mitmproxy import command, types

NAMES_COMMAND = "mcp.names"
"""The command that lists what can be completed."""


class SessionName(str):
    """The beginning of a session's id, or its label."""


class _SessionNameType(types._BaseType):  # the only base that mitmproxy has for its types
    typ = SessionName
    display = "session"

    def completion(self, manager: command.CommandManager, t: Any, s: str) -> Sequence[str]:  # noqa: ARG002
        names: Sequence[str] = manager.execute(NAMES_COMMAND)
        return names

    def parse(self, manager: command.CommandManager, t: Any, s: str) -> SessionName:  # noqa: ARG002
        if not s.strip():
            raise ValueError("name a session by its label or the beginning of its id")
        return SessionName(s.strip())

    def is_valid(self, manager: command.CommandManager, typ: Any, val: Any) -> bool:  # noqa: ARG002
        return isinstance(val, str)


def install() -> None:
    """Make the type known to mitmproxy, so that commands can be declared with it."""
    types.CommandTypes.typemap[SessionName] = _SessionNameType()
