"""A session whose journal was cut off after any event goes on from there: what was done is not done again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.unit.session_bench import bench, do, look

from dockwright.events import Answered, ToolFinished, ToolStarted, TurnStarted, from_line
from dockwright.history import UNFINISHED
from dockwright.testing.scripted_api import Script, Turn, text

SCRIPT: Script = [Turn([look("a"), look("b")]), Turn([text("Now."), do("c"), do("d")]), Turn([do("e")]), "Done."]
ALL = ["a", "b", "c", "d", "e"]


async def whole(folder: Path) -> list[bytes]:
    async with bench(folder, SCRIPT) as b:
        await b.session.ask("Do it.")
    return b.path.read_bytes().splitlines(keepends=True)


async def test_cut_off_after_any_event_it_ends_with_the_same_calls_made_once(tmp_path: Path) -> None:
    lines = await whole(tmp_path)
    started = next(number for number, line in enumerate(lines, 1) if b'"turn.started"' in line)
    for cut in range(started, len(lines) + 1):
        before = [from_line(line) for line in lines[:cut]]
        (tmp_path / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
        answers = [event for event in before if isinstance(event, Answered)]
        halfway = {event.id for event in before if isinstance(event, ToolStarted)} - {
            event.id for event in before if isinstance(event, ToolFinished)
        }
        if before and before[-1].type == "answer.started":
            continue  # of such an answer the rest is lost, and a model that follows a script does not make up for it
        async with bench(tmp_path, SCRIPT, resumed=True) as b:
            last = await b.session.ask(None)
            assert last.content == (text("Done."),)
            assert len(b.api.requests) == 4 - len(answers)
            made = Counter(event.id for event in b.of(ToolStarted))
            finished = {event.id for event in b.of(ToolFinished)}
        if not halfway:
            assert (sorted(made), set(made.values()), finished) == (ALL, {1}, set(ALL))
        assert set(made.values()) == {1}


async def test_a_call_that_was_stopped_halfway_is_told_and_those_after_it_are_not_run(tmp_path: Path) -> None:
    lines = await whole(tmp_path)
    cut = next(n for n, line in enumerate(lines, 1) if b'"tool.started"' in line and b'"id":"c"' in line)
    answered = next(line for line in lines if b'"answered"' in line and b'"Now."' in line)
    kept = [line for line in lines[:cut] if line != answered]
    (tmp_path / "journal.jsonl").write_bytes(b"".join([*kept, answered]))
    async with bench(tmp_path, SCRIPT, resumed=True) as b:
        await b.session.ask(None)
        told = b.api.requests[0].body["messages"][-1]["content"]
    assert told[0]["content"] == UNFINISHED
    assert told[1]["content"].startswith("Not run")
    assert [event.id for event in b.of(ToolStarted)] == ["a", "b", "c", "e"]


@pytest.mark.parametrize("answered", [1, 2])
async def test_a_turn_that_was_never_answered_is_asked_for_again(tmp_path: Path, answered: int) -> None:
    lines = await whole(tmp_path)
    cuts = [number for number, line in enumerate(lines, 1) if b'"turn.started"' in line]
    (tmp_path / "journal.jsonl").write_bytes(b"".join(lines[: cuts[answered]]))
    async with bench(tmp_path, SCRIPT, resumed=True) as b:
        before = len(b.of(TurnStarted))
        await b.session.ask(None)
        assert len(b.of(TurnStarted)) - before == 4 - answered
