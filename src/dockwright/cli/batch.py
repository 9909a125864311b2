"""The commands for task lists: batch, and ctl for one that is running."""

from __future__ import annotations

import os
import re
import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dockwright.cli.home import console, demands, find_agent, host, load_config
from dockwright.cli.options import (
    Baseline,
    Checks,
    Image,
    Include,
    MayChange,
    Migrations,
    ModelName,
    Net,
    Persona,
    Probes,
    Repairs,
    Repo,
    Secret,
    Seed,
    Serve,
    Services,
    Setup,
    Turns,
    Where,
)
from dockwright.cli.waiting import wait_for
from dockwright.errors import ConfigError

if TYPE_CHECKING:
    from dockwright.batch import Flags
    from dockwright.events import JsonObject, Status

app = typer.Typer()


@app.command()
def batch(
    tasks: Annotated[
        Path | None,
        typer.Argument(
            metavar="TASKS", help="A task list: .jsonl, .yaml, .csv, SWE-bench instances, a folder of Harbor tasks."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the results go; the same folder again goes on.")
    ] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="How many tasks at once.")] = 2,
    repo: Repo = Path(),
    repos: Annotated[
        Path | None, typer.Option("--repos", metavar="DIR", help="Where the checkouts of SWE-bench instances are.")
    ] = None,
    agent: Persona = "backend-engineer",
    model: ModelName = None,
    check: Checks = None,
    serve: Serve = None,
    probe: Probes = None,
    check_migrations: Migrations = None,
    seed: Seed = None,
    may_change: MayChange = None,
    baseline: Baseline = False,
    repairs: Repairs = 0,
    image: Image = None,
    sandbox: Where = None,
    net: Net = None,
    include: Include = None,
    secret: Secret = None,
    services: Services = None,
    setup: Setup = None,
    turns: Turns = None,
    budget: Annotated[float | None, typer.Option("--budget", help="US dollars for each task.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Minutes for each task.")] = None,
    total_budget: Annotated[
        float | None, typer.Option("--total-budget", min=0, help="US dollars for all tasks, never exceeded.")
    ] = None,
    unknown_price: Annotated[
        bool, typer.Option("--unknown-price", help="Allow models without a known price, which no budget holds.")
    ] = False,
    disk: Annotated[
        str | None, typer.Option("--disk", metavar="SIZE", help='Room for images that are brought, as "30GB".')
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="WHERE", help="docker:CTX,…: several Docker engines, or ray[:HOST:PORT]: a Ray cluster."
        ),
    ] = None,
    pull: Annotated[bool, typer.Option("--pull", help="Pull images that the engine does not have.")] = False,
    retries: Annotated[int, typer.Option("--retries", min=0, help="How often to try again after a lost sandbox.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="TASKS is the --out of a batch: go on with it.")] = False,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="CLASSES", help="Do only these again: failed, infra, limit, or any status."),
    ] = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Write predictions.jsonl for SWE-bench, too.")
    ] = False,
    atif: Annotated[
        bool, typer.Option("--atif", help="Write each task's ATIF trajectory beside its report, too.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of results.jsonl and exit.")] = False,
) -> None:
    """Do a list of tasks, several at once. Finished tasks are not done again when it is started anew."""
    from dockwright import batch as batching
    from dockwright.tasks import Defaults, read_tasks

    if schema:
        typer.echo(batching.schema(), nl=False)
        return
    if tasks is None or (out is None and not resume):
        raise ConfigError("Name a task list and where the results go: dockwright batch TASKS --out DIR.")
    flags = batching.Flags(
        image=image, backend=sandbox and sandbox.value, net=net, turns=turns, budget=budget, minutes=minutes,
        include=include, secret=secret, services=services, setup=setup, on=on,
    )  # fmt: skip
    folder = (out or tasks).expanduser().absolute()
    if resume:
        folder = tasks.expanduser().absolute()
        order = batching.load_order(folder)
        listed, flags = order.tasks, order.flags.with_those_of(flags)
        total_budget = order.budget if total_budget is None else total_budget
        unknown_price = unknown_price or order.unknown_price
    else:
        proof = demands(serve, probe, check_migrations, seed, may_change, baseline=baseline)
        defaults = Defaults(repo.expanduser().absolute(), find_agent(agent), model, tuple(check or ()), proof, repairs)
        listed = read_tasks(tasks, defaults, find_agent, repos and repos.expanduser().absolute())
    settings = batching.Settings(
        jobs=jobs, budget=total_budget, unknown_price=unknown_price, disk=_size(disk), pull=pull, retries=retries,
        only=_statuses(only), predictions=predictions, atif=atif, flags=flags, **_on(flags),
    )  # fmt: skip
    config = load_config(**flags.model_dump(exclude={"on"}))
    sys.exit(wait_for(batching.batch(listed, config, host(config), folder, settings, console())))


