"""A session at work on a copy of a repository in a sandbox, and what it made, kept and handed back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dockwright import __version__
from dockwright.agent import Agent, resolve_tools
from dockwright.config import Config
from dockwright.errors import Interrupted
from dockwright.events import CheckpointMade, JsonObject, Noted, RunStarted
from dockwright.journal import Journal, read
from dockwright.model import Model
from dockwright.prompt import NOTES, project_notes, system_blocks
from dockwright.proof import Demands
from dockwright.report import report_tool, return_format
from dockwright.report.evidence import Ledger, without_marks
from dockwright.run.bench import Host, open_bench, policy_of
from dockwright.sandbox import WORKSPACE, Sandbox
from dockwright.sandbox.docker import WORKBENCH, WORKBENCH_HAS
from dockwright.session import Session
from dockwright.tools import COMPANIONS, TOOLS
from dockwright.tools.base import SearchBackend, Tool, ToolContext
from dockwright.tools.web_search import ApiSearch, DdgsSearch
from dockwright.workspace import Workspace, shown_in_patch, snapshot, withhold
from dockwright.workspace.quarantine import MAIL, NAME


def new_run_id() -> str:
    return secrets.token_hex(4)


@dataclass(frozen=True)
class Task:
    """What the user asked for. `checks` are commands that must exit 0 in the clean sandbox, each in `check_seconds`,
    `proof` has what else must hold there, and its failures go back to the agent up to `repairs` times.
    `at_desk` is a conversation: no report is asked for. `run` is the id of the attempt: branch and sandbox are named
    after it, so no two runs may share one."""

    prompt: str
    repo: Path
    agent: Agent
    model: str | None = None
    checks: tuple[str, ...] = ()
    check_seconds: float = 600.0
    proof: Demands = field(default_factory=Demands)
    repairs: int = 0
    deliver: Literal["branch", "patch", "none"] = "branch"
    at_desk: bool = False
    run: str = field(default_factory=new_run_id)

    @property
    def demands(self) -> Demands:
        """All that must hold in the clean sandbox."""
        return replace(self.proof, checks=self.checks, seconds=self.check_seconds)


@dataclass
class Work:
    """A session at work on a copy of a repository. `model` is the id of its model."""

    model: str
    session: Session
    workspace: Workspace
    sandbox: Sandbox
    journal: Journal


async def keep(workspace: Workspace, sandbox: Sandbox, journal: Journal, turn: int) -> None:
    """Take the files as they are now to the host, where they outlive the sandbox."""
    before = workspace.last.commit
    try:
        made = await workspace.checkpoint(sandbox, f"Turn {turn}")
    except Interrupted:  # the runner died under it; another one is there
        made = await workspace.checkpoint(sandbox, f"Turn {turn}")
    if made.commit != before:
        await journal.append(CheckpointMade(turn=turn, commit=made.commit, tree=made.tree))


async def deliver(work: Work, task: Task, host: Host, summary: str = "") -> bool:
    """Hand the work back as it was kept last, under the agent's own summary; whether there was any."""
    redaction = work.journal.redaction
    done = await withhold(work.workspace, redaction)
    message = redaction.text(without_marks(summary) or task.prompt)
    delivered = await work.workspace.deliver(
        task.run, done.commit, message, model=work.model, branch=task.deliver == "branch",
        not_in_patch=await shown_in_patch(work.workspace, done.commit, redaction), author=host.author or (NAME, MAIL),
    )  # fmt: skip
    if delivered is None:
        return False
    await work.journal.append(delivered)
    return True


@asynccontextmanager
async def open_work(task: Task, config: Config, host: Host, folder: Path, journal: Journal) -> AsyncIterator[Work]:
    """A copy of the repository in a sandbox, with a session ready to be asked. The SDK is imported meanwhile."""
    wanted = resolve_tools(task.agent, tuple(TOOLS))
    async with Model(config.model, task.model or task.agent.model) as model, _meanwhile(model.warm()) as warming:
        workspace = await snapshot(task.repo, folder, include=config.include)
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
    report = (
        None if task.at_desk else report_tool(return_format(task.agent.prompt), lambda: Ledger.of(read(journal.path)))
    )
    if report:
        tools[report.__name__] = report
    system = system_blocks(
        task.agent.prompt, workspace=WORKSPACE, tools=tuple(tools), network=sandbox.network,
        image=sandbox.place.image, contents=_contents(sandbox, host), checks=task.demands.told,
        report_tool=report.__name__ if report else None, at_desk=task.at_desk,
    )  # fmt: skip
    context = ToolContext(
        sandbox=sandbox, rules=task.agent.rules, search=host.search or _search(config, model), asked=sandbox.asked
    )  # fmt: skip
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
        case "auto" if not policy_of(config.sandbox).open:  # a query is a way out, too
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
