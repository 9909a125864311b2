"""What stands in the folder of a task: a run of an earlier go, which ended, or can be gone on with, or neither.

Its order says by a digest whether it is a run of this very task, as it is now. Nothing is built on what a bug left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dockwright.errors import ConfigError
from dockwright.events import Answered, Event, Resumed, RunStarted, SandboxStarted, Status
from dockwright.journal import JournalError, read
from dockwright.result import RunResult
from dockwright.run.order import load_order
from dockwright.tasks import ListedTask

_GOES_ON: frozenset[Status] = frozenset({"interrupted", "sandbox_lost", "model_error", "config_error", "limit"})


@dataclass(frozen=True)
class Begun:
    """A run of a task, and what came of it so far."""

    run: str
    result: RunResult
    goes_on: bool


def begun(task: ListedTask, folder: Path) -> Begun | None:
    """The run of this very task in its folder, where there is one; `task` is without secrets."""
    try:
        order, _ = load_order(folder)
        if order.asked != task.sha256:
            return None
        events = tuple(read(folder / "journal.jsonl"))
    except (ConfigError, JournalError, OSError):
        return None
    result = RunResult.from_events(events)
    goes_on = result.status in _GOES_ON and not (result.status == "sandbox_lost" and _lost_again(events))
    return Begun(order.run, result, goes_on)


def half_done(task: ListedTask, folder: Path) -> Begun | None:
    """The same, where it can be gone on with."""
    run = begun(task, folder)
    return run if run and run.goes_on else None


def _lost_again(events: Sequence[Event]) -> bool:
    """Whether the sandbox was lost, taken up in a new one, and lost again before the next answer. What was kept may
    be the cause then."""
    started = False
    for event in reversed(events):
        match event:
            case Answered():
                return False
            case SandboxStarted(purpose="work"):
                started = True
            case Resumed():
                return started
    return False


def given_up(tasks: Iterable[ListedTask], out: Path) -> set[str]:
    """The runs in the folders of tasks that nobody goes on with."""
    runs = set()
    for task in tasks:
        if half_done(task, out / task.id):
            continue
        with suppress(FileNotFoundError, NotADirectoryError, JournalError):
            events = read(out / task.id / "journal.jsonl")
            runs |= {event.run for event in events if isinstance(event, RunStarted)}
    return runs
