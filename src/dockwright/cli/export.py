"""The command that writes a run down in the format of another program."""

from __future__ import annotations

import io
import json
from enum import StrEnum
from pathlib import Path
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
    run: RunName,
    format: Annotated[Format, typer.Option(help="The format to write.")] = Format.ATIF,  # noqa: A002
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it, if not here.")
    ] = None,
) -> None:
    """Print a run as an ATIF v1.8 trajectory, or as Claude Code's stream-json."""
    from dockwright.export.atif import trajectory
    from dockwright.export.stream_json import StreamJsonSink
    from dockwright.journal import read

    events = read(find_run(run) / "journal.jsonl")
    text = io.StringIO()
    if format is Format.STREAM_JSON:
        sink = StreamJsonSink(text)
        for event in events:
            sink(event)
    else:
        try:
            json.dump(trajectory(events, __version__), text, indent=2)
        except ValueError as error:
            raise ConfigError(f"{run} cannot be written as ATIF: {error}.") from error
        text.write("\n")
    if output is None:
        typer.echo(text.getvalue(), nl=False)
    else:
        output.write_text(text.getvalue(), encoding="ascii")
