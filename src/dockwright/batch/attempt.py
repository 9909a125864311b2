"""One task of a batch: what it is run with, and what happens where its sandbox is lost under it."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dockwright import __version__
from dockwright.batch.begun import half_done
from dockwright.batch.folder import move_aside, some
from dockwright.batch.node import Node, Nodes
from dockwright.batch.results import ResultLine, Results
from dockwright.config import Config
from dockwright.errors import ConfigError, SandboxError
from dockwright.events import Status
from dockwright.export.atif import trajectory
from dockwright.journal import JournalError, read
from dockwright.model import Model
from dockwright.redaction import Redaction
from dockwright.result import RunResult, exit_code_of
from dockwright.run import check
from dockwright.run.work import Task, new_run_id
from dockwright.tasks import ListedTask
from dockwright.ui.board import Board, Row
from dockwright.workspace.durable import write_durably

RETRIED: frozenset[Status] = frozenset({"sandbox_lost"})
TRAJECTORY = "trajectory.json"
_LONGEST_PAUSE = 30.0


@dataclass(frozen=True)
class Attempts:
    """Does tasks. `retries` is how often a task is tried again whose sandbox was lost, `pause` the seconds before the
    first time. What is tried while no node answers is no try. `atif` asks for the trajectories."""

    config: Config
    out: Path
    results: Results
    board: Board
    nodes: Nodes
    redaction: Redaction
    retries: int = 2
    atif: bool = False
    pause: float = 1.0

    async def __call__(self, listed: ListedTask) -> None:
        """Do a task, from where its run in the folder stopped if that can be gone on with, with a line of results for
        each attempt. Never raises for what happens in the task."""
        kept, folder, lost_on = listed.without_secrets(self.redaction), self.out / listed.id, set[Node]()
        for number in range(1, self.retries + 2):
            past = half_done(kept, folder)
            run_id = past.run if past else _new_name(number)
            row = self.board.add(listed.id, past.result if past else None)
            task = replace(task_of(listed), run=run_id, asked=kept.sha256)
            result, again = row.result, False
            try:
                result = await self._attempt(listed, task, row, lost_on, anew=past is None)
                self.results.add(ResultLine.of(kept, run_id, number, result, row.node))
                if self.atif:
                    _write_trajectory(folder)
                again = result.status in RETRIED and number <= self.retries and await self._may_go_on()
            finally:
                self.board.end(row, result, again=again)
            if not again:
                return
            await asyncio.sleep(min(self.pause * 2 ** (number - 1), _LONGEST_PAUSE))

    async def _attempt(self, listed: ListedTask, task: Task, row: Row, lost_on: set[Node], *, anew: bool) -> RunResult:
        try:
            async with self.nodes.least_loaded(lost_on) as node:
                row.node = node.name
                if anew:
                    move_aside(self.out / listed.id)
                elif lost_on:
                    await node.reap({task.run})  # it may be the engine that lost it, under another name
                result = await self._on(node, listed, task, row)
                if result.status in RETRIED:
                    lost_on.add(node)
                    self.nodes.lose(node, task.run)
                return result
        except asyncio.CancelledError:  # asked twice to stop, or before there was anything to stop
            return _ended(row.result, "interrupted", "stopped by the user")
        except SandboxError as error:  # no node answers
            return _ended(row.result, "sandbox_lost", str(error))

    async def _on(self, node: Node, listed: ListedTask, task: Task, row: Row) -> RunResult:
        try:
            return await node.carry_out(task, configured(listed, self.config), self.out / listed.id, (row.take,))
        except (ConfigError, SandboxError) as error:  # of its image
            status: Status = "config_error" if isinstance(error, ConfigError) else "sandbox_lost"
            return _ended(row.result, status, str(error))
        except Exception as error:  # noqa: BLE001 - a bug in one task is no reason to lose the others
            hide = self.redaction.text
            sys.stderr.write(hide("".join(traceback.format_exception(error))))
            return _ended(row.result, "bug", f"{type(error).__name__}: {hide(str(error))}")

    async def _may_go_on(self) -> bool:
        try:
            await self.nodes.ready()
        except SandboxError:
            return False
        return True


def _ended(result: RunResult, status: Status, reason: str) -> RunResult:
    return result.model_copy(update={"status": status, "exit_code": exit_code_of(status), "reason": reason})


def _new_name(attempt: int) -> str:
    """That of a later attempt says so: nothing of an earlier one can be in its way."""
    return new_run_id() if attempt == 1 else f"{new_run_id()}-{attempt}"


def _write_trajectory(folder: Path) -> None:
    with suppress(ValueError, FileNotFoundError, JournalError):  # there was no conversation
        told = trajectory(read(folder / "journal.jsonl"), __version__)
        write_durably(folder / TRAJECTORY, f"{json.dumps(told, indent=2)}\n".encode())


def task_of(listed: ListedTask) -> Task:
    return Task(
        prompt=listed.prompt, repo=listed.repo, agent=listed.agent, model=listed.model, base=listed.base,
        checks=listed.checks, proof=listed.proof, repairs=listed.repairs, deliver=listed.deliver,
    )  # fmt: skip


def configured(task: ListedTask, config: Config) -> Config:
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


def check_all(left: Sequence[ListedTask], config: Config, *, priced: bool) -> None:
    """Raises ConfigError saying which tasks cannot be begun, each reason once; `priced` where a model whose price is
    not known is such a reason."""
    refused: dict[str, list[str]] = {}
    price_of = _prices(config)
    for listed in left:
        own = configured(listed, config)
        try:
            if listed.hidden:
                raise ConfigError(
                    "a secret was in what it asks for, and is not kept in the folder. Start with the task file."
                )
            check(task_of(listed), own)
            if priced or own.limits.money_usd is not None:
                price_of(listed)
        except ConfigError as error:
            refused.setdefault(str(error), []).append(listed.id)
    if refused:
        reasons = "\n".join(f"{some(ids)}: {reason}" for reason, ids in refused.items())
        raise ConfigError(f"Some tasks cannot be begun, so nothing was started.\n{reasons}")


def _prices(config: Config) -> Callable[[ListedTask], None]:
    known: dict[str, bool] = {}

    def require(listed: ListedTask) -> None:
        model = Model(config.model, listed.model or listed.agent.model)
        if model.name not in known:
            known[model.name] = model.is_priced
        if not known[model.name]:
            raise ConfigError(
                f"a limit on money was set, but the price of {model.name} is not known. Set limits on turns or "
                "minutes in its place, choose a model with a known price, or allow it with --unknown-price."
            )

    return require
