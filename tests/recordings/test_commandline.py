"""Commands on files that are no recordings, or damaged ones: refused in a line, whatever stands in them."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy.io import tnetstring

from harness.environments import REPOSITORY
from mcp_sessions.__main__ import main

RECORDING = REPOSITORY / "tests" / "corpus" / "python1.mitm"


@cache
def whole() -> bytes:
    return RECORDING.read_bytes()


def ran(command: str, content: bytes) -> tuple[int, str, str]:
    said, errors = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.write_bytes(content)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            status = main([command, str(file)])
    return status, said.getvalue(), errors.getvalue()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["report", "sarif"]), st.binary(max_size=300))
def test_anything_at_all_is_refused_in_a_line(command: str, content: bytes) -> None:
    status, said, errors = ran(command, content)
    if status:
        assert (status, said) == (2, "")
        assert errors.startswith("Error: ")
        assert errors.count("\n") == 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=6)), max_size=8),
    st.floats(0.05, 1),
)
def test_a_damaged_recording_is_read_or_refused(damages: list[tuple[float, bytes]], length: float) -> None:
    content = bytearray(whole())
    for place, damage in damages:
        at = int(place * len(content))
        content[at : at + len(damage)] = damage
    status, _, errors = ran("report", bytes(content[: int(length * len(content))]))
    assert status in (0, 2), errors


def states() -> list[Any]:
    """The flows as mitmproxy writes them down."""
    file, found = io.BytesIO(whole()), []
    while file.tell() < len(whole()):
        found.append(tnetstring.load(file))
    return found


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Everything that stands in something else: that, and by what it is found there."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 2**70, 1e308, float("nan"), b"", b"\xff", "", "x", [], [None], {}, {"a": {}}]
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_recording_with_odd_values_is_read_or_refused(data: st.DataObject) -> None:
    flows = states()[:6]
    found = list(places(flows))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(found) - 1), VALUES), min_size=1, max_size=3)):
        holder, key = found[at]
        holder[key] = value
    content = b"".join(map(tnetstring.dumps, flows))
    status, _, errors = ran("report", content)
    assert status in (0, 2), errors


@pytest.mark.parametrize("content", [b"", b"0:,", b"999999999999999:", b"4:true!", b"0:}", b"[" * 10_000, b"\xff" * 50])
def test_what_is_no_recording_is_refused(content: bytes) -> None:
    status, said, errors = ran("report", content)
    assert (status, said) == (2, "")
    assert errors.startswith("Error: ")
