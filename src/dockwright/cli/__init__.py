"""The command line: parses, calls, and turns errors into exit codes.

Everything heavy is imported in the command that needs it: help, errors and `doctor` stay fast.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from dockwright import __version__
from dockwright.cli.home import (
    agent_folders,
    console,
    data_folder,
    find_agent,
    find_run,
    host,
    load_config,
    result_of,
    root_file_system,
    run_folders,
    runs_folder,
    state_folder,
)  # fmt: skip
from dockwright.errors import ConfigError, DockwrightError, ExitCode

if TYPE_CHECKING:
    from dockwright.journal import Sink

_T = TypeVar("_T")
app = typer.Typer(
    name="dockwright", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    add_completion=False,
    help="A backend engineer that works in a box: give it a repository and a task, get back a proven branch.",
)  # fmt: skip
agents_app = typer.Typer(no_args_is_help=True, help="Personas: list, show, lint.", rich_markup_mode=None)
app.add_typer(agents_app, name="agents")


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
    typer.Option("--net", metavar="POLICY", help="none, public, or HOST[:PORT] to allow; may be given several times."),
]
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


@app.command()
def run(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="What is to be done, in words; - reads it from standard input.")
    ],
    repo: Repo = Path(),
    agent: Persona = "backend-engineer",
    model: ModelName = None,
    check: Checks = None,
    image: Image = None,
    sandbox: Where = None,
    net: Net = None,
    turns: Turns = None,
    budget: Budget = None,
    minutes: Minutes = None,
    deliver: Annotated[Deliver, typer.Option(help="What to hand back.")] = Deliver.BRANCH,
    output: Annotated[Output, typer.Option(help="What to print.")] = Output.TEXT,
    verbose: Verbose = False,
) -> None:
    """Do one task on one repository and hand back a branch that was proven in a clean sandbox."""
    from dockwright import run as running
    from dockwright.run import Task

    prompt = sys.stdin.read() if task == "-" else task
    if not prompt.strip():
        raise ConfigError("The task is empty. Say in words what is to be done.")
    config = load_config(image=image, backend=sandbox, net=net, turns=turns, budget=budget, minutes=minutes)
    order = Task(
        prompt=prompt, repo=repo.expanduser().absolute(), agent=find_agent(agent), model=model,
        checks=tuple(check or ()), deliver=deliver.value,
    )  # fmt: skip
    running.check(order, config)
    sinks, close = _sinks(output, verbose)
    try:
        result = _async(running.run(order, config, host(), runs_folder() / order.run, sinks))
    finally:
        close()
    if output is Output.JSON:
        typer.echo(result.model_dump_json(indent=2))
    sys.exit(result.exit_code)


@app.command()
def chat(
    repo: Repo = Path(),
    agent: Persona = "backend-engineer",
    model: ModelName = None,
    image: Image = None,
    sandbox: Where = None,
    net: Net = None,
    turns: Turns = None,
    budget: Budget = None,
    verbose: Verbose = False,
) -> None:
    """Work with the persona at the desk: ask, look at the diff, undo, apply."""
    from dockwright import chat as chatting
    from dockwright.run import Task

    config = load_config(image=image, backend=sandbox, net=net, turns=turns, budget=budget, minutes=None)
    order = Task(
        prompt="chat", repo=repo.expanduser().absolute(), agent=find_agent(agent), model=model, at_desk=True
    )  # fmt: skip
    folders = chatting.Folders(
        run=runs_folder() / order.run, history=state_folder() / "history", agents=agent_folders()
    )
    sys.exit(_async(chatting.chat(order, config, host(), folders, console(), verbose=verbose)))


@app.command()
def batch(
    tasks: Annotated[Path, typer.Argument(metavar="TASKS", help="A task list: .jsonl, .yaml or .csv.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the results go; the same folder again goes on.")
    ],
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="How many tasks at once.")] = 2,
    repo: Repo = Path(),
    agent: Persona = "backend-engineer",
    model: ModelName = None,
    check: Checks = None,
    image: Image = None,
    sandbox: Where = None,
    net: Net = None,
    turns: Turns = None,
    budget: Annotated[float | None, typer.Option("--budget", help="US dollars for each task.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Minutes for each task.")] = None,
) -> None:
    """Do a list of tasks, several at once. Finished tasks are not done again when it is started anew."""
    from dockwright import batch as batching
    from dockwright.tasks import Defaults, read_tasks

    config = load_config(image=image, backend=sandbox, net=net, turns=turns, budget=budget, minutes=minutes)
    defaults = Defaults(repo.expanduser().absolute(), find_agent(agent), model, tuple(check or ()))
    listed = read_tasks(tasks, defaults, find_agent)
    sys.exit(_async(batching.batch(listed, config, host(), out.expanduser().absolute(), jobs, console())))


@app.command(name="runs")
def list_runs() -> None:
    """List the runs, newest last."""
    from dockwright.ui.table import summary_table

    folders = sorted(run_folders(), key=lambda folder: (folder / "journal.jsonl").stat().st_mtime)
    console().print(summary_table([result_of(folder) for folder in folders]))


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
    run: RunName, json: Annotated[bool, typer.Option("--json", help="As JSON instead of Markdown.")] = False
) -> None:
    """Print the report of a run."""
    typer.echo((find_run(run) / ("report.json" if json else "report.md")).read_text("utf-8"))


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
) -> None:
    """Put a run's changes into the working tree, unstaged, to be reviewed. Refuses where they would meet others."""
    from dockwright.workspace import apply as apply_run

    folder = find_run(run)
    result = result_of(folder)
    target = repo.absolute() if repo else Path(result.repo)
    changed = _async(apply_run(target, folder, result.run))
    console().print(f"{len(changed)} files changed in {target}; nothing is staged.", markup=False, highlight=False)


