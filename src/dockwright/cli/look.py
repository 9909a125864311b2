"""The commands that look at runs that were, and take over what they made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dockwright.cli.home import console, find_run, result_of, run_folders
from dockwright.cli.options import RunName, Verbose
from dockwright.cli.waiting import wait_for
from dockwright.errors import ConfigError

app = typer.Typer()
_PIPE_WIDTH = 200


@app.command(name="runs")
def list_runs() -> None:
    """List the runs, newest last."""
    from dockwright.ui.table import SummaryTable

    folders = sorted(run_folders(), key=lambda folder: (folder / "journal.jsonl").stat().st_mtime)
    screen = console()
    if not screen.is_terminal:  # a pipe has room for all of it
        screen.width = max(screen.width, _PIPE_WIDTH)
    screen.print(SummaryTable([result_of(folder) for folder in folders]))


@app.command()
def show(run: RunName, verbose: Verbose = False) -> None:
    """Show a run again, from its journal."""
    from dockwright.journal import read
    from dockwright.ui.terminal import TerminalSink

    sink = TerminalSink(console(), verbose=verbose)
    for event in read(find_run(run) / "journal.jsonl"):
        sink(event)


@app.command()
def report(
    run: RunName,
    json: Annotated[bool, typer.Option("--json", help="As JSON instead of Markdown.")] = False,
    html: Annotated[bool, typer.Option("--html", help="As one page that opens in any browser.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write it to a file.")] = None,
) -> None:
    """Print the report of a run."""
    name = "report.html" if html else "report.json" if json else "report.md"
    text = (find_run(run) / name).read_text("utf-8")
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text, "utf-8")
        console().print(f"Written to {out}.", markup=False, highlight=False)


@app.command()
def diff(run: RunName) -> None:
    """Show what a run changed, as a patch."""
    from dockwright.ui.terminal import print_diff

    patch = find_run(run) / "changes.patch"
    if not patch.exists():
        raise ConfigError(f"The run {run} changed nothing, or has not delivered yet: there is no {patch}.")
    data = patch.read_bytes()
    if sys.stdout.isatty():
        print_diff(console(), data.decode("utf-8", "replace"))
    else:
        sys.stdout.buffer.write(data)


@app.command()
def apply(
    run: RunName,
    repo: Annotated[
        Path | None, typer.Option("-C", "--repo", metavar="DIR", help="Where, if not where it came from.")
    ] = None,
    conflicts: Annotated[bool, typer.Option("--conflicts", help="Leave what meets in a file to you, marked.")] = False,
) -> None:
    """Put a run's changes into the working tree, unstaged, to be reviewed; merged where that moved on since."""
    from dockwright.workspace import apply as apply_run

    folder = find_run(run)
    result = result_of(folder)
    target = repo.absolute() if repo else Path(result.repo)
    changed = wait_for(apply_run(target, folder, result.run, markers=conflicts))
    console().print(f"{len(changed)} files changed in {target}; nothing is staged.", markup=False, highlight=False)


@app.command()
def pr(
    run: RunName,
    remote: Annotated[str, typer.Option("--remote", help="Where the branch is pushed.")] = "origin",
    base: Annotated[str | None, typer.Option("--base", metavar="BRANCH", help="What it is to be merged into.")] = None,
) -> None:
    """Push a run's branch and open a pull request with its report, by the GitHub CLI."""
    from dockwright.cli.pull_request import open_pull_request
    from dockwright.ui.visible import visible

    folder = find_run(run)
    console().print(visible(open_pull_request(result_of(folder), folder, remote, base)))
