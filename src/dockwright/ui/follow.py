"""Runs at which other processes are at work, followed by their journals. A look at one reads only what is new of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dockwright.events import Status
from dockwright.journal import JournalError, Tail, is_written
from dockwright.result import RunResult

JOURNAL = "journal.jsonl"
State = Status | Literal["running", "not begun"]


@dataclass(frozen=True)
class Entry:
    """A run as it stands, under the name that it has in a list. `result` is all that is known of it."""

    name: str
    folder: Path
    state: State
    result: RunResult
    tags: tuple[str, ...] = ()

    @property
    def journal(self) -> Path:
        return self.folder / JOURNAL


class Followed:
    """A folder in which a run is, was or will be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tail = Tail(folder / JOURNAL)
        self._result = RunResult()
        self._file = 0
        self._fault = ""

    def entry(self, name: str, tags: tuple[str, ...] = (), told: RunResult | None = None) -> Entry:
        """`told` is what somebody wrote down about its end, for a run that ended without a word in its journal."""
        self._catch_up()
        running = not self._result.has_ended and is_written(self.folder / JOURNAL)
        if not running:
            self._catch_up()  # with what it said before it let go
        result = self._result
        state: State = "running" if running else result.status
        if not running and not result.has_ended:
            if told and result.run in ("", told.run):
                state, result = told.status, told
            elif self._file == 0:
                state = "not begun"
        if self._fault:
            result = result.model_copy(update={"reason": self._fault})
        return Entry(name, self.folder, state, result, tags)

    def _catch_up(self) -> None:
        if self._fault:
            return
        try:
            for event in self._tail.new():
                if self._tail.files != self._file:
                    self._file, self._result = self._tail.files, RunResult()
                self._result = self._result.after(event)
        except JournalError as error:
            self._fault = str(error)
        except OSError:  # not there yet, or moved aside for the next attempt
            pass
        self._file = self._tail.files
