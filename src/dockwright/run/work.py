"""A session at work on a copy of a repository in a sandbox, and what it made, kept and handed back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal, Protocol

from dockwright import __version__
from dockwright.agent import Agent, resolve_tools
from dockwright.config import Config, DeliverySettings
from dockwright.errors import Interrupted
from dockwright.events import Answered, CheckpointMade, Event, JsonObject, Noted, Restored, Resumed, RunStarted
from dockwright.gate import Gate
from dockwright.gate.purse import Purse
from dockwright.journal import DiskFull, Journal, JournalError, read
from dockwright.model import Model
from dockwright.prompt import NOTES, project_notes, system_blocks
from dockwright.proof import Demands
from dockwright.report import report_tool, return_format
from dockwright.report.evidence import Ledger
from dockwright.run.bench import Bench, Host, open_bench, policy_of
from dockwright.run.moments import Moment, Moments
from dockwright.run.preparing import prepared
from dockwright.run.tunnel import take_connections
from dockwright.sandbox import WORKSPACE, Sandbox
from dockwright.sandbox.docker import WORKBENCH, WORKBENCH_HAS
from dockwright.session import Session
from dockwright.tools import COMPANIONS, TOOLS
from dockwright.tools.base import SearchBackend, Tool, ToolContext
from dockwright.tools.web_search import ApiSearch, DdgsSearch
from dockwright.ui.words import without_marks
from dockwright.workspace import LOST, Checkpoint, Workspace, shown_in_patch, withhold
from dockwright.workspace.hardened import GitError
from dockwright.workspace.own_commits import own_commits, take_own_commits
from dockwright.workspace.own_git import NOT_KEPT
from dockwright.workspace.quarantine import MAIL, NAME

REBUILT = (
    "The sandbox that you worked in is gone, and you go on in a new one. The files in /workspace and its git "
    "repository are as they were after the last call that finished. What git ignores (installed packages, build "
    "output), files outside of /workspace, running processes and what an interrupted call had done are gone: make "
    "again what you need."
)
JOBS_GONE = "What you had started in the background was stopped, if it still ran: start again what you need."
ONLY_FILES = (
    "The sandbox that you worked in was stopped and is running again. /workspace is as it was. Files outside of it and "
    "running processes are gone: make again what you need."
)


def new_run_id() -> str:
    return secrets.token_hex(4)


@dataclass(frozen=True)
class Task:
    """What the user asked for. `base` is the commit to start from, None for the repository as it is. `checks` are
    commands that must exit 0 in the clean sandbox, each in `check_seconds`, `proof` has what else must hold there, and
    its failures go back to the agent up to `repairs` times. `at_desk` is a conversation: no report is asked for. `run`
    is the id of the attempt: branch and sandbox are named after it, so no two runs may share one. `asked` is a digest
    by which a batch knows its task again."""

    prompt: str
    repo: Path
    agent: Agent
    model: str | None = None
    base: str | None = None
    checks: tuple[str, ...] = ()
    check_seconds: float = 600.0
    proof: Demands = field(default_factory=Demands)
    repairs: int = 0
    deliver: Literal["branch", "patch", "none"] = "branch"
    at_desk: bool = False
    run: str = field(default_factory=new_run_id)
    asked: str = ""

    @property
    def demands(self) -> Demands:
        """All that must hold in the clean sandbox."""
        return replace(self.proof, checks=self.checks, seconds=self.check_seconds)


class Keeps(Protocol):
    """State beside the files, as that of databases, which is kept and goes back together with them."""

    async def save(self) -> str | None:
        """The name of the state as it is now; the same as before where nothing changed."""

    async def restore(self, name: str | None) -> None:
        """Make it what it was when it was kept under that name; None is as at first."""


@dataclass
class Work:
    """A session at work on a copy of a repository. `model` is the id of its model. `told` is what the model has to know
    of its sandbox before it goes on, if anything."""

    model: str
    session: Session
    workspace: Workspace
    sandbox: Sandbox
    journal: Journal
    moments: Moments
    delivery: DeliverySettings
    services: Keeps | None = None
    told: str = ""


async def keep(work: Work, turn: int) -> None:
    """Take the files as they are now to the host, where they outlive the sandbox."""
    before, now = work.workspace.last, work.moments.now
    try:
        made = await work.workspace.checkpoint(work.sandbox, f"Turn {turn}")
    except Interrupted:  # the runner died under it; another one is there
        made = await work.workspace.checkpoint(work.sandbox, f"Turn {turn}")
    if (missed := not_taken(made)) and not not_taken(before):
        work.journal.show(Noted(level="warning", text=f"Not kept for now: {missed}"))
    if made.git == NOT_KEPT != before.git:
        text = f"/workspace's own .git could not be kept; it can not be brought back: {work.workspace.own_git.why}"
        work.journal.show(Noted(level="warning", text=text))
    kept = await work.services.save() if work.services else None
    if (made.commit, made.git, kept) != (now.commit, now.git, now.services):
        saved = CheckpointMade(turn=turn, commit=made.commit, tree=made.tree, git=made.git, services=kept)
        await work.journal.append(saved)


def not_taken(checkpoint: Checkpoint) -> str:
    return next((line for line in checkpoint.left_out if line.startswith(LOST)), "")


async def keep_last(work: Work) -> str:
    """Keep the work before its sandbox is closed. Where that fails, the sandbox is left as it is, and named, and the
    reason is returned."""
    try:
        await keep(work, work.session.history.turn)
        missed = not_taken(work.workspace.last)
        if work.delivery.commits == "agent":
            with _told_as_one(work.journal):
                await take_own_commits(work.workspace, work.sandbox)
    except (DiskFull, JournalError, GitError, OSError) as error:
        missed = str(error)
    if missed:
        work.sandbox.place.left = True
        place, run = work.sandbox.place, work.journal.path.parent
        text = (
            f"The last changes could not be kept: {missed}. The sandbox ({place.backend}, dockwright-{place.id}) is "
            f"left as it is. Mend that, then: dockwright resume {run}"
        )
        work.journal.tell(Noted(level="error", text=text))
    return missed


async def go_back(work: Work, to: Moment) -> None:
    """Make everything as it was then: the files, /workspace's own git, the databases, the shell and the conversation.
    Processes that were started in the background since are stopped. Raises GitError, OSError."""
    context = work.session.context
    for job in context.jobs.keys() - to.jobs:
        with suppress(KeyError):
            await work.sandbox.kill(job)
        del context.jobs[job]
    await restore(work.workspace, work.sandbox, work.journal, to, work.services)
    context.put_back(to.cwd, to.seen)
    await work.journal.append(Restored(turn=to.turn, commit=to.commit, git=to.git, services=to.services))


async def restore(
    workspace: Workspace, sandbox: Sandbox, journal: Journal, to: Moment, services: Keeps | None = None
) -> None:
    """Make the files, /workspace's own git and the databases what they were."""
    if why := await workspace.restore(sandbox, await checkpoint_of(workspace, to)):
        text = f"/workspace's own .git stays as it is: {why}"
        journal.show(Noted(level="warning", text=text))
    if services:
        await services.restore(to.services)


