import io
import os

import pytest

from dockwright.events import Event, TextDelta, ToolFinished, from_line
from dockwright.ui.jsonl import JsonLinesSink

EVENTS: list[Event] = [
    TextDelta(kind="text", text="caf\xe9 \u202e \ud800\n"),
    ToolFinished(turn=1, id="toolu_1", name="Bash", content="\x1b[2J", is_error=False, seconds=0.1),
]


def test_each_event_is_one_line_of_ascii_that_reads_back_as_the_event() -> None:
    stream = io.StringIO()
    sink = JsonLinesSink(stream)
    for event in EVENTS:
        sink(event)
    lines = stream.getvalue().encode("ascii").splitlines()
    assert [from_line(line) for line in lines] == EVENTS
    assert b"\x1b" not in stream.getvalue().encode("ascii")


def test_a_line_is_there_as_soon_as_its_event() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as ours, os.fdopen(writing, "w") as theirs:
        JsonLinesSink(theirs)(EVENTS[0])
        assert from_line(ours.readline()) == EVENTS[0]


def test_a_reader_that_goes_away_does_not_end_the_run() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    theirs = os.fdopen(writing, "w")
    sink = JsonLinesSink(theirs)
    for event in EVENTS:
        sink(event)
    with pytest.raises(BrokenPipeError):
        theirs.close()
