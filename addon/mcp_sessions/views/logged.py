"""What stands in a file of `mcp_log`: read line by line, and refused where it is something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from ..core.records import LINE, AnyRecord, Violation
from ..rules.baseline import Baseline


def numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, AnyRecord]]:
    """The records in these lines, each with the number of its line.

    Raises:
        ValueError: when a line is not of the log; says which.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, LINE.validate_json(line)
        except ValidationError as e:
            raise ValueError(f"line {number} is not of mcp_log: {e.errors()[0]['msg']}") from None


def records(lines: Iterable[bytes]) -> Iterator[AnyRecord]:
    """The records alone."""
    return (record for _, record in numbered(lines))


def violations(lines: Iterable[bytes]) -> Iterator[Violation]:
    """The violations among them."""
    return (record for record in records(lines) if isinstance(record, Violation))


def unknown(lines: Iterable[bytes], known: Baseline) -> Iterator[tuple[int, Violation]]:
    """The violations that are not known, each with the number of its line; all are read."""
    for number, record in numbered(lines):
        if isinstance(record, Violation) and not known.knows(record):
            yield number, record
