"""The command that plays a run again, for people to look at and for CI to check."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dockwright.cli.home import console, find_run, host
from dockwright.cli.options import RunName, Verbose
from dockwright.cli.waiting import wait_for
from dockwright.errors import ExitCode

app = typer.Typer()


@app.command()
def replay(
    run: RunName,
    check: Annotated[
        bool, typer.Option("--check", help="Print only what diverged, and exit with 3 if any did.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Play a run again without a model: its calls act anew in a fresh sandbox, and what diverges is told."""
    from dockwright.run import replay as replaying
    from dockwright.run.order import load_order
    from dockwright.ui.terminal import TerminalSink

    folder = find_run(run)
    _, config = load_order(folder)
    where = host(config)
    if check:
        found = wait_for(replaying.replay(folder, where))
    else:
        sink = TerminalSink(console(), verbose=verbose)
        try:
            found = wait_for(replaying.replay(folder, where, (sink,)))
        finally:
            sink.close()
    for divergence in found:
        typer.echo(f"diverged at {divergence}")
    if not found:
        typer.echo(f"{folder.name}: every result is as it was.")
    sys.exit(ExitCode.CHECKS_FAILED if check and found else ExitCode.OK)
