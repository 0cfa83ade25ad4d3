"""Text of JSON values: nothing is lost on the way there and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from mcp_sessions.views.yamlish import WIDTH, dump

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
    | st.text("ab \n\t:#-'\"\\|>é😀\u0085\u2028", max_size=400)
    | st.sampled_from(["true", "No", "~", "2025-11-25", "0x10", "1e5", "- a", "a: b", "a #b", "---", "...", "=", "<<"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=25,
)


def load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@given(values)
@example("word " * 60)
@example({"a": "x" * 350 + " " * 250})
@example([[["nested"], {}], [], {"k": [{"deep": []}]}])
@example({"text": "one\ntwo\n  three\n"})
@example({"": "", "yes": "no", "null": None})
@example(1e16)
@example(-0.0)
def test_any_value_comes_back_the_same(value: object) -> None:
    again = load(dump(value))
    assert again == value
    assert repr(again) == repr(value)


def test_deep_nesting_is_drawn_and_comes_back() -> None:
    value: object = "bottom"
    for _ in range(90):
        value = [value]
    assert load(dump(value)) == value


def test_long_strings_are_folded_and_lines_of_text_stand_as_lines() -> None:
    text = dump({"long": "word " * 100, "lines": "first\nsecond"})
    assert max(map(len, text.splitlines())) <= WIDTH + 12
    assert "lines: |-\n  first\n  second\n" in text


def test_a_cut_string_says_how_long_it_is() -> None:
    text = dump({"data": "A" * 5000}, cut=1000)
    assert "5,000 characters, the first 1,000" in text
    assert text.count("A") == 1000


@pytest.mark.parametrize("hostile", ["\x1b[31mred", "a\u202eb", "\x9b1m"])
def test_nothing_that_moves_a_cursor_or_turns_text_round_is_shown_as_it_is(hostile: str) -> None:
    assert hostile not in dump({"k": hostile, hostile: 1})
