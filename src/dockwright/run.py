"""One task, from a repository to a delivered branch, a verdict and a report. The only place where concrete parts meet.

Whatever ends the work (a limit, a refusal, an API that is down, Ctrl-C), what was done so far is taken out of the
sandbox and delivered; only the verdict differs. Success is a positive proof, never a default.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dockwright import __version__
from dockwright.agent import Agent, resolve_tools
from dockwright.config import Config, SandboxSettings
from dockwright.errors import (
    ConfigError,
    DockwrightError,
    LimitReached,
    ModelError,
    ModelRefused,
    SandboxError,
    SandboxLost,
)
from dockwright.events import (
    CheckpointMade,
    Event,
    JsonObject,
    NetworkAsked,
    Noted,
    Reported,
    RunFinished,
    RunStarted,
    SandboxStarted,
    Status,
    ToolFinished,
)
from dockwright.journal import Journal, Sink
from dockwright.model import Model
from dockwright.prompt import NOTES, project_notes, system_blocks
from dockwright.proof import prove
from dockwright.report import render_json, render_markdown, report_tool, return_format
from dockwright.result import RunResult, exit_code_of
from dockwright.sandbox import WORKSPACE, Place, Sandbox, open_sandbox
from dockwright.sandbox.bubblewrap import WEAKNESS, Bubblewrap
from dockwright.sandbox.docker import WORKBENCH, WORKBENCH_HAS, Docker, connect
from dockwright.sandbox.gateway import Policy, open_gateway
from dockwright.session import Session
from dockwright.tools import COMPANIONS, TOOLS
from dockwright.tools.base import SearchBackend, Tool, ToolContext
from dockwright.tools.web_search import ApiSearch, DdgsSearch
from dockwright.workspace import Workspace, snapshot

REMINDER = (
    "You ended without a report. If the work is finished and tested, call SubmitReport now; otherwise finish it first. "
    "Work that is not reported counts as unverified."
)
_STATUS: tuple[tuple[type[DockwrightError], Status], ...] = (
    (ConfigError, "config_error"),
    (LimitReached, "limit"),
    (ModelRefused, "refused"),
    (ModelError, "model_error"),
    (SandboxError, "sandbox_lost"),
)


def new_run_id() -> str:
    return secrets.token_hex(4)


@dataclass(frozen=True)
class Task:
    """What the user asked for. `checks` are commands that must exit 0 in the clean sandbox, each in `check_seconds`.
    `at_desk` is a conversation: no report is asked for. `run` is the id of the attempt: branch and sandbox are named
    after it, so no two runs may share one."""

    prompt: str
    repo: Path
    agent: Agent
    model: str | None = None
    checks: tuple[str, ...] = ()
    check_seconds: float = 600.0
    deliver: Literal["branch", "patch", "none"] = "branch"
    at_desk: bool = False
    run: str = field(default_factory=new_run_id)


@dataclass(frozen=True)
class Host:
    """What of the host a run may use: the root file system for bubblewrap, the CA bundle for the sandbox, and where
    WebSearch looks, if not where the configuration says."""

    root: Path = Path("/")
    ca_file: Path | None = None
    search: SearchBackend | None = None


@dataclass
class Work:
    """A session at work on a copy of a repository. `model` is the id of its model."""

    model: str
    session: Session
    workspace: Workspace
    sandbox: Sandbox
    journal: Journal


def check(task: Task, config: Config) -> None:
    """Whether a task can be begun, before anything is made for it. Raises ConfigError."""
    resolve_tools(task.agent, tuple(TOOLS))
    Model(config.model, task.model or task.agent.model)
    _policy(config.sandbox)
    if not task.repo.is_dir():
        raise ConfigError(f"{task.repo} is not a folder. Name a repository, or an empty folder to start from.")


def _policy(settings: SandboxSettings) -> Policy:
    return Policy.parse((settings.network,) if isinstance(settings.network, str) else settings.network)


async def run(task: Task, config: Config, host: Host, folder: Path, sinks: Sequence[Sink] = ()) -> RunResult:
    """Carry a task out in `folder`, which is made. Every end of it is a result with a status of its own, but for
    bugs, which are raised after the journal knows of them."""
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True)
    outcome = Outcome()
    with Journal(folder / "journal.jsonl", (outcome.take, *sinks)) as journal:
        await to_its_end(_carry_out(task, config, host, folder, journal, outcome), folder, journal, outcome)
    return outcome.result


async def to_its_end(
    work: Coroutine[Any, Any, tuple[Status, str]], folder: Path, journal: Journal, outcome: Outcome
) -> None:
    """Await the work and, whatever ends it, write down how it ended, and the report."""
    status: Status = "bug"
    reason = "an unexpected error; its traceback was printed"
    try:
        status, reason = await work
    except asyncio.CancelledError:
        status, reason = "interrupted", "stopped by the user"
    except DockwrightError as error:
        status, reason = status_of(error), str(error)
    finally:
        await journal.append(RunFinished(status=status, exit_code=exit_code_of(status), reason=reason))
        write_report(folder, outcome.result)


class Outcome:
    """A sink that keeps the result up to date, and the report as it was handed in last."""

    def __init__(self) -> None:
        self.result = RunResult()
        self.report: Reported | None = None

    def take(self, event: Event) -> None:
        self.result = self.result.after(event)
        if isinstance(event, ToolFinished) and not event.is_error and "report" in event.details:
            self.report = Reported.model_validate(event.details["report"])


def status_of(error: DockwrightError) -> Status:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), "bug")


def write_report(folder: Path, result: RunResult) -> None:
    (folder / "report.md").write_text(render_markdown(result), encoding="utf-8")
    (folder / "report.json").write_text(render_json(result), encoding="utf-8")


async def _carry_out(
    task: Task, config: Config, host: Host, folder: Path, journal: Journal, outcome: Outcome
) -> tuple[Status, str]:
    work = None
    try:
        async with open_work(task, config, host, folder, journal) as work:
            status, reason = await _converse(work, task, journal, outcome)
            await keep(work.workspace, work.sandbox, journal, outcome.result.turns)
    except SandboxLost as error:
        if work is None:
            raise
        status, reason = "sandbox_lost", str(error)
    done = work.workspace.last
    changed = await deliver(work, task)
    if status != "done":
        return status, reason
    if not changed:
        return "unverified", "the agent changed nothing in the workspace"
    if task.checks:
        clean = lambda: open_bench(config.sandbox, host, f"{task.run}-proof", "proof", journal)  # noqa: E731
        checks = await prove(
            clean, work.workspace, done.commit, task.checks, timeout=task.check_seconds, journal=journal
        )
        if failed := [check.command for check in checks if check.exit_code != 0]:
            return "checks_failed", f"failed in the clean sandbox: {', '.join(failed)}"
    if outcome.report is None:
        return "unverified", "the agent handed in no report"
    return ("verified", "") if task.checks else ("done", "")


async def _converse(work: Work, task: Task, journal: Journal, outcome: Outcome) -> tuple[Status, str]:
    """The conversation until its end, whatever that is. The work of an interrupted or failed one is kept, too."""
    try:
        notes = await project_notes_of(work.sandbox)
        await work.session.ask([*notes, {"type": "text", "text": task.prompt}])
        if outcome.report is None:
            await work.session.ask([{"type": "text", "text": REMINDER}], source="harness")
    except (LimitReached, ModelRefused, ModelError) as error:
        return status_of(error), str(error)
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.uncancel() > 0:  # asked twice: no time for anything
            raise
        journal.show(Noted(text="Interrupted. Keeping the work so far; once more to stop at once."))
        return "interrupted", "stopped by the user"
    finally:
        if outcome.report:
            journal.show(outcome.report)
    return "done", ""


async def keep(workspace: Workspace, sandbox: Sandbox, journal: Journal, turn: int) -> None:
    """Take the files as they are now to the host, where they outlive the sandbox."""
    before = workspace.last.commit
    made = await workspace.checkpoint(sandbox, f"Turn {turn}")
    if made.commit != before:
        await journal.append(CheckpointMade(turn=turn, commit=made.commit, tree=made.tree))


async def deliver(work: Work, task: Task) -> bool:
    """Hand the work back as it was kept last; whether there was any."""
    commit = work.workspace.last.commit
    delivered = await work.workspace.deliver(
        task.run, commit, task.prompt, model=work.model, branch=task.deliver == "branch"
    )
    if delivered is None:
        return False
    await work.journal.append(delivered)
    return True


@asynccontextmanager
async def open_work(task: Task, config: Config, host: Host, folder: Path, journal: Journal) -> AsyncIterator[Work]:
    """A copy of the repository in a sandbox, with a session ready to be asked. The SDK is imported meanwhile."""
    wanted = resolve_tools(task.agent, tuple(TOOLS))
    async with Model(config.model, task.model or task.agent.model) as model, _meanwhile(model.warm()) as warming:
        workspace = await snapshot(task.repo, folder)
        await journal.append(
            RunStarted(
                run=task.run, version=__version__, task=task.prompt, agent=task.agent.name,
                agent_sha256=task.agent.sha256, model=model.name, repo=str(task.repo), base=workspace.base,
                head=workspace.head, carried=workspace.carried, checks=task.checks,
            )
        )  # fmt: skip
        for path in workspace.left_out:
            journal.show(Noted(level="warning", text=f"Not taken into the sandbox: {path}"))
        async with open_bench(config.sandbox, host, task.run, "work", journal) as sandbox:
            await workspace.enter(sandbox)
            await warming
            after = partial(keep, workspace, sandbox, journal)
            session = _session(task, config, host, model, wanted, sandbox, journal, after)
            yield Work(model.name, session, workspace, sandbox, journal)


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """A task that is over at the end of the block, and whose failure is told to whoever awaits it, or to nobody."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _session(
    task: Task,
    config: Config,
    host: Host,
    model: Model,
    wanted: Sequence[str],
    sandbox: Sandbox,
    journal: Journal,
    after_changes: Callable[[int], Awaitable[None]],
) -> Session:
    names = [name for tool in wanted for name in (tool, *COMPANIONS.get(tool, ()))]
    tools: dict[str, type[Tool]] = {name: TOOLS[name] for name in dict.fromkeys(names)}
    report = None if task.at_desk else report_tool(return_format(task.agent.prompt))
    if report:
        tools[report.__name__] = report
    system = system_blocks(
        task.agent.prompt, workspace=WORKSPACE, tools=tuple(tools), network=sandbox.network,
        image=sandbox.place.image, contents=_contents(sandbox, host), checks=task.checks,
        report_tool=report.__name__ if report else None, at_desk=task.at_desk,
    )  # fmt: skip
    context = ToolContext(sandbox=sandbox, rules=task.agent.rules, search=host.search or _search(config, model))
    turns = min(filter(None, (config.limits.turns, task.agent.max_turns)), default=None)
    limits = config.limits.model_copy(update={"turns": turns})
    return Session(model, tools, context, journal, system=system, limits=limits, after_changes=after_changes)