async def checkpoint_of(workspace: Workspace, moment: Moment) -> Checkpoint:
    return Checkpoint(moment.commit, await workspace.quarantine.id(f"{moment.commit}^{{tree}}"), git=moment.git)


async def deliver(work: Work, task: Task, host: Host, summary: str = "") -> bool:
    """Hand the work back as it was kept last, under the agent's own summary; whether there was any."""
    redaction = work.journal.redaction
    done = await withhold(work.workspace, redaction)
    message = redaction.text(without_marks(summary) or task.prompt)
    own: list[tuple[str, str]] = []
    with _told_as_one(work.journal):
        if work.delivery.commits == "agent":
            own = await own_commits(work.workspace, redaction)
    delivered = await work.workspace.deliver(
        task.run, done.commit, message, branch=task.deliver == "branch", own=own,
        trailers=work.delivery.trailers.replace("{model}", work.model).replace("{run}", task.run),
        not_in_patch=await shown_in_patch(work.workspace, done.commit, redaction), author=host.author or (NAME, MAIL),
    )  # fmt: skip
    if delivered is None:
        return False
    await work.journal.append(delivered)
    return True


@contextmanager
def _told_as_one(journal: Journal) -> Iterator[None]:
    """The agent's own commits are a nicety: where they cannot be had, there is one of ours."""
    try:
        yield
    except GitError as error:
        text = f"The agent's own commits cannot be delivered; the change is one commit: {error}"
        journal.show(Noted(level="warning", text=text))


