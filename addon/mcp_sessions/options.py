"""The settings: one model, from which mitmproxy's options, their help and their refusals are made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .core.policy import Policy
from .core.recovery.dialects import OPTIONAL
from .rules.entries import Level, catalogue
from .store.redis import Address, is_address

_SIZE = re.compile(r"(\d{1,12})([bkmg]?)", re.I)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class Settings(BaseModel):
    """What a user can set, with `--set NAME=VALUE`. Times are whole seconds."""

    model_config = ConfigDict(frozen=True)

    mcp_filter: str = Field("", description="Only look at MCP traffic that matches this filter expression.")
    mcp_body_limit: str = Field(
        "1m",
        description="How much of a stream is kept in its flow. Understands k/m/g suffixes, i.e. 3m for 3 megabytes.",
    )
    mcp_identify: Literal["on", "off"] = Field(
        "on", description="Look up which process of this host is behind a connection."
    )
    mcp_recover: Literal["on", "read-only", "reinit", "off"] = Field(
        "on",
        description=(
            "Bring sessions back that the server has lost. read-only: tools are called again only if they are "
            "annotated readOnlyHint or idempotentHint; reinit: a new session, but the client gets the error."
        ),
    )
    mcp_recover_dialects: Sequence[str] = Field(
        ("400",),
        description=(
            "Statuses other than 404 by which a server may say that a session is lost, if the body says so: any of "
            "400, 401, 410, 503, 200."
        ),
    )
    mcp_recover_unknown: Literal["on", "off"] = Field(
        "on", description="Bring back sessions, too, that were opened before the proxy saw them."
    )
    mcp_recover_timeout: int = Field(
        30,
        ge=1,
        le=600,
        description="Seconds within which a handshake in a client's place must be answered, and for which requests "
        "wait for a server that can't be reached.",
    )
    mcp_end: Literal["on", "log", "off"] = Field(
        "on", description="Send DELETE for sessions whose client is gone; log: only say which, and why."
    )
    mcp_log: str = Field(
        "", description="Append every violation, change of a session and action to this file, as JSON lines."
    )
    mcp_level: Literal["must", "should", "practice"] = Field(
        "practice", description="Judge by rules of this level and above; practice is what no clause forbids."
    )
    mcp_silence: str = Field("", description="Rules that are not judged, by id, with commas between: MCP103,MCP308.")
    mcp_fail_on: Literal["never", "must", "should", "practice"] = Field(
        "never", description="Let mcp-mitmdump exit with status 3 if a violation of this level or above was seen."
    )
    mcp_status: Literal["auto", "on", "off"] = Field(
        "auto",
        description="A live status line: on in mitmdump when its output is a terminal; on elsewhere: plain lines.",
    )
    mcp_end_timeout: int = Field(10, ge=1, le=600, description="Seconds within which a DELETE must be answered.")
    mcp_end_after_stream: int = Field(
        60,
        ge=1,
        le=86400,
        description="End a session this many seconds after its client, no process of this host, has aborted its stream "
        "and closed its connections.",
    )
    mcp_end_after_idle: int = Field(
        1800,
        ge=1,
        le=604800,
        description="End a session whose client, no process of this host, has sent nothing and held no connection for "
        "this many seconds.",
    )
    mcp_end_at_exit: Literal["mapped", "all", "none"] = Field(
        "mapped",
        description="Which sessions to end when the proxy ends; mapped: those that a recovery made and that only the "
        "proxy knows.",
    )
    mcp_ledger: str = Field(
        "",
        description="File that sessions are remembered in, so that a crash of the proxy leaves none behind; off: none. "
        "By default mcp-sessions.sqlite in mitmproxy's configuration folder. Several proxies share "
        "redis://[user:pass@]host:port/db[?prefix=mcp], also rediss:// and unix://, see docs/fleet.md.",
    )
    mcp_redact: Sequence[str] = Field(
        (),
        description="What else is secret in an export: header names, JSON paths ($.params.arguments.name), patterns "
        "(/ACME-[0-9]+/).",
    )
    mcp_replay: str = Field(
        "", description="A recording that answers MCP requests in the server's place; nothing is recovered or ended."
    )

    @field_validator("mcp_redact")
    @classmethod
    def _are_secrets(cls, values: Sequence[str]) -> Sequence[str]:
        if values:
            from .recordings.naming import named  # brings a reader of JSON paths along, which few need

            named(values)
        return tuple(values)

    @field_validator("mcp_ledger")
    @classmethod
    def _is_ledger(cls, value: str) -> str:
        if is_address(value):
            Address.parse(value)
        return value

    @field_validator("mcp_body_limit")
    @classmethod
    def _is_size(cls, value: str) -> str:
        if not _SIZE.fullmatch(value):
            raise ValueError(f"{value!r} is not a size such as 512k or 1m")
        return value

    @field_validator("mcp_recover_dialects")
    @classmethod
    def _are_dialects(cls, values: Sequence[str]) -> Sequence[str]:
        known = {str(status) for status in OPTIONAL}
        for value in values:
            if value not in known:
                raise ValueError(f"{value!r} is not one of {', '.join(sorted(known))}")
        return tuple(values)

    @property
    def policy(self) -> Policy:
        """What of it the core decides by."""
        return Policy(
            recover=self.mcp_recover,
            dialects=frozenset(int(value) for value in self.mcp_recover_dialects),
            recover_unknown=self.mcp_recover_unknown == "on",
            recover_timeout=self.mcp_recover_timeout,
            end=self.mcp_end,
            end_timeout=self.mcp_end_timeout,
            end_after_stream=self.mcp_end_after_stream,
            end_after_idle=self.mcp_end_after_idle,
            end_at_exit=self.mcp_end_at_exit,
        )

    @field_validator("mcp_silence")
    @classmethod
    def _are_rules(cls, value: str) -> str:
        unknown = [rule for rule in _listed(value) if rule not in catalogue()]
        if unknown:
            raise ValueError(f"there is no rule {unknown[0]!r}")
        return value

    @property
    def silenced(self) -> frozenset[str]:
        """The ids in `mcp_silence`."""
        return frozenset(_listed(self.mcp_silence))

    @property
    def level(self) -> Level:
        """`mcp_level` as the catalogue has it."""
        return Level(self.mcp_level.upper())

    @property
    def fail_on(self) -> Level | None:
        """`mcp_fail_on` as the catalogue has it; None for never."""
        return None if self.mcp_fail_on == "never" else Level(self.mcp_fail_on.upper())

    @property
    def body_limit(self) -> int:
        """`mcp_body_limit` in bytes."""
        found = _SIZE.fullmatch(self.mcp_body_limit)
        assert found
        return int(found[1]) * _UNITS[found[2].lower()]


def _listed(value: str) -> list[str]:
    return [part.strip().upper() for part in value.split(",") if part.strip()]


class Loader(Protocol):
    """What mitmproxy gives an addon to declare its options with."""

    def add_option(
        self, name: str, typespec: type | object, default: Any, help: str, choices: Sequence[str] | None = None
    ) -> None:
        """Declare one option."""


def declare(loader: Loader) -> None:
    """Declare every setting as an option of mitmproxy."""
    for name, field in Settings.model_fields.items():
        choices = getattr(field.annotation, "__args__", None) if _is_literal(field.annotation) else None
        loader.add_option(name, str if choices else field.annotation, field.default, field.description or "", choices)


def _is_literal(annotation: object) -> bool:
    return getattr(annotation, "__origin__", None) is Literal


def settings(values: dict[str, Any]) -> Settings:
    """The settings from the values of mitmproxy's options.

    Raises:
        ValueError: one line that names the option and says what is wrong with its value.
    """
    try:
        chosen = Settings(**values)
    except ValidationError as e:
        problem = e.errors()[0]
        name = problem["loc"][0] if problem["loc"] else "mcp options"
        raise ValueError(f"{name}: {problem['msg'].removeprefix('Value error, ')}") from None
    # What a recorded server did is to reach the client as it was.
    return chosen.model_copy(update={"mcp_recover": "off", "mcp_end": "off"}) if chosen.mcp_replay else chosen
