"""Many tasks, several at once, in one folder that tells at any moment how far they are.

`results.jsonl` gets a line as each attempt ends. A task is finished when its last line says so and its folder is still
there; whatever else is in the list is done when the batch is started again.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from dockwright.config import Config
from dockwright.errors import ConfigError, ExitCode
from dockwright.events import CheckFinished, JsonObject, RunStarted, Status, Usage
from dockwright.journal import JournalError, read
from dockwright.result import RunResult, exit_code_of
from dockwright.run import check, run
from dockwright.run.bench import Host
from dockwright.run.work import Task
from dockwright.tasks import ListedTask
from dockwright.tasks.fields import RESULTS
from dockwright.ui.board import Board
from dockwright.ui.table import summary_table

AGAIN: frozenset[Status] = frozenset({"interrupted", "sandbox_lost", "model_error", "config_error", "bug"})
WORST_FIRST = (
    ExitCode.INTERRUPTED, ExitCode.BUG, ExitCode.CONFIG, ExitCode.SANDBOX, ExitCode.MODEL, ExitCode.LIMIT,
    ExitCode.REFUSED, ExitCode.CHECKS_FAILED, ExitCode.UNVERIFIED,
)  # fmt: skip
_NAMED = 10


class CheckLine(BaseModel):
    """A check in the clean sandbox. `exit_code` is null where it ran into its timeout."""

    model_config = ConfigDict(frozen=True)
    command: str
    exit_code: int | None
    seconds: float


class ResultLine(BaseModel):
    """One attempt at a task that ended, as a line of results.jsonl.

    `run` is the attempt's own id. `branch` and `commit` are in the task's repository, `patch` is a path from the folder
    of results.jsonl; null where there is none. `cost` is in US dollars, null where a price is unknown. `seconds` is
    wall clock from `started`. `tags` and `metadata` are the task's own. `task_sha256` changes with what was asked.
    """

    model_config = ConfigDict(frozen=True)
    id: str
    run: str
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
    def of(cls, task: ListedTask, run_id: str, result: RunResult) -> ResultLine:
        copied = {name: getattr(result, name) for name in _COPIED}
        return cls(
            id=task.id, run=run_id, agent=task.agent.name, repo=str(task.repo), **copied,
            patch=f"{task.id}/{Path(result.patch).name}" if result.patch else None,
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
)  # fmt: skip


class Results:
    """The file of results in a folder. `last` is the last line of each task, by id."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RESULTS
        self.last = {line.id: line for line in _read_lines(self._path)}

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


async def batch(
    listed: Sequence[ListedTask], config: Config, host: Host, out: Path, jobs: int, console: Console
) -> ExitCode:
    """Do what is not finished yet, `jobs` tasks at once, each in a folder of its own in `out`. Cancelled once, it hands
    over what the running tasks have so far; twice, it stops at once. Returns the worst exit code of all tasks.

    Raises ConfigError, before anything starts, where `out` holds something else than the results of these tasks, or
    where one of them cannot be begun.
    """
    with _alone(out):
        results = Results(out)
        left = _left(listed, results, out)
        _check(left, config)
        before = [results.last[task.id].status for task in listed if task not in left]
        with Board(console, len(listed), before) as board:
            board.say(f"{len(listed)} tasks, {jobs} at once" + (f", {len(before)} finished before" if before else ""))

            async def attempt(task: ListedTask) -> None:
                await _attempt(task, config, host, out, results, board)

            interrupted = await _side_by_side(deque(left), jobs, attempt, board)
        lines = results.put_in_order(task.id for task in listed)
        board.say(summary_table([line.result for line in lines]))
        board.say(f"\n{out / RESULTS}")
        if unfinished := len(listed) - sum(line.status not in AGAIN for line in lines):
            board.say(f"{unfinished} of {len(listed)} are not finished. The same command goes on with them.")
    return ExitCode.INTERRUPTED if interrupted else worst(line.exit_code for line in lines)


def worst(exit_codes: Iterable[int]) -> ExitCode:
    """The one that the whole batch ends with."""
    codes = set(exit_codes)
    return next((code for code in WORST_FIRST if code in codes), ExitCode.OK)


