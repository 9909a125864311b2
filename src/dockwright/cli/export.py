"""The command that writes a run down in the format of another program."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from dockwright import __version__
from dockwright.cli.home import find_run
from dockwright.cli.options import RunName
from dockwright.errors import ConfigError

app = typer.Typer()


class Format(StrEnum):
    ATIF = "atif"
    STREAM_JSON = "stream-json"


@app.command()
def export(
    run: RunName, format: Annotated[Format, typer.Option(help="The format to write.")] = Format.ATIF  # noqa: A002
) -> None:  # fmt: skip
    """Print a run as an ATIF v1.8 trajectory, or as Claude Code's stream-json."""
    from dockwright.export.atif import trajectory
    from dockwright.export.stream_json import StreamJsonSink
    from dockwright.journal import read

    events = read(find_run(run) / "journal.jsonl")
    if format is Format.STREAM_JSON:
        sink = StreamJsonSink(sys.stdout)
        for event in events:
            sink(event)
        return
    try:
        typer.echo(json.dumps(trajectory(events, __version__), indent=2))
    except ValueError as error:
        raise ConfigError(f"{run} cannot be written as ATIF: {error}.") from error
