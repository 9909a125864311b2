"""The command that shows a run's app in a browser of the host."""

from __future__ import annotations

from typing import Annotated

import typer

from dockwright.cli.home import console, find_run, host, load_config
from dockwright.cli.options import RunName
from dockwright.cli.waiting import wait_for

app = typer.Typer()


@app.command(name="open")
def open_(
    run: RunName,
    port: Annotated[
        int, typer.Argument(metavar="PORT", min=1, max=65535, help="A port that is served in the sandbox.")
    ],
    host_port: Annotated[
        int | None,
        typer.Option("--host-port", min=0, max=65535, help="Which port of 127.0.0.1; the same if not given."),
    ] = None,
    serve: Annotated[
        str | None,
        typer.Option(
            "--serve",
            metavar="CMD",
            help="What starts the app, where the run is over; the run's own --serve if not given.",
        ),
    ] = None,
) -> None:
    """Open a port of a run's sandbox on this machine's loopback, until Ctrl-C. It needs no network."""
    from dockwright.run.showing import show_app
    from dockwright.ui.visible import visible

    def tell(text: str) -> None:
        console().print(visible(text))

    wait_for(show_app(find_run(run), port, host_port, serve, host(load_config()), tell))