ctl = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at a running batch from another shell, and steer it."
)
Out = Annotated[Path, typer.Argument(metavar="OUT", help="The --out of the batch.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a task.")]


@ctl.command("list")
def ctl_list(out: Out, json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """What each task does, and what the batch may use."""
    _steer(out, {"do": "list"}, json=json, tasks=True)


@ctl.command()
def pause(out: Out) -> None:
    """Begin no more tasks; those at work go on."""
    _steer(out, {"do": "pause"})


@ctl.command()
def go(out: Out) -> None:
    """Begin tasks again after a pause."""
    _steer(out, {"do": "go"})


@ctl.command()
def jobs(out: Out, number: Annotated[int, typer.Argument(metavar="N", min=1)]) -> None:
    """Change how many tasks are at work at once. Fewer lets those at work end."""
    _steer(out, {"do": "jobs", "jobs": number})


@ctl.command()
def budget(out: Out, usd: Annotated[float, typer.Argument(metavar="USD", min=0)]) -> None:
    """Change the limit on money of the whole batch."""
    _steer(out, {"do": "budget", "usd": usd})


@ctl.command()
def cancel(out: Out, task: Id) -> None:
    """End a task, with what it has done so far, or do not begin it."""
    _steer(out, {"do": "cancel", "id": task})


@ctl.command()
def requeue(out: Out, task: Id) -> None:
    """Do a task that has ended once more."""
    _steer(out, {"do": "requeue", "id": task})


def _steer(out: Path, command: JsonObject, *, json: bool = False, tasks: bool = False) -> None:
    from dockwright.batch.control import ask
    from dockwright.ui.table import print_batch

    state = wait_for(ask(out.expanduser().absolute(), command))
    if json:
        typer.echo(dumps(state, indent=2))
    else:
        print_batch(console(), state, tasks=tasks)


def _on(flags: Flags) -> dict[str, Any]:
    """The settings that --on names."""
    from dockwright.sandbox.address import named_engines

    if flags.on is None:
        return {}
    kind, _, names = flags.on.partition(":")
    if flags.backend == "bubblewrap":
        raise ConfigError("--on names Docker engines, so --sandbox bubblewrap is another thing. Choose one.")
    if kind == "ray" and re.fullmatch(r"ray(:\S+:\d+)?", flags.on):
        return {"ray": names or os.environ.get("RAY_ADDRESS") or "auto"}
    if kind != "docker" or not all(names.split(",")):
        raise ConfigError(
            f"--on {flags.on}: name engines by their contexts or addresses, as docker:one,two, or the address of a Ray "
            "cluster's head, as ray:10.0.0.1:6379; ray alone is the cluster that this machine is part of."
        )
    return {"engines": named_engines(names.split(","), os.environ)}


def _size(said: str | None) -> int | None:
    from dockwright.config import parse_size

    return None if said is None else parse_size(said)


def _statuses(classes: str | None) -> frozenset[Status] | None:
    from dockwright.batch.results import CLASSES

    if classes is None:
        return None
    words = [word.strip().replace("-", "_") for word in classes.split(",")]
    if unknown := [word for word in words if word not in CLASSES]:
        raise ConfigError(f"--only: there is no class {unknown[0]!r}; there are {', '.join(CLASSES)}.")
    return frozenset(status for word in words for status in CLASSES[word])