async def _side_by_side(
    waiting: deque[ListedTask], jobs: int, attempt: Callable[[ListedTask], Awaitable[None]], board: Board
) -> bool:
    """Attempt all tasks; whether that was interrupted. The first error of an attempt stops the others and is raised."""

    async def work() -> None:
        while waiting:
            await attempt(waiting.popleft())

    workers = [asyncio.create_task(work()) for _ in range(min(jobs, len(waiting)))]
    working = set(workers)
    interrupted = False
    while working:
        try:
            _, working = await asyncio.wait(working, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            if not interrupted:
                board.say("Interrupted. Running tasks hand over what they have; once more to stop at once.")
            interrupted = True
        waiting.clear()
        for worker in working:
            worker.cancel()
    for worker in workers:
        if not worker.cancelled():
            worker.result()
    return interrupted


async def _attempt(listed: ListedTask, config: Config, host: Host, out: Path, results: Results, board: Board) -> None:
    folder = out / listed.id
    _move_aside(folder)
    task = _task(listed)
    row = board.add(listed.id)
    try:
        result = await run(task, _configured(listed, config), host, folder, (row.take,))
    except asyncio.CancelledError:  # asked twice to stop
        result = row.result
    except Exception as error:  # noqa: BLE001 - a bug in one task is no reason to lose the others
        sys.stderr.write(host.redaction.text("".join(traceback.format_exception(error))))
        bug = {
            "status": "bug",
            "exit_code": exit_code_of("bug"),
            "reason": f"{type(error).__name__}: {host.redaction.text(str(error))}",
        }
        result = row.result.model_copy(update=bug)
    results.add(ResultLine.of(listed, task.run, result))
    board.end(row, result)


def _task(listed: ListedTask) -> Task:
    return Task(
        prompt=listed.prompt, repo=listed.repo, agent=listed.agent, model=listed.model, checks=listed.checks,
        deliver=listed.deliver,
    )  # fmt: skip


def _configured(task: ListedTask, config: Config) -> Config:
    """The configuration with what the task says on top."""
    network = task.net[0] if task.net in (("none",), ("public",)) else task.net
    sandbox = {"image": task.image, "network": network, "services": task.services, "setup": task.setup}
    limits = {"turns": task.turns, "money_usd": task.budget, "seconds": task.minutes and task.minutes * 60}
    said = [{key: value for key, value in part.items() if value is not None} for part in (sandbox, limits)]
    return config.model_copy(
        update={
            "sandbox": config.sandbox.model_copy(update=said[0]),
            "limits": config.limits.model_copy(update=said[1]),
        }
    )


# what was done before


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """The folder, made if it is not there, with other batches kept out until the process ends, however it does."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another batch is at work in {out}. Wait until it has ended, or choose another --out."
            ) from None
        yield


def _left(listed: Sequence[ListedTask], results: Results, out: Path) -> list[ListedTask]:
    """The tasks that are not finished. Raises ConfigError where what is in the folder does not belong to the list."""
    for task in listed:
        if not _is_finished(results.last.get(task.id), out) and (line := _unwritten(task, out / task.id)):
            results.add(line)
    tasks = {task.id: task for task in listed}
    finished = [line for line in results.last.values() if _is_finished(line, out)]
    if unknown := [line.id for line in finished if line.id not in tasks]:
        raise ConfigError(
            f"{out} holds results of tasks that are not in the list: {_some(unknown)}. Put them back into the list, "
            "remove their folders, or choose another --out. Nothing was started."
        )
    if changed := [line.id for line in finished if line.task_sha256 != tasks[line.id].sha256]:
        raise ConfigError(
            f"{out} holds results of tasks that were changed since: {_some(changed)}. Remove their folders to have "
            "them done anew, undo the change, or choose another --out. Nothing was started."
        )
    done = {line.id for line in finished}
    left = [task for task in listed if task.id not in done]
    if foreign := [task.id for task in left if not _is_replaceable(out / task.id)]:
        raise ConfigError(
            f"{out} holds something else under the names of tasks: {_some(foreign)}. Choose another --out. "
            "Nothing was started."
        )
    return left


def _check(left: Sequence[ListedTask], config: Config) -> None:
    """Raises ConfigError saying which tasks cannot be begun, each reason once."""
    refused: dict[str, list[str]] = {}
    for listed in left:
        try:
            check(_task(listed), _configured(listed, config))
        except ConfigError as error:
            refused.setdefault(str(error), []).append(listed.id)
    if refused:
        reasons = "\n".join(f"{_some(ids)}: {reason}" for reason, ids in refused.items())
        raise ConfigError(f"Some tasks cannot be begun, so nothing was started.\n{reasons}")


def _is_finished(line: ResultLine | None, out: Path) -> bool:
    return line is not None and line.status not in AGAIN and (out / line.id).is_dir()


def _unwritten(task: ListedTask, folder: Path) -> ResultLine | None:
    """The result of an attempt at this very task that ended just before it could be written down."""
    try:
        events = list(read(folder / "journal.jsonl"))
    except (FileNotFoundError, NotADirectoryError, JournalError):
        return None
    result = RunResult.from_events(events)
    started = next((event for event in events if isinstance(event, RunStarted)), None)
    if started is None or result.status in AGAIN:
        return None
    was = (started.task, started.agent_sha256, started.repo, started.checks)
    now = (task.prompt, task.agent.sha256, str(task.repo), task.checks)
    return ResultLine.of(task, result.run, result) if was == now else None


def _is_replaceable(folder: Path) -> bool:
    """Whether there is nothing, or a run, which is moved aside."""
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and ((folder / "journal.jsonl").exists() or not any(folder.iterdir()))


def _move_aside(folder: Path) -> None:
    """`a` becomes `a~1`, a name that no task can have."""
    if folder.exists():
        aside = (folder.with_name(f"{folder.name}~{number}") for number in count(1))
        folder.rename(next(path for path in aside if not path.exists()))


def _read_lines(path: Path) -> Iterator[ResultLine]:
    """The lines of a file of results. What a crash left of a last one is cut off."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            yield ResultLine.model_validate_json(line)
        except ValidationError as error:
            raise ConfigError(
                f"{path}:{number}: this is no line of results: {error.errors()[0]['msg']}. Mend it, or choose another "
                "--out. Nothing was started."
            ) from error


def _to_line(line: ResultLine) -> bytes:
    return line.model_dump_json(ensure_ascii=True).encode("ascii") + b"\n"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
