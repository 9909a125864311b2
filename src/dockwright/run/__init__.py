"""One task, from a repository to a delivered branch, a verdict and a report. The only place where concrete parts meet.

Whatever ends the work (a limit, a refusal, an API that is down, Ctrl-C), what was done so far is taken out of the
sandbox and delivered; only the verdict differs. Success is a positive proof, never a default.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dockwright import __version__
from dockwright.agent import resolve_tools
from dockwright.config import Config
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
    ClaimsJudged,
    Delivered,
    Event,
    Noted,
    Prompted,
    Reported,
    Restored,
    Resumed,
    RunFinished,
    SandboxStarted,
    Status,
    ToolFinished,
    TurnStarted,
)
from dockwright.history import History
from dockwright.journal import FULL, DiskFull, Journal, JournalError, Sink, read
from dockwright.model import Model
from dockwright.proof import Proof
from dockwright.report import judge, render_json, render_markdown
from dockwright.result import RunResult, exit_code_of
from dockwright.run.bench import Host, policy_of
from dockwright.run.moments import Moments
from dockwright.run.order import save_order
from dockwright.run.proving import ProveIt, prove_kept, repair, verdict
from dockwright.run.work import Task, Work, checkpoint_of, deliver, keep_last, open_work, project_notes_of
from dockwright.services import services_of
from dockwright.tools import TOOLS
from dockwright.ui.html import render
from dockwright.workspace import Workspace
from dockwright.workspace.durable import write_durably
from dockwright.workspace.hardened import GitError

MOST_OF_PATCH = 4 << 20  # bytes of the patch that the page takes
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


def check(task: Task, config: Config) -> None:
    """Whether a task can be begun, before anything is made for it. Raises ConfigError."""
    resolve_tools(task.agent, tuple(TOOLS))
    Model(config.model, task.model or task.agent.model)
    policy_of(config.sandbox)
    services_of(config.sandbox)
    if not task.repo.is_dir():
        raise ConfigError(f"{task.repo} is not a folder. Name a repository, or an empty folder to start from.")


async def run(task: Task, config: Config, host: Host, folder: Path, sinks: Sequence[Sink] = ()) -> RunResult:
    """Carry a task out in `folder`, which is made. Every end of it is a result with a status of its own, but for
    bugs, which are raised after the journal knows of them."""
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True)
    outcome = Outcome()
    with Journal(folder / "journal.jsonl", (outcome.take, *sinks), host.redaction) as journal:
        await asyncio.to_thread(save_order, folder, task, config, host.redaction)
        await to_its_end(carry_out(task, config, host, folder, journal, outcome), folder, journal, outcome)
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
    except OSError as error:
        if error.errno not in FULL:
            raise
        status, reason = "limit", f"the disk is full: {error}"
    finally:
        finished = RunFinished(status=status, exit_code=exit_code_of(status), reason=reason)
        try:
            await journal.append(finished)
            write_report(folder, outcome.result)
        except (DiskFull, JournalError, OSError) as error:
            if isinstance(error, OSError):
                error = DiskFull(f"The report could not be written to {folder}: {error.strerror}.")
            journal.tell(Noted(level="error", text=str(error)))
            if outcome.result.status != status:
                journal.tell(finished)


class Outcome:
    """A sink that keeps the result up to date, the report as it was handed in last, and whether it was asked for."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.result = RunResult()
        self.report: Reported | None = None
        self.reminded = False
        self._reported_in = 0
        for event in events:
            self.take(event)

    def take(self, event: Event) -> None:
        self.result = self.result.after(event)
        match event:
            case ToolFinished(is_error=False, details=details) if "report" in details:
                self.report, self._reported_in = Reported.model_validate(details["report"]), event.turn
            case Prompted(source="harness", content=content):
                self.reminded |= content[-1].get("text") == REMINDER
            case Restored(turn=turn):
                self.reminded = False
                self.report = self.report if self._reported_in <= turn else None


def status_of(error: DockwrightError) -> Status:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), "bug")