@asynccontextmanager
async def open_work(
    task: Task, config: Config, host: Host, folder: Path, journal: Journal, events: Sequence[Event] = ()
) -> AsyncIterator[Work]:
    """A copy of the repository in a sandbox, with a session ready to be asked. The SDK is imported meanwhile. `events`
    are those of the run so far, which is then taken up where it stopped."""
    wanted = resolve_tools(task.agent, tuple(TOOLS))
    shared = host.shared
    purses = filter(None, (Purse(config.limits.money_usd, _spent(events)), shared.purse))
    gate = Gate(shared.pace, *purses)
    named = Model(config.model, task.model or task.agent.model, gate=gate, connection=shared.connection)
    # To import the SDK takes all of one core: where many runs begin at once, the first sandboxes start before it.
    async with named as model, nullcontext() if shared.connection else _meanwhile(named.warm()):
        moments = Moments(events)
        journal.sinks = (moments.add, *journal.sinks)
        again = any(isinstance(event, RunStarted) for event in events)
        workspace = (
            await _begin(task, config, host, folder, journal, model.name) if not again else Workspace.load(folder)
        )
        if again:
            resumed = Resumed(run=task.run, version=__version__, turn=moments.now.turn)
            await journal.append(resumed)
            events = (*events, resumed)
        entered = moments.entered
        settings = await prepared(config.sandbox, host, workspace, journal)
        async with open_bench(settings, host, task.run, "work", journal, again and entered) as sandbox:
            if not again:
                await workspace.enter(sandbox)
            elif sandbox.place.found == "nothing":
                await workspace.enter(sandbox)
                await restore(workspace, sandbox, journal, moments.now)
            elif moments.restored:
                await restore(workspace, sandbox, journal, moments.now)
            if again and sandbox.services and moments.now.services:
                await sandbox.services.restore(moments.now.services)
            await model.warm()

            async def after_change(turn: int) -> None:
                await keep(work, turn)

            session = _session(task, config, host, model, wanted, sandbox, journal, after_change, events)
            session.context.put_back(moments.now.cwd, moments.now.seen)
            told = _told(sandbox, moments) if again else ""
            settled = (session, workspace, sandbox, journal, moments, config.deliver, sandbox.services, told)
            work = Work(model.name, *settled)
            async with take_connections(folder, sandbox):
                yield work


def _told(sandbox: Sandbox, moments: Moments) -> str:
    jobs = JOBS_GONE if moments.now.jobs else ""
    return {"nothing": REBUILT, "workspace": ONLY_FILES, "all": jobs}[sandbox.place.found]


def _spent(events: Sequence[Event]) -> float:
    return sum(event.cost or 0.0 for event in events if isinstance(event, Answered))


async def _begin(task: Task, config: Config, host: Host, folder: Path, journal: Journal, model: str) -> Workspace:
    await asyncio.to_thread(rmtree, folder / "objects.git", ignore_errors=True)  # begun by a process that was killed
    workspace = await host.shared.snapshot(task.repo, folder, task.base, config.include)
    await journal.append(
        RunStarted(
            run=task.run, version=__version__, task=task.prompt, agent=task.agent.name,
            agent_sha256=task.agent.sha256, model=model, repo=str(task.repo), base=workspace.base,
            head=workspace.head, carried=workspace.carried, checks=task.checks,
        )
    )  # fmt: skip
    for path in workspace.left_out:
        journal.show(Noted(level="warning", text=f"Not taken into the sandbox: {path}"))
    return workspace


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work that is over at the end of the block, and whose failure is told to nobody."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _session(
    task: Task,
    config: Config,
    host: Host,
    model: Model,
    wanted: Sequence[str],
    sandbox: Bench,
    journal: Journal,
    after_change: Callable[[int], Awaitable[None]],
    events: Sequence[Event],
) -> Session:
    tools, report = tools_of(task, wanted, lambda: Ledger.of(read(journal.path)))
    system = system_blocks(
        task.agent.prompt, workspace=WORKSPACE, tools=tuple(tools), network=sandbox.network,
        image=sandbox.place.image, contents=_contents(sandbox, host, config), checks=task.demands.told,
        services=sandbox.services.lines if sandbox.services else (),
        report_tool=report.__name__ if report else None, at_desk=task.at_desk,
        commits=config.deliver.commits == "agent",
    )  # fmt: skip
    context = ToolContext(
        sandbox=sandbox, rules=task.agent.rules, search=host.search or _search(config, model), asked=sandbox.asked,
        word=sandbox.services.word if sandbox.services else None,
    )  # fmt: skip
    turns = min(filter(None, (config.limits.turns, task.agent.max_turns)), default=None)
    limits = config.limits.model_copy(update={"turns": turns})
    return Session(
        model, tools, context, journal, system=system, limits=limits, after_change=after_change, events=events
    )


def tools_of(
    task: Task, wanted: Sequence[str], ledger: Callable[[], Ledger]
) -> tuple[dict[str, type[Tool]], type[Tool] | None]:
    """What the model may call, and which of it takes the report, whose claims are looked up in `ledger`."""
    names = [name for tool in wanted for name in (tool, *COMPANIONS.get(tool, ()))]
    tools: dict[str, type[Tool]] = {name: TOOLS[name] for name in dict.fromkeys(names)}
    report = None if task.at_desk else report_tool(return_format(task.agent.prompt), ledger)
    return tools | ({report.__name__: report} if report else {}), report


def _contents(sandbox: Sandbox, host: Host, config: Config) -> str:
    setup = f"; the user had this run in it as root before: {config.sandbox.setup}" if config.sandbox.setup else ""
    ours = (WORKBENCH, str(host.root) if host.root != Path("/") else WORKBENCH)
    is_ours = config.sandbox.image is None if setup else sandbox.place.image in ours
    return (WORKBENCH_HAS if is_ours else "what its makers put in") + setup if is_ours or setup else ""


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
