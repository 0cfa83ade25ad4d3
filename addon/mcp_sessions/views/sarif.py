"""Violations as SARIF 2.1.0, for the annotations of a CI; made from the lines of `mcp_log`."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from pydantic import ValidationError

from ..core.records import LINE, Violation
from ..rules import Level, Rule, catalogue

LIMIT = 25_000
"""Results of one run that GitHub takes; what comes beyond is left out."""


def sarif(lines: Iterable[bytes]) -> str:
    """The violations among these lines, as one SARIF run.

    Raises:
        ValueError: when a line is not of the log, or the package that writes SARIF is missing; says what to do.
    """
    try:
        from sarif_pydantic import Level as Severity
        from sarif_pydantic import (
            Location,
            LogicalLocation,
            Message,
            ReportingDescriptor,
            Result,
            Run,
            Sarif,
            Tool,
            ToolDriver,
        )
    except ModuleNotFoundError:
        raise ValueError("needs a package more: pip install 'mitmproxy-mcp-sessions[sarif]'") from None
    severity = {Level.MUST: Severity.ERROR, Level.SHOULD: Severity.WARNING, Level.PRACTICE: Severity.NOTE}

    def described(rule: Rule) -> ReportingDescriptor:
        return ReportingDescriptor(
            id=rule.id,
            name=rule.name,
            short_description=Message(text=rule.summary),
            full_description=Message(text=rule.why.strip()),
            help_uri=rule.address() or None,
        )

    def result(violation: Violation) -> Result:
        return Result(
            rule_id=violation.rule,
            level=severity[Level(violation.level)],
            message=Message(text=violation.said()),
            locations=[Location(logical_locations=[LogicalLocation(name=violation.endpoint, kind="resource")])],
        )

    violations = list(_violations(lines))
    broken = sorted({violation.rule for violation in violations})
    driver = ToolDriver(
        name="mitmproxy-mcp-sessions",
        version=_version(),
        rules=[described(catalogue()[rule_id]) for rule_id in broken if rule_id in catalogue()],
    )
    run = Run(tool=Tool(driver=driver), results=[result(violation) for violation in violations])
    text: str = Sarif(runs=[run]).model_dump_json(by_alias=True, exclude_none=True, indent=2)
    return text


def _violations(lines: Iterable[bytes]) -> Iterable[Violation]:
    found = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = LINE.validate_json(line)
        except ValidationError as e:
            raise ValueError(f"line {number} is not of mcp_log: {e.errors()[0]['msg']}") from None
        if isinstance(record, Violation) and found < LIMIT:
            found += 1
            yield record


def _version() -> str | None:
    try:
        return version("mitmproxy-mcp-sessions")
    except PackageNotFoundError:
        return None
