"""The command line: parses, calls, and turns errors into exit codes.

Everything heavy is imported in the command that needs it: help, errors and `doctor` stay fast.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from dockwright import __version__
from dockwright.cli import again, agents, batch, export, look, machine, net, replay, view, work
from dockwright.cli import open as opening
from dockwright.errors import DockwrightError, ExitCode

app = typer.Typer(
    name="dockwright", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    add_completion=False,
    help="A backend engineer that works in a box: give it a repository and a task, get back a proven branch.",
)  # fmt: skip
for commands in (work, batch, again, replay, look, view, export, opening, machine):
    app.add_typer(commands.app)
app.add_typer(agents.app, name="agents")
app.add_typer(net.app, name="net")
app.add_typer(batch.ctl, name="ctl")


def main() -> None:
    try:
        app()
    except DockwrightError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # who read it has gone, which is no reason to end differently
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"dockwright {__version__}")
        raise typer.Exit
