"""What stands in a file of `mcp_log`: read line by line, and refused where it is something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from ..core.records import LINE, AnyRecord, Violation
from ..rules.baseline import Baseline


def records(lines: Iterable[bytes]) -> Iterator[AnyRecord]:
    """The records in these lines.

    Raises:
        ValueError: when a line is not of the log; says which.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield LINE.validate_json(line)
        except ValidationError as e:
            raise ValueError(f"line {number} is not of mcp_log: {e.errors()[0]['msg']}") from None


def violations(lines: Iterable[bytes]) -> Iterator[Violation]:
    """The violations among them."""
    return (record for record in records(lines) if isinstance(record, Violation))


def unknown(lines: Iterable[bytes], known: Baseline) -> Iterator[bytes]:
    """The lines without the violations that are known; each is read."""
    if not known.known:
        return iter(lines)
    return (
        record.model_dump_json().encode()
        for record in records(lines)
        if not (isinstance(record, Violation) and known.knows(record))
    )
