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
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    images: Annotated[bool, typer.Option("--images", help="Remove the images that --setup made, too.")] = False,
) -> None:
    """Remove the sandboxes of runs whose process was killed. Those of running ones are never touched."""
    from itertools import chain

    from dockwright import gc as collecting

    for found in chain(collecting.leftovers(runs_folder()), collecting.images() if images else ()):
        typer.echo(f"{'would remove' if dry_run else 'removing'} {found.what}")
        if not dry_run:
            found.remove()


@app.command()
def image() -> None:
    """Build the images that sandboxes are made of."""
    script = data_folder("sandbox") / "build"
    os.execv("/bin/bash", ["bash", str(script), "images"])  # noqa: S606