@app.command()
def doctor() -> None:
    """Look at this machine: what is there, what is missing, and what to do about it."""
    from dockwright.doctor import examine

    sys.exit(examine(console(), load_config(), root_file_system(), state_folder(), os.environ))


@app.command()
def gc(dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False) -> None:
    """Remove the sandboxes of runs whose process was killed. Those of running ones are never touched."""
    from dockwright.gc import leftovers

    for found in leftovers():
        typer.echo(f"{'would remove' if dry_run else 'removing'} {found.what}")
        if not dry_run:
            found.remove()


@app.command()
def image() -> None:
    """Build the images that sandboxes are made of."""
    script = data_folder("sandbox") / "build"
    os.execv("/bin/bash", ["bash", str(script), "images"])  # noqa: S606


@agents_app.command("list")
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


@agents_app.command("show")
def agents_show(agent: Annotated[str, typer.Argument(help="A name or a path.")]) -> None:
    """A persona as it is understood: its tools, its model, its return format."""
    from dockwright.agent import resolve_tools
    from dockwright.report import return_format
    from dockwright.tools import TOOLS
    from dockwright.ui.visible import visible

    found = find_agent(agent)
    wanted = return_format(found.prompt)
    typer.echo(f"{visible(found.name)} ({found.path})\n\n{visible(found.description)}\n")
    typer.echo(f"tools   {', '.join(resolve_tools(found, tuple(TOOLS)))}")
    typer.echo(f"model   {visible(found.model)}")
    for section in wanted.sections if wanted else ():
        typer.echo(f"returns {visible(section.name)}: {', '.join(visible(field.name) for field in section.fields)}")


@agents_app.command("lint")
def agents_lint(paths: Annotated[list[Path], typer.Argument(help="Persona files.")]) -> None:
    """Name each mistake in persona files, with its line. Exit code 2 where there is an error."""
    from dockwright.agent import lint
    from dockwright.tools import TOOLS
    from dockwright.ui.visible import visible

    problems = [problem for path in paths for problem in lint(path, tuple(TOOLS))]
    for problem in problems:
        typer.echo(visible(f"{problem.path}:{problem.line}: {problem.severity}: {problem.message}"))
    sys.exit(ExitCode.CONFIG if any(problem.severity == "error" for problem in problems) else ExitCode.OK)


def _sinks(output: Output, verbose: bool) -> tuple[tuple[Sink, ...], Any]:
    from dockwright.ui.jsonl import JsonLinesSink
    from dockwright.ui.terminal import TerminalSink

    match output:
        case Output.TEXT:
            sink = TerminalSink(console(), verbose=verbose)
            return (sink,), sink.close
        case Output.JSON_LINES:
            return (JsonLinesSink(sys.stdout),), lambda: None
        case Output.JSON:
            return (), lambda: None


def _async(work: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end; a signal cancels, which ends the work in good order and keeps it, a second one at once."""
    import asyncio

    async def cancellable() -> _T:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await task

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
