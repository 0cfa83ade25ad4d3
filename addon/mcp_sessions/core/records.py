"""What the addon says: records of violations, of changes in the ledger and of its own actions, and their log lines."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

SCHEMA_VERSION = 3
"""Version 1 had no `time`, version 2 no `call` of a violation and no `lost` of an action."""


class Weight(StrEnum):
    """How loud a record is in mitmproxy's log."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Record(BaseModel):
    """What every record has. Sessions are shortened; nothing here is a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    v: int = SCHEMA_VERSION
    """Version of this schema."""
    at: float
    """Seconds since the epoch."""
    time: str = Field(default_factory=lambda known: _written(known.get("at", 0.0)))
    """The same as people read it: ISO 8601, in UTC."""
    kind: str
    client: str = ""
    """The client: `name[pid]`, or an address."""
    session: str = ""
    """Short label of the session."""
    endpoint: str = ""
    """URL of the server, without its query."""
    flow: str = ""
    """Id of the flow in mitmproxy that shows it."""
    weight: Weight = Weight.INFO

    def line(self) -> str:
        """The record as one line of log."""
        return f"mcp: {self.said()}"

    def said(self) -> str:
        """The same without the word that all lines of the addon begin with."""
        raise NotImplementedError

    def _who(self) -> str:
        words = []
        if self.client:
            words.append(f"client={self.client}")
        if self.session:
            words.append(f"session={self.session}")
        return " ".join(words)


def _written(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):  # a recording may come from anybody
        return ""


class Violation(Record):
    """A rule of the specification was broken."""

    kind: Literal["violation"] = "violation"
    rule: str
    name: str
    party: str
    level: str
    clause: str
    """Address of the clause; empty for a rule of practice."""
    call: str = ""
    """The request in two words, without its query: `tools/call echo`, `GET stream`; empty if it was none of one."""
    detail: str = ""
    times: int = 1
    """How often it was: one line stands for all that are beyond the first few of an exchange."""
    weight: Weight = Weight.WARNING

    def said(self) -> str:
        """`MCP308 session-not-deleted client=… session=…`, then who is at fault, the detail and the clause."""
        words = [self.rule, self.name, self._who(), f"({self.party} {self.level})", self.detail, self.clause]
        return " ".join(word for word in words if word)


class Change(Record):
    """A session, or a client, changed its state."""

    kind: Literal["change"] = "change"
    what: str
    """`opened`, `lost`, `recovered`, `ended`, …"""
    detail: str = ""

    def said(self) -> str:
        """`session 7f3a opened client=… endpoint`, with any detail."""
        words = [f"session {self.session}" if self.session else "client", self.what]
        words += [f"client={self.client}" if self.client else "", self.endpoint, self.detail]
        return " ".join(word for word in words if word)


class Action(Record):
    """Something that the proxy did, or decided not to do, in a client's place."""

    kind: Literal["action"] = "action"
    what: str
    detail: str = ""
    lost: bool = False
    """It is about a call that gets no answer from its server, through no fault of its client's."""

    def said(self) -> str:
        """`sent again client=… session=… tools/call echo at http://…`."""
        words = [self.what, self._who(), self.detail, f"at {self.endpoint}" if self.endpoint else ""]
        return " ".join(word for word in words if word)


type AnyRecord = Violation | Change | Action

LINE: TypeAdapter[AnyRecord] = TypeAdapter(Annotated[Violation | Change | Action, Field(discriminator="kind")])
"""Reads and describes a line of `mcp_log`."""


def schema() -> dict[str, Any]:
    """The JSON Schema of a line of `mcp_log`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of mcp_log, version {SCHEMA_VERSION}",
        **LINE.json_schema(),
    }
