"""The commands for personas: list, show, lint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dockwright.cli.home import agent_folders, console, find_agent
from dockwright.errors import ExitCode

app = typer.Typer(no_args_is_help=True, help="Personas: list, show, lint.", rich_markup_mode=None)


@app.command("list")
def agents_list() -> None:
    """The personas that can be used by name."""
    from rich.table import Table

    from dockwright.agent import scan
    from dockwright.ui.visible import visible

    table = Table(box=None, pad_edge=False)
    for title in ("name", "tools", "description"):
        table.add_column(title, overflow="fold")
    for folder in agent_folders():
        for agent in scan(folder)[0]:
            tools = "all" if agent.tools is None else str(len(agent.tools))
            table.add_row(*(visible(text, newlines=False) for text in (agent.name, tools, agent.description)))
    console().print(table)


@app.command("show")
def agents_show(agent: Annotated[str, typer.Argument(help="A name or a path.")]) -> None:
    """A persona as it is understood: its tools, its model, its return format."""
    from dockwright.agent import resolve_tools
    from dockwright.report import return_format
    from dockwright.tools import TOOLS
    from dockwright.ui.visible import visible

    found = find_agent(agent)
    typer.echo(f"{visible(found.name)} ({found.path})\n\n{visible(found.description)}\n")
    typer.echo(f"tools   {', '.join(resolve_tools(found, tuple(TOOLS)))}")
    typer.echo(f"model   {visible(found.model)}")
    for section in return_format(found.prompt):
        typer.echo(f"returns {visible(section.name)}: {', '.join(visible(field.name) for field in section.fields)}")


@app.command("lint")
def agents_lint(paths: Annotated[list[Path], typer.Argument(help="Persona files.")]) -> None:
    """Name each mistake in persona files, with its line. Exit code 2 where there is an error."""
    from dockwright.agent import lint
    from dockwright.tools import TOOLS
    from dockwright.ui.visible import visible

    problems = [problem for path in paths for problem in lint(path, tuple(TOOLS))]
    for problem in problems:
        typer.echo(visible(f"{problem.path}:{problem.line}: {problem.severity}: {problem.message}"))
    sys.exit(ExitCode.CONFIG if any(problem.severity == "error" for problem in problems) else ExitCode.OK)
