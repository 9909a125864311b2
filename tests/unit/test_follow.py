"""Runs and batches at which others are at work: what is seen of them is right, and nothing of theirs is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dockwright import agent
from dockwright.batch.folder import Flags, Order, save_order
from dockwright.batch.looking import Looking
from dockwright.batch.results import ResultLine
from dockwright.errors import ConfigError
from dockwright.events import (
    Answered,
    Event,
    Noted,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    Usage,
    to_line,
)
from dockwright.journal import Journal, Tail, is_written
from dockwright.redaction import Redaction
from dockwright.result import RunResult
from dockwright.tasks import ListedTask
from dockwright.ui.follow import Followed
from dockwright.ui.html.batch import pages

STARTED = RunStarted(run="r1", version="1", task="Do it.", agent="a", agent_sha256="", model="m", repo="/r")


def write(folder: Path, *events: Event) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / "journal.jsonl").open("ab") as file:
        file.writelines(map(to_line, events))


def test_a_tail_tells_each_event_once_and_none_before_it_is_whole(tmp_path: Path) -> None:
    tail, path = Tail(tmp_path / "journal.jsonl"), tmp_path / "journal.jsonl"
    first, second = Noted(text="first"), Noted(text="second")
    write(tmp_path, first)
    assert (list(tail.new()), list(tail.new()), tail.files) == ([first], [], 1)
    line = to_line(second)
    with path.open("ab", buffering=0) as file:
        file.write(line[:20])
        assert list(tail.new()) == []
        file.write(line[20:])
        assert list(tail.new()) == [second]
    path.rename(tmp_path / "aside")
    write(tmp_path, second)
    assert (list(tail.new()), tail.files) == ([second], 2)


async def test_a_run_is_running_as_long_as_its_journal_is_written(tmp_path: Path) -> None:
    folder, path = tmp_path / "a", tmp_path / "a" / "journal.jsonl"
    followed = Followed(folder)
    assert (followed.entry("a").state, is_written(path)) == ("not begun", False)
    folder.mkdir()
    with Journal(path) as journal:
        assert followed.entry("a").state == "running"
        await journal.append(STARTED)
        entry = followed.entry("a")
        assert (entry.state, entry.result.task) == ("running", "Do it.")
        assert followed.entry("a") == entry
    assert (followed.entry("a").state, is_written(path)) == ("interrupted", False)
    write(folder, RunFinished(status="verified", exit_code=0))
    assert followed.entry("a").state == "verified"
    folder.rename(tmp_path / "a~1")
    write(folder, STARTED.model_copy(update={"run": "r2"}))
    assert (followed.entry("a").state, followed.entry("a").result.run) == ("interrupted", "r2")


def test_a_journal_that_cannot_be_read_spoils_one_line_only(tmp_path: Path) -> None:
    write(tmp_path / "a", STARTED)
    with (tmp_path / "a" / "journal.jsonl").open("ab") as file:
        file.write(b'{"type": "of the future"}\n')
    entry = Followed(tmp_path / "a").entry("a")
    assert (entry.state, entry.result.run) == ("interrupted", "r1")
    assert "line 2 is not an event of this version of dockwright" in entry.result.reason
    assert "The journal cannot be read" in "".join(pages("batch", [entry]))


def test_a_batch_is_looked_at_without_a_change_to_its_folder(tmp_path: Path) -> None:
    persona = tmp_path / "a.md"
    persona.write_text("---\nname: a\ndescription: d\n---\nWork.\n")
    tasks = tuple(
        ListedTask(id=id_, line=1, prompt="Do it.", repo=tmp_path, agent=agent.load(persona), tags=(f"of-{id_}",))
        for id_ in ("told", "again", "new")
    )
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ConfigError, match="is not the folder of a batch"):
        Looking(out)()
    save_order(out, Order(tasks, Flags()), Redaction())
    failed = RunResult(status="config_error", exit_code=2, reason="there is no such image")
    lines = [ResultLine.of(task, "r1", 1, failed).model_dump_json() for task in tasks[:2]]
    (out / "results.jsonl").write_text("\n".join(lines) + '\n{"id": "torn')
    write(out / "again", STARTED.model_copy(update={"run": "r2"}), RunFinished(status="done", exit_code=0))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    look = Looking(out)

    assert [(entry.name, entry.state, entry.tags) for entry in look()] == [
        ("told", "config_error", ("of-told",)),
        ("again", "done", ("of-again",)),
        ("new", "not begun", ("of-new",)),
    ]
    assert look() == look()
    assert look()[0].result.reason == "there is no such image"
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    with (out / "results.jsonl").open("a") as file:
        file.write(f'", "torn": 1}}\n{json.dumps({**json.loads(lines[0]), "id": "new", "status": "refused"})}\n')
    with pytest.raises(ConfigError, match=r"results\.jsonl:3: this is no line of results"):
        look()


def test_a_long_run_is_shown_from_both_ends_and_says_where_the_whole_is(tmp_path: Path) -> None:
    answer = Answered(
        turn=1, id="m", model="m", content=({"type": "text", "text": "Said."},), stop_reason="tool_use", usage=Usage(),
        cost=0, seconds=1,
    )  # fmt: skip
    events: list[Event] = [STARTED.model_copy(update={"task": "t" * 100_000})]
    for turn in range(1, 301):
        events += (
            answer.model_copy(update={"turn": turn}),
            ToolStarted(turn=turn, id=str(turn), name="Bash", input={"command": f"step {turn}"}),
            ToolFinished(turn=turn, id=str(turn), name="Bash", content="o" * 20_000, is_error=False, seconds=1),
        )
    write(tmp_path / "long", *events)
    (tmp_path / "long" / "changes.patch").write_text("diff --git a/x b/x\n@@ -0,0 +1 @@\n" + "+line\n" * 100_000)
    entry = Followed(tmp_path / "long").entry("long")

    pieces = list(pages("batch", [entry]))

    page = "".join(pieces)
    assert (len(page) < 500_000, max(map(len, pieces)) < 200_000) == (True, True)
    assert ("step 1<" in page, "step 150<" in page, "step 300<" in page) == (True, False, True)
    assert f"left out here; the whole is in <code>{entry.journal}</code>" in page
    assert "The rest of the change is in the patch file." in page
