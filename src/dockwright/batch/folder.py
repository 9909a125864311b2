"""The folder of a batch: who works in it, what was asked, what of it is done."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from dockwright.batch.begun import begun
from dockwright.batch.results import AGAIN, ResultLine, Results
from dockwright.errors import ConfigError
from dockwright.events import Status
from dockwright.redaction import Redaction
from dockwright.tasks import ListedTask
from dockwright.workspace.durable import write_durably

SAVED = "batch.json"
_NAMED = 10


class Flags(BaseModel):
    """What the command line said on top of the configuration; None where it said nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    image: str | None = None
    backend: str | None = None
    net: list[str] | None = None
    turns: int | None = None
    budget: float | None = None
    minutes: float | None = None
    include: list[str] | None = None
    secret: list[str] | None = None
    services: list[str] | None = None
    setup: str | None = None
    on: str | None = None

    def with_those_of(self, other: Flags) -> Flags:
        return self.model_copy(update=other.model_dump(exclude_none=True))


@dataclass(frozen=True)
class Order:
    """What a batch was asked to do: its tasks, the flags that its configuration was made with, and what holds its
    money."""

    tasks: tuple[ListedTask, ...]
    flags: Flags
    budget: float | None = None
    unknown_price: bool = False


def save_order(out: Path, order: Order, redaction: Redaction) -> None:
    """Without secrets, so that a task that has one in it, or in the flags, can be done from the task file only."""
    tasks = (task.without_secrets(redaction) for task in order.tasks)
    flags = Flags.model_validate(redaction.value(order.flags))
    if flags != order.flags:
        tasks = (replace(task, hidden=True) for task in tasks)
    kept = replace(order, tasks=tuple(tasks), flags=flags)
    write_durably(out / SAVED, TypeAdapter(Order).dump_json(kept))


def load_order(out: Path) -> Order:
    """Raises ConfigError where the folder is none of a batch."""
    try:
        return TypeAdapter(Order).validate_json((out / SAVED).read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{out} is not the folder of a batch: there is no {SAVED} in it ({error.strerror}). Name the --out of one."
        ) from error
    except ValidationError as error:
        raise ConfigError(f"{out / SAVED} is not of this version of dockwright. Start with the task file.") from error


@contextmanager
def alone(out: Path) -> Iterator[None]:
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


def left(listed: Sequence[ListedTask], results: Results, out: Path) -> list[ListedTask]:
    """The tasks that are not finished; `listed` is without secrets. Raises ConfigError where what is in the folder
    does not belong to the list."""
    for task in listed:
        if is_finished(results.last.get(task.id), out):
            continue
        if (run := begun(task, out / task.id)) and run.result.status not in AGAIN:
            results.add(ResultLine.of(task, run.run, 1, run.result))  # it ended just before it could be written down
    tasks = {task.id: task for task in listed}
    finished = [line for line in results.last.values() if is_finished(line, out)]
    if unknown := [line.id for line in finished if line.id not in tasks]:
        raise ConfigError(
            f"{out} holds results of tasks that are not in the list: {some(unknown)}. Put them back into the list, "
            "remove their folders, or choose another --out. Nothing was started."
        )
    if changed := [line.id for line in finished if line.task_sha256 != tasks[line.id].sha256]:
        raise ConfigError(
            f"{out} holds results of tasks that were changed since: {some(changed)}. Remove their folders to have "
            "them done anew, undo the change, or choose another --out. Nothing was started."
        )
    done = {line.id for line in finished}
    left = [task for task in listed if task.id not in done]
    if foreign := [task.id for task in left if not _is_replaceable(out / task.id)]:
        raise ConfigError(
            f"{out} holds something else under the names of tasks: {some(foreign)}. Choose another --out. "
            "Nothing was started."
        )
    return left


def chosen(listed: Sequence[ListedTask], results: Results, only: frozenset[Status]) -> list[ListedTask]:
    """The tasks whose last line has one of these statuses; one that has none was never finished: "interrupted"."""
    statuses = {id_: line.status for id_, line in results.last.items()}
    return [task for task in listed if statuses.get(task.id, "interrupted") in only]


def is_finished(line: ResultLine | None, out: Path) -> bool:
    return line is not None and line.status not in AGAIN and (out / line.id).is_dir()


def _is_replaceable(folder: Path) -> bool:
    """Whether there is nothing, or a run, which is moved aside."""
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and ((folder / "journal.jsonl").exists() or not any(folder.iterdir()))


def move_aside(folder: Path) -> None:
    """`a` becomes `a~1`, a name that no task can have."""
    if folder.exists():
        aside = (folder.with_name(f"{folder.name}~{number}") for number in count(1))
        folder.rename(next(path for path in aside if not path.exists()))


def some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
