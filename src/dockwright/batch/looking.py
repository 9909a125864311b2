"""A batch from outside, whether it is at work or not. Nothing in its folder is changed."""

from __future__ import annotations

from pathlib import Path

from dockwright.batch.folder import SAVED, load_order
from dockwright.batch.results import last_lines
from dockwright.result import RunResult
from dockwright.tasks import ListedTask
from dockwright.tasks.fields import RESULTS
from dockwright.ui.follow import Entry, Followed


class Looking:
    """Called, it returns the tasks as they stand, in the order of the list. Raises ConfigError where `out` is the
    folder of no batch, or holds what this version does not understand."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._tasks: tuple[ListedTask, ...] = ()
        self._told: dict[str, RunResult] = {}
        self._followed: dict[str, Followed] = {}
        self._stamps: dict[str, tuple[int, int] | None] = {}

    def __call__(self) -> tuple[Entry, ...]:
        if self._is_new(SAVED):
            self._tasks = load_order(self._out).tasks
        if self._is_new(RESULTS):
            lines = last_lines(self._out).values()
            self._told = {line.id: line.result.model_copy(update={"run": line.run}) for line in lines}
        return tuple(self._entry(task) for task in self._tasks)

    def _entry(self, task: ListedTask) -> Entry:
        followed = self._followed.setdefault(task.id, Followed(self._out / task.id))
        return followed.entry(task.id, task.tags, self._told.get(task.id))

    def _is_new(self, name: str) -> bool:
        """Whether a file is another than at the last look."""
        try:
            found = (self._out / name).stat()
            stamp = (found.st_mtime_ns, found.st_size)
        except OSError:
            stamp = None
        before = self._stamps.get(name, (0, 0))
        self._stamps[name] = stamp
        return stamp != before
