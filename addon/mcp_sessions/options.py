"""The settings: one model, from which mitmproxy's options, their help and their refusals are made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

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
    mcp_recover: Literal["on", "off"] = Field("on", description="Bring sessions back that the server has lost.")
    mcp_recover_timeout: int = Field(
        30, ge=1, le=600, description="Seconds within which a handshake in a client's place must be answered."
    )
    mcp_end: Literal["on", "off"] = Field("on", description="Send DELETE for sessions whose client is gone.")
    mcp_status: Literal["auto", "on", "off"] = Field(
        "auto",
        description="A live status line: on in mitmdump when its output is a terminal; on elsewhere: plain lines.",
    )
    mcp_end_timeout: int = Field(10, ge=1, le=600, description="Seconds within which a DELETE must be answered.")

    @field_validator("mcp_body_limit")
    @classmethod
    def _is_size(cls, value: str) -> str:
        if not _SIZE.fullmatch(value):
            raise ValueError(f"{value!r} is not a size such as 512k or 1m")
        return value

    @property
    def body_limit(self) -> int:
        """`mcp_body_limit` in bytes."""
        found = _SIZE.fullmatch(self.mcp_body_limit)
        assert found
        return int(found[1]) * _UNITS[found[2].lower()]


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
        return Settings(**{name: value for name, value in values.items() if name in Settings.model_fields})
    except ValidationError as e:
        problem = e.errors()[0]
        name = problem["loc"][0] if problem["loc"] else "mcp options"
        raise ValueError(f"{name}: {problem['msg'].removeprefix('Value error, ')}") from None
