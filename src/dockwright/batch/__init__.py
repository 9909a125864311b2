"""Many tasks, several at once, in one folder that tells at any moment how far they are.

`results.jsonl` gets a line as each attempt ends. A task is finished when its last line says so and its folder is still
there; whatever else is in the list is done when the batch is started again, from where it stopped. What the tasks
share (the pace of the API, the money, the engine, its disk, the snapshots of repositories) is made here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import JsonValue
from rich.console import Console

from dockwright.batch import control
from dockwright.batch.attempt import Attempts, check_all
from dockwright.batch.begun import given_up
from dockwright.batch.cluster import Cluster
from dockwright.batch.engines import check_engines, images_of
from dockwright.batch.folder import Flags, Order, alone, chosen, left, load_order, save_order
from dockwright.batch.node import Local, Nodes
from dockwright.batch.queue import Queue
from dockwright.batch.results import (
    AGAIN,
    PREDICTIONS,
    WORST_FIRST,
    ResultLine,
    Results,
    schema,
    worst,
    write_predictions,
)
from dockwright.config import Config
from dockwright.connection import Connection
from dockwright.errors import ExitCode
from dockwright.events import JsonObject, Status
from dockwright.gate.pace import Pace
from dockwright.gate.purse import Account, Purse
from dockwright.result import ENDED
from dockwright.run.bench import Host, Shared, choose_place
from dockwright.sandbox.engine import LABEL
from dockwright.sandbox.guard import Guard
from dockwright.sandbox.images import Images
from dockwright.tasks import ListedTask
from dockwright.tasks.fields import RESULTS
from dockwright.ui.board import Board
from dockwright.ui.table import SummaryTable
from dockwright.ui.words import money
from dockwright.workspace.shared import Snapshots

__all__ = [
    "AGAIN", "PREDICTIONS", "WORST_FIRST", "Flags", "Order", "ResultLine", "Settings", "batch", "load_order", "schema",
    "worst",
]  # fmt: skip
_SNAPSHOTS, _ACCOUNT = ".snapshots", ".spent.jsonl"


@dataclass(frozen=True)
class Settings:
    """`budget` is in US dollars for all tasks, `disk` in bytes for images that are brought. `retries` is how often a
    task is tried again whose sandbox was lost. `engines` are addresses by name, none for the usual one; `ray` is the
    address of a Ray cluster with others, or "". `only` are the last statuses of the tasks to do, None for all that are
    not finished. `predictions` and `atif` are files for others that are written, too."""

    jobs: int = 2
    budget: float | None = None
    unknown_price: bool = False
    disk: int | None = None
    pull: bool = False
    retries: int = 2
    engines: Mapping[str, str] = field(default_factory=dict)
    ray: str = ""
    only: frozenset[Status] | None = None
    predictions: bool = False
    atif: bool = False
    flags: Flags = field(default_factory=Flags)


async def batch(
    listed: Sequence[ListedTask], config: Config, host: Host, out: Path, settings: Settings, console: Console
) -> ExitCode:
    """Do what is not finished yet, `jobs` tasks at once, each in a folder of its own in `out`. Cancelled once, it hands
    over what the running tasks have so far; twice, it stops at once. Returns the worst exit code of all tasks.

    Raises ConfigError, before anything starts, where `out` holds something else than the results of these tasks, or
    where one of them cannot be begun.
    """
    with alone(out):
        results = Results(out)
        shown = [task.without_secrets(host.redaction) for task in listed]
        unfinished = left(shown, results, out)
        if settings.only is not None:
            unfinished = chosen(shown, results, settings.only)
        doing = {task.id for task in unfinished}
        todo = [task for task in listed if task.id in doing]
        check_all(todo, config, priced=settings.budget is not None and not settings.unknown_price)
        order = Order(tuple(listed), settings.flags, settings.budget, settings.unknown_price)

        def save(budget: float | None) -> None:
            save_order(out, replace(order, budget=budget), host.redaction)

        save(settings.budget)
        before = [line.status for task in listed if task.id not in doing and (line := results.last.get(task.id))]
        async with _means(config, host, out, settings) as means:
            if settings.engines or settings.ray:
                wanted = images_of(todo, config, pull=settings.pull)
                await check_engines(means.engines, wanted, ray=bool(settings.ray))
            await means.nodes.reap(given_up(unfinished, out))  # of a process that was killed
            with Board(console, len(listed), before, means.facts) as board:
                jobs = settings.jobs
                said = f", {len(before)} finished before" if before else ""
                board.say(f"{len(listed)} tasks, {jobs} at once{said}")
                attempts = Attempts(
                    means.config, out, results, board, means.nodes, host.redaction, settings.retries, settings.atif
                )
                queue = Queue(listed, todo, jobs, attempts, board.say, lambda: not means.purse.empty)
                async with control.listening(out, Commands(queue, results, board, means, save)):
                    await queue.work()
            ended = {line.run for line in results.last.values() if line.status in ENDED}
            silent = await means.nodes.reap(set() if queue.interrupted else ended)
        lines = results.put_in_order(task.id for task in listed)
        if settings.predictions:
            write_predictions(out, lines)
        board.say(SummaryTable([line.result for line in lines]))
        board.say(f"\n{out / RESULTS}")
        for name in silent:
            there = f"DOCKER_HOST={settings.engines[name]} " if name in settings.engines else ""
            how = f"goes away with: {there}dockwright gc"
            if settings.ray:
                how = f"is listed there by: docker ps -a --filter label={LABEL}"
            board.say(f"{name or 'The engine'} did not answer. What it may still have of this batch {how}")
        if missing := len(listed) - sum(line.status not in AGAIN for line in lines):
            more = " with a higher --total-budget" if means.purse.empty else ""
            board.say(f"{missing} of {len(listed)} are not finished. The same command goes on with them{more}.")
    if queue.interrupted:
        return ExitCode.INTERRUPTED
    return worst([*(line.exit_code for line in lines), *([ExitCode.LIMIT] if means.purse.empty else [])])


@dataclass(frozen=True)
class Means:
    """What the tasks share."""

    config: Config
    purse: Purse
    pace: Pace
    engines: Sequence[Local]
    nodes: Nodes

    def facts(self) -> list[str]:
        """For the board: what is out of the ordinary, and what there is a limit on."""
        facts = []
        if self.purse.cap is not None:
            held = f", {money(self.purse.reserved)} reserved" if self.purse.reserved else ""
            facts.append(f"{money(self.purse.spent)} spent{held} of {money(self.purse.cap)}")
        facts += (f"{model} backing off" for model, lane in self.pace.lanes.items() if lane.is_paused)
        for name, at_work, answers in self.nodes.state:
            if not answers:
                facts.append(f"waiting for {name or 'the engine'}")
            elif name:
                facts.append(f"{at_work} on {name}")
        if size := sum(engine.images.size for engine in self.engines):
            facts.append(f"images {size / 1e9:.1f} GB")
        return facts


@asynccontextmanager
async def _means(config: Config, host: Host, out: Path, settings: Settings) -> AsyncIterator[Means]:
    """Everything is closed at the end, whatever happens."""
    async with AsyncExitStack() as stack:
        account = Account(out / _ACCOUNT)
        stack.callback(account.close)
        purse = Purse(settings.budget, account.spent, what="limit of the whole batch", note=account.note)
        pace = Pace(backoff=config.model.backoff_seconds)
        connection, snapshots = Connection(config.model), Snapshots(out / _SNAPSHOTS)
        stack.push_async_callback(connection.close)
        await snapshots.clear()  # what a killed process left
        stack.push_async_callback(snapshots.clear)
        # Once for all: no task falls back to less than others.
        several = settings.engines or settings.ray
        backend = "docker" if several else (await choose_place(config.sandbox, host, "")).backend
        config = config.model_copy(update={"sandbox": config.sandbox.model_copy(update={"backend": backend})})
        shared = Shared(connection, pace, purse, snapshot=snapshots.take)
        engines = []

        def local(name: str, address: str | None) -> Local:
            images = Images(settings.disk, pull=settings.pull, address=address)
            stack.push_async_callback(images.close)
            waits = len(settings.engines) < 2 and not settings.ray  # else a task goes to another
            guard = Guard(address=address, waits=waits)
            own = replace(host, shared=replace(shared, engine=guard))
            engines.append(Local(name, own, images, guard, backend == "docker"))
            return engines[-1]

        if settings.ray:
            nodes: Nodes = await stack.enter_async_context(Cluster(settings.ray, local).open())
        else:
            named: Mapping[str, str | None] = settings.engines or {"": None}
            nodes = Nodes([local(name, address) for name, address in named.items()])
        stack.push_async_callback(nodes.close)
        yield Means(config, purse, pace, engines, nodes)


@dataclass(frozen=True)
class Commands:
    """What `dockwright ctl` may ask for. `save` keeps another budget for a resume."""

    queue: Queue
    results: Results
    board: Board
    means: Means
    save: Callable[[float], None]

    def __call__(self, command: control.Command) -> JsonObject:
        match command:
            case control.Jobs(jobs=jobs):
                self.queue.set_jobs(jobs)
            case control.Budget(usd=usd):
                self.save(usd)
                self.means.purse.cap = usd
                self.queue.wake()
            case control.OfTask(do="cancel", id=id_):
                self.queue.cancel(id_)
            case control.OfTask(id=id_):
                self.queue.requeue(id_)
            case control.Plain(do="pause"):
                self.queue.pause()
            case control.Plain(do="go"):
                self.queue.go()
        return self._state()

    def _state(self) -> JsonObject:
        purse = self.means.purse
        tasks: list[JsonValue] = [self._state_of(id_) for id_ in self.queue.listed]
        nodes: list[JsonValue] = [
            {"name": name, "at_work": at_work, "answers": answers}
            for name, at_work, answers in self.means.nodes.state
            if name
        ]
        return {
            "jobs": self.queue.jobs, "paused": self.queue.paused, "spent": purse.spent, "reserved": purse.reserved,
            "budget": purse.cap, "nodes": nodes, "tasks": tasks,
        }  # fmt: skip

    def _state_of(self, id_: str) -> JsonObject:
        line = self.results.last.get(id_)
        row = self.board.row(id_)
        known = row.result if row else line
        facts: JsonObject = {"id": id_, "state": line.status if line else "waiting"}
        if id_ in self.queue.running:
            facts["state"] = "running"
        elif any(task.id == id_ for task in self.queue.waiting):
            facts["state"] = "waiting"
        if node := row.node if row else line and line.node:
            facts["node"] = node
        if known:
            facts |= {"turns": known.turns, "cost": known.cost, "seconds": row.seconds if row else known.seconds}
        return facts