def write_report(folder: Path, result: RunResult) -> None:
    write_durably(folder / "report.md", render_markdown(result).encode())
    write_durably(folder / "report.json", render_json(result).encode())
    write_durably(folder / "report.html", page_of(folder, result).encode("utf-8", "replace"))


def page_of(folder: Path, result: RunResult) -> str:
    """The report as one page, from what a run left in its folder."""
    patch = folder / "changes.patch"
    change = patch.read_bytes()[:MOST_OF_PATCH].decode("utf-8", "replace") if patch.exists() else ""
    return render(result, read(folder / "journal.jsonl"), change)


async def carry_out(
    task: Task, config: Config, host: Host, folder: Path, journal: Journal, outcome: Outcome,
    events: Sequence[Event] = (),
) -> tuple[Status, str]:  # fmt: skip
    """Work, delivery and proof; `events` are those of the run so far. Returns how it ended."""
    prove_it = partial(prove_kept, task, config, host, journal)
    proof: Proof | None = None
    if _is_delivered(events) and outcome.report:
        workspace = Workspace.load(folder)
        workspace.last = await checkpoint_of(workspace, Moments(events).now)
        await journal.append(Resumed(run=task.run, version=__version__, turn=outcome.result.turns))
    else:
        work = None
        try:
            async with open_work(task, config, host, folder, journal, events) as work:
                status, reason, proof = await _converse(work, task, journal, outcome, prove_it)
                if (missed := await keep_last(work)) and status == "done":
                    status, reason = "limit", f"the last changes could not be kept: {missed}"
        except SandboxLost as error:
            if work is None:
                raise
            status, reason = "sandbox_lost", str(error)
        workspace = work.workspace
        try:
            changed = await deliver(work, task, host, outcome.report.summary if outcome.report else "")
        except (DiskFull, JournalError, GitError, OSError) as error:
            journal.tell(Noted(level="error", text=f"The work could not be delivered: {error}"))
            return (status, reason) if status != "done" else ("limit", "the work could not be delivered")
        if status != "done":
            return status, reason
        if not changed:
            return "unverified", "the agent changed nothing in the workspace"
    done = workspace.last
    if task.demands and (proof is None or proof.commit != done.commit):
        proof = await prove_it(workspace, proof.attempt + 1 if proof else 1)
    if outcome.report:
        claims = await judge(outcome.report, read(journal.path), workspace, done.commit)
        await journal.append(ClaimsJudged(claims=claims))
    return verdict(proof, outcome.result, handed_in=outcome.report is not None)


def _is_delivered(events: Sequence[Event]) -> bool:
    """Whether the run stopped in its proof, or just before: the work was handed over and the verdict is missing."""
    for event in reversed(events):
        match event:
            case Delivered():
                history = History()
                for past in events:
                    history.add(past)
                return history.is_over
            case TurnStarted() | Prompted() | Restored() | RunFinished() | SandboxStarted(purpose="work"):
                return False
    return False


async def _converse(
    work: Work, task: Task, journal: Journal, outcome: Outcome, prove_it: ProveIt
) -> tuple[Status, str, Proof | None]:
    """The conversation until its end, whatever that is. The work of an interrupted or failed one is kept, too."""
    session, proof = work.session, None
    try:
        said = session.history.messages()
        if not said:
            notes = await project_notes_of(work.sandbox)
            await session.ask([*notes, {"type": "text", "text": task.prompt}])
        elif len(said) > 1 and work.told and not session.history.is_over and not session.history.ends_with(work.told):
            await session.ask(work.told, source="harness")
        else:
            await session.ask(None)
        if outcome.report is None and not outcome.reminded:
            await work.session.ask([{"type": "text", "text": REMINDER}], source="harness")
        proof = await repair(work, task, prove_it)
    except (LimitReached, ModelRefused, ModelError) as error:
        return status_of(error), str(error), None
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.uncancel() > 0:  # asked twice: no time for anything
            raise
        journal.show(Noted(text="Interrupted. Keeping the work so far; once more to stop at once."))
        return "interrupted", "stopped by the user", None
    finally:
        if outcome.report and outcome.result.summary != outcome.report.summary:
            journal.show(outcome.report)
    return "done", "", proof