def _contents(sandbox: Sandbox, host: Host) -> str:
    ours = (WORKBENCH, str(host.root) if host.root != Path("/") else WORKBENCH)
    return WORKBENCH_HAS if sandbox.place.image in ours else ""


def _search(config: Config, model: Model) -> SearchBackend | None:
    match config.search:
        case "none":
            return None
        case "auto" if not _policy(config.sandbox).open:  # a query is a way out, too
            return None
        case "api":
            return ApiSearch(model.search)
        case "auto" if config.model.is_anthropic:
            return ApiSearch(model.search)
        case _:
            return DdgsSearch()


async def project_notes_of(sandbox: Sandbox) -> list[JsonObject]:
    """CLAUDE.md, or AGENTS.md where there is none, as it is in the workspace."""
    for name in NOTES:
        try:
            text = await sandbox.read(f"{WORKSPACE}/{name}", limit=1 << 17)
        except OSError:
            continue
        return [project_notes({name: text.decode("utf-8", "replace")})]
    return []


@asynccontextmanager
async def open_bench(
    settings: SandboxSettings, host: Host, name: str, purpose: Literal["work", "proof"], journal: Journal
) -> AsyncIterator[Sandbox]:
    """A sandbox as it was configured, with its way out. Raises SandboxError; nothing falls back to less isolation
    than was asked for."""
    began = time.monotonic()
    policy = _policy(settings)
    place = await choose_place(settings, host, name)
    async with open_sandbox(place) as sandbox:
        sandbox = replace(sandbox, network=str(policy))
        if not policy.open:  # npm would try for a minute what cannot come
            sandbox = replace(sandbox, env={**sandbox.env, "NPM_CONFIG_FETCH_RETRIES": "0"})
        else:
            ca = await asyncio.to_thread(host.ca_file.read_bytes) if host.ca_file else None
            sandbox = replace(sandbox, env={**sandbox.env, **await open_gateway(sandbox, policy, _once(journal), ca)})
        await journal.append(
            SandboxStarted(
                purpose=purpose, backend=place.backend, id=place.id, image=place.image, network=str(policy),
                seconds=time.monotonic() - began,
            )
        )  # fmt: skip
        if place.backend == "bubblewrap" and purpose == "work":
            journal.show(Noted(level="warning", text=WEAKNESS))
        yield sandbox


def _once(journal: Journal) -> Callable[[str, int, str | None], None]:
    """What the gateway decided, noted at the first time: package managers ask for one host a thousand times."""
    known: set[tuple[str, int, str | None]] = set()

    def asked(host: str, port: int, denied: str | None) -> None:
        if (host, port, denied) not in known:
            known.add((host, port, denied))
            journal.show(NetworkAsked(host=host, port=port, denied=denied))

    return asked


async def choose_place(settings: SandboxSettings, host: Host, name: str) -> Place:
    """Docker where an engine answers or was asked for, else bubblewrap, unless what was asked for needs an engine."""
    docker = Docker(
        settings.image or WORKBENCH, name, memory=settings.memory, cpus=settings.cpus,
        pids=settings.pids, oci_runtime=settings.oci_runtime,
    )  # fmt: skip
    if settings.backend == "docker":
        return docker
    if settings.backend == "auto":
        try:
            client = await asyncio.to_thread(connect)
            client.close()
            return docker
        except SandboxError:
            if settings.image or settings.oci_runtime:
                raise
    return Bubblewrap(host.root, name, pids=settings.pids)
