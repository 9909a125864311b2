"""What came of each task: a line of results.jsonl for each attempt that ended, and what others make of these lines.

The last line of a task counts. `docs/results.schema.json` is made of ResultLine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from dockwright.errors import ConfigError, ExitCode
from dockwright.events import CheckFinished, JsonObject, Status, Usage
from dockwright.result import RunResult
from dockwright.tasks import ListedTask
from dockwright.tasks.fields import RESULTS

AGAIN: frozenset[Status] = frozenset({"interrupted", "sandbox_lost", "model_error", "config_error", "bug"})
WORST_FIRST = (
    ExitCode.INTERRUPTED, ExitCode.BUG, ExitCode.CONFIG, ExitCode.SANDBOX, ExitCode.MODEL, ExitCode.LIMIT,
    ExitCode.REFUSED, ExitCode.CHECKS_FAILED, ExitCode.UNVERIFIED,
)  # fmt: skip
CLASSES: dict[str, tuple[Status, ...]] = {  # what --only takes
    "failed": ("checks_failed", "unverified"),
    "infra": ("sandbox_lost", "model_error", "bug"),
    **{status: (status,) for status in get_args(Status)},
}
PREDICTIONS = "predictions.jsonl"


class CheckLine(BaseModel):
    """A check in the clean sandbox. `exit_code` is null where it ran into its timeout."""

    model_config = ConfigDict(frozen=True)
    command: str
    exit_code: int | None
    seconds: float


class ResultLine(BaseModel):
    """One attempt at a task that ended, as a line of results.jsonl.

    `run` is the attempt's own id, `attempt` its number in that process, `resumed` how often its run was taken up
    again, `node` which of several engines it was on. `branch` and `commit` are in the task's repository, `patch` is a
    path from the folder of results.jsonl; null where there is none. `cost` is in US dollars, null where a price is
    unknown. `seconds` is wall clock from `started`. `tags` and `metadata` are the task's own. `task_sha256` changes
    with what was asked.
    """

    model_config = ConfigDict(frozen=True)
    id: str
    run: str
    attempt: int = 1
    resumed: int = 0
    node: str | None = None
    status: Status
    exit_code: int
    reason: str = ""
    agent: str
    model: str
    repo: str
    branch: str | None = None
    commit: str | None = None
    patch: str | None = None
    checks: tuple[CheckLine, ...] = ()
    turns: int
    cost: float | None
    usage: Usage
    started: datetime | None
    seconds: float
    tags: tuple[str, ...] = ()
    metadata: JsonObject = {}
    task_sha256: str

    @classmethod
    def of(cls, task: ListedTask, run_id: str, attempt: int, result: RunResult, node: str = "") -> ResultLine:
        copied = {name: getattr(result, name) for name in _COPIED}
        return cls(
            id=task.id, run=run_id, attempt=attempt, node=node or None, agent=task.agent.name, repo=str(task.repo),
            **copied, patch=f"{task.id}/{Path(result.patch).name}" if result.patch else None,
            checks=tuple(CheckLine.model_validate(check, from_attributes=True) for check in result.checks),
            tags=task.tags, metadata=task.metadata, task_sha256=task.sha256,
        )  # fmt: skip

    @property
    def result(self) -> RunResult:
        """As far as the line tells, under the name of the task."""
        copied = {name: getattr(self, name) for name in _COPIED}
        checks = tuple(CheckFinished(output="", **check.model_dump()) for check in self.checks)
        return RunResult(run=self.id, agent=self.agent, repo=self.repo, patch=self.patch, checks=checks, **copied)


_COPIED = (
    "status", "exit_code", "reason", "model", "branch", "commit", "turns", "cost", "usage", "started", "seconds",
    "resumed",
)  # fmt: skip


class Results:
    """The file of results in a folder. `last` is the last line of each task, by id."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RESULTS
        whole = _whole_lines(self._path)
        self.last = _last_of(whole, self._path)
        if self._path.exists() and self._path.stat().st_size > len(whole):
            os.truncate(self._path, len(whole))  # what a crash left of a last line

    def add(self, line: ResultLine) -> None:
        with self._path.open("ab") as file:
            file.write(_to_line(line))
            file.flush()
            os.fsync(file.fileno())
        self.last[line.id] = line

    def put_in_order(self, ids: Iterable[str]) -> tuple[ResultLine, ...]:
        """Leave one line for each task, in the given order, those of other tasks out."""
        lines = tuple(self.last[id_] for id_ in ids if id_ in self.last)
        new = self._path.with_name(f".{RESULTS}.new")
        with new.open("wb") as file:
            file.writelines(_to_line(line) for line in lines)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        return lines


def worst(exit_codes: Iterable[int]) -> ExitCode:
    """The one that the whole batch ends with."""
    codes = set(exit_codes)
    return next((code for code in WORST_FIRST if code in codes), ExitCode.OK)


def schema() -> str:
    """The JSON schema of a line of results.jsonl."""
    return json.dumps(ResultLine.model_json_schema(), indent=2) + "\n"


def write_predictions(out: Path, lines: Iterable[ResultLine]) -> None:
    """`predictions.jsonl` as SWE-bench takes it; a task without a patch has an empty one."""
    with (out / PREDICTIONS).open("w", encoding="utf-8") as file:
        for line in lines:
            patch = (out / line.patch).read_text("utf-8", "surrogateescape") if line.patch else ""
            told = {"instance_id": line.id, "model_name_or_path": f"dockwright/{line.model}", "model_patch": patch}
            file.write(f"{json.dumps(told)}\n")


def last_lines(folder: Path) -> dict[str, ResultLine]:
    """The last line of each task, by id. A last line that is not whole yet is none."""
    path = folder / RESULTS
    return _last_of(_whole_lines(path), path)


def _whole_lines(path: Path) -> bytes:
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def _last_of(lines: bytes, path: Path) -> dict[str, ResultLine]:
    last = {}
    for number, line in enumerate(lines.splitlines(), start=1):
        try:
            read = ResultLine.model_validate_json(line)
        except ValidationError as error:
            raise ConfigError(
                f"{path}:{number}: this is no line of results: {error.errors()[0]['msg']}. Mend it, or choose another "
                "--out. Nothing was started."
            ) from error
        last[read.id] = read
    return last


def _to_line(line: ResultLine) -> bytes:
    return line.model_dump_json(ensure_ascii=True).encode("ascii") + b"\n"
