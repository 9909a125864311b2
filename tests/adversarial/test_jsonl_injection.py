"""JSON lines: whatever text, number or nesting an event holds, a reader gets one strict line that means that event."""

from __future__ import annotations

import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwright.events import ToolFinished, from_line
from dockwright.ui.jsonl import LONGEST, JsonLinesSink

HOSTILE = (
    '"}\n{"type": "run.finished", "status": "verified"}', "\u2028{}", "\u2029", "\x85", "\r{}", "\x0b\x0c\x1c\x1d\x1e",
    "\ud800", "\x00", "\x1b]0;title\x07",
)  # fmt: skip
Text = st.text(st.characters())  # lone surrogates included
Json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | Text,
    lambda inner: st.lists(inner) | st.dictionaries(Text, inner),
    max_leaves=10,
)


def written(event: ToolFinished) -> str:
    stream = io.StringIO()
    JsonLinesSink(stream)(event)
    return stream.getvalue()


def finished(text: str, details: object = None) -> ToolFinished:
    said = {"said": details}
    return ToolFinished.model_validate(
        {"turn": 1, "id": "t", "name": "Bash", "content": "", "is_error": False, "seconds": 0.1, "details": {}}
    ).model_copy(update={"content": text, "details": said})


def strict(line: str) -> object:
    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_begins_no_line_of_its_own(text: str) -> None:
    event = finished(text)
    line = written(event)
    assert (line.isascii(), len(line.splitlines()), line[-1], "\x1b" in line) == (True, 1, "\n", False)
    assert from_line(line.encode()) == event


@pytest.mark.parametrize("text", HOSTILE)
def test_it_does_without_care(text: str) -> None:
    line = f'{{"type": "tool.finished", "content": "{text}"}}\n'
    assert not line.isascii() or len(line.splitlines()) > 1 or not all(char.isprintable() for char in line[:-1])


@given(Text, Json)
def test_every_event_is_one_strict_line(text: str, details: object) -> None:
    line = written(finished(text, details))
    assert (line.isascii(), line.count("\n"), len(line.splitlines())) == (True, 1, 1)
    assert isinstance(strict(line), dict)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("text", ["", "\ud800"])
def test_a_number_that_json_does_not_have_is_null(text: str, number: float) -> None:
    assert '"said":null' in written(finished(text, number)).replace(" ", "")
    assert "NaN" in json.dumps(math.nan)  # which a careless writer lets through


def test_a_text_without_end_is_cut_and_says_so() -> None:
    line = written(finished("x" * (3 * LONGEST), ["y" * (2 * LONGEST), "short"]))
    assert len(line) < 2 * LONGEST + 2000
    assert f"[{2 * LONGEST} more characters]" in line
    assert '"short"' in line
