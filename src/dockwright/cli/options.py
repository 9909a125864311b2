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
    STREAM_JSON = "stream-json"


class Deliver(StrEnum):
    BRANCH = "branch"
    PATCH = "patch"
    NONE = "none"


class Commits(StrEnum):
    ONE = "one"
    AGENT = "agent"


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
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include", metavar="PATTERN",
        help="Take ignored files in, such as .env; they are never delivered. May be given several times.",
    ),
]  # fmt: skip
Secret = Annotated[
    list[str] | None,
    typer.Option(
        "--secret", metavar="NAME[=FILE]",
        help="A variable of the environment, or a file, whose value is never written or shown. May be given several "
        "times.",
    ),
]  # fmt: skip
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
CommitsAs = Annotated[
    Commits | None,
    typer.Option("--commits", help="The change as one commit, or as those that the agent made with git."),
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
Serve = Annotated[str | None, typer.Option("--serve", metavar="CMD", help="Starts the app, to be asked by --probe.")]
Probes = Annotated[
    list[str] | None,
    typer.Option(
        "--probe", metavar="URL[=STATUS]",
        help="What the app must answer in a clean sandbox: any 2xx, or this status; may be given several times.",
    ),
]  # fmt: skip
Migrations = Annotated[
    str | None,
    typer.Option(
        "--check-migrations", metavar="TOOL[:DIR]",
        help="alembic, django, knex, prisma or sql: up, down and up again on an empty and on a filled database.",
    ),
]  # fmt: skip
Seed = Annotated[
    str | None, typer.Option("--seed", metavar="CMD", help="Fills the database of --check-migrations; else we do.")
]
MayChange = Annotated[
    list[str] | None,
    typer.Option("--may-change", metavar="PATTERN", help="Files of the checks that the agent may change."),
]
Baseline = Annotated[bool, typer.Option("--baseline", help="Run the checks on the starting commit, too.")]
Repairs = Annotated[
    int, typer.Option("--repairs", min=0, metavar="N", help="How often failures of the proof go back to the agent.")
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show thinking and checkpoints, too.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or its first letters.")]
