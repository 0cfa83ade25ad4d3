"""The settings: one model, from which mitmproxy's options, their help and their refusals are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from mitmproxy import flowfilter
from mitmproxy.exceptions import OptionsError
from mitmproxy.flow import Flow
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from .core.policy import Policy
from .core.recovery.dialects import OPTIONAL
from .rules.entries import Level, catalogue
from .store import FILE
from .store.redis import Address, is_address
from .store.redis.seal import read_key
from .views.telemetry.address import ListenAt, collector

_SIZE = re.compile(r"(\d{1,12})([bkmg]?)", re.I)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


_READ: dict[str, Callable[[str], object]] = {
    "mcp_filter": flowfilter.parse,
    "mcp_ledger": lambda value: is_address(value) and Address.parse(value),
    "mcp_ledger_key": read_key,
    "mcp_metrics": ListenAt.parse,
    "mcp_otel": collector,
}
"""What reads a value, for the error that it raises if it can't. What is empty is not read."""


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
    mcp_keepalive: int = Field(
        0,
        ge=0,
        le=3600,
        description="Give the client of an event stream a comment after so many seconds of quiet, so that nobody in "
        "between takes it for dead; 0: never.",
    )
    mcp_end: Literal["on", "log", "off"] = Field(
        "on", description="Send DELETE for sessions whose client is gone; log: only say which, and why."
    )
    mcp_log: str = Field(
        "",
        description="Append every violation, change of a session and action to this file, as JSON lines; -: to "
        "standard output. It may be renamed at any time, and is opened anew.",
    )
    mcp_level: Literal["must", "should", "practice"] = Field(
        "practice", description="Judge by rules of this level and above; practice is what no clause forbids."
    )
    mcp_silence: str = Field("", description="Rules that are not judged, by id, with commas between: MCP103,MCP308.")
    mcp_fail_on: Literal["never", "must", "should", "practice"] = Field(
        "never", description="Let mcp-mitmdump exit with status 3 if a violation of this level or above was seen."
    )
    mcp_baseline: str = Field(
        "",
        description="File of known violations, as mcp-sessions baseline writes it: mcp_fail_on asks about others only, "
        "and what of it was not seen is named at the end.",
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
        description="End a session this many seconds after its client, which is not seen to end, has aborted its "
        "stream and closed its connections.",
    )
    mcp_end_after_idle: int = Field(
        1800,
        ge=1,
        le=604800,
        description="End a session whose client, which is not seen to end, has sent nothing and held no connection for "
        "this many seconds.",
    )
    mcp_end_superseded: Literal["off", "on"] = Field(
        "off",
        description="End a session, too, that its client, though it lives, has left alone since it opened another one "
        "at the same endpoint. If it is used after all, it is brought back.",
    )
    mcp_end_after_superseded: int = Field(
        300, ge=1, le=604800, description="Seconds that such a session is kept, with mcp_end_superseded=on."
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
    mcp_ledger_key: str = Field(
        "",
        description="Store credentials in a shared ledger, encrypted with what is in this file, or in a variable of "
        "the environment (env:NAME), so that another proxy can end the sessions of one that died.",
    )
    mcp_metrics: str = Field(
        "",
        description="Serve figures for Prometheus at http://HOST:PORT/metrics (and /healthz), such as "
        "127.0.0.1:9464; see docs/telemetry.md.",
    )
    mcp_otel: str = Field(
        "",
        description="Send spans and histograms by OTLP over HTTP to this address, such as http://127.0.0.1:4318; on: "
        "as the standard OTEL_ variables say; off: never. By default if one of these names an endpoint; see "
        "docs/telemetry.md.",
    )
    mcp_redact: Sequence[str] = Field(
        (),
        description="What else is secret in an export: header names, JSON paths ($.params.arguments.name), patterns "
        "(/ACME-[0-9]+/), texts (text:hunter2).",
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

    @field_validator(*_READ)
    @classmethod
    def _can_be_read(cls, value: str, info: ValidationInfo) -> str:
        if value and info.field_name:
            _READ[info.field_name](value)
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
            end_superseded=self.mcp_end_superseded == "on",
            end_after_superseded=self.mcp_end_after_superseded,
            end_at_exit=self.mcp_end_at_exit,
        )

    @field_validator("mcp_silence")
    @classmethod
    def _are_rules(cls, value: str) -> str:
        unknown = [rule for rule in _listed(value) if rule not in catalogue()]
        if unknown:
            raise ValueError(f"there is no rule {unknown[0]!r}")
        return value

    def ledger_in(self, folder: str) -> Address | Path | None:
        """Where sessions are remembered, by default in this folder; None for nowhere."""
        where = self.mcp_ledger
        if where == "off":
            return None
        return Address.parse(where) if is_address(where) else Path(where or Path(folder) / FILE).expanduser()

    @property
    def key(self) -> bytes:
        """What credentials are encrypted with in a shared ledger; empty if they are not stored."""
        return read_key(self.mcp_ledger_key) if self.mcp_ledger_key else b""

    @property
    def filter(self) -> Callable[[Flow], bool] | None:
        """What `mcp_filter` lets through; None for all."""
        return flowfilter.parse(self.mcp_filter) if self.mcp_filter else None

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


class Options(Protocol):
    """Mitmproxy's options."""

    deferred: dict[str, Any]
    """What was set, by `--set` or in `config.yaml`, before anybody had declared it."""

    def update(self, **values: Any) -> None:
        """Set these."""


def declare(loader: Loader) -> None:
    """Declare every setting as an option of mitmproxy."""
    for name, field in Settings.model_fields.items():
        choices = _choices(name)
        loader.add_option(
            name, str if choices else field.annotation, field.default, field.description or "", choices or None
        )


def take_over(options: Options) -> list[str]:
    """Give the options that were just declared the values that were set before.

    mitmproxy would do so itself, but goes on without an addon of which one value is wrong, and without a word.

    Returns:
        what is wrong, a line for each option.
    """
    wrong = []
    for name in Settings.model_fields:
        if name not in options.deferred:
            continue
        given = options.deferred.pop(name)
        try:
            # What `--set` was given stands in an object: a list of texts, empty for `--set NAME`.
            options.update(**{name: _read(name, getattr(given, "val", given))})
        except (ValueError, OptionsError) as e:
            wrong.append(str(e))
    return wrong


def unknown(names: Iterable[str]) -> list[str]:
    """What is to be said of options that nobody has declared, if they are meant for this addon."""
    said = []
    for name in names:
        word = name.lower().replace("-", "_")
        ours = word.startswith("mcp")
        near = get_close_matches(word, Settings.model_fields, 1, 0.7 if ours else 0.85)
        if near:
            said.append(f"there is no option {name[:60]}: did you mean {near[0]}?")
        elif ours:
            said.append(f"there is no option {name[:60]}; mcp-mitmdump --options lists those that there are")
    return said


def settings(values: dict[str, Any]) -> Settings:
    """The settings from the values of mitmproxy's options.

    Raises:
        ValueError: one line that names the option and says what is wrong with its value.
    """
    try:
        chosen = Settings(**values)
    except ValidationError as e:
        raise ValueError(_complaint(e.errors()[0])) from None
    # What a recorded server did is to reach the client as it was.
    return chosen.model_copy(update={"mcp_recover": "off", "mcp_end": "off"}) if chosen.mcp_replay else chosen


def _read(name: str, given: Any) -> Any:
    """A value as it was written on the command line or in YAML, where a number may mean text."""
    annotation = Settings.model_fields[name].annotation
    written = given if isinstance(given, list) else [given]
    words = [str(word) for word in written if isinstance(word, (str, int, float)) and not isinstance(word, bool)]
    if len(words) < len(written):
        raise ValueError(_other(name, given))
    if annotation == Sequence[str]:
        return words
    if not words:
        raise ValueError(f"{name} takes a value: {name}=VALUE")
    if len(words) > 1:
        # Not what: there may be a password in it.
        raise ValueError(f"{name} is set {len(words)} times: set it once")
    if annotation is not int:
        return words[0]
    try:
        return int(words[0])
    except ValueError:
        raise ValueError(_other(name, words[0])) from None


def _other(name: str, given: Any) -> str:
    """Of a value that can't be one of this option's."""
    annotation, choices = Settings.model_fields[name].annotation, _choices(name)
    if choices:
        takes = f"{', '.join(choices[:-1])} or {choices[-1]}"
        near = get_close_matches(str(given).lower(), choices, 1)
    else:
        takes = {int: "a whole number", str: "text"}.get(annotation, "a list")  # type: ignore[arg-type]  # any other type is looked up in vain
        near = []
    return f"{name} takes {takes}, not {repr(given)[:60]}" + (f": did you mean {near[0]}?" if near else "")


def _complaint(problem: ErrorDetails) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "mcp options"
    if problem["type"] == "literal_error":
        return _other(name, problem["input"])
    text = problem["msg"]
    if text.startswith("Input "):
        return f"{name} {text.removeprefix('Input ')}, not {repr(problem['input'])[:60]}"
    return f"{name}: {text.removeprefix('Value error, ')}"


def _choices(name: str) -> Sequence[str]:
    """What a setting takes, where it takes only these."""
    annotation = Settings.model_fields[name].annotation
    return get_args(annotation) if getattr(annotation, "__origin__", None) is Literal else ()
