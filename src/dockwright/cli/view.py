"""The commands that show runs and batches in a browser: view as a file, ui while they work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dockwright.cli.home import console, find_run, run_folders
from dockwright.cli.waiting import wait_for
from dockwright.errors import ConfigError

if TYPE_CHECKING:
    from dockwright.ui.follow import Entry

app = typer.Typer()
_NEWEST = 100  # runs that are shown where none is named


@app.command()
def view(
    what: Annotated[str, typer.Argument(metavar="DIR", help="The --out of a batch, or a run.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Where to write it, if not NAME.html here.")
    ] = None,
) -> None:
    """Write a batch, or a run, as one page that opens in any browser, without a network; also while it is at work."""
    from dockwright.ui.html import page_of
    from dockwright.ui.html.batch import pages

    name, look = _found(what)
    entries = look()
    if _is_batch(Path(what).expanduser()):
        parts: Iterable[str] = pages(name, entries)
    else:
        parts = (page_of(entry.folder, entry.result, entry.state) for entry in entries)
    target = out or Path(f"{name}.html")
    _write(target, parts)
    console().print(f"Written to {target}.", markup=False, highlight=False)


@app.command()
def ui(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="DIR", help="The --out of batches, or runs; the newest runs if none is named."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Which port of 127.0.0.1, if not any.")] = 0,
) -> None:
    """Show batches and runs in your browser while they work, until Ctrl-C. For this machine alone, and only to look."""
    try:
        from dockwright.ui.web import serve
    except ModuleNotFoundError:
        raise ConfigError(
            "The live page needs starlette and uvicorn, which are not installed: pip install 'dockwright[ui]'"
        ) from None

    sources = [_found(name) for name in what] if what else [("runs", _newest_runs())]
    wait_for(serve(sources, port, lambda url: console().print(f"{url}\nCtrl-C ends it.", soft_wrap=True)))


def _is_batch(folder: Path) -> bool:
    from dockwright.batch.folder import SAVED

    return (folder / SAVED).exists()


def _found(what: str) -> tuple[str, Callable[[], tuple[Entry, ...]]]:
    """The name of a batch or a run, and how to look at it."""
    from dockwright.batch.looking import Looking
    from dockwright.ui.follow import Followed

    folder = Path(what).expanduser().absolute()
    if _is_batch(folder):
        return folder.name, Looking(folder)
    try:
        run = find_run(what)
    except ConfigError as error:
        raise ConfigError(f"{folder} is not the --out of a batch: there is no batch.json in it. {error}") from None
    followed = Followed(run)
    return run.name, lambda: (followed.entry(run.name),)


def _newest_runs() -> Callable[[], tuple[Entry, ...]]:
    from dockwright.ui.follow import Followed

    known: dict[Path, Followed] = {}

    def look() -> tuple[Entry, ...]:
        newest = sorted(run_folders(), key=lambda folder: (folder / "journal.jsonl").stat().st_mtime)[-_NEWEST:]
        return tuple(known.setdefault(folder, Followed(folder)).entry(folder.name) for folder in newest)

    return look


def _write(target: Path, parts: Iterable[str]) -> None:
    """The file is there when it is whole."""
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        try:
            with new.open("w", encoding="utf-8", errors="replace") as file:
                file.writelines(parts)
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"Writing the page to {target} failed: {error.strerror}. Name another place with -o."
        ) from error
