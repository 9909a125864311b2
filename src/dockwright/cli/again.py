"""The commands that go on with a run, take it back, or begin a second attempt from the middle of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dockwright.cli import home
from dockwright.cli.home import agent_folders, console, find_run, host, state_folder
from dockwright.cli.options import Budget, Minutes, Output, RunName, Turns, Verbose
from dockwright.cli.waiting import wait_for
from dockwright.cli.work import sinks_for
from dockwright.errors import ConfigError

app = typer.Typer()
Shown = Annotated[Output, typer.Option("--output", help="What to print.")]


@app.command()
def resume(
    run: RunName, turns: Turns = None, budget: Budget = None, minutes: Minutes = None, output: Shown = Output.TEXT,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Go on with a run or a chat where it stopped: killed, interrupted, at a limit, or without its sandbox."""
    from dockwright.run.order import load_order

    folder = find_run(run)
    task, config = load_order(folder)
    config = home.again(config, turns=turns, budget=budget, minutes=minutes)
    if task.at_desk:
        from dockwright import chat

        folders = chat.Folders(run=folder, history=state_folder() / "history", agents=agent_folders())
        sys.exit(wait_for(chat.chat(task, config, host(config), folders, console(), verbose=verbose)))
    from dockwright.journal import read
    from dockwright.run import resume as resuming

    past = list(read(folder / "journal.jsonl"))
    sinks, close = sinks_for(output, verbose, past)
    try:
        result = wait_for(resuming.resume(folder, config, host(config), sinks))
    finally:
        close()
    if output is Output.JSON:
        typer.echo(result.model_dump_json(indent=2))
    elif len(list(read(folder / "journal.jsonl"))) == len(past):
        console().print(f"The run {result.run} has ended: {result.status}. dockwright show {result.run} shows it.")
    sys.exit(result.exit_code)


@app.command()
def undo(run: RunName, turns: Annotated[int, typer.Argument(metavar="[N]", min=1, help="How many turns.")] = 1) -> None:
    """Take back the last turn of a run, or the last N: files, /workspace's own git and conversation. `resume` goes on
    from there."""
    from dockwright.run import resume as resuming

    folder = find_run(run)
    moment = wait_for(resuming.undo(folder, turns))
    console().print(f"Back at the end of turn {moment.turn}. Go on with: dockwright resume {folder.name}")


@app.command()
def fork(
    place: Annotated[str, typer.Argument(metavar="RUN@TURN", help="A run and a turn of it; 0 is before the first.")],
    task: Annotated[str | None, typer.Option("--task", help="What is to be done from there, in words.")] = None,
) -> None:
    """Begin a second attempt from the end of a turn, as a run of its own. The first is not touched. `resume` goes on
    with it."""
    from dockwright.run import fork as forking
    from dockwright.run.order import load_order

    name, at, turn = place.rpartition("@")
    if not (at and turn.isascii() and turn.isdigit()):
        raise ConfigError(f"{place} names no turn of a run. Write RUN@TURN, as in 1a2b3c4d@6.")
    run = find_run(name)
    if task:
        _, config = load_order(run)
        task = host(home.again(config)).redaction.text(task)
    folder: Path = wait_for(forking.fork(run, int(turn), task))
    console().print(
        f"The run {folder.name} stands at the end of turn {turn}. Go on with: dockwright resume {folder.name}"
    )
