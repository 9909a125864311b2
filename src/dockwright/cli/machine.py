"""The commands for the machine: what is there, what is left over, the images."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from dockwright.cli.home import console, data_folder, load_config, root_file_system, runs_folder, state_folder

app = typer.Typer()


@app.command()
def doctor() -> None:
    """Look at this machine: what is there, what is missing, and what to do about it."""
    from dockwright.doctor import examine

    sys.exit(examine(console(), load_config(), root_file_system(), state_folder(), os.environ))


@app.command()
def gc(dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False) -> None:
    """Remove the sandboxes of runs whose process was killed. Those of running ones are never touched."""
    from dockwright.gc import leftovers

    for found in leftovers(runs_folder()):
        typer.echo(f"{'would remove' if dry_run else 'removing'} {found.what}")
        if not dry_run:
            found.remove()


@app.command()
def image() -> None:
    """Build the images that sandboxes are made of."""
    script = data_folder("sandbox") / "build"
    os.execv("/bin/bash", ["bash", str(script), "images"])  # noqa: S606
