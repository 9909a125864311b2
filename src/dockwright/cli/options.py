"""The options that several commands share, each spelled out once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"
    JSON_LINES = "json-lines"


class Deliver(StrEnum):
    BRANCH = "branch"
    PATCH = "patch"
    NONE = "none"


class Backend(StrEnum):
    AUTO = "auto"
    DOCKER = "docker"
    BUBBLEWRAP = "bubblewrap"


Repo = Annotated[
    Path, typer.Option("-C", "--repo", metavar="DIR", help="The repository, or an empty folder to start from.")
]
Persona = Annotated[str, typer.Option("-a", "--agent", help="A persona by name, or the path of its .md file.")]
ModelName = Annotated[str | None, typer.Option("--model", help="sonnet, opus, haiku, fable, or a model id.")]
Image = Annotated[str | None, typer.Option("--image", help="Any container image; the workbench if not given.")]
Where = Annotated[Backend | None, typer.Option("--sandbox", help="Where the tools act.")]
Net = Annotated[
    list[str] | None,
    typer.Option(
        "--net",
        metavar="POLICY",
        help="none, public, or allow=HOST[:PORT], or just HOST[:PORT]; may be given several times.",
    ),
]
Services = Annotated[
    list[str] | None,
    typer.Option(
        "--services",
        metavar="LIST",
        help="postgres, redis, or what the configuration names; NAME=IMAGE for another image. Each run has its own.",
    ),
]
Setup = Annotated[
    str | None,
    typer.Option(
        "--setup",
        metavar="CMD",
        help="Run this as root first, with the network of --net; the image it makes is kept until what it depends on "
        "changes.",
    ),
]
Devcontainer = Annotated[
    bool,
    typer.Option("--devcontainer", help="Take image, setup and environment from devcontainer.json."),
]
Compose = Annotated[Path | None, typer.Option("--compose", metavar="FILE", help="Take services from a compose file.")]
Turns = Annotated[int | None, typer.Option("--turns", help="Stop after this many model answers.")]
Budget = Annotated[float | None, typer.Option("--budget", help="Stop before this many US dollars are spent.")]
Minutes = Annotated[float | None, typer.Option("--minutes", help="Stop after this much time.")]
Checks = Annotated[
    list[str] | None,
    typer.Option(
        "--check", metavar="CMD", help="A command that must pass in a clean sandbox; may be given several times."
    ),
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show thinking and checkpoints, too.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or its first letters.")]
