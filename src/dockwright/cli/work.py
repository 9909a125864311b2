"""The commands that have the persona work: run, batch, chat."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dockwright.cli.home import (
    agent_folders,
    console,
    demands,
    find_agent,
    host,
    load_config,
    project_files,
    runs_folder,
    state_folder,
)
from dockwright.cli.options import (
    Baseline,
    Budget,
    Checks,
    Compose,
    Deliver,
    Devcontainer,
    Image,
    Include,
    MayChange,
    Migrations,
    Minutes,
    ModelName,
    Net,
    Output,
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
    Verbose,
    Where,
)
from dockwright.cli.waiting import wait_for
from dockwright.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dockwright.events import Event
    from dockwright.journal import Sink

app = typer.Typer()


@app.command()
def run(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="What is to be done, in words; - reads it from standard input.")
    ],
    repo: Repo = Path(),
    agent: Persona = "backend-engineer",
    model: ModelName = None,
    check: Checks = None,
    serve: Serve = None,
    probe: Probes = None,
    check_migrations: Migrations = None,
    seed: Seed = None,
    may_change: MayChange = None,
    baseline: Baseline = False,
    repairs: Repairs = 1,
    image: Image = None,
    sandbox: Where = None,
    net: Net = None,
    include: Include = None,
    secret: Secret = None,
    services: Services = None,
    setup: Setup = None,
    devcontainer: Devcontainer = False,
    compose: Compose = None,
    turns: Turns = None,
    budget: Budget = None,
    minutes: Minutes = None,
    deliver: Annotated[Deliver, typer.Option(help="What to hand back.")] = Deliver.BRANCH,
    output: Annotated[Output, typer.Option(help="What to print.")] = Output.TEXT,
    verbose: Verbose = False,
) -> None:
    """Do one task on one repository and hand back a branch that was proven in a clean sandbox."""
    from dockwright import run as running
    from dockwright.run.work import Task

    prompt = sys.stdin.read() if task == "-" else task
    if not prompt.strip():
        raise ConfigError("The task is empty. Say in words what is to be done.")
    files = project_files(repo, devcontainer=devcontainer, compose=compose)
    config = load_config(
        image=image, backend=sandbox, net=net, services=services, setup=setup, files=files, turns=turns, budget=budget,
        minutes=minutes, include=include, secret=secret,
    )  # fmt: skip
    proof = demands(serve, probe, check_migrations, seed, may_change, baseline=baseline)
    order = Task(
        prompt=prompt, repo=repo.expanduser().absolute(), agent=find_agent(agent), model=model,
        checks=tuple(check or ()), proof=proof, repairs=repairs, deliver=deliver.value,
    )  # fmt: skip
    running.check(order, config)
    sinks, close = sinks_for(output, verbose)
    try:
        result = wait_for(running.run(order, config, host(config), runs_folder() / order.run, sinks))
    finally:
        close()
    if output is Output.JSON:
        typer.echo(result.model_dump_json(indent=2))
    sys.exit(result.exit_code)


@app.command()
def chat(
    repo: Repo = Path(),
    agent: Persona = "backend-engineer",
    model: ModelName = None,
    image: Image = None,
    sandbox: Where = None,
    net: Net = None,
    include: Include = None,
    secret: Secret = None,
    services: Services = None,
    setup: Setup = None,
    devcontainer: Devcontainer = False,
    compose: Compose = None,
    turns: Turns = None,
    budget: Budget = None,
    verbose: Verbose = False,
) -> None:
    """Work with the persona at the desk: ask, look at the diff, undo, apply."""
    from dockwright import chat as chatting
    from dockwright.run.work import Task

    files = project_files(repo, devcontainer=devcontainer, compose=compose)
    config = load_config(
        image=image, backend=sandbox, net=net, services=services, setup=setup, files=files, turns=turns, budget=budget,
        include=include, secret=secret,
    )  # fmt: skip
    order = Task(
        prompt="chat", repo=repo.expanduser().absolute(), agent=find_agent(agent), model=model, at_desk=True
    )  # fmt: skip
    folders = chatting.Folders(
        run=runs_folder() / order.run, history=state_folder() / "history", agents=agent_folders()
    )
    sys.exit(wait_for(chatting.chat(order, config, host(config), folders, console(), verbose=verbose)))


def sinks_for(output: Output, verbose: bool, past: Iterable[Event] = ()) -> tuple[tuple[Sink, ...], Any]:
    """What prints a run, and how to close it. `past` are the events of a run that is taken up."""
    from dockwright.export.stream_json import StreamJsonSink
    from dockwright.ui.jsonl import JsonLinesSink
    from dockwright.ui.terminal import TerminalSink

    match output:
        case Output.TEXT:
            sink = TerminalSink(console(), verbose=verbose, past=past)
            return (sink,), sink.close
        case Output.JSON_LINES:
            return (JsonLinesSink(sys.stdout),), lambda: None
        case Output.STREAM_JSON:
            return (StreamJsonSink(sys.stdout),), lambda: None
        case Output.JSON:
            return (), lambda: None
