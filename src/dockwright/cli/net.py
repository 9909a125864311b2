"""What runs asked of the network, and the allow list that would let just that through."""

from __future__ import annotations

import json

import typer

from dockwright.cli.home import console, find_run, result_of
from dockwright.cli.options import RunName

app = typer.Typer(no_args_is_help=True, help="The network of runs: learn.", rich_markup_mode=None)


@app.callback()
def _group() -> None:  # with one command only, a group would be that command
    pass


@app.command()
def learn(run: RunName) -> None:
    """Print the allow list that a run asked for, as flags and for the configuration file."""
    from dockwright.sandbox.policy import allow_words

    asked = result_of(find_run(run)).network
    words = allow_words((event.host, event.port) for event in asked)
    if not words:
        console().print("The run asked nothing of the network.", markup=False, highlight=False)
        return
    denied = {(event.host, event.port): event.denied for event in asked if event.denied is not None}
    typer.echo(" ".join(f"--net {word}" for word in words))
    typer.echo(f"\n[sandbox]\nnetwork = {json.dumps(words)}")
    for (host, port), why in sorted(denied.items()):
        typer.echo(f"# was denied: {host}:{port}: {why}")
